/* Requests: what the host selects, against what there is; and the states that it keeps. */
#include <stdlib.h>
#include <string.h>

#include "source.h"

static bool check_mode(
    const df_request *request, const dataflare_plugin_datasets_reading_mode_t *mode, df_error *error) {
  static const char *const names[] = {"full", "incremental", "changes"};
  static const uint8_t flags[] = {
      DATAFLARE_PLUGIN_DATASETS_READING_MODES_FULL,
      DATAFLARE_PLUGIN_DATASETS_READING_MODES_INCREMENTAL,
      DATAFLARE_PLUGIN_DATASETS_READING_MODES_CHANGES,
  };
  const char *name = request->dataset->name, *cursor = request->dataset->cursor;
  if (!(df_modes_of(request->dataset) & flags[mode->tag]))
    return df_fail(error, DF_INVALID_CONFIG, "dataset \"%s\": it cannot be read in the mode %s", name, names[mode->tag]);
  if (mode->tag != DATAFLARE_PLUGIN_DATASETS_READING_MODE_INCREMENTAL || df_is_text(mode->val.incremental, cursor)) return true;
  return df_fail(error, DF_INVALID_CONFIG, "dataset \"%s\": its cursor is \"%s\"", name, cursor);
}

static bool check_columns(const df_dataset *dataset, const df_list_string_t *chosen, df_error *error) {
  for (size_t i = 0; i < chosen->len; i++)
    if (!df_has_column(df_columns_of(dataset), chosen->ptr[i]))
      return df_fail(error, DF_INVALID_CONFIG, "dataset \"%s\": there is no column \"%s\"", dataset->name,
                     df_c_string(chosen->ptr[i]));
  return true;
}

/* Columns, as the states of all SDKs have them. */
df_value *df_written_columns(const df_dataset *dataset, df_columns columns) {
  df_schema schema = df_schema_of_columns(dataset, columns);
  df_value *list = df_list();
  for (size_t i = 0; i < schema.fields.len; i++) {
    dataflare_data_schemas_field_t *field = &schema.fields.ptr[i];
    df_value *said = df_object(), *metadata = df_object();
    for (size_t j = 0; j < field->metadata.len; j++)
      df_set(metadata, df_c_string(field->metadata.ptr[j].f0), df_text(df_c_string(field->metadata.ptr[j].f1)));
    df_set(said, "metadata", metadata);
    df_set(said, "name", df_text(columns.items[i].name));
    df_set(said, "nullable", df_boolean(true));
    df_set(said, "type", df_text(columns.items[i].type));
    df_append(list, said);
  }
  return list;
}

/* Read what `written` wrote. */
bool df_read_columns(const df_value *list, df_columns *columns) {
  if (list->type != DF_LIST) return false;
  df_field *found = df_alloc(list->count * sizeof *found);
  for (size_t i = 0; i < list->count; i++) {
    const df_value *name = df_get(list->items[i], "name"), *type = df_get(list->items[i], "type");
    if (!name || !type || name->type != DF_TEXT || type->type != DF_TEXT) return false;
    found[i] = (df_field){name->text, type->text};
  }
  *columns = (df_columns){found, list->count};
  return true;
}

static int compare_names(const void *name, const void *other) { return strcmp(*(const char *const *)name, *(const char *const *)other); }

/* Names in the order that the states of all SDKs have. */
static df_value *sorted(const df_list_string_t *names) {
  const char **texts = df_alloc(names->len * sizeof *texts);
  for (size_t i = 0; i < names->len; i++) texts[i] = df_c_string(names->ptr[i]);
  qsort(texts, names->len, sizeof *texts, compare_names);
  df_value *list = df_list();
  for (size_t i = 0; i < names->len; i++) df_append(list, df_text(texts[i]));
  return list;
}

/* The rows of a dataset that a state or a part is of, in an object. */
static void add_selected(df_value *said, const df_request *request) {
  if (request->chosen.len) df_set(said, "columns", sorted(&request->chosen));
  df_set(said, "dataset", df_text(request->dataset->name));
}

