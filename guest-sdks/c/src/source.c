/* Sources: reads of datasets that can go on where they ended. */
#include <stdlib.h>
#include <string.h>

#include "source.h"

/* The read of a dataset that is under way: what the host selected, kept between calls. */
static struct {
  bool is_open, incremental;
  df_kept_request request;
  char *state, *part;
  /* Rows that the host had no room for, with the state after them. */
  bool has_rest;
  df_batch rest;
  char *rest_state;
} reading;

const df_common *df_plugin_common(void) { return (const df_common *)&df_source_plugin; }

dataflare_plugin_types_kind_t df_plugin_kind(void) { return DATAFLARE_PLUGIN_TYPES_KIND_SOURCE; }

bool exports_dataflare_plugin_source_split(df_selections *list, df_list_u8_t *state, uint32_t at_most,
                                           exports_dataflare_plugin_source_division_t *division, df_error *error) {
  df_requests found;
  df_value *parts = df_list();
  bool done = df_requests_of(list, NULL, state, &found, error);
  const df_request *request = found.items;
  if (done && found.are_of_log)
    done = df_fail(error, DF_UNSUPPORTED, "dataset \"%s\": changes have one order, and no parts", request->dataset->name);
  if (done && !df_source_plugin.split)
    done = df_fail(error, DF_UNSUPPORTED, "dataset \"%s\" cannot be split", request->dataset->name);
  done = done && df_source_plugin.split(request, at_most, parts, error);
  *division = (exports_dataflare_plugin_source_division_t){0};
  division->parts.ptr = df_alloc(parts->count * sizeof *division->parts.ptr);
  division->parts.len = parts->count;
  for (size_t i = 0; done && i < parts->count; i++) {
    df_string_t text = df_encoded_part(request, parts->items[i]);
    division->parts.ptr[i] = (df_list_u8_t){text.ptr, text.len};
  }
  df_drop_batches(NULL);
  return done;
}

bool exports_dataflare_plugin_source_estimate(df_selections *list, df_list_u8_t *part, df_list_u8_t *state,
                                              exports_dataflare_plugin_source_option_estimated_rows_t *rows, df_error *error) {
  df_requests found;
  *rows = (exports_dataflare_plugin_source_option_estimated_rows_t){.val.exact = true};
  bool done = df_requests_of(list, part, state, &found, error);
  if (done && df_source_plugin.estimate && !found.are_of_log) {
    rows->is_some = true;
    done = df_source_plugin.estimate(found.items, &rows->val.rows, &rows->is_some, error);
  }
  df_drop_batches(NULL);
  return done;
}

static void end_read(void) {
  df_close_log();
  df_forget_request(&reading.request);
  free(reading.state);
  free(reading.part);
  free(reading.rest_state);
  if (reading.has_rest) dataflare_data_batches_batch_drop_own(reading.rest);
  memset(&reading, 0, sizeof reading);
}

static void open_dataset(const df_request *request, exports_dataflare_plugin_source_list_schema_t *schemas) {
  reading.is_open = true;
  reading.incremental = request->incremental;
  reading.request = df_keep_request(request);
  reading.state = df_kept_value(request->state);
  reading.part = df_kept_value(request->part);
  schemas->ptr = df_alloc(sizeof *schemas->ptr);
  schemas->len = 1;
  schemas->ptr[0] = df_schema_of_columns(request->dataset, df_chosen_of(request->dataset, request->columns, &request->chosen));
}

bool exports_dataflare_plugin_source_open(df_selections *list, df_list_u8_t *part, df_list_u8_t *state,
                                          exports_dataflare_plugin_source_list_schema_t *schemas, df_error *error) {
  df_requests found;
  end_read();
  bool done = df_requests_of(list, part, state, &found, error);
  for (size_t i = 0; done && df_source_plugin.columns_at && i < found.count; i++)
    done = df_source_plugin.columns_at(&found.items[i], &found.items[i].columns, error);
  if (done && found.are_of_log) done = df_open_log(&found, schemas, error);
  else if (done) open_dataset(found.items, schemas);
  df_drop_batches(NULL);
  return done;
}

static bool has_metadata(const dataflare_data_schemas_field_t *field, const dataflare_data_schemas_field_t *wanted) {
  if (field->metadata.len != wanted->metadata.len) return false;
  for (size_t i = 0; i < wanted->metadata.len; i++) {
    df_tuple2_string_string_t pair = field->metadata.ptr[i], other = wanted->metadata.ptr[i];
    if (!df_is_text(pair.f0, df_c_string(other.f0)) || !df_is_text(pair.f1, df_c_string(other.f1))) return false;
  }
  return true;
}

/* Refuse rows with columns that the schema lacks: to leave them out would lose values. */
static bool check_rows(const df_dataset *dataset, df_columns columns, const df_schema *given, df_error *error) {
  for (size_t i = 0; i < given->fields.len; i++)
    if (!df_has_column(columns, given->fields.ptr[i].name))
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
    if (!df_is_text(given.fields.ptr[i].type_name, type) && !df_cast_column(rows, names[i], type, error)) return false;
    if (has_metadata(&given.fields.ptr[i], wanted)) continue;
    df_batch made;
    bool done = dataflare_data_batches_method_batch_with_column_metadata(
        df_borrowed(*rows), &wanted->name, &wanted->metadata, &made, &error->val.data);
    if (!df_done(done, error)) return false;
    *rows = df_owned(made);
  }
  return true;
}

