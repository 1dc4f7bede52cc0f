// Adds a column that is a ratio of two others.
#include "dataflare.hpp"

using dataflare::col;

namespace {

// The configuration: its JSON Schema, and the checks of what the operator writes, come from the options.
struct {
  const char *of, *to, *column;
} config;

const df_option options[] = {
    {"of", DF_TEXT_OPTION, &config.of, nullptr, "The column above the line."},
    {"to", DF_TEXT_OPTION, &config.to, nullptr, "The column below it."},
    {"column", DF_TEXT_OPTION, &config.column, "\"ratio\"", "The name of the new column."},
};

// Let the host compute: no value comes into the plugin.
bool transform(df_batch *batch, df_error *error) {
  return df_put(batch, config.column, col(config.of).cast("double") / col(config.to), error);
}

}  // namespace

const df_transformer df_transformer_plugin = {
    .options = options,
    .option_count = DF_COUNT(options),
    .transform = transform,
};
