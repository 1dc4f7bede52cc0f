/* Destinations: runs that write rows to datasets, and end with all of them or none. */
#include <stdlib.h>
#include <string.h>

#include "sdk.h"

typedef exports_dataflare_plugin_destination_list_target_t target_list;

static const char *const MODES[] = {"append", "replace", "merge"};

/* The columns of a target, with which the host's changes are compared. */
typedef struct columns { size_t count; struct { char *name, *type; } *items; } columns;

static df_target *targets;
static columns *columns_of;
static size_t target_count;

const df_common *df_plugin_common(void) { return (const df_common *)&df_destination_plugin; }

dataflare_plugin_types_kind_t df_plugin_kind(void) { return DATAFLARE_PLUGIN_TYPES_KIND_DESTINATION; }

static exports_dataflare_plugin_destination_ability_t abilities(void) {
  exports_dataflare_plugin_destination_ability_t found = df_destination_plugin.abilities;
  return found ? found : EXPORTS_DATAFLARE_PLUGIN_DESTINATION_ABILITY_APPEND;
}

bool exports_dataflare_plugin_destination_abilities(exports_dataflare_plugin_destination_ability_t *found, df_error *error) {
  (void)error;
  *found = abilities();
  return true;
}

bool exports_dataflare_plugin_destination_plan(
    target_list *list, exports_dataflare_plugin_destination_list_planned_change_t *changes, df_error *error) {
  (void)list, (void)error;
  *changes = (exports_dataflare_plugin_destination_list_planned_change_t){0};
  return true;
}

static void forget_columns(columns *known) {
  for (size_t i = 0; i < known->count; i++) free(known->items[i].name), free(known->items[i].type);
  free(known->items);
  *known = (columns){0};
}

static void keep_columns(columns *known, const df_schema *schema) {
  forget_columns(known);
  known->items = calloc(schema->fields.len, sizeof *known->items);
  if (schema->fields.len && !known->items) df_panic("out of memory for %zu columns", schema->fields.len);
  known->count = schema->fields.len;
  for (size_t i = 0; i < known->count; i++) {
    known->items[i].name = df_keep_text(df_c_string(schema->fields.ptr[i].name));
    known->items[i].type = df_keep_text(df_c_string(schema->fields.ptr[i].type_name));
  }
}

static void forget_targets(void) {
  for (size_t i = 0; i < target_count; i++) {
    forget_columns(&columns_of[i]);
    for (size_t j = 0; j < targets[i].key_count; j++) free((char *)targets[i].key[j]);
    free(targets[i].key);
    free((char *)targets[i].namespace_);
    free((char *)targets[i].name);
  }
  free(targets);
  free(columns_of);
  targets = NULL;
  columns_of = NULL;
  target_count = 0;
}

/* Keep what the host says of the targets until the run ends. */
static void keep_targets(const target_list *list) {
  forget_targets();
  targets = calloc(list->len, sizeof *targets);
  columns_of = calloc(list->len, sizeof *columns_of);
  if (list->len && (!targets || !columns_of)) df_panic("out of memory for %zu targets", list->len);
  target_count = list->len;
  for (size_t i = 0; i < list->len; i++) {
    df_list_string_t key = list->ptr[i].key;
    targets[i].namespace_ = df_keep_text(df_c_string(list->ptr[i].dataset.namespace_));
    targets[i].name = df_keep_text(df_c_string(list->ptr[i].dataset.name));
    targets[i].mode = list->ptr[i].mode;
    keep_columns(&columns_of[i], &list->ptr[i].schema);
    targets[i].key = calloc(key.len, sizeof *targets[i].key);
    if (key.len && !targets[i].key) df_panic("out of memory for %zu columns", key.len);
    targets[i].key_count = key.len;
    for (size_t j = 0; j < key.len; j++) targets[i].key[j] = df_keep_text(df_c_string(key.ptr[j]));
  }
}

static const df_target *target_of(uint32_t number, df_error *error) {
  if (number < target_count) return &targets[number];
  df_fail(error, DF_INVALID_INPUT, "there is no target %u, only %zu", number, target_count);
  return NULL;
}

