/* Batches in memory. Their columns live until the test ends. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "twin.h"

typedef dataflare_data_batches_borrow_batch_t borrowed;

bool twin_fail(twin_error *error, uint8_t tag, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  *error = (twin_error){.tag = tag, .val.other = df_wit_string(df_format_list(format, arguments))};
  va_end(arguments);
  return false;
}

bool twin_wrong_type(
    twin_error *error, const char *function, const char *column, const char *expected, const char *found) {
  error->tag = DATAFLARE_DATA_BATCHES_DATA_ERROR_WRONG_TYPE;
  error->val.wrong_type = (dataflare_data_batches_type_mismatch_t){
      df_wit_string(column), df_wit_string(function), df_wit_string(expected), df_wit_string(found)};
  return false;
}

bool twin_only_in_a_component(twin_error *error, const char *what) {
  return twin_fail(error, DATAFLARE_DATA_BATCHES_DATA_ERROR_OTHER,
                   "the twin does not have %s: test what uses it by a case in tests/cases", what);
}

/* Handles. */

typedef struct entry { twin_batch batch; bool is_dropped; } entry;

static entry *entries;
static size_t entry_count;

df_batch twin_made(twin_batch batch) {
  /* Room for a power of two. */
  if (!(entry_count & (entry_count - 1))) {
    entries = realloc(entries, (entry_count ? entry_count * 2 : 1) * sizeof *entries);
    if (!entries) df_panic("out of memory for %zu batches", entry_count);
  }
  entries[entry_count] = (entry){.batch = batch};
  return (df_batch){(int32_t)entry_count++};
}

const twin_batch *twin_of(borrowed batch) {
  if (batch.__handle < 0 || (size_t)batch.__handle >= entry_count) df_panic("%d is not a batch", batch.__handle);
  if (entries[batch.__handle].is_dropped)
    df_panic("a batch is used after the call that it belongs to: keep it with `df_keep_batch`");
  return &entries[batch.__handle].batch;
}

void dataflare_data_batches_batch_drop_own(df_batch batch) { entries[batch.__handle].is_dropped = true; }

borrowed dataflare_data_batches_borrow_batch(df_batch batch) { return (borrowed){batch.__handle}; }

/* Columns. */

bool twin_is_whole(const char *type) {
  const char *digits = type + (*type == 'u');
  if (strncmp(digits, "int", 3)) return false;
  digits += 3;
  return !strcmp(digits, "8") || !strcmp(digits, "16") || !strcmp(digits, "32") || !strcmp(digits, "64");
}

bool twin_is_real(const char *type) { return !strcmp(type, "double") || !strcmp(type, "float"); }

static bool is_text(const char *type) { return !strcmp(type, "string") || !strcmp(type, "large_string"); }

static bool is_named(const twin_column *column, df_string_t name) {
  return strlen(column->name) == name.len && !memcmp(column->name, name.ptr, name.len);
}

const twin_column *twin_column_of(const twin_batch *batch, df_string_t name, twin_error *error) {
  for (size_t i = 0; i < batch->count; i++)
    if (is_named(&batch->columns[i], name)) return &batch->columns[i];
  twin_fail(error, DATAFLARE_DATA_BATCHES_DATA_ERROR_NO_SUCH_COLUMN, "%s", df_c_string(name));
  return NULL;
}

twin_column twin_new_column(const char *name, const char *type, size_t rows) {
  return (twin_column){.name = name, .type = type, .nullable = true, .cells = df_alloc(rows * sizeof(df_value *))};
}

twin_batch twin_with(const twin_batch *batch, twin_column column) {
  twin_batch made = {batch->rows, batch->count, df_alloc((batch->count + 1) * sizeof *made.columns)};
  bool placed = false;
  for (size_t i = 0; i < batch->count; i++) {
    bool here = !strcmp(batch->columns[i].name, column.name);
    made.columns[i] = here ? column : batch->columns[i];
    placed |= here;
  }
  if (!placed) made.columns[made.count++] = column;
  return made;
}

twin_batch twin_rows(const twin_batch *batch, const size_t *rows, size_t count) {
  twin_batch made = {count, batch->count, df_alloc(batch->count * sizeof *made.columns)};
  for (size_t i = 0; i < batch->count; i++) {
    made.columns[i] = batch->columns[i];
    made.columns[i].cells = df_alloc(count * sizeof(df_value *));
    for (size_t row = 0; row < count; row++) made.columns[i].cells[row] = batch->columns[i].cells[rows[row]];
  }
  return made;
}

