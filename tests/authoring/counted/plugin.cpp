// A log of three rows, each in a transaction of its own, for tests; a position is the number of rows before it.
#include "dataflare.hpp"

namespace {

std::int64_t at;

const df_field columns[] = {{"id", "int64"}};
const char *const key[] = {"id"};
const df_dataset all[] = {{
    .name = "numbers",
    .columns = columns,
    .column_count = DF_COUNT(columns),
    .key = key,
    .key_count = DF_COUNT(key),
    .modes = DATAFLARE_PLUGIN_DATASETS_READING_MODES_CHANGES,
}};

bool datasets(df_datasets *found, df_error *) {
  *found = {all, DF_COUNT(all)};
  return true;
}

bool changes(const df_value *position, const df_dataset *, std::size_t, df_error *) {
  at = 0;
  if (position) df_as_integer(position, &at);
  at *= 2;
  return true;
}

bool next_event(df_event *event, df_error *) {
  if (at == 6) return true;
  if (at % 2) {
    event->type = DF_COMMIT;
    event->position = df_integer(at / 2 + 1);
  } else {
    event->type = DF_INSERT;
    event->dataset = "numbers";
    event->row = df_object();
    df_set(event->row, "id", df_integer(at / 2));
  }
  at++;
  return true;
}

}  // namespace

const df_source df_source_plugin = {
    .datasets = datasets,
    .changes = changes,
    .next_event = next_event,
};