bool exports_dataflare_plugin_destination_open(
    df_run *run, target_list *list, df_option_list_u8_t *token, df_error *error) {
  keep_targets(list);
  *token = (df_option_list_u8_t){0};
  bool done = true;
  for (size_t i = 0; done && i < target_count; i++)
    if (!(abilities() >> targets[i].mode & 1))
      done = df_fail(error, DF_UNSUPPORTED, "dataset \"%s\": rows cannot be written in the mode %s", targets[i].name, MODES[targets[i].mode]);
  if (done && df_destination_plugin.open) done = df_destination_plugin.open(run, targets, target_count, token, error);
  df_drop_batches(NULL);
  return done;
}

void df_reject(df_rejected *rejected, size_t row, const char *column, const char *format, ...) {
  /* Room for a power of two. */
  if (!(rejected->count & (rejected->count - 1))) {
    size_t room = rejected->count ? rejected->count * 2 : 1;
    exports_dataflare_plugin_destination_rejected_row_t *more = df_alloc(room * sizeof *more);
    if (rejected->count) memcpy(more, rejected->items, rejected->count * sizeof *more);
    rejected->items = more;
  }
  va_list arguments;
  va_start(arguments, format);
  exports_dataflare_plugin_destination_rejected_row_t *found = &rejected->items[rejected->count++];
  found->row = (uint32_t)row;
  found->column.is_some = column != NULL;
  if (column) found->column.val = df_wit_string(column);
  found->reason = df_wit_string(df_format_list(format, arguments));
  va_end(arguments);
}

bool exports_dataflare_plugin_destination_write(
    uint32_t number, df_batch rows, exports_dataflare_plugin_destination_list_rejected_row_t *list, df_error *error) {
  df_rejected rejected = {0};
  const df_target *target = target_of(number, error);
  df_owned(rows);
  bool done = target && df_destination_plugin.write(target, rows, &rejected, error);
  list->ptr = rejected.items;
  list->len = rejected.count;
  df_drop_batches(NULL);
  return done;
}

/* Refuse a change of columns that is not among the abilities. */
static bool require_change(const df_target *target, const columns *known, const df_schema *schema, df_error *error) {
  for (size_t i = 0; i < schema->fields.len; i++) {
    const char *name = df_c_string(schema->fields.ptr[i].name), *type = df_c_string(schema->fields.ptr[i].type_name);
    size_t at = 0;
    while (at < known->count && strcmp(known->items[at].name, name)) at++;
    bool is_known = at < known->count;
    if (is_known && !strcmp(known->items[at].type, type)) continue;
    if (!(abilities() & (is_known ? EXPORTS_DATAFLARE_PLUGIN_DESTINATION_ABILITY_WIDEN_COLUMNS
                                  : EXPORTS_DATAFLARE_PLUGIN_DESTINATION_ABILITY_ADD_COLUMNS)))
      return df_fail(error, DF_UNSUPPORTED, "dataset \"%s\": column \"%s\" cannot be %s", target->name, name, is_known ? type : "added");
  }
  return true;
}

bool exports_dataflare_plugin_destination_change_schema(uint32_t number, df_schema *schema, df_error *error) {
  const df_target *target = target_of(number, error);
  bool done = target && require_change(target, &columns_of[number], schema, error) &&
              (!df_destination_plugin.change_schema || df_destination_plugin.change_schema(target, schema, error));
  if (done) keep_columns(&columns_of[number], schema);
  df_drop_batches(NULL);
  return done;
}

bool exports_dataflare_plugin_destination_flush(df_list_u8_t *token, bool *safe, df_error *error) {
  *safe = false;
  bool done = !df_destination_plugin.flush || df_destination_plugin.flush(*token, safe, error);
  df_drop_batches(NULL);
  return done;
}

bool exports_dataflare_plugin_destination_finish(df_list_u8_t *token, df_error *error) {
  bool done = df_destination_plugin.finish(*token, error);
  df_drop_batches(NULL);
  return done;
}

bool exports_dataflare_plugin_destination_abort(df_error *error) {
  bool done = df_destination_plugin.abort(error);
  df_drop_batches(NULL);
  return done;
}
