/* Batches: columns as views, and what the host makes of batches. */
#include <stdlib.h>
#include <string.h>

#include "sdk.h"

static df_batch *owned;
static size_t owned_count, owned_room;

df_batch df_owned(df_batch batch) {
  if (owned_count == owned_room) {
    owned_room = owned_room ? owned_room * 2 : 16;
    owned = realloc(owned, owned_room * sizeof *owned);
    if (!owned) df_panic("out of memory for %zu batches", owned_room);
  }
  return owned[owned_count++] = batch;
}

df_batch df_keep_batch(df_batch batch) {
  for (size_t i = 0; i < owned_count; i++)
    if (owned[i].__handle == batch.__handle) {
      owned[i] = owned[--owned_count];
      break;
    }
  return batch;
}

void df_drop_batches(const df_batch *but) {
  for (size_t i = 0; i < owned_count; i++)
    if (!but || owned[i].__handle != but->__handle) dataflare_data_batches_batch_drop_own(owned[i]);
  owned_count = 0;
}

bool df_done(bool done, df_error *error) {
  if (!done) error->tag = DATAFLARE_PLUGIN_TYPES_ERROR_DATA;
  return done;
}

dataflare_data_batches_borrow_batch_t df_borrowed(df_batch batch) { return dataflare_data_batches_borrow_batch(batch); }

/* Put a new batch in the place of another, which goes at the end of the call. */
static bool replaced(bool done, df_batch *batch, df_batch made, df_error *error) {
  if (done) *batch = df_owned(made);
  return df_done(done, error);
}

size_t df_rows(df_batch batch) { return dataflare_data_batches_method_batch_num_rows(df_borrowed(batch)); }

df_schema df_schema_of(df_batch batch) {
  df_schema schema;
  dataflare_data_batches_method_batch_schema(df_borrowed(batch), &schema);
  return schema;
}

static bool validity(df_batch batch, df_string_t *name, uint64_t **found, df_error *error) {
  df_option_list_u64_t words;
  bool done = dataflare_data_batches_method_batch_validity(df_borrowed(batch), name, &words, &error->val.data);
  if (done) *found = words.is_some ? words.val.ptr : NULL;
  return df_done(done, error);
}

#define COLUMN(function, view_type, list_type, method)                                                             \
  bool function(df_batch batch, const char *name, view_type *view, df_error *error) {                              \
    df_string_t column = df_wit_string(name);                                                                      \
    list_type list;                                                                                                \
    if (!df_done(method(df_borrowed(batch), &column, &list, &error->val.data), error)) return false;               \
    view->values = list.ptr;                                                                                       \
    view->count = list.len;                                                                                        \
    return validity(batch, &column, &view->validity, error);                                                       \
  }

COLUMN(df_integer_column, df_integers, df_list_s64_t, dataflare_data_batches_method_batch_int64_column)
COLUMN(df_number_column, df_numbers, df_list_f64_t, dataflare_data_batches_method_batch_float64_column)
COLUMN(df_boolean_column, df_booleans, df_list_bool_t, dataflare_data_batches_method_batch_boolean_column)

bool df_text_column(df_batch batch, const char *name, df_texts *view, df_error *error) {
  df_string_t column = df_wit_string(name);
  dataflare_data_batches_text_values_t values;
  bool done = dataflare_data_batches_method_batch_text_column(df_borrowed(batch), &column, &values, &error->val.data);
  if (!df_done(done, error)) return false;
  view->offsets = values.offsets.ptr;
  view->text = (char *)values.text.ptr;
  view->count = values.offsets.len - 1;
  return validity(batch, &column, &view->validity, error);
}

static df_list_u64_t words(uint64_t *bitmap, size_t rows) { return (df_list_u64_t){bitmap, (rows + 63) / 64}; }

#define PUT(function, view_type, list_type, method)                                                                \
  bool function(df_batch *batch, const char *name, view_type view, df_error *error) {                              \
    df_string_t column = df_wit_string(name);                                                                      \
    list_type list = {view.values, view.count};                                                                    \
    df_list_u64_t valid = words(view.validity, view.count);                                                        \
    df_batch made;                                                                                                 \
    bool done = method(df_borrowed(*batch), &column, &list, view.validity ? &valid : NULL, &made, &error->val.data); \
    return replaced(done, batch, made, error);                                                                     \
  }

