/* The functions of expressions that plugins use most, row by row. Any other is an error, so that no test passes by chance. */
#include <math.h>
#include <string.h>

#include "twin.h"

typedef dataflare_data_expressions_node_t node;
typedef dataflare_data_expressions_list_node_t node_list;
typedef dataflare_data_expressions_list_output_t output_list;

/* What a function takes. */
typedef enum input { ANY, NUMBERS, BOOLEANS, ALIKE } input;

typedef struct function {
  const char *name;
  size_t least, most;
  input takes;
  /* `NULL` with the error where there is no result. */
  df_value *(*compute)(df_value **values, size_t count, const char *type, twin_error *error);
  bool sees_nulls, is_condition;
} function;

static df_value *no_result(twin_error *error, df_value **values) {
  twin_fail(error, DATAFLARE_DATA_BATCHES_DATA_ERROR_OUT_OF_RANGE, "%s and %s have no result of 64 bits", values[0]->text,
            values[1]->text);
  return NULL;
}

#define CALCULATED(function, overflows, real)                                                                        \
  static df_value *function(df_value **values, size_t count, const char *type, twin_error *error) {                  \
    int64_t one, other, found;                                                                                       \
    double x, y;                                                                                                     \
    (void)count;                                                                                                     \
    if (twin_is_whole(type)) {                                                                                       \
      bool known = df_as_integer(values[0], &one) && df_as_integer(values[1], &other) && !overflows(one, other, &found); \
      return known ? df_integer(found) : no_result(error, values);                                                   \
    }                                                                                                                \
    df_as_number(values[0], &x);                                                                                     \
    df_as_number(values[1], &y);                                                                                     \
    return twin_number(real);                                                                                        \
  }

static bool divide_overflows(int64_t one, int64_t other, int64_t *found) {
  if (!other || (one == INT64_MIN && other == -1)) return true;
  *found = one / other;
  return false;
}

CALCULATED(added, __builtin_add_overflow, x + y)
CALCULATED(subtracted, __builtin_sub_overflow, x - y)
CALCULATED(multiplied, __builtin_mul_overflow, x * y)
CALCULATED(divided, divide_overflows, x / y)

static df_value *negated(df_value **values, size_t count, const char *type, twin_error *error) {
  df_value *both[] = {df_integer(0), values[0]};
  return subtracted(both, count + 1, type, error);
}

static df_value *absolute(df_value **values, size_t count, const char *type, twin_error *error) {
  return *values[0]->text == '-' ? negated(values, count, type, error) : values[0];
}

/* Below 0, 0 or above 0; 2 where there is no order. */
static int order(const df_value *one, const df_value *other) {
  if (one->type == DF_TEXT && other->type == DF_TEXT) {
    size_t shorter = one->length < other->length ? one->length : other->length;
    int found = memcmp(one->text, other->text, shorter);
    if (found) return found < 0 ? -1 : 1;
    return (one->length > other->length) - (one->length < other->length);
  }
  if (one->type == DF_BOOLEAN && other->type == DF_BOOLEAN) return one->boolean - other->boolean;
  int64_t i, j;
  if (df_as_integer(one, &i) && df_as_integer(other, &j)) return (i > j) - (i < j);
  double x, y;
  if (!df_as_number(one, &x) || !df_as_number(other, &y) || isnan(x) || isnan(y)) return 2;
  return (x > y) - (x < y);
}

#define COMPARED(function, holds)                                                                                    \
  static df_value *function(df_value **values, size_t count, const char *type, twin_error *error) {                  \
    int found = order(values[0], values[1]);                                                                         \
    (void)count, (void)type, (void)error;                                                                            \
    return df_boolean(holds);                                                                                        \
  }

COMPARED(equal, found == 0)
COMPARED(not_equal, found != 0)
COMPARED(less, found == -1)
COMPARED(less_equal, found == -1 || found == 0)
COMPARED(greater, found == 1)
COMPARED(greater_equal, found == 1 || found == 0)

