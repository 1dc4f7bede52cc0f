/* Sources: datasets, and reads of them that can go on where they ended. */
#include <stdlib.h>
#include <string.h>

#include "sdk.h"

typedef exports_dataflare_plugin_source_list_selection_t selection_list;

/* The read that is under way: what the host selected, kept between calls. */
static struct {
  bool is_open, incremental;
  char *dataset, *state, *part;
  df_list_string_t columns;
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

static bool is_wanted(const df_dataset *dataset, const df_list_string_t *columns, const char *name) {
  if (!columns->len || is_role(dataset, name)) return true;
  for (size_t i = 0; i < columns->len; i++)
    if (is_text(columns->ptr[i], name)) return true;
  return false;
}

/* The columns that are wanted, with their roles in the metadata. */
static df_schema schema_of(const df_dataset *dataset, const df_list_string_t *columns) {
  df_schema schema = {.fields.ptr = df_alloc(dataset->column_count * sizeof *schema.fields.ptr)};
  for (size_t i = 0; i < dataset->column_count; i++) {
    const df_field *column = &dataset->columns[i];
    if (!is_wanted(dataset, columns, column->name)) continue;
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
    df_list_string_t all = {0};
    said->name.namespace_ = df_wit_string("");
    said->name.name = df_wit_string(dataset->name);
    said->description = df_wit_string(dataset->description ? dataset->description : "");
    said->schema = schema_of(dataset, &all);
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

static bool check_columns(const df_dataset *dataset, const df_list_string_t *columns, df_error *error) {
  for (size_t i = 0; i < columns->len; i++) {
    bool found = false;
    for (size_t j = 0; j < dataset->column_count; j++) found |= is_text(columns->ptr[i], dataset->columns[j].name);
    if (!found)
      return df_fail(error, DF_INVALID_CONFIG, "dataset \"%s\": there is no column \"%s\"", dataset->name,
                     df_c_string(columns->ptr[i]));
  }
  return true;
}

/* What a state or a part belongs to. */
static df_value *belonging(const df_request *request) {
  df_value *said = df_object();
  df_set(said, "dataset", df_text(request->dataset->name));
  df_set(said, "mode", df_text(request->incremental ? "incremental" : "full"));
  if (request->part) df_set(said, "part", (df_value *)request->part);
  return said;
}

/* Write a state (`after`) or a part (`part`), with the read that it belongs to. */
static df_string_t encoded(const df_request *request, const char *key, df_value *value) {
  df_value *said = belonging(request);
  df_set(said, key, value);
  return df_write(said);
}

static bool is_same(const df_value *value, const df_value *other) {
  if (!value || !other) return value == other;
  df_string_t text = df_write(value), wanted = df_write(other);
  return text.len == wanted.len && !memcmp(text.ptr, wanted.ptr, text.len);
}

static const df_value *decoded(const df_request *request, df_list_u8_t data, const char *key, df_error *error) {
  const char *what = strcmp(key, "after") ? "part" : "state", *wrong;
  df_value *said = df_parse((const char *)data.ptr, data.len, &wrong);
  df_value *found = said ? df_get(said, key) : NULL;
  if (!found) {
    df_fail(error, DF_INVALID_STATE, "the %s does not come from this source", what);
    return NULL;
  }
  df_remove(said, key);
  df_value *wanted = belonging(request);
  bool same = said->count == wanted->count;
  for (size_t i = 0; same && i < wanted->count; i++) same = is_same(df_get(said, wanted->names[i]), wanted->items[i]);
  if (same) return found;
  df_fail(error, DF_INVALID_STATE, "the %s is of another dataset, mode or part", what);
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
    df_string_t text = encoded(&request, "part", parts->items[i]);
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
  free(reading.rest_state);
  for (size_t i = 0; i < reading.columns.len; i++) free(reading.columns.ptr[i].ptr);
  free(reading.columns.ptr);
  if (reading.has_rest) dataflare_data_batches_batch_drop_own(reading.rest);
  memset(&reading, 0, sizeof reading);
}

bool exports_dataflare_plugin_source_open(selection_list *list, df_list_u8_t *part, df_list_u8_t *state,
                                          exports_dataflare_plugin_source_list_schema_t *schemas, df_error *error) {
  df_request request = {0};
  end_read();
  bool done = request_of(list, part, state, &request, error);
  if (done) {
    const df_list_string_t *columns = &list->ptr[0].columns;
    reading.is_open = true;
    reading.incremental = request.incremental;
    reading.dataset = df_keep_text(request.dataset->name);
    reading.state = kept(request.state);
    reading.part = kept(request.part);
    reading.columns.ptr = calloc(columns->len, sizeof *columns->ptr);
    if (columns->len && !reading.columns.ptr) df_panic("out of memory for %zu columns", columns->len);
    for (size_t i = 0; i < columns->len; i++)
      reading.columns.ptr[reading.columns.len++] = df_wit_string(df_keep_text(df_c_string(columns->ptr[i])));
    schemas->ptr = df_alloc(sizeof *schemas->ptr);
    schemas->len = 1;
    schemas->ptr[0] = schema_of(request.dataset, columns);
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

/* Refuse rows with columns that the dataset lacks: to leave them out would lose values. */
static bool check_rows(const df_dataset *dataset, const df_schema *given, df_error *error) {
  for (size_t i = 0; i < given->fields.len; i++) {
    bool found = false;
    for (size_t j = 0; j < dataset->column_count; j++) found |= is_text(given->fields.ptr[i].name, dataset->columns[j].name);
    if (!found)
      return df_fail(error, DF_INVALID_INPUT, "dataset \"%s\": the rows have a column \"%s\", which its schema lacks",
                     dataset->name, df_c_string(given->fields.ptr[i].name));
  }
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

/* The next rows, and the state after them as the host keeps it. */
static bool next(size_t max_rows, df_batch *rows, const char **state, bool *ended, df_error *error) {
  if (reading.has_rest) {
    *rows = df_owned(reading.rest);
    *state = df_c_string(df_wit_string(reading.rest_state));
    free(reading.rest_state);
    reading.rest_state = NULL;
    reading.has_rest = false;
    return true;
  }
  df_request request = {.incremental = reading.incremental, .max_rows = max_rows};
  request.dataset = dataset_of(reading.dataset, error);
  if (!request.dataset) return false;
  request.part = parsed(reading.part);
  request.state = parsed(reading.state);
  df_chunk chunk = {0};
  if (!df_source_plugin.read(&request, &chunk, ended, error)) return false;
  if (*ended) return true;
  if (!chunk.state) return df_fail(error, DF_INTERNAL, "`read` gave rows without a state");
  df_schema schema = schema_of(request.dataset, &reading.columns), given = df_schema_of(chunk.rows);
  if (!check_rows(request.dataset, &given, error) || !fit(&chunk.rows, &schema, error)) return false;
  *rows = chunk.rows;
  *state = df_c_string(encoded(&request, "after", chunk.state));
  free(reading.state);
  reading.state = kept(chunk.state);
  return true;
}

static bool read(uint32_t max_rows, exports_dataflare_plugin_source_progress_t *progress, df_error *error) {
  if (!reading.is_open) return df_fail(error, DF_UNSUPPORTED, "no read is under way: `open` comes first");
  df_batch rows;
  const char *state = NULL;
  bool ended = false;
  if (!next(max_rows, &rows, &state, &ended, error)) return false;
  if (ended) {
    progress->tag = EXPORTS_DATAFLARE_PLUGIN_SOURCE_PROGRESS_ENDED;
    return true;
  }
  size_t count = df_rows(rows);
  if (count > max_rows) {
    df_batch rest = rows;
    if (!df_slice(&rest, max_rows, count - max_rows, error) || !df_slice(&rows, 0, max_rows, error)) return false;
    reading.has_rest = true;
    reading.rest = df_keep_batch(rest);
    /* What is held back keeps the state: before it, there is no safe point. */
    reading.rest_state = df_keep_text(state);
    state = NULL;
  }
  progress->tag = EXPORTS_DATAFLARE_PLUGIN_SOURCE_PROGRESS_ROWS;
  progress->val.rows = (exports_dataflare_plugin_source_chunk_t){.rows = rows};
  progress->val.rows.state.is_some = state != NULL;
  if (state) progress->val.rows.state.val = (df_list_u8_t){(uint8_t *)state, strlen(state)};
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
  if (!found) done = df_fail(error, DF_INVALID_STATE, "the state does not come from this source");
  else if (df_source_plugin.acknowledge) done = df_source_plugin.acknowledge(found, error);
  df_drop_batches(NULL);
  return done;
}

bool exports_dataflare_plugin_source_close(df_error *error) {
  (void)error;
  end_read();
  return true;
}
