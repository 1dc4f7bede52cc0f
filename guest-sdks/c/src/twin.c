/* The host's twin in memory, and the runner of unit tests. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataflare_test.h"
#include "twin.h"

/* The log. */

static const char *const LEVELS[] = {"trace", "debug", "info", "warn", "error"};

void dataflare_host_logging_log(uint8_t level, df_string_t *message, df_list_tuple2_string_string_t *fields) {
  (void)fields;
  fprintf(stderr, "%s: %.*s\n", LEVELS[level], (int)message->len, (const char *)message->ptr);
}

/* The state. */

typedef struct entry {
  struct entry *next;
  char *key, *value;
} entry;

static entry *entries;

bool dataflare_host_state_get(df_string_t *key, df_option_list_u8_t *found, dataflare_host_state_state_error_t *error) {
  (void)error;
  found->is_some = false;
  for (entry *each = entries; each; each = each->next)
    if (!strcmp(each->key, df_c_string(*key))) {
      df_string_t value = df_wit_string(each->value);
      found->is_some = true;
      found->val = (df_list_u8_t){value.ptr, value.len};
      return true;
    }
  return true;
}

/* The newest of equal keys is found first. */
bool dataflare_host_state_set(df_string_t *key, df_list_u8_t *value, dataflare_host_state_state_error_t *error) {
  (void)error;
  entry *made = malloc(sizeof *made);
  if (!made) df_panic("out of memory");
  *made = (entry){entries, df_keep_text(df_c_string(*key)), df_keep_text(df_c_string((df_string_t){value->ptr, value->len}))};
  entries = made;
  return true;
}

void df_test_forget(void) { entries = NULL; }

/* The runner. */

typedef struct test {
  const char *name;
  void (*run)(void);
} test;

static test tests[1000];
static size_t count;
static const char *running;

void df_test_add(const char *name, void (*run)(void)) {
  if (count < DF_COUNT(tests)) tests[count++] = (test){name, run};
}

_Noreturn void df_test_fail(const char *file, int line, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "%s:%d: %s\n", file, line, df_format_list(format, arguments));
  va_end(arguments);
  exit(1);
}

void df_test_check_text(const char *file, int line, const char *found, const char *wanted) {
  if (!found || strcmp(found, wanted)) df_test_fail(file, line, "it is %s, not %s", found ? found : "nothing", wanted);
}

const char *df_test_json(const df_value *value) { return value ? df_c_string(df_write(value)) : "nothing"; }

/* The text of an error, also of one that the host gave. */
static const char *told(const df_error *error) {
  static const char *const WRONG[] = {"there is no column ", "there is no function "};
  const twin_error *data = &error->val.data;
  if (error->tag == DATAFLARE_PLUGIN_TYPES_ERROR_RATE_LIMITED) return df_format("wait for %u ms", error->val.rate_limited);
  if (error->tag != DATAFLARE_PLUGIN_TYPES_ERROR_DATA) return df_error_text(error);
  if (data->tag != DATAFLARE_DATA_BATCHES_DATA_ERROR_WRONG_TYPE)
    return df_format("%s%s", data->tag < DF_COUNT(WRONG) ? WRONG[data->tag] : "", df_c_string(data->val.other));
  const dataflare_data_batches_type_mismatch_t *wrong = &data->val.wrong_type;
  return df_format("%s%scolumn '%s' is %s, not %s", df_c_string(wrong->function_name), wrong->function_name.len ? ": " : "",
                   df_c_string(wrong->column), df_c_string(wrong->actual), df_c_string(wrong->expected));
}

static void require(const char *what, const char *given, const char *wrong) {
  if (!wrong) return;
  fprintf(stderr, "FAILED %s: %s, of %s %s\n", running ? running : "test", wrong, what, given);
  exit(1);
}

const char *df_test_refusal(const char *config) {
  const df_common *plugin = df_plugin_common();
  df_error error = {0};
  bool done = df_configure(plugin->options, plugin->option_count, df_wit_string(config), &error) &&
              (!plugin->configured || plugin->configured(&error)) && (!plugin->initialize || plugin->initialize(&error));
  return done ? NULL : told(&error);
}

void df_test_configure(const char *config) { require("the configuration", config, df_test_refusal(config)); }

