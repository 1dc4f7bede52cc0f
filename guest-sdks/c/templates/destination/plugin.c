/* Keeps rows by key in the state that the host has for the plugin. Rows are visible when the run is finished. */
#include <stdlib.h>

#include "dataflare.h"

/* The configuration: its JSON Schema, and the checks of what the operator writes, come from the options. */
static struct {
  const char *key;
} config;

static const df_option options[] = {
    {"key", DF_TEXT_OPTION, &config.key, .otherwise = "\"id\"", .description = "The column whose values rows are kept by."},
};

/* A row of the run: what outlives a call is kept by hand. */
typedef struct row {
  struct row *next;
  char *name, *record;
} row;

static row *first, **end = &first;

static void forget(void) {
  while (first) {
    row *next = first->next;
    free(first->name);
    free(first->record);
    free(first);
    first = next;
  }
  end = &first;
}

/* Take rows; those without a key are sent back. */
static bool write(const df_target *target, df_batch rows, df_rejected *rejected, df_error *error) {
  df_value **records;
  if (!df_records(rows, &records, error)) return false;
  for (size_t i = 0; i < df_rows(rows); i++) {
    const df_value *value = df_get(records[i], config.key);
    if (!df_is_valid(value)) {
      df_reject(rejected, i, config.key, "%s is null", config.key);
      continue;
    }
    row *made = calloc(1, sizeof *made);
    if (!made) df_panic("out of memory");
    df_value *name = df_list();
    df_append(name, df_text(target->namespace_));
    df_append(name, df_text(target->name));
    df_append(name, df_text(df_c_string(df_write(value))));
    made->name = df_keep_text(df_c_string(df_write(name)));
    made->record = df_keep_text(df_c_string(df_write(records[i])));
    *end = made;
    end = &made->next;
  }
  return true;
}

/* Make them visible. After an error this may come again, and must do no harm. */
static bool finish(df_list_u8_t token, df_error *error) {
  (void)token;
  for (const row *each = first; each; each = each->next) {
    const char *wrong;
    const df_value *record = df_parse(each->record, __builtin_strlen(each->record), &wrong);
    if (!df_state_set(each->name, record, error)) return false;
  }
  forget();
  return true;
}

/* Forget them. */
static bool abort_run(df_error *error) {
  (void)error;
  forget();
  return true;
}

const df_destination df_destination_plugin = {
    .options = options,
    .option_count = DF_COUNT(options),
    .write = write,
    .finish = finish,
    .abort = abort_run,
};