static df_value *between(df_value **values, size_t count, const char *type, twin_error *error) {
  int low = order(values[0], values[1]), high = order(values[0], values[2]);
  (void)count, (void)type, (void)error;
  return df_boolean((low == 0 || low == 1) && (high == 0 || high == -1));
}

static df_value *inverted(df_value **values, size_t count, const char *type, twin_error *error) {
  (void)count, (void)type, (void)error;
  return df_boolean(!values[0]->boolean);
}

static df_value *kleene(df_value **values, bool decides) {
  bool has_null = false;
  for (size_t i = 0; i < 2; i++) {
    if (!df_is_valid(values[i])) has_null = true;
    else if (values[i]->boolean == decides) return df_boolean(decides);
  }
  return has_null ? df_null() : df_boolean(!decides);
}

static df_value *both(df_value **values, size_t count, const char *type, twin_error *error) {
  (void)count, (void)type, (void)error;
  return kleene(values, false);
}

static df_value *either(df_value **values, size_t count, const char *type, twin_error *error) {
  (void)count, (void)type, (void)error;
  return kleene(values, true);
}

static df_value *is_null(df_value **values, size_t count, const char *type, twin_error *error) {
  (void)count, (void)type, (void)error;
  return df_boolean(!df_is_valid(values[0]));
}

static df_value *is_valid(df_value **values, size_t count, const char *type, twin_error *error) {
  (void)count, (void)type, (void)error;
  return df_boolean(df_is_valid(values[0]));
}

static df_value *coalesced(df_value **values, size_t count, const char *type, twin_error *error) {
  for (size_t i = 0; i < count; i++)
    if (df_is_valid(values[i])) return twin_cast(values[i], type, error);
  return df_null();
}

static df_value *chosen(df_value **values, size_t count, const char *type, twin_error *error) {
  (void)count;
  return df_is_valid(values[0]) ? twin_cast(values[values[0]->boolean ? 1 : 2], type, error) : df_null();
}

static const function FUNCTIONS[] = {
    {"add", 2, 2, NUMBERS, added},
    {"add_checked", 2, 2, NUMBERS, added},
    {"subtract", 2, 2, NUMBERS, subtracted},
    {"subtract_checked", 2, 2, NUMBERS, subtracted},
    {"multiply", 2, 2, NUMBERS, multiplied},
    {"multiply_checked", 2, 2, NUMBERS, multiplied},
    {"divide", 2, 2, NUMBERS, divided},
    {"negate_checked", 1, 1, NUMBERS, negated},
    {"abs", 1, 1, NUMBERS, absolute},
    {"equal", 2, 2, ALIKE, equal, .is_condition = true},
    {"not_equal", 2, 2, ALIKE, not_equal, .is_condition = true},
    {"less", 2, 2, ALIKE, less, .is_condition = true},
    {"less_equal", 2, 2, ALIKE, less_equal, .is_condition = true},
    {"greater", 2, 2, ALIKE, greater, .is_condition = true},
    {"greater_equal", 2, 2, ALIKE, greater_equal, .is_condition = true},
    {"between", 3, 3, ALIKE, between, .is_condition = true},
    {"invert", 1, 1, BOOLEANS, inverted, .is_condition = true},
    {"and_kleene", 2, 2, BOOLEANS, both, .sees_nulls = true, .is_condition = true},
    {"or_kleene", 2, 2, BOOLEANS, either, .sees_nulls = true, .is_condition = true},
    {"is_null", 1, 1, ANY, is_null, .sees_nulls = true, .is_condition = true},
    {"is_valid", 1, 1, ANY, is_valid, .sees_nulls = true, .is_condition = true},
    {"coalesce", 1, 100, ALIKE, coalesced, .sees_nulls = true},
    {"if_else", 3, 3, ANY, chosen, .sees_nulls = true},
};

