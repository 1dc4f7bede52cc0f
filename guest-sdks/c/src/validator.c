/* Validators: rules, and the rows that break them. */
#include "sdk.h"

/* Violations of a rule that are reported for a batch; all are counted. */
#define MOST_REPORTED 100

typedef exports_dataflare_plugin_validator_violation_t violation;

static const exports_dataflare_plugin_validator_severity_t SEVERITIES[] = {
    [DF_SEVERITY_ERROR] = EXPORTS_DATAFLARE_PLUGIN_VALIDATOR_SEVERITY_ERROR,
    [DF_SEVERITY_WARNING] = EXPORTS_DATAFLARE_PLUGIN_VALIDATOR_SEVERITY_WARNING,
    [DF_SEVERITY_INFO] = EXPORTS_DATAFLARE_PLUGIN_VALIDATOR_SEVERITY_INFO,
};

const df_common *df_plugin_common(void) { return (const df_common *)&df_validator_plugin; }

dataflare_plugin_types_kind_t df_plugin_kind(void) { return DATAFLARE_PLUGIN_TYPES_KIND_VALIDATOR; }

void df_add_rule(df_rules *rules, df_rule rule) {
  df_rule *more = df_alloc((rules->count + 1) * sizeof *more);
  for (size_t i = 0; i < rules->count; i++) more[i] = rules->items[i];
  more[rules->count++] = rule;
  rules->items = more;
}

bool exports_dataflare_plugin_validator_rules(exports_dataflare_plugin_validator_list_rule_t *list, df_error *error) {
  df_rules rules = {0};
  bool done = df_validator_plugin.rules(&rules, error);
  list->ptr = df_alloc(rules.count * sizeof *list->ptr);
  list->len = rules.count;
  for (size_t i = 0; i < rules.count; i++) {
    list->ptr[i].name = df_wit_string(rules.items[i].name);
    list->ptr[i].description = df_wit_string(rules.items[i].description ? rules.items[i].description : "");
    list->ptr[i].severity = SEVERITIES[rules.items[i].severity];
  }
  df_drop_batches(NULL);
  return done;
}

static violation violation_of(const df_rule *rule, size_t row) {
  violation found = {.rule = df_wit_string(rule->name), .severity = SEVERITIES[rule->severity]};
  found.row.is_some = true;
  found.row.val = (uint32_t)row;
  found.column.is_some = rule->column != NULL;
  if (rule->column) found.column.val = df_wit_string(rule->column);
  found.message = df_wit_string(rule->description ? rule->description : "");
  return found;
}

/* Add the violations of a rule to the report. Where the column `broken` is null, it has the value false. */
static void report(const df_rule *rule, df_booleans broken, exports_dataflare_plugin_validator_report_t *report) {
  uint32_t count = 0;
  for (size_t row = 0; row < broken.count; row++) {
    if (!broken.values[row]) continue;
    if (count++ < MOST_REPORTED) report->violations.ptr[report->violations.len++] = violation_of(rule, row);
  }
  report->counts.ptr[report->counts.len++] =
      (exports_dataflare_plugin_validator_rule_count_t){df_wit_string(rule->name), count};
}

static bool validate(df_batch batch, exports_dataflare_plugin_validator_report_t *found, df_error *error) {
  df_rules rules = {0};
  if (!df_validator_plugin.rules(&rules, error)) return false;
  dataflare_data_expressions_list_output_t outputs = {df_alloc(rules.count * sizeof *outputs.ptr), rules.count};
  df_expression **broken = df_alloc(rules.count * sizeof *broken);
  uint32_t *places = df_alloc(rules.count * sizeof *places);
  for (size_t i = 0; i < rules.count; i++) broken[i] = df_not(rules.items[i].holds);
  dataflare_data_expressions_list_node_t nodes = df_nodes(broken, rules.count, places);
  for (size_t i = 0; i < rules.count; i++)
    outputs.ptr[i] = (dataflare_data_expressions_output_t){df_wit_string(df_format("%zu", i)), places[i]};
  df_batch checked;
  bool done = dataflare_data_expressions_select(df_borrowed(batch), &nodes, &outputs, &checked, &error->val.data);
  if (!df_done(done, error)) return false;
  df_owned(checked);
  found->rows_checked = (uint32_t)df_rows(batch);
  found->counts.ptr = df_alloc(rules.count * sizeof *found->counts.ptr);
  found->violations.ptr = df_alloc(rules.count * MOST_REPORTED * sizeof *found->violations.ptr);
  found->counts.len = found->violations.len = 0;
  for (size_t i = 0; i < rules.count; i++) {
    df_booleans column;
    if (!df_boolean_column(checked, df_format("%zu", i), &column, error)) return false;
    report(&rules.items[i], column, found);
  }
  return true;
}

bool exports_dataflare_plugin_validator_validate(
    df_batch input, exports_dataflare_plugin_validator_report_t *found, df_error *error) {
  bool done = validate(df_owned(input), found, error);
  df_drop_batches(NULL);
  return done;
}
