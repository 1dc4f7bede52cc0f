// Checks that a column is within bounds: rows out of bounds break its rule, nulls do not.
#include "dataflare.hpp"

using dataflare::col;

namespace {

// The configuration: its JSON Schema, and the checks of what the operator writes, come from the options.
struct {
  const char *column;
  double least, greatest;
} config;

const df_option options[] = {
    {"column", DF_TEXT_OPTION, &config.column, nullptr, "The column to check."},
    {"least", DF_NUMBER_OPTION, &config.least, "0", "The least value."},
    {"greatest", DF_NUMBER_OPTION, &config.greatest, "100", "The greatest value."},
};

bool configured(df_error *error) {
  return config.least <= config.greatest || df_fail(error, DF_INVALID_CONFIG, "least: it is above greatest");
}

// What must hold: an expression, which the host computes.
bool rules(df_rules *rules, df_error *) {
  df_add_rule(rules, {
      .name = "within",
      .description = df_format("%s is within %g and %g", config.column, config.least, config.greatest),
      .severity = DF_SEVERITY_ERROR,
      .column = config.column,
      .holds = col(config.column).between(config.least, config.greatest),
  });
  return true;
}

}  // namespace

const df_validator df_validator_plugin = {
    .options = options,
    .option_count = DF_COUNT(options),
    .configured = configured,
    .rules = rules,
};