/* Keep rows for the next call. */
static void hold(df_batch rows, const char *state) {
  reading.has_rest = true;
  reading.rest = df_keep_batch(rows);
  reading.rest_state = df_keep_text(state);
}

/* What follows the last row: of a dataset that is unbounded, an incremental read has no end either. */
static void end_of(const df_request *request, df_progress *found) {
  bool unbounded = df_modes_of(request->dataset) & DATAFLARE_PLUGIN_DATASETS_READING_MODES_CHANGES;
  found->type = request->incremental && unbounded ? DF_PAUSE : DF_ENDED;
  found->retry_after_ms = DF_RETRY_MS;
  if (request->state) found->state = df_c_string(df_encoded_state(request, request->columns, request->state));
}

static bool next(size_t max_rows, df_progress *found, df_error *error) {
  if (reading.has_rest) {
    found->rows = df_owned(reading.rest);
    found->state = df_c_string(df_wit_string(reading.rest_state));
    free(reading.rest_state);
    reading.rest_state = NULL;
    reading.has_rest = false;
    return true;
  }
  df_request request = {.incremental = reading.incremental, .max_rows = max_rows};
  if (!df_request_again(&reading.request, &request, error)) return false;
  request.part = df_parsed(reading.part);
  request.state = df_parsed(reading.state);
  df_chunk chunk = {0};
  bool ended = false;
  if (!df_source_plugin.read)
    return df_fail(error, DF_INTERNAL, "dataset \"%s\": the source has no `read`", request.dataset->name);
  if (!df_source_plugin.read(&request, &chunk, &ended, error)) return false;
  if (ended) {
    end_of(&request, found);
    return true;
  }
  if (!chunk.state) return df_fail(error, DF_INTERNAL, "dataset \"%s\": `read` gave rows without a state", request.dataset->name);
  df_columns all = chunk.columns.count ? chunk.columns : request.columns;
  df_columns before = df_chosen_of(request.dataset, request.columns, &request.chosen);
  df_columns chosen = df_chosen_of(request.dataset, all, &request.chosen);
  df_schema schema = df_schema_of_columns(request.dataset, chosen), given = df_schema_of(chunk.rows);
  if (!check_rows(request.dataset, all, &given, error) || !fit(&chunk.rows, &schema, error)) return false;
  found->rows = chunk.rows;
  found->state = df_c_string(df_encoded_state(&request, all, chunk.state));
  free(reading.state);
  reading.state = df_kept_value(chunk.state);
  if (chunk.columns.count) {
    free(reading.request.columns);
    reading.request.columns = df_kept_value(df_written_columns(request.dataset, all));
  }
  /* A change of columns that are not read is not news. */
  if (df_are_same_columns(chosen, before)) return true;
  found->type = DF_CHANGE;
  hold(found->rows, found->state);
  found->schema = schema;
  return true;
}

/* Cut what is more than the host takes. */
static bool limit(size_t max_rows, df_progress *found, df_error *error) {
  size_t count = df_rows(found->rows);
  if (count <= max_rows) return true;
  df_batch rest = found->rows;
  if (!df_slice(&rest, max_rows, count - max_rows, error) || !df_slice(&found->rows, 0, max_rows, error)) return false;
  /* What is held back keeps the state: before it, there is no safe point. */
  hold(rest, found->state);
  found->state = NULL;
  return true;
}

static bool read(uint32_t max_rows, exports_dataflare_plugin_source_progress_t *said, df_error *error) {
  df_progress found = {0};
  if (df_is_log_open()) {
    if (!df_read_log(max_rows, &found, error)) return false;
  } else {
    if (!reading.is_open) return df_fail(error, DF_UNSUPPORTED, "no read is under way: `open` comes first");
    if (!next(max_rows, &found, error) || (found.type == DF_ROWS && !limit(max_rows, &found, error))) return false;
  }
  df_option_list_u8_t state = {.is_some = found.state != NULL};
  if (found.state) state.val = (df_list_u8_t){(uint8_t *)found.state, strlen(found.state)};
  uint32_t selection = (uint32_t)found.selection;
  switch (found.type) {
    case DF_ROWS:
      said->tag = EXPORTS_DATAFLARE_PLUGIN_SOURCE_PROGRESS_ROWS;
      said->val.rows = (exports_dataflare_plugin_source_chunk_t){selection, found.rows, state};
      return true;
    case DF_CHANGE:
      said->tag = EXPORTS_DATAFLARE_PLUGIN_SOURCE_PROGRESS_NEW_SCHEMA;
      said->val.new_schema = (exports_dataflare_plugin_source_schema_change_t){selection, found.schema};
      return true;
    case DF_PAUSE:
      said->tag = EXPORTS_DATAFLARE_PLUGIN_SOURCE_PROGRESS_IDLE;
      said->val.idle = (exports_dataflare_plugin_source_pause_t){state, found.retry_after_ms};
      return true;
    case DF_ENDED: said->tag = EXPORTS_DATAFLARE_PLUGIN_SOURCE_PROGRESS_ENDED;
  }
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
