/* Checks that a column is within bounds: rows out of bounds break its rule, nulls do not. */
#include "dataflare.h"

/* The configuration: its JSON Schema, and the checks of what the operator writes, come from the options. */
static struct {
  const char *column;
  double least, greatest;
} config;

static const df_option options[] = {
    {"column", DF_TEXT_OPTION, &config.column, .description = "The column to check."},
    {"least", DF_NUMBER_OPTION, &config.least, .otherwise = "0", .description = "The least value."},
    {"greatest", DF_NUMBER_OPTION, &config.greatest, .otherwise = "100", .description = "The greatest value."},
};

static bool configured(df_error *error) {
  if (config.least > config.greatest) return df_fail(error, DF_INVALID_CONFIG, "least: it is above greatest");
  return true;
}

/* What must hold: an expression, which the host computes. */
static bool rules(df_rules *rules, df_error *error) {
  (void)error;
  df_rule within = {
      .name = "within",
      .description = df_format("%s is within %g and %g", config.column, config.least, config.greatest),
      .column = config.column,
      .holds = df_between(df_column(config.column), df_literal_number(config.least), df_literal_number(config.greatest)),
  };
  df_add_rule(rules, within);
  return true;
}

const df_validator df_validator_plugin = {
    .options = options,
    .option_count = DF_COUNT(options),
    .configured = configured,
    .rules = rules,
};