df_value *twin_number(double value) {
  df_value *made = df_number(isfinite(value) ? value : 0);
  if (isfinite(value)) return made;
  made->text = isnan(value) ? "nan" : value < 0 ? "-inf" : "inf";
  made->length = strlen(made->text);
  return made;
}

static const char *type_of(const df_value *value, twin_error *error) {
  switch (value->type) {
    case DF_NULL: return "null";
    case DF_BOOLEAN: return "bool";
    case DF_NUMBER: return strpbrk(value->text, ".eE") ? "double" : "int64";
    case DF_TEXT: return "string";
    default: twin_only_in_a_component(error, "types of nested values, for which no schema is given"); return NULL;
  }
}

/* What a column of both types is; `NULL` if there is none. */
static const char *common(const char *one, const char *other) {
  if (!strcmp(one, other) || !strcmp(other, "null")) return one;
  if (!strcmp(one, "null")) return other;
  bool are_numbers = (twin_is_whole(one) || twin_is_real(one)) && (twin_is_whole(other) || twin_is_real(other));
  return are_numbers ? "double" : NULL;
}

/* Whether a whole number fits a type such as `int8`. */
static bool fits(const df_value *value, const char *type) {
  int64_t number;
  int bits = atoi(type + (*type == 'u' ? 4 : 3));
  if (!df_as_integer(value, &number)) {
    char *end;
    errno = 0;
    strtoull(value->text, &end, 10);
    return !strcmp(type, "uint64") && *value->text != '-' && !*end && !errno;
  }
  if (*type == 'u') return number >= 0 && (bits == 64 || number >> bits == 0);
  return bits == 64 || (number >> (bits - 1)) == (number < 0 ? -1 : 0);
}

/* A value that its column can hold; the host refuses others too. */
static df_value *cell(const twin_column *column, df_value *value, size_t row, twin_error *error) {
  const char *type = column->type, *wrong = NULL;
  if (value->type == DF_NULL) wrong = column->nullable ? NULL : "is null";
  else if (twin_is_whole(type)) wrong = value->type == DF_NUMBER && fits(value, type) ? NULL : "does not fit";
  else if (twin_is_real(type)) wrong = value->type == DF_NUMBER ? NULL : "does not fit";
  else if (is_text(type)) wrong = value->type == DF_TEXT ? NULL : "does not fit";
  else if (!strcmp(type, "bool")) wrong = value->type == DF_BOOLEAN ? NULL : "does not fit";
  if (wrong) {
    twin_fail(error, DATAFLARE_DATA_BATCHES_DATA_ERROR_MALFORMED, "line %zu: %s of the column '%s' %s (%s)", row + 1,
              df_c_string(df_write(value)), column->name, wrong, type);
    return NULL;
  }
  double number;
  return twin_is_real(type) && df_as_number(value, &number) ? twin_number(number) : value;
}

static bool infer(twin_column *column, df_value *value, twin_error *error) {
  const char *type = type_of(value, error);
  if (!type) return false;
  const char *both = common(column->type, type);
  if (both) column->type = both;
  return both || twin_fail(error, DATAFLARE_DATA_BATCHES_DATA_ERROR_MALFORMED, "column '%s' has values of %s and of %s",
                           column->name, column->type, type);
}

static bool read_objects(df_string_t lines, df_value ***objects, size_t *count, twin_error *error) {
  const char *at = (const char *)lines.ptr, *end = at + lines.len;
  *objects = df_alloc((lines.len / 2 + 1) * sizeof **objects);
  for (*count = 0; at < end; ++*count) {
    const char *line_end = memchr(at, '\n', (size_t)(end - at)), *wrong = "it is not an object";
    if (!line_end) line_end = end;
    df_value *found = df_parse(at, (size_t)(line_end - at), &wrong);
    if (!found || found->type != DF_OBJECT)
      return twin_fail(error, DATAFLARE_DATA_BATCHES_DATA_ERROR_MALFORMED, "line %zu: %s", *count + 1, wrong);
    (*objects)[*count] = found;
    at = line_end + 1;
  }
  return true;
}

