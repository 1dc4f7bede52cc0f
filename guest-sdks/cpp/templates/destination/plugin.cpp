// Keeps rows by key in the state that the host has for the plugin. Rows are visible when the run is finished.
#include "dataflare.hpp"

#include <map>
#include <string>

namespace {

// The configuration: its JSON Schema, and the checks of what the operator writes, come from the options.
struct {
  const char *key;
} config;

const df_option options[] = {
    {"key", DF_TEXT_OPTION, &config.key, "\"id\"", "The column whose values rows are kept by."},
};

// The rows of the run, as JSON.
std::map<std::string, std::string> kept;

std::string json(const df_value *value) { return df_c_string(df_write(value)); }

// Take rows; those without a key are sent back.
bool write(const df_target *target, df_batch rows, df_rejected *rejected, df_error *error) {
  df_value **records;
  if (!df_records(rows, &records, error)) return false;
  for (std::size_t row = 0; row < df_rows(rows); row++) {
    const df_value *value = df_get(records[row], config.key);
    if (!df_is_valid(value)) {
      df_reject(rejected, row, config.key, "%s is null", config.key);
      continue;
    }
    df_value *name = df_list();
    for (const char *part : {target->namespace_, target->name}) df_append(name, df_text(part));
    df_append(name, df_text(json(value).c_str()));
    kept[json(name)] = json(records[row]);
  }
  return true;
}

// Make them visible. After an error this may come again, and must do no harm.
bool finish(df_list_u8_t, df_error *error) {
  for (const auto &[name, record] : kept) {
    const char *wrong;
    if (!df_state_set(name.c_str(), df_parse(record.data(), record.size(), &wrong), error)) return false;
  }
  kept.clear();
  return true;
}

// Forget them.
bool abort_run(df_error *) {
  kept.clear();
  return true;
}

}  // namespace

const df_destination df_destination_plugin = {
    .options = options,
    .option_count = DF_COUNT(options),
    .write = write,
    .finish = finish,
    .abort = abort_run,
};
