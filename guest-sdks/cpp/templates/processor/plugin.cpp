// Trims a text field, and drops records in which it is empty.
#include "dataflare.hpp"

namespace {

// The configuration: its JSON Schema, and the checks of what the operator writes, come from the options.
struct {
  const char *field;
} config;

const df_option options[] = {
    {"field", DF_TEXT_OPTION, &config.field, "\"name\"", "The field to trim."},
};

// Change the record; `*keep = false` drops it.
bool process(df_value *record, bool *keep, df_error *error) {
  const df_value *value = df_get(record, config.field);
  if (df_is_valid(value) && value->type != DF_TEXT)
    return df_fail(error, DF_INVALID_INPUT, "%s is not a text", config.field);
  const char *text = df_is_valid(value) ? df_trim(value->text) : "";
  *keep = *text != 0;
  if (*keep) df_set(record, config.field, df_text(text));
  return true;
}

}  // namespace

const df_processor df_processor_plugin = {
    .options = options,
    .option_count = DF_COUNT(options),
    .process = process,
};