bool dataflare_data_batches_from_json_lines(
    df_string_t *lines, dataflare_data_batches_schema_t *schema, df_batch *made, twin_error *error) {
  df_value **objects;
  twin_batch batch = {0};
  if (!read_objects(*lines, &objects, &batch.rows, error)) return false;
  if (schema) {
    batch.columns = df_alloc(schema->fields.len * sizeof *batch.columns);
    for (; batch.count < schema->fields.len; batch.count++) {
      dataflare_data_schemas_field_t *field = &schema->fields.ptr[batch.count];
      twin_column *column = &batch.columns[batch.count];
      *column = twin_new_column(df_c_string(field->name), df_c_string(field->type_name), batch.rows);
      column->nullable = field->nullable;
      column->metadata = field->metadata;
    }
  }
  for (size_t row = 0; !schema && row < batch.rows; row++)
    for (size_t i = 0; i < objects[row]->count; i++) {
      const char *name = objects[row]->names[i];
      if (!twin_column_of(&batch, df_wit_string(name), error)) batch = twin_with(&batch, twin_new_column(name, "null", batch.rows));
      twin_column *column = (twin_column *)twin_column_of(&batch, df_wit_string(name), error);
      if (!infer(column, objects[row]->items[i], error)) return false;
    }
  for (size_t i = 0; i < batch.count; i++)
    for (size_t row = 0; row < batch.rows; row++) {
      df_value *found = df_get(objects[row], batch.columns[i].name);
      found = cell(&batch.columns[i], found ? found : df_null(), row, error);
      if (!found) return false;
      batch.columns[i].cells[row] = found;
    }
  *made = twin_made(batch);
  return true;
}

static df_value *shown(df_value *value) {
  bool is_in_json = value->type != DF_NUMBER || value->text[strspn(value->text, "-")] <= '9';
  return is_in_json ? value : df_null();
}

bool dataflare_data_batches_method_batch_to_json_lines(borrowed self, df_string_t *text, twin_error *error) {
  const twin_batch *batch = twin_of(self);
  df_string_t *lines = df_alloc(batch->rows * sizeof *lines);
  size_t length = 0;
  (void)error;
  for (size_t row = 0; row < batch->rows; row++) {
    df_value *object = df_object();
    for (size_t i = 0; i < batch->count; i++) df_set(object, batch->columns[i].name, shown(batch->columns[i].cells[row]));
    lines[row] = df_write(object);
    length += lines[row].len + 1;
  }
  *text = (df_string_t){df_alloc(length), 0};
  for (size_t row = 0; row < batch->rows; row++) {
    memcpy(text->ptr + text->len, lines[row].ptr, lines[row].len);
    text->len += lines[row].len;
    text->ptr[text->len++] = '\n';
  }
  return true;
}

df_batch dataflare_data_batches_new_batch(uint32_t rows) { return twin_made((twin_batch){.rows = rows}); }

uint32_t dataflare_data_batches_method_batch_num_rows(borrowed self) { return (uint32_t)twin_of(self)->rows; }

void dataflare_data_batches_method_batch_schema(borrowed self, dataflare_data_batches_schema_t *schema) {
  const twin_batch *batch = twin_of(self);
  *schema = (dataflare_data_batches_schema_t){.fields = {df_alloc(batch->count * sizeof *schema->fields.ptr), batch->count}};
  for (size_t i = 0; i < batch->count; i++) {
    const twin_column *column = &batch->columns[i];
    schema->fields.ptr[i] = (dataflare_data_schemas_field_t){
        df_wit_string(column->name), df_wit_string(column->type), column->nullable, column->metadata};
  }
}

/* Views. */

bool dataflare_data_batches_method_batch_validity(
    borrowed self, df_string_t *name, df_option_list_u64_t *found, twin_error *error) {
  const twin_batch *batch = twin_of(self);
  const twin_column *column = twin_column_of(batch, *name, error);
  if (!column) return false;
  found->val.len = (batch->rows + 63) / 64;
  found->val.ptr = df_alloc(found->val.len * sizeof(uint64_t));
  found->is_some = false;
  for (size_t row = 0; row < batch->rows; row++) {
    if (df_is_valid(column->cells[row])) found->val.ptr[row / 64] |= (uint64_t)1 << (row % 64);
    else found->is_some = true;
  }
  return true;
}

static bool takes(const twin_column *column, const char *expected, bool fit, twin_error *error) {
  return fit || twin_wrong_type(error, "", column->name, expected, column->type);
}

