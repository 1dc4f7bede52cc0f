/* Sources: datasets, and reads of them that can go on where they ended. */
#include <stdlib.h>
#include <string.h>

#include "sdk.h"

typedef exports_dataflare_plugin_source_list_selection_t selection_list;

/* The read that is under way: what the host selected, kept between calls. */
static struct {
  bool is_open, incremental;
  char *dataset, *state, *part;
  /* The columns that rows have now, as a state has them. */
  char *columns;
  /* The names of the columns that are read; none for all. */
  df_list_string_t chosen;
  /* Rows that the host had no room for, with the state after them. */
  bool has_rest;
  df_batch rest;
  char *rest_state;
} reading;

const df_common *df_plugin_common(void) { return (const df_common *)&df_source_plugin; }

dataflare_plugin_types_kind_t df_plugin_kind(void) { return DATAFLARE_PLUGIN_TYPES_KIND_SOURCE; }

static bool is_text(df_string_t text, const char *other) {
  return text.len == strlen(other) && !memcmp(text.ptr, other, text.len);
}

/* Schemas of datasets. */

static void add_metadata(dataflare_data_schemas_field_t *field, const char *key, const char *value) {
  df_tuple2_string_string_t *more = df_alloc((field->metadata.len + 1) * sizeof *more);
  for (size_t i = 0; i < field->metadata.len; i++) more[i] = field->metadata.ptr[i];
  more[field->metadata.len] = (df_tuple2_string_string_t){df_wit_string(key), df_wit_string(value)};
  field->metadata.ptr = more;
  field->metadata.len++;
}

static bool is_role(const df_dataset *dataset, const char *name) {
  if (dataset->cursor && !strcmp(dataset->cursor, name)) return true;
  for (size_t i = 0; i < dataset->key_count; i++)
    if (!strcmp(dataset->key[i], name)) return true;
  return false;
}

static df_columns columns_of(const df_dataset *dataset) { return (df_columns){dataset->columns, dataset->column_count}; }

static bool has_column(df_columns columns, df_string_t name) {
  for (size_t i = 0; i < columns.count; i++)
    if (is_text(name, columns.items[i].name)) return true;
  return false;
}

static bool are_same_columns(df_columns columns, df_columns other) {
  if (columns.count != other.count) return false;
  for (size_t i = 0; i < columns.count; i++)
    if (strcmp(columns.items[i].name, other.items[i].name) || strcmp(columns.items[i].type, other.items[i].type)) return false;
  return true;
}

/* Those of the columns that are read. */
static df_columns chosen_of(const df_dataset *dataset, df_columns columns, const df_list_string_t *chosen) {
  if (!chosen->len) return columns;
  df_field *found = df_alloc(columns.count * sizeof *found);
  size_t count = 0;
  for (size_t i = 0; i < columns.count; i++) {
    bool wanted = is_role(dataset, columns.items[i].name);
    for (size_t j = 0; j < chosen->len; j++) wanted |= is_text(chosen->ptr[j], columns.items[i].name);
    if (wanted) found[count++] = columns.items[i];
  }
  return (df_columns){found, count};
}

/* Columns, with their roles in the metadata. */
static df_schema schema_of(const df_dataset *dataset, df_columns columns) {
  df_schema schema = {.fields.ptr = df_alloc(columns.count * sizeof *schema.fields.ptr)};
  for (size_t i = 0; i < columns.count; i++) {
    const df_field *column = &columns.items[i];
    dataflare_data_schemas_field_t *field = &schema.fields.ptr[schema.fields.len++];
    field->name = df_wit_string(column->name);
    field->type_name = df_wit_string(column->type);
    field->nullable = true;
    for (size_t j = 0; j < dataset->key_count; j++)
      if (!strcmp(dataset->key[j], column->name)) add_metadata(field, "dataflare.key", df_format("%zu", j));
    if (dataset->cursor && !strcmp(dataset->cursor, column->name)) add_metadata(field, "dataflare.role", "cursor");
  }
  return schema;
}