/* The read that a state or a part is of, in an object. Members are in the order that the states of all SDKs have. */
static void add_belonging(df_value *said, const df_request *request) {
  add_selected(said, request);
  df_set(said, "mode", df_text(request->incremental ? "incremental" : "full"));
  if (request->part) df_set(said, "part", (df_value *)request->part);
}

df_string_t df_encoded_part(const df_request *request, df_value *part) {
  df_value *said = df_object();
  add_belonging(said, request);
  df_set(said, "part", part);
  return df_write(said);
}

df_string_t df_encoded_state(const df_request *request, df_columns columns, const df_value *state) {
  df_value *said = df_object();
  df_set(said, "after", (df_value *)state);
  add_belonging(said, request);
  if (!df_are_same_columns(columns, df_columns_of(request->dataset)))
    df_set(said, "schema", df_written_columns(request->dataset, columns));
  return df_write(said);
}

df_string_t df_encoded_changes(const df_request *requests, size_t count, const df_value *position) {
  df_value *said = df_object(), *datasets = df_list();
  for (size_t i = 0; i < count; i++) {
    df_value *each = df_object();
    add_selected(each, &requests[i]);
    df_set(each, "schema", df_written_columns(requests[i].dataset, requests[i].columns));
    df_append(datasets, each);
  }
  df_set(said, "after", (df_value *)position);
  df_set(said, "datasets", datasets);
  df_set(said, "mode", df_text("changes"));
  return df_write(said);
}

bool df_is_same_value(const df_value *value, const df_value *other) {
  if (!value || !other) return value == other;
  df_string_t text = df_write(value), wanted = df_write(other);
  return text.len == wanted.len && !memcmp(text.ptr, wanted.ptr, text.len);
}

/* Whether an object has these members, in any order, and no others. */
static bool has_members(const df_value *said, const df_value *wanted) {
  bool same = said->count == wanted->count;
  for (size_t i = 0; same && i < wanted->count; i++) same = df_is_same_value(df_get(said, wanted->names[i]), wanted->items[i]);
  return same;
}

/* Read a state (`after`) or a part (`part`); the columns are those of a state, if it has any. */
static const df_value *decoded(df_request *request, df_list_u8_t data, const char *key, df_error *error) {
  const char *what = strcmp(key, "after") ? "part" : "state", *wrong;
  df_value *said = df_parse((const char *)data.ptr, data.len, &wrong);
  df_value *found = said ? df_get(said, key) : NULL, *columns = said ? df_get(said, "schema") : NULL;
  if (!found || (columns && !df_read_columns(columns, &request->columns))) {
    df_fail(error, DF_INVALID_STATE, "dataset \"%s\": the %s does not come from this source", request->dataset->name, what);
    return NULL;
  }
  df_remove(said, key);
  df_remove(said, "schema");
  df_value *wanted = df_object();
  add_belonging(wanted, request);
  if (has_members(said, wanted)) return found;
  df_fail(error, DF_INVALID_STATE, "dataset \"%s\": the %s is of other columns, or of another dataset, mode or part",
          request->dataset->name, what);
  return NULL;
}

/* Read a state of a log of changes, into the requests for its datasets. */
static bool decode_changes(df_request *requests, size_t count, df_list_u8_t data, df_error *error) {
  const char *wrong, *names = "";
  for (size_t i = 0; i < count; i++) names = df_format("%s%s\"%s\"", names, i ? ", " : "", requests[i].dataset->name);
  df_value *said = df_parse((const char *)data.ptr, data.len, &wrong);
  df_value *position = said ? df_get(said, "after") : NULL, *datasets = said ? df_get(said, "datasets") : NULL;
  df_value *mode = said ? df_get(said, "mode") : NULL;
  bool known = position && datasets && datasets->type == DF_LIST;
  bool same = known && mode && df_is_same_value(mode, df_text("changes")) && datasets->count == count;
  for (size_t i = 0; known && i < datasets->count; i++) {
    df_value *each = datasets->items[i], *columns = df_get(each, "schema"), *wanted = df_object();
    known = each->type == DF_OBJECT && (!columns || i >= count || df_read_columns(columns, &requests[i].columns));
    if (!known || !same) continue;
    df_remove(each, "schema");
    add_selected(wanted, &requests[i]);
    same = has_members(each, wanted);
    requests[i].state = position;
  }
  if (!known) return df_fail(error, DF_INVALID_STATE, "dataset %s: the state does not come from this source", names);
  if (same) return true;
  return df_fail(error, DF_INVALID_STATE, "dataset %s: the state is of other columns, or of other datasets or another mode", names);
}