const char *df_test_state(const char *key) {
  df_value *found;
  df_error error = {0};
  if (!df_state_get(key, &found, &error)) require("the state", key, told(&error));
  return df_test_json(found);
}

#if defined(DF_TEST_PROCESSOR) || defined(DF_TEST_TRANSFORMER) || defined(DF_TEST_VALIDATOR) || defined(DF_TEST_DESTINATION)
/* A batch of its own: the plugin's call ends it. */
static df_batch rows_of(const char *lines) {
  df_string_t text = df_wit_string(lines);
  df_batch made;
  df_error error = {.tag = DATAFLARE_PLUGIN_TYPES_ERROR_DATA};
  if (!dataflare_data_batches_from_json_lines(&text, NULL, &made, &error.val.data)) require("the rows", lines, told(&error));
  return made;
}
#endif

#if defined(DF_TEST_PROCESSOR) || defined(DF_TEST_TRANSFORMER) || defined(DF_TEST_SOURCE)
static const char *lines_of(df_batch batch) {
  df_string_t lines;
  twin_error none;
  dataflare_data_batches_method_batch_to_json_lines(dataflare_data_batches_borrow_batch(batch), &lines, &none);
  return df_c_string(lines);
}
#endif

#if defined(DF_TEST_PROCESSOR)
static const char *process(const char *text, df_value **found) {
  df_string_t given = df_wit_string(text);
  df_option_string_t changed;
  df_error error = {0};
  const char *wrong;
  *found = NULL;
  if (!exports_dataflare_plugin_processor_process(&given, &changed, &error)) return told(&error);
  if (changed.is_some) *found = df_parse((const char *)changed.val.ptr, changed.val.len, &wrong);
  return NULL;
}

df_value *df_test_process(const char *record) {
  df_value *found;
  require("the record", record, process(record, &found));
  return found;
}

const char *df_test_process_error(const char *record) {
  df_value *found;
  return process(record, &found);
}

#define CHANGE exports_dataflare_plugin_processor_process_batch
#elif defined(DF_TEST_TRANSFORMER)
#define CHANGE exports_dataflare_plugin_transformer_transform
#endif

#ifdef CHANGE
static const char *change(const char *lines, const char **found) {
  df_batch changed;
  df_error error = {0};
  if (!CHANGE(rows_of(lines), &changed, &error)) return told(&error);
  *found = lines_of(changed);
  return NULL;
}

const char *df_test_transform(const char *lines) {
  const char *found;
  require("the rows", lines, change(lines, &found));
  return found;
}

const char *df_test_transform_error(const char *lines) {
  const char *found;
  return change(lines, &found);
}
#endif

#ifdef DF_TEST_VALIDATOR
static const char *validate(const char *lines, df_value *list) {
  exports_dataflare_plugin_validator_report_t report;
  df_error error = {0};
  if (!exports_dataflare_plugin_validator_validate(rows_of(lines), &report, &error)) return told(&error);
  for (size_t i = 0; i < report.violations.len; i++) {
    const exports_dataflare_plugin_validator_violation_t *each = &report.violations.ptr[i];
    df_value *found = df_object();
    df_set(found, "row", each->row.is_some ? df_integer(each->row.val) : df_null());
    df_set(found, "column", each->column.is_some ? df_text(df_c_string(each->column.val)) : df_null());
    df_set(found, "rule", df_text(df_c_string(each->rule)));
    df_append(list, found);
  }
  return NULL;
}

df_value *df_test_validate(const char *lines) {
  df_value *list = df_list();
  require("the rows", lines, validate(lines, list));
  return list;
}

const char *df_test_validate_error(const char *lines) { return validate(lines, df_list()); }
#endif

#ifdef DF_TEST_SOURCE
typedef exports_dataflare_plugin_source_list_selection_t selection_list;

/* In full where the dataset can be read so, or else its changes. */
static uint8_t mode_of(const char *dataset) {
  exports_dataflare_plugin_source_list_dataset_t list = {0};
  df_error error = {0};
  exports_dataflare_plugin_source_discover(&list, &error);
  for (size_t i = 0; i < list.len; i++)
    if (!strcmp(df_c_string(list.ptr[i].name.name), dataset) && !(list.ptr[i].modes & DATAFLARE_PLUGIN_DATASETS_READING_MODES_FULL))
      return DATAFLARE_PLUGIN_DATASETS_READING_MODE_CHANGES;
  return DATAFLARE_PLUGIN_DATASETS_READING_MODE_FULL;
}