bool exports_dataflare_plugin_source_discover(exports_dataflare_plugin_source_list_dataset_t *list, df_error *error) {
  df_datasets found = {0};
  bool done = df_source_plugin.datasets(&found, error);
  list->ptr = df_alloc(found.count * sizeof *list->ptr);
  list->len = found.count;
  for (size_t i = 0; i < found.count; i++) {
    const df_dataset *dataset = &found.items[i];
    dataflare_plugin_datasets_dataset_t *said = &list->ptr[i];
    said->name.namespace_ = df_wit_string("");
    said->name.name = df_wit_string(dataset->name);
    said->description = df_wit_string(dataset->description ? dataset->description : "");
    said->schema = schema_of(dataset, columns_of(dataset));
    said->key = (df_list_string_t){df_alloc(dataset->key_count * sizeof(df_string_t)), dataset->key_count};
    for (size_t j = 0; j < dataset->key_count; j++) said->key.ptr[j] = df_wit_string(dataset->key[j]);
    said->cursors = (df_list_string_t){df_alloc(sizeof(df_string_t)), dataset->cursor ? 1 : 0};
    if (dataset->cursor) said->cursors.ptr[0] = df_wit_string(dataset->cursor);
    said->modes = DATAFLARE_PLUGIN_DATASETS_READING_MODES_FULL;
    if (dataset->cursor) said->modes |= DATAFLARE_PLUGIN_DATASETS_READING_MODES_INCREMENTAL;
    if (dataset->splittable) said->modes |= DATAFLARE_PLUGIN_DATASETS_READING_MODES_SPLITTABLE;
  }
  df_drop_batches(NULL);
  return done;
}

/* Requests: what the host selects, against what there is. */

static const df_dataset *dataset_of(const char *name, df_error *error) {
  df_datasets found = {0};
  if (!df_source_plugin.datasets(&found, error)) return NULL;
  const char *known = "";
  for (size_t i = 0; i < found.count; i++) {
    if (!strcmp(found.items[i].name, name)) return &found.items[i];
    known = df_format("%s%s%s", known, i ? ", " : "", found.items[i].name);
  }
  df_fail(error, DF_INVALID_CONFIG, "there is no dataset \"%s\", only %s", name, known);
  return NULL;
}

static bool check_mode(const df_request *request, const dataflare_plugin_datasets_reading_mode_t *mode, df_error *error) {
  const char *name = request->dataset->name, *cursor = request->dataset->cursor;
  if (mode->tag == DATAFLARE_PLUGIN_DATASETS_READING_MODE_FULL) return true;
  bool incremental = mode->tag == DATAFLARE_PLUGIN_DATASETS_READING_MODE_INCREMENTAL;
  if (!incremental || !cursor)
    return df_fail(error, DF_INVALID_CONFIG, "dataset \"%s\": it cannot be read in the mode %s", name,
                   incremental ? "incremental" : "changes");
  if (is_text(mode->val.incremental, cursor)) return true;
  return df_fail(error, DF_INVALID_CONFIG, "dataset \"%s\": its cursor is \"%s\"", name, cursor);
}

static bool check_columns(const df_dataset *dataset, const df_list_string_t *chosen, df_error *error) {
  for (size_t i = 0; i < chosen->len; i++)
    if (!has_column(columns_of(dataset), chosen->ptr[i]))
      return df_fail(error, DF_INVALID_CONFIG, "dataset \"%s\": there is no column \"%s\"", dataset->name,
                     df_c_string(chosen->ptr[i]));
  return true;
}