static bool request_of(const exports_dataflare_plugin_source_selection_t *selection, df_request *request, df_error *error) {
  const char *name = df_c_string(selection->dataset.name), *namespace = df_c_string(selection->dataset.namespace_);
  if (*namespace) return df_fail(error, DF_INVALID_CONFIG, "there is no dataset \"%s\" in \"%s\"", name, namespace);
  request->dataset = df_dataset_of(name, DF_INVALID_CONFIG, error);
  if (!request->dataset || !check_mode(request, &selection->mode, error)) return false;
  if (!check_columns(request->dataset, &selection->columns, error)) return false;
  request->incremental = selection->mode.tag == DATAFLARE_PLUGIN_DATASETS_READING_MODE_INCREMENTAL;
  request->columns = df_columns_of(request->dataset);
  request->chosen = selection->columns;
  return true;
}

bool df_requests_of(const df_selections *list, const df_list_u8_t *part, const df_list_u8_t *state, df_requests *found, df_error *error) {
  *found = (df_requests){df_alloc(list->len * sizeof *found->items), list->len, list->len > 0};
  for (size_t i = 0; i < list->len; i++) {
    if (!request_of(&list->ptr[i], &found->items[i], error)) return false;
    found->are_of_log &= list->ptr[i].mode.tag == DATAFLARE_PLUGIN_DATASETS_READING_MODE_CHANGES;
  }
  if (!found->are_of_log && list->len != 1)
    return df_fail(error, DF_INVALID_CONFIG,
                   "select one dataset: each has a state of its own, apart from those of a log of changes");
  df_request *first = &found->items[0];
  if (!found->are_of_log) {
    if (part && !(first->part = decoded(first, *part, "part", error))) return false;
    return !state || (first->state = decoded(first, *state, "after", error));
  }
  if (part) return df_fail(error, DF_INVALID_STATE, "dataset \"%s\": changes have no parts", first->dataset->name);
  return !state || decode_changes(found->items, found->count, *state, error);
}

/* What is kept of a request between calls. */

char *df_kept_value(const df_value *value) {
  if (!value) return NULL;
  df_string_t text = df_write(value);
  return df_keep_text(df_c_string(text));
}

const df_value *df_parsed(const char *kept) {
  const char *wrong;
  return kept ? df_parse(kept, strlen(kept), &wrong) : NULL;
}

df_kept_request df_keep_request(const df_request *request) {
  df_kept_request kept = {.dataset = df_keep_text(request->dataset->name)};
  kept.columns = df_kept_value(df_written_columns(request->dataset, request->columns));
  kept.chosen.ptr = calloc(request->chosen.len + 1, sizeof *kept.chosen.ptr);
  if (!kept.chosen.ptr) df_panic("out of memory for %zu columns", request->chosen.len);
  for (size_t i = 0; i < request->chosen.len; i++)
    kept.chosen.ptr[kept.chosen.len++] = df_wit_string(df_keep_text(df_c_string(request->chosen.ptr[i])));
  return kept;
}

void df_forget_request(df_kept_request *kept) {
  free(kept->dataset);
  free(kept->columns);
  for (size_t i = 0; i < kept->chosen.len; i++) free(kept->chosen.ptr[i].ptr);
  free(kept->chosen.ptr);
}

bool df_request_again(const df_kept_request *kept, df_request *request, df_error *error) {
  request->dataset = df_dataset_of(kept->dataset, DF_INVALID_CONFIG, error);
  request->chosen = kept->chosen;
  return request->dataset && df_read_columns(df_parsed(kept->columns), &request->columns);
}