PUT(df_put_integers, df_integers, df_list_s64_t, dataflare_data_batches_method_batch_with_int64_column)
PUT(df_put_numbers, df_numbers, df_list_f64_t, dataflare_data_batches_method_batch_with_float64_column)
PUT(df_put_booleans, df_booleans, df_list_bool_t, dataflare_data_batches_method_batch_with_boolean_column)

bool df_put_texts(df_batch *batch, const char *name, df_texts view, df_error *error) {
  df_string_t column = df_wit_string(name);
  dataflare_data_batches_text_values_t values = {
      {view.offsets, view.count + 1}, {(uint8_t *)view.text, view.offsets[view.count]}};
  df_list_u64_t valid = words(view.validity, view.count);
  df_batch made;
  bool done = dataflare_data_batches_method_batch_with_text_column(
      df_borrowed(*batch), &column, &values, view.validity ? &valid : NULL, &made, &error->val.data);
  return replaced(done, batch, made, error);
}

bool df_put(df_batch *batch, const char *name, df_expression *value, df_error *error) {
  dataflare_data_expressions_output_t output = {.name = df_wit_string(name)};
  dataflare_data_expressions_list_node_t nodes = df_nodes(&value, 1, &output.node);
  dataflare_data_expressions_list_output_t outputs = {&output, 1};
  df_batch made;
  bool done = dataflare_data_expressions_with_columns(df_borrowed(*batch), &nodes, &outputs, &made, &error->val.data);
  return replaced(done, batch, made, error);
}

bool df_filter(df_batch *batch, df_expression *condition, df_error *error) {
  uint32_t place;
  dataflare_data_expressions_list_node_t nodes = df_nodes(&condition, 1, &place);
  df_batch made;
  bool done = dataflare_data_expressions_filter(df_borrowed(*batch), &nodes, &made, &error->val.data);
  return replaced(done, batch, made, error);
}

bool df_slice(df_batch *batch, size_t offset, size_t length, df_error *error) {
  df_batch made;
  bool done = dataflare_data_batches_method_batch_slice(
      df_borrowed(*batch), (uint32_t)offset, (uint32_t)length, &made, &error->val.data);
  return replaced(done, batch, made, error);
}

bool df_cast_column(df_batch *batch, const char *name, const char *type_name, df_error *error) {
  df_string_t column = df_wit_string(name), type = df_wit_string(type_name);
  df_batch made;
  bool done =
      dataflare_data_batches_method_batch_cast_column(df_borrowed(*batch), &column, &type, &made, &error->val.data);
  return replaced(done, batch, made, error);
}

bool df_select(df_batch *batch, const char *const *names, size_t count, df_error *error) {
  df_list_string_t columns = {df_alloc(count * sizeof(df_string_t)), count};
  for (size_t i = 0; i < count; i++) columns.ptr[i] = df_wit_string(names[i]);
  df_batch made;
  bool done = dataflare_data_batches_method_batch_select(df_borrowed(*batch), &columns, &made, &error->val.data);
  return replaced(done, batch, made, error);
}

df_batch df_new_batch(size_t rows) { return df_owned(dataflare_data_batches_new_batch((uint32_t)rows)); }

bool df_from_json_lines(df_string_t lines, df_schema *schema, df_batch *batch, df_error *error) {
  df_batch made;
  bool done = dataflare_data_batches_from_json_lines(&lines, schema, &made, &error->val.data);
  return replaced(done, batch, made, error);
}

bool df_records(df_batch batch, df_value ***records, df_error *error) {
  df_string_t lines;
  bool done = dataflare_data_batches_method_batch_to_json_lines(df_borrowed(batch), &lines, &error->val.data);
  if (!df_done(done, error)) return false;
  *records = df_alloc_raw(df_rows(batch) * sizeof **records);
  const char *at = (const char *)lines.ptr, *end = at + lines.len;
  for (size_t row = 0; at < end; row++) {
    const char *line_end = memchr(at, '\n', (size_t)(end - at)), *wrong = "";
    (*records)[row] = df_parse(at, (size_t)(line_end - at), &wrong);
    if (!(*records)[row]) return df_fail(error, DF_INVALID_INPUT, "row %zu: %s", row, wrong);
    at = line_end + 1;
  }
  return true;
}