/* Columns, as the states of all SDKs have them. */
static df_value *written(const df_dataset *dataset, df_columns columns) {
  df_schema schema = schema_of(dataset, columns);
  df_value *list = df_list();
  for (size_t i = 0; i < schema.fields.len; i++) {
    dataflare_data_schemas_field_t *field = &schema.fields.ptr[i];
    df_value *said = df_object(), *metadata = df_object();
    df_set(said, "name", df_text(columns.items[i].name));
    df_set(said, "type", df_text(columns.items[i].type));
    df_set(said, "nullable", df_boolean(true));
    for (size_t j = 0; j < field->metadata.len; j++)
      df_set(metadata, df_c_string(field->metadata.ptr[j].f0), df_text(df_c_string(field->metadata.ptr[j].f1)));
    df_set(said, "metadata", metadata);
    df_append(list, said);
  }
  return list;
}

/* Read what `written` wrote. */
static bool read_columns(const df_value *list, df_columns *columns) {
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

/* What a state or a part belongs to. */
static df_value *belonging(const df_request *request) {
  df_value *said = df_object();
  df_set(said, "dataset", df_text(request->dataset->name));
  df_set(said, "mode", df_text(request->incremental ? "incremental" : "full"));
  if (request->chosen.len) df_set(said, "columns", sorted(&request->chosen));
  if (request->part) df_set(said, "part", (df_value *)request->part);
  return said;
}

/* Write a part, with the read that it belongs to. */
static df_string_t encoded_part(const df_request *request, df_value *part) {
  df_value *said = belonging(request);
  df_set(said, "part", part);
  return df_write(said);
}

/* Write a state, with the read that it belongs to, and the columns of the rows that follow where the dataset has others. */
static df_string_t encoded_state(const df_request *request, df_columns columns, df_value *state) {
  df_value *said = belonging(request);
  if (!are_same_columns(columns, columns_of(request->dataset))) df_set(said, "schema", written(request->dataset, columns));
  df_set(said, "after", state);
  return df_write(said);
}

static bool is_same(const df_value *value, const df_value *other) {
  if (!value || !other) return value == other;
  df_string_t text = df_write(value), wanted = df_write(other);
  return text.len == wanted.len && !memcmp(text.ptr, wanted.ptr, text.len);
}

/* Read a state (`after`) or a part (`part`); the columns are those of a state, if it has any. */
static const df_value *decoded(df_request *request, df_list_u8_t data, const char *key, df_error *error) {
  const char *what = strcmp(key, "after") ? "part" : "state", *wrong;
  df_value *said = df_parse((const char *)data.ptr, data.len, &wrong);
  df_value *found = said ? df_get(said, key) : NULL, *columns = said ? df_get(said, "schema") : NULL;
  if (!found || (columns && !read_columns(columns, &request->columns))) {
    df_fail(error, DF_INVALID_STATE, "dataset \"%s\": the %s does not come from this source", request->dataset->name, what);
    return NULL;
  }
  df_remove(said, key);
  df_remove(said, "schema");
  df_value *wanted = belonging(request);
  bool same = said->count == wanted->count;
  for (size_t i = 0; same && i < wanted->count; i++) same = is_same(df_get(said, wanted->names[i]), wanted->items[i]);
  if (same) return found;
  df_fail(error, DF_INVALID_STATE, "dataset \"%s\": the %s is of other columns, or of another dataset, mode or part",
          request->dataset->name, what);
  return NULL;
}

static bool request_of(
    const selection_list *list, const df_list_u8_t *part, const df_list_u8_t *state, df_request *request, df_error *error) {
  if (list->len != 1) return df_fail(error, DF_INVALID_CONFIG, "select one dataset: each has a state of its own");
  const exports_dataflare_plugin_source_selection_t *selection = &list->ptr[0];
  const char *name = df_c_string(selection->dataset.name), *namespace = df_c_string(selection->dataset.namespace_);
  if (*namespace) return df_fail(error, DF_INVALID_CONFIG, "there is no dataset \"%s\" in \"%s\"", name, namespace);
  request->dataset = dataset_of(name, error);
  if (!request->dataset || !check_mode(request, &selection->mode, error)) return false;
  if (!check_columns(request->dataset, &selection->columns, error)) return false;
  request->incremental = selection->mode.tag == DATAFLARE_PLUGIN_DATASETS_READING_MODE_INCREMENTAL;
  request->columns = columns_of(request->dataset);
  request->chosen = selection->columns;
  if (part && !(request->part = decoded(request, *part, "part", error))) return false;
  return !state || (request->state = decoded(request, *state, "after", error));
}

bool exports_dataflare_plugin_source_split(selection_list *list, df_list_u8_t *state, uint32_t at_most,
                                           exports_dataflare_plugin_source_division_t *division, df_error *error) {
  df_request request = {0};
  df_value *parts = df_list();
  bool done = request_of(list, NULL, state, &request, error);
  if (done && !df_source_plugin.split)
    done = df_fail(error, DF_UNSUPPORTED, "dataset \"%s\" cannot be split", request.dataset->name);
  done = done && df_source_plugin.split(&request, at_most, parts, error);
  *division = (exports_dataflare_plugin_source_division_t){0};
  division->parts.ptr = df_alloc(parts->count * sizeof *division->parts.ptr);
  division->parts.len = parts->count;
  for (size_t i = 0; done && i < parts->count; i++) {
    df_string_t text = encoded_part(&request, parts->items[i]);
    division->parts.ptr[i] = (df_list_u8_t){text.ptr, text.len};
  }
  df_drop_batches(NULL);
  return done;
}

bool exports_dataflare_plugin_source_estimate(selection_list *list, df_list_u8_t *part, df_list_u8_t *state,
                                              exports_dataflare_plugin_source_option_estimated_rows_t *rows, df_error *error) {
  df_request request = {0};
  *rows = (exports_dataflare_plugin_source_option_estimated_rows_t){.val.exact = true};
  bool done = request_of(list, part, state, &request, error);
  if (done && df_source_plugin.estimate) {
    rows->is_some = true;
    done = df_source_plugin.estimate(&request, &rows->val.rows, &rows->is_some, error);
  }
  df_drop_batches(NULL);
  return done;
}

/* Reads. */

static char *kept(const df_value *value) {
  if (!value) return NULL;
  df_string_t text = df_write(value);
  return df_keep_text(df_c_string(text));
}

static void end_read(void) {
  free(reading.dataset);
  free(reading.state);
  free(reading.part);
  free(reading.columns);
  free(reading.rest_state);
  for (size_t i = 0; i < reading.chosen.len; i++) free(reading.chosen.ptr[i].ptr);
  free(reading.chosen.ptr);
  if (reading.has_rest) dataflare_data_batches_batch_drop_own(reading.rest);
  memset(&reading, 0, sizeof reading);
}

bool exports_dataflare_plugin_source_open(selection_list *list, df_list_u8_t *part, df_list_u8_t *state,
                                          exports_dataflare_plugin_source_list_schema_t *schemas, df_error *error) {
  df_request request = {0};
  end_read();
  bool done = request_of(list, part, state, &request, error);
  if (done && df_source_plugin.columns_at) done = df_source_plugin.columns_at(&request, &request.columns, error);
  if (done) {
    const df_list_string_t *chosen = &list->ptr[0].columns;
    reading.is_open = true;
    reading.incremental = request.incremental;
    reading.dataset = df_keep_text(request.dataset->name);
    reading.state = kept(request.state);
    reading.part = kept(request.part);
    reading.columns = kept(written(request.dataset, request.columns));
    reading.chosen.ptr = calloc(chosen->len, sizeof *chosen->ptr);
    if (chosen->len && !reading.chosen.ptr) df_panic("out of memory for %zu columns", chosen->len);
    for (size_t i = 0; i < chosen->len; i++)
      reading.chosen.ptr[reading.chosen.len++] = df_wit_string(df_keep_text(df_c_string(chosen->ptr[i])));
    schemas->ptr = df_alloc(sizeof *schemas->ptr);
    schemas->len = 1;
    schemas->ptr[0] = schema_of(request.dataset, chosen_of(request.dataset, request.columns, chosen));
  }
  df_drop_batches(NULL);
  return done;
}

static const df_value *parsed(const char *text) {
  const char *wrong;
  return text ? df_parse(text, strlen(text), &wrong) : NULL;
}

static bool has_metadata(const dataflare_data_schemas_field_t *field, const dataflare_data_schemas_field_t *wanted) {
  if (field->metadata.len != wanted->metadata.len) return false;
  for (size_t i = 0; i < wanted->metadata.len; i++) {
    df_tuple2_string_string_t pair = field->metadata.ptr[i], other = wanted->metadata.ptr[i];
    if (!is_text(pair.f0, df_c_string(other.f0)) || !is_text(pair.f1, df_c_string(other.f1))) return false;
  }
  return true;
}

/* Refuse rows with columns that the schema lacks: to leave them out would lose values. */
static bool check_rows(const df_dataset *dataset, df_columns columns, const df_schema *given, df_error *error) {
  for (size_t i = 0; i < given->fields.len; i++)
    if (!has_column(columns, given->fields.ptr[i].name))
      return df_fail(error, DF_INVALID_INPUT,
                     "dataset \"%s\": the rows have a column \"%s\", which its schema lacks: name it there, leave it out, or give "
                     "the chunk its columns",
                     dataset->name, df_c_string(given->fields.ptr[i].name));
  return true;
}

/* Give the rows the columns, types and metadata that the read promised. */
static bool fit(df_batch *rows, const df_schema *schema, df_error *error) {
  const char **names = df_alloc(schema->fields.len * sizeof *names);
  for (size_t i = 0; i < schema->fields.len; i++) names[i] = df_c_string(schema->fields.ptr[i].name);
  if (!df_select(rows, names, schema->fields.len, error)) return false;
  df_schema given = df_schema_of(*rows);
  for (size_t i = 0; i < schema->fields.len; i++) {
    dataflare_data_schemas_field_t *wanted = &schema->fields.ptr[i];
    const char *type = df_c_string(wanted->type_name);
    if (!is_text(given.fields.ptr[i].type_name, type) && !df_cast_column(rows, names[i], type, error)) return false;
    if (has_metadata(&given.fields.ptr[i], wanted)) continue;
    df_batch made;
    bool done = dataflare_data_batches_method_batch_with_column_metadata(
        df_borrowed(*rows), &wanted->name, &wanted->metadata, &made, &error->val.data);
    if (!df_done(done, error)) return false;
    *rows = df_owned(made);
  }
  return true;
}

/* What comes next in a read: rows, with the state after them as the host keeps it where there is a safe point, or the schema of the
 * rows that follow. */
typedef struct progress { bool ended, is_change; df_batch rows; const char *state; df_schema schema; } progress;

/* Keep rows for the next call. */
static void hold(df_batch rows, const char *state) {
  reading.has_rest = true;
  reading.rest = df_keep_batch(rows);
  reading.rest_state = df_keep_text(state);
}

static bool next(size_t max_rows, progress *found, df_error *error) {
  if (reading.has_rest) {
    found->rows = df_owned(reading.rest);
    found->state = df_c_string(df_wit_string(reading.rest_state));
    free(reading.rest_state);
    reading.rest_state = NULL;
    reading.has_rest = false;
    return true;
  }
  df_request request = {.incremental = reading.incremental, .chosen = reading.chosen, .max_rows = max_rows};
  request.dataset = dataset_of(reading.dataset, error);
  if (!request.dataset) return false;
  request.part = parsed(reading.part);
  request.state = parsed(reading.state);
  read_columns(parsed(reading.columns), &request.columns);
  df_chunk chunk = {0};
  if (!df_source_plugin.read(&request, &chunk, &found->ended, error)) return false;
  if (found->ended) return true;
  if (!chunk.state) return df_fail(error, DF_INTERNAL, "dataset \"%s\": `read` gave rows without a state", reading.dataset);
  df_columns all = chunk.columns.count ? chunk.columns : request.columns;
  df_columns before = chosen_of(request.dataset, request.columns, &reading.chosen);
  df_columns chosen = chosen_of(request.dataset, all, &reading.chosen);
  df_schema schema = schema_of(request.dataset, chosen), given = df_schema_of(chunk.rows);
  if (!check_rows(request.dataset, all, &given, error) || !fit(&chunk.rows, &schema, error)) return false;
  found->rows = chunk.rows;
  found->state = df_c_string(encoded_state(&request, all, chunk.state));
  free(reading.state);
  reading.state = kept(chunk.state);
  if (chunk.columns.count) {
    free(reading.columns);
    reading.columns = kept(written(request.dataset, all));
  }
  /* A change of columns that are not read is not news. */
  found->is_change = !are_same_columns(chosen, before);
  if (!found->is_change) return true;
  hold(found->rows, found->state);
  found->schema = schema;
  return true;
}

static bool read(uint32_t max_rows, exports_dataflare_plugin_source_progress_t *said, df_error *error) {
  if (!reading.is_open) return df_fail(error, DF_UNSUPPORTED, "no read is under way: `open` comes first");
  progress found = {0};
  if (!next(max_rows, &found, error)) return false;
  if (found.ended) {
    said->tag = EXPORTS_DATAFLARE_PLUGIN_SOURCE_PROGRESS_ENDED;
    return true;
  }
  if (found.is_change) {
    said->tag = EXPORTS_DATAFLARE_PLUGIN_SOURCE_PROGRESS_NEW_SCHEMA;
    said->val.new_schema = (exports_dataflare_plugin_source_schema_change_t){.schema = found.schema};
    return true;
  }
  size_t count = df_rows(found.rows);
  if (count > max_rows) {
    df_batch rest = found.rows;
    if (!df_slice(&rest, max_rows, count - max_rows, error) || !df_slice(&found.rows, 0, max_rows, error)) return false;
    /* What is held back keeps the state: before it, there is no safe point. */
    hold(rest, found.state);
    found.state = NULL;
  }
  said->tag = EXPORTS_DATAFLARE_PLUGIN_SOURCE_PROGRESS_ROWS;
  said->val.rows = (exports_dataflare_plugin_source_chunk_t){.rows = found.rows};
  said->val.rows.state.is_some = found.state != NULL;
  if (found.state) said->val.rows.state.val = (df_list_u8_t){(uint8_t *)found.state, strlen(found.state)};
  return true;
}

bool exports_dataflare_plugin_source_read(
    uint32_t max_rows, exports_dataflare_plugin_source_progress_t *progress, df_error *error) {
  bool done = read(max_rows, progress, error);
  bool has_rows = done && progress->tag == EXPORTS_DATAFLARE_PLUGIN_SOURCE_PROGRESS_ROWS;
  df_drop_batches(has_rows ? &progress->val.rows.rows : NULL);
  return done;
}

bool exports_dataflare_plugin_source_acknowledge(df_list_u8_t *state, df_error *error) {
  const char *wrong;
  const df_value *said = df_parse((const char *)state->ptr, state->len, &wrong);
  const df_value *found = said ? df_get(said, "after") : NULL;
  bool done = true;
  if (!found) done = df_fail(error, DF_INVALID_STATE, "the acknowledged state does not come from this source");
  else if (df_source_plugin.acknowledge) done = df_source_plugin.acknowledge(found, error);
  df_drop_batches(NULL);
  return done;
}

bool exports_dataflare_plugin_source_close(df_error *error) {
  (void)error;
  end_read();
  return true;
}