/* What values of a type are, in words; `NULL` for null and for types that the twin knows nothing of. */
static const char *class_of(const char *type) {
  if (twin_is_whole(type) || twin_is_real(type)) return "a number";
  if (!strcmp(type, "bool")) return "a boolean";
  return strcmp(type, "string") && strcmp(type, "large_string") ? NULL : "a text";
}

static bool check(const function *called, twin_column *inputs, size_t count, twin_error *error) {
  if (count < called->least || count > called->most)
    return twin_fail(error, DATAFLARE_DATA_BATCHES_DATA_ERROR_MALFORMED, "%s: it does not take %zu arguments", called->name, count);
  const char *wanted = called->takes == NUMBERS ? "a number" : called->takes == BOOLEANS ? "a boolean" : NULL;
  for (size_t i = 0; called->takes != ANY && i < count; i++) {
    const char *class = class_of(inputs[i].type);
    if (!class) continue;
    if (!wanted) wanted = class;
    if (strcmp(class, wanted)) return twin_wrong_type(error, called->name, inputs[i].name, wanted, inputs[i].type);
  }
  return true;
}

static const char *result_type(const function *called, const twin_column *inputs, size_t count) {
  if (called->is_condition) return "bool";
  const char *found = "null";
  for (size_t i = called->compute == chosen; i < count; i++) {
    if (called->takes == NUMBERS && count == 1) return inputs[i].type;
    if (!strcmp(inputs[i].type, "null") || twin_is_real(found)) continue;
    if (twin_is_real(inputs[i].type)) found = "double";
    else if (twin_is_whole(inputs[i].type)) found = "int64";
    else return inputs[i].type;
  }
  return found;
}

static bool literal(const dataflare_data_expressions_literal_t *given, size_t rows, twin_column *made, twin_error *error) {
  df_value *value = df_null();
  const char *type = "null";
  switch (given->tag) {
    case DATAFLARE_DATA_EXPRESSIONS_LITERAL_NULL_VALUE: break;
    case DATAFLARE_DATA_EXPRESSIONS_LITERAL_BOOLEAN: value = df_boolean(given->val.boolean), type = "bool"; break;
    case DATAFLARE_DATA_EXPRESSIONS_LITERAL_INT64: value = df_integer(given->val.int64), type = "int64"; break;
    case DATAFLARE_DATA_EXPRESSIONS_LITERAL_FLOAT64: value = twin_number(given->val.float64), type = "double"; break;
    case DATAFLARE_DATA_EXPRESSIONS_LITERAL_TEXT: value = df_text(df_c_string(given->val.text)), type = "string"; break;
    default: return twin_only_in_a_component(error, "literals of other types");
  }
  *made = twin_new_column("", type, rows);
  for (size_t row = 0; row < rows; row++) made->cells[row] = value;
  return true;
}

static bool cast(const dataflare_data_expressions_call_t *call, twin_column *input, size_t rows, twin_column *made, twin_error *error) {
  const dataflare_data_expressions_tuple2_string_literal_t *option = call->options.ptr;
  if (call->options.len != 1 || option->f1.tag != DATAFLARE_DATA_EXPRESSIONS_LITERAL_TEXT)
    return twin_fail(error, DATAFLARE_DATA_BATCHES_DATA_ERROR_MALFORMED, "cast: give the option type");
  *made = twin_new_column(input->name, df_c_string(option->f1.val.text), rows);
  for (size_t row = 0; row < rows; row++)
    if (!(made->cells[row] = twin_cast(input->cells[row], made->type, error))) return false;
  return true;
}