#define VIEW(method, list_type, value_type, fit, expected, read)                                                     \
  bool method(borrowed self, df_string_t *name, list_type *found, twin_error *error) {                               \
    const twin_batch *batch = twin_of(self);                                                                         \
    const twin_column *column = twin_column_of(batch, *name, error);                                                 \
    if (!column || !takes(column, expected, fit(column->type), error)) return false;                                 \
    *found = (list_type){df_alloc(batch->rows * sizeof(value_type)), batch->rows};                                   \
    for (size_t row = 0; row < batch->rows; row++)                                                                   \
      if (df_is_valid(column->cells[row]) && !read(column->cells[row], &found->ptr[row]))                            \
        return twin_fail(error, DATAFLARE_DATA_BATCHES_DATA_ERROR_OUT_OF_RANGE, "column '%s', row %zu: it is above 2^63 - 1", \
                         column->name, row);                                                                         \
    return true;                                                                                                     \
  }

static bool is_number(const char *type) {
  return twin_is_real(type) || (twin_is_whole(type) && strcmp(type, "int64") && strcmp(type, "uint64"));
}

static bool is_boolean(const char *type) { return !strcmp(type, "bool"); }

static bool as_boolean(const df_value *value, bool *found) {
  *found = value->boolean;
  return true;
}

VIEW(dataflare_data_batches_method_batch_int64_column, df_list_s64_t, int64_t, twin_is_whole, "integers", df_as_integer)
VIEW(dataflare_data_batches_method_batch_float64_column, df_list_f64_t, double, is_number, "floating-point numbers", df_as_number)
VIEW(dataflare_data_batches_method_batch_boolean_column, df_list_bool_t, bool, is_boolean, "booleans", as_boolean)

bool dataflare_data_batches_method_batch_text_column(
    borrowed self, df_string_t *name, dataflare_data_batches_text_values_t *found, twin_error *error) {
  const twin_batch *batch = twin_of(self);
  const twin_column *column = twin_column_of(batch, *name, error);
  if (!column || !takes(column, "strings", is_text(column->type), error)) return false;
  size_t length = 0;
  for (size_t row = 0; row < batch->rows; row++) length += column->cells[row]->length;
  found->offsets = (df_list_u32_t){df_alloc((batch->rows + 1) * sizeof(uint32_t)), batch->rows + 1};
  found->text = (df_string_t){df_alloc(length), 0};
  for (size_t row = 0; row < batch->rows; row++) {
    const df_value *cell = column->cells[row];
    if (cell->length) memcpy(found->text.ptr + found->text.len, cell->text, cell->length);
    found->text.len += cell->length;
    found->offsets.ptr[row + 1] = (uint32_t)found->text.len;
  }
  return true;
}

/* Columns that are put. */

static bool is_length(const twin_batch *batch, size_t count, twin_error *error) {
  return count == batch->rows || twin_fail(error, DATAFLARE_DATA_BATCHES_DATA_ERROR_OUT_OF_RANGE,
                                           "%zu values for %zu rows", count, batch->rows);
}

/* A column in the place of the one of its name, which keeps its type where it is one of the same values. */
static twin_column put(const twin_batch *batch, df_string_t name, const char *type, bool (*keeps)(const char *)) {
  twin_error none;
  const twin_column *before = twin_column_of(batch, name, &none);
  twin_column made = twin_new_column(df_c_string(name), before && keeps(before->type) ? before->type : type, batch->rows);
  if (before) made.metadata = before->metadata;
  return made;
}

#define PUT(method, list_type, type, keeps, make)                                                                    \
  bool method(borrowed self, df_string_t *name, list_type *values, df_list_u64_t *valid, df_batch *made, twin_error *error) { \
    const twin_batch *batch = twin_of(self);                                                                         \
    if (!is_length(batch, values->len, error)) return false;                                                         \
    twin_column column = put(batch, *name, type, keeps);                                                             \
    for (size_t row = 0; row < batch->rows; row++) {                                                                 \
      df_value *value = df_has(valid ? valid->ptr : NULL, row) ? make(values->ptr[row]) : df_null();                 \
      column.cells[row] = cell(&column, value, row, error);                                                          \
      if (!column.cells[row]) {                                                                                      \
        error->tag = DATAFLARE_DATA_BATCHES_DATA_ERROR_OUT_OF_RANGE;                                                 \
        return false;                                                                                                \
      }                                                                                                              \
    }                                                                                                                \
    *made = twin_made(twin_with(batch, column));                                                                     \
    return true;                                                                                                     \
  }

PUT(dataflare_data_batches_method_batch_with_int64_column, df_list_s64_t, "int64", twin_is_whole, df_integer)
PUT(dataflare_data_batches_method_batch_with_float64_column, df_list_f64_t, "double", twin_is_real, twin_number)
PUT(dataflare_data_batches_method_batch_with_boolean_column, df_list_bool_t, "bool", is_boolean, df_boolean)

