/* The host's twin in memory, and the runner of unit tests. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataflare_test.h"
#include "sdk.h"

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

/* The runner. */

typedef struct test {
  const char *name;
  void (*run)(void);
} test;

static test tests[1000];
static size_t count;

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

#if defined(DF_TEST_SOURCE)
#define PLUGIN df_source_plugin
#elif defined(DF_TEST_DESTINATION)
#define PLUGIN df_destination_plugin
#elif defined(DF_TEST_PROCESSOR)
#define PLUGIN df_processor_plugin
#elif defined(DF_TEST_TRANSFORMER)
#define PLUGIN df_transformer_plugin
#else
#define PLUGIN df_validator_plugin
#endif

const char *df_test_refusal(const char *config) {
  df_error error = {0};
  bool done = df_configure(PLUGIN.options, PLUGIN.option_count, df_wit_string(config), &error) &&
              (!PLUGIN.configured || PLUGIN.configured(&error));
  return done ? NULL : df_error_text(&error);
}

void df_test_configure(const char *config) {
  const char *refusal = df_test_refusal(config);
  if (refusal) df_test_fail("the configuration", 0, "%s: %s", config, refusal);
}

#ifdef DF_TEST_PROCESSOR
static const char *process(const char *text, df_value **found) {
  const char *wrong = "it is not an object";
  df_error error = {0};
  bool keep = true;
  *found = df_parse(text, strlen(text), &wrong);
  if (!*found || (*found)->type != DF_OBJECT) return df_format("the record: %s", wrong);
  if (!df_processor_plugin.process(*found, &keep, &error)) return df_error_text(&error);
  if (!keep) *found = NULL;
  return NULL;
}

df_value *df_test_process(const char *record) {
  df_value *found;
  const char *wrong = process(record, &found);
  if (wrong) df_test_fail("the record", 0, "%s: %s", record, wrong);
  return found;
}

const char *df_test_process_error(const char *record) {
  df_value *found;
  return process(record, &found);
}
#endif

/* Zig has a runner of its own. */
#ifndef DF_TEST_NO_MAIN
int main(void) {
  for (size_t i = 0; i < count; i++) {
    fprintf(stderr, "%s\n", tests[i].name);
    tests[i].run();
    df_release();
  }
  printf("%zu passed\n", count);
  return 0;
}
#endif