static bool call(
    const dataflare_data_expressions_call_t *given, twin_column *known, size_t rows, twin_column *made, twin_error *error) {
  const char *name = df_c_string(given->name);
  size_t count = given->arguments.len;
  twin_column *inputs = df_alloc(count * sizeof *inputs);
  for (size_t i = 0; i < count; i++) inputs[i] = known[given->arguments.ptr[i]];
  if (!strcmp(name, "cast")) return cast(given, inputs, rows, made, error);
  const function *called = NULL;
  for (size_t i = 0; i < DF_COUNT(FUNCTIONS); i++)
    if (!strcmp(FUNCTIONS[i].name, name)) called = &FUNCTIONS[i];
  if (!called || given->options.len) return twin_only_in_a_component(error, df_format("the function %s%s", name, called ? " with options" : ""));
  if (!check(called, inputs, count, error)) return false;
  *made = twin_new_column(count ? inputs[0].name : "", result_type(called, inputs, count), rows);
  df_value **values = df_alloc(count * sizeof *values);
  for (size_t row = 0; row < rows; row++) {
    bool has_null = false;
    for (size_t i = 0; i < count; i++) {
      values[i] = inputs[i].cells[row];
      has_null |= !df_is_valid(values[i]);
    }
    bool is_null = has_null && !called->sees_nulls;
    if (!(made->cells[row] = is_null ? df_null() : called->compute(values, count, made->type, error))) return false;
  }
  return true;
}

static bool evaluate(const twin_batch *batch, const node *each, twin_column *known, twin_column *made, twin_error *error) {
  if (each->tag == DATAFLARE_DATA_EXPRESSIONS_NODE_LITERAL) return literal(&each->val.literal, batch->rows, made, error);
  if (each->tag == DATAFLARE_DATA_EXPRESSIONS_NODE_CALL) return call(&each->val.call, known, batch->rows, made, error);
  const twin_column *found = twin_column_of(batch, each->val.column, error);
  if (found) *made = *found;
  return found;
}

/* The values of all nodes. */
static twin_column *evaluated(const twin_batch *batch, const node_list *nodes, twin_error *error) {
  twin_column *found = df_alloc(nodes->len * sizeof *found);
  for (size_t i = 0; i < nodes->len; i++)
    if (!evaluate(batch, &nodes->ptr[i], found, &found[i], error)) return NULL;
  return found;
}

static bool put_all(
    const twin_batch *batch, twin_batch made, node_list *nodes, output_list *outputs, df_batch *result, twin_error *error) {
  twin_column *found = evaluated(batch, nodes, error);
  if (!found) return false;
  for (size_t i = 0; i < outputs->len; i++) {
    twin_column column = found[outputs->ptr[i].node];
    column.name = df_c_string(outputs->ptr[i].name);
    made = twin_with(&made, column);
  }
  *result = twin_made(made);
  return true;
}

bool dataflare_data_expressions_with_columns(dataflare_data_expressions_borrow_batch_t self, node_list *nodes,
                                             output_list *outputs, df_batch *made, twin_error *error) {
  const twin_batch *batch = twin_of(self);
  return put_all(batch, *batch, nodes, outputs, made, error);
}

bool dataflare_data_expressions_select(dataflare_data_expressions_borrow_batch_t self, node_list *nodes,
                                       output_list *outputs, df_batch *made, twin_error *error) {
  const twin_batch *batch = twin_of(self);
  return put_all(batch, (twin_batch){.rows = batch->rows}, nodes, outputs, made, error);
}

bool dataflare_data_expressions_filter(
    dataflare_data_expressions_borrow_batch_t self, node_list *nodes, df_batch *made, twin_error *error) {
  const twin_batch *batch = twin_of(self);
  twin_column *found = evaluated(batch, nodes, error);
  if (!found) return false;
  size_t *rows = df_alloc(batch->rows * sizeof *rows), count = 0;
  for (size_t row = 0; row < batch->rows; row++) {
    const df_value *holds = found[nodes->len - 1].cells[row];
    if (df_is_valid(holds) && holds->boolean) rows[count++] = row;
  }
  *made = twin_made(twin_rows(batch, rows, count));
  return true;
}