static const char *read_all(const char *dataset, size_t max_rows, const char **lines) {
  exports_dataflare_plugin_source_selection_t selection = {.dataset.name = df_wit_string(dataset)};
  selection.mode.tag = mode_of(dataset);
  selection_list list = {&selection, 1};
  exports_dataflare_plugin_source_list_schema_t schemas;
  exports_dataflare_plugin_source_progress_t progress = {0};
  df_list_u8_t state;
  df_error error = {0};
  *lines = "";
  if (!exports_dataflare_plugin_source_open(&list, NULL, NULL, &schemas, &error)) return told(&error);
  for (;;) {
    if (!exports_dataflare_plugin_source_read((uint32_t)max_rows, &progress, &error)) return told(&error);
    if (progress.tag == EXPORTS_DATAFLARE_PLUGIN_SOURCE_PROGRESS_ENDED) return NULL;
    if (progress.tag == EXPORTS_DATAFLARE_PLUGIN_SOURCE_PROGRESS_IDLE) return NULL;
    if (progress.tag != EXPORTS_DATAFLARE_PLUGIN_SOURCE_PROGRESS_ROWS) continue;
    *lines = df_format("%s%s", *lines, lines_of(progress.val.rows.rows));
    if (!progress.val.rows.state.is_some) continue;
    /* As after an interruption. */
    state = progress.val.rows.state.val;
    if (!exports_dataflare_plugin_source_close(&error) ||
        !exports_dataflare_plugin_source_open(&list, NULL, &state, &schemas, &error))
      return told(&error);
  }
}

const char *df_test_read(const char *dataset, size_t max_rows) {
  const char *lines;
  require("the dataset", dataset, read_all(dataset, max_rows, &lines));
  return lines;
}

const char *df_test_read_error(const char *dataset, size_t max_rows) {
  const char *lines;
  return read_all(dataset, max_rows, &lines);
}
#endif

#ifdef DF_TEST_DESTINATION
void df_test_open(const char *dataset) {
  exports_dataflare_plugin_destination_target_t target = {.dataset.name = df_wit_string(dataset)};
  exports_dataflare_plugin_destination_list_target_t list = {&target, 1};
  df_run run = {df_wit_string("test"), df_wit_string("1"), 1};
  df_option_list_u8_t token;
  df_error error = {0};
  if (!exports_dataflare_plugin_destination_open(&run, &list, &token, &error)) require("the dataset", dataset, told(&error));
}

static const char *write_rows(const char *lines, df_value *list) {
  exports_dataflare_plugin_destination_list_rejected_row_t rejected;
  df_error error = {0};
  if (!exports_dataflare_plugin_destination_write(0, rows_of(lines), &rejected, &error)) return told(&error);
  for (size_t i = 0; i < rejected.len; i++) {
    df_value *found = df_object();
    df_set(found, "row", df_integer(rejected.ptr[i].row));
    df_set(found, "column", rejected.ptr[i].column.is_some ? df_text(df_c_string(rejected.ptr[i].column.val)) : df_null());
    df_set(found, "reason", df_text(df_c_string(rejected.ptr[i].reason)));
    df_append(list, found);
  }
  return NULL;
}

df_value *df_test_write(const char *lines) {
  df_value *list = df_list();
  require("the rows", lines, write_rows(lines, list));
  return list;
}

const char *df_test_write_error(const char *lines) { return write_rows(lines, df_list()); }

void df_test_finish(void) {
  df_list_u8_t token = {0};
  df_error error = {0};
  if (!exports_dataflare_plugin_destination_finish(&token, &error)) require("the run", "finish", told(&error));
}

void df_test_abort(void) {
  df_error error = {0};
  if (!exports_dataflare_plugin_destination_abort(&error)) require("the run", "abort", told(&error));
}
#endif

/* Zig has a runner of its own. */
#ifndef DF_TEST_NO_MAIN
int main(void) {
  for (size_t i = 0; i < count; i++) {
    running = tests[i].name;
    fprintf(stderr, "%s\n", running);
    df_test_forget();
    tests[i].run();
    df_release();
  }
  printf("%zu passed\n", count);
  return 0;
}
#endif
