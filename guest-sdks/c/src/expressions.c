/* Expressions: trees in the plugin, lists of nodes for the host. */
#include "sdk.h"

struct df_expression {
  dataflare_data_expressions_node_t node;
  df_expression **arguments;
  size_t count;
  /* Where it is in the list that was made last. */
  uint64_t list;
  uint32_t place;
};

static df_expression *literal(uint8_t tag) {
  df_expression *made = df_alloc(sizeof *made);
  made->node.tag = DATAFLARE_DATA_EXPRESSIONS_NODE_LITERAL;
  made->node.val.literal.tag = tag;
  return made;
}

df_expression *df_column(const char *name) {
  df_expression *made = df_alloc(sizeof *made);
  made->node.tag = DATAFLARE_DATA_EXPRESSIONS_NODE_COLUMN;
  made->node.val.column = df_wit_string(df_c_string(df_wit_string(name)));
  return made;
}

df_expression *df_literal_null(void) { return literal(DATAFLARE_DATA_EXPRESSIONS_LITERAL_NULL_VALUE); }

df_expression *df_literal_boolean(bool value) {
  df_expression *made = literal(DATAFLARE_DATA_EXPRESSIONS_LITERAL_BOOLEAN);
  made->node.val.literal.val.boolean = value;
  return made;
}

df_expression *df_literal_integer(int64_t value) {
  df_expression *made = literal(DATAFLARE_DATA_EXPRESSIONS_LITERAL_INT64);
  made->node.val.literal.val.int64 = value;
  return made;
}

df_expression *df_literal_number(double value) {
  df_expression *made = literal(DATAFLARE_DATA_EXPRESSIONS_LITERAL_FLOAT64);
  made->node.val.literal.val.float64 = value;
  return made;
}

df_expression *df_literal_text(const char *value) {
  df_expression *made = literal(DATAFLARE_DATA_EXPRESSIONS_LITERAL_TEXT);
  made->node.val.literal.val.text = df_wit_string(df_c_string(df_wit_string(value)));
  return made;
}

df_expression *df_call(const char *function, size_t count, ...) {
  df_expression *made = df_alloc(sizeof *made);
  made->node.tag = DATAFLARE_DATA_EXPRESSIONS_NODE_CALL;
  made->node.val.call.name = df_wit_string(function);
  made->arguments = df_alloc(count * sizeof *made->arguments);
  made->count = count;
  va_list arguments;
  va_start(arguments, count);
  for (size_t i = 0; i < count; i++) made->arguments[i] = va_arg(arguments, df_expression *);
  va_end(arguments);
  return made;
}

df_expression *df_call_option(df_expression *call, const char *name, const df_expression *value) {
  if (call->node.tag != DATAFLARE_DATA_EXPRESSIONS_NODE_CALL || value->node.tag != DATAFLARE_DATA_EXPRESSIONS_NODE_LITERAL)
    df_panic("the option %s: options belong to calls, and are literals", name);
  dataflare_data_expressions_list_tuple2_string_literal_t *options = &call->node.val.call.options;
  dataflare_data_expressions_tuple2_string_literal_t *more = df_alloc((options->len + 1) * sizeof *more);
  for (size_t i = 0; i < options->len; i++) more[i] = options->ptr[i];
  more[options->len] = (dataflare_data_expressions_tuple2_string_literal_t){df_wit_string(name), value->node.val.literal};
  options->ptr = more;
  options->len++;
  return call;
}

df_expression *df_cast(df_expression *value, const char *type_name) {
  return df_call_option(df_call("cast", 1, value), "type", df_literal_text(type_name));
}

#define OPERATOR(name, function)                                                                                   \
  df_expression *name(df_expression *left, df_expression *right) { return df_call(function, 2, left, right); }

OPERATOR(df_add, "add_checked")
OPERATOR(df_subtract, "subtract_checked")
OPERATOR(df_multiply, "multiply_checked")
OPERATOR(df_divide, "divide")
OPERATOR(df_equal, "equal")
OPERATOR(df_less, "less")
OPERATOR(df_greater, "greater")
OPERATOR(df_and, "and_kleene")
OPERATOR(df_or, "or_kleene")

df_expression *df_not(df_expression *value) { return df_call("invert", 1, value); }

df_expression *df_between(df_expression *value, df_expression *low, df_expression *high) {
  return df_call("between", 3, value, low, high);
}

/* An upper bound of the nodes: one that occurs twice counts twice. */
static size_t size_of(const df_expression *expression) {
  size_t found = 1;
  for (size_t i = 0; i < expression->count; i++) found += size_of(expression->arguments[i]);
  return found;
}

static uint32_t put(df_expression *expression, uint64_t list, dataflare_data_expressions_list_node_t *nodes) {
  if (expression->list == list) return expression->place;
  dataflare_data_expressions_node_t node = expression->node;
  if (node.tag == DATAFLARE_DATA_EXPRESSIONS_NODE_CALL) {
    uint32_t *places = df_alloc(expression->count * sizeof *places);
    for (size_t i = 0; i < expression->count; i++) places[i] = put(expression->arguments[i], list, nodes);
    node.val.call.arguments.ptr = places;
    node.val.call.arguments.len = expression->count;
  }
  expression->list = list;
  expression->place = (uint32_t)nodes->len;
  nodes->ptr[nodes->len++] = node;
  return expression->place;
}

dataflare_data_expressions_list_node_t df_nodes(df_expression **expressions, size_t count, uint32_t *places) {
  static uint64_t lists;
  size_t most = 0;
  for (size_t i = 0; i < count; i++) most += size_of(expressions[i]);
  dataflare_data_expressions_list_node_t nodes = {df_alloc(most * sizeof *nodes.ptr), 0};
  lists++;
  for (size_t i = 0; i < count; i++) places[i] = put(expressions[i], lists, &nodes);
  return nodes;
}