bool dataflare_data_batches_method_batch_with_text_column(borrowed self, df_string_t *name,
                                                          dataflare_data_batches_text_values_t *values,
                                                          df_list_u64_t *valid, df_batch *made, twin_error *error) {
  const twin_batch *batch = twin_of(self);
  const uint32_t *offsets = values->offsets.ptr;
  if (!is_length(batch, values->offsets.len - 1, error)) return false;
  twin_column column = put(batch, *name, "string", is_text);
  column.type = "string";
  for (size_t row = 0; row < batch->rows; row++) {
    if (offsets[row] > offsets[row + 1] || offsets[row + 1] > values->text.len)
      return twin_fail(error, DATAFLARE_DATA_BATCHES_DATA_ERROR_MALFORMED, "the offsets of row %zu do not ascend", row);
    df_string_t text = {values->text.ptr + offsets[row], offsets[row + 1] - offsets[row]};
    column.cells[row] = df_has(valid ? valid->ptr : NULL, row) ? df_text(df_c_string(text)) : df_null();
  }
  *made = twin_made(twin_with(batch, column));
  return true;
}

bool dataflare_data_batches_method_batch_with_column_metadata(
    borrowed self, df_string_t *name, df_list_tuple2_string_string_t *metadata, df_batch *made, twin_error *error) {
  const twin_batch *batch = twin_of(self);
  const twin_column *found = twin_column_of(batch, *name, error);
  if (!found) return false;
  twin_column column = *found;
  column.metadata = *metadata;
  *made = twin_made(twin_with(batch, column));
  return true;
}

df_value *twin_cast(df_value *value, const char *type, twin_error *error) {
  double number;
  int64_t whole;
  bool is_number = df_as_number(value, &number);
  if (value->type == DF_NULL) return value;
  if (is_number && twin_is_real(type)) return twin_number(number);
  if (is_number && twin_is_whole(type)) {
    df_value *found = value;
    if (!df_as_integer(value, &whole) && number == floor(number) && fabs(number) < 9e18) found = df_integer((int64_t)number);
    if (!strpbrk(found->text, ".eEin") && fits(found, type)) return found;
    twin_fail(error, DATAFLARE_DATA_BATCHES_DATA_ERROR_MALFORMED, "%s cannot be converted to %s", value->text, type);
    return NULL;
  }
  if (is_text(type) && df_as_integer(value, &whole)) return df_text(value->text);
  if ((is_text(type) && value->type == DF_TEXT) || (is_boolean(type) && value->type == DF_BOOLEAN)) return value;
  twin_only_in_a_component(error, df_format("a cast of %s to %s", df_c_string(df_write(value)), type));
  return NULL;
}

bool dataflare_data_batches_method_batch_cast_column(
    borrowed self, df_string_t *name, df_string_t *type, df_batch *made, twin_error *error) {
  const twin_batch *batch = twin_of(self);
  const twin_column *found = twin_column_of(batch, *name, error);
  if (!found) return false;
  twin_column column = twin_new_column(found->name, df_c_string(*type), batch->rows);
  column.metadata = found->metadata;
  for (size_t row = 0; row < batch->rows; row++) {
    column.cells[row] = twin_cast(found->cells[row], column.type, error);
    if (!column.cells[row]) return false;
  }
  *made = twin_made(twin_with(batch, column));
  return true;
}

bool dataflare_data_batches_method_batch_select(borrowed self, df_list_string_t *names, df_batch *made, twin_error *error) {
  const twin_batch *batch = twin_of(self);
  twin_batch found = {batch->rows, names->len, df_alloc(names->len * sizeof *found.columns)};
  for (size_t i = 0; i < names->len; i++) {
    const twin_column *column = twin_column_of(batch, names->ptr[i], error);
    if (!column) return false;
    found.columns[i] = *column;
  }
  *made = twin_made(found);
  return true;
}

bool dataflare_data_batches_method_batch_slice(
    borrowed self, uint32_t offset, uint32_t length, df_batch *made, twin_error *error) {
  const twin_batch *batch = twin_of(self);
  if ((size_t)offset + length > batch->rows)
    return twin_fail(error, DATAFLARE_DATA_BATCHES_DATA_ERROR_OUT_OF_RANGE, "rows %u to %zu of %zu", offset,
                     (size_t)offset + length, batch->rows);
  size_t *rows = df_alloc(length * sizeof *rows);
  for (size_t i = 0; i < length; i++) rows[i] = offset + i;
  *made = twin_made(twin_rows(batch, rows, length));
  return true;
}
