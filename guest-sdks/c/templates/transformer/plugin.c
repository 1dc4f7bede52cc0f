/* Adds a column that is a ratio of two others. */
#include "dataflare.h"

/* The configuration: its JSON Schema, and the checks of what the operator writes, come from the options. */
static struct {
  const char *of, *to, *column;
} config;

static const df_option options[] = {
    {"of", DF_TEXT_OPTION, &config.of, .description = "The column above the line."},
    {"to", DF_TEXT_OPTION, &config.to, .description = "The column below it."},
    {"column", DF_TEXT_OPTION, &config.column, .otherwise = "\"ratio\"", .description = "The name of the new column."},
};

/* Let the host compute: no value comes into the plugin. */
static bool transform(df_batch *batch, df_error *error) {
  df_expression *ratio = df_divide(df_cast(df_column(config.of), "double"), df_column(config.to));
  return df_put(batch, config.column, ratio, error);
}

const df_transformer df_transformer_plugin = {
    .options = options,
    .option_count = DF_COUNT(options),
    .transform = transform,
};
