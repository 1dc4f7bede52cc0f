/* The configuration: read into the variables that its options name, and described as a JSON Schema. */
#include <string.h>

#include "sdk.h"

static const char *const TYPES[] = {"string", "integer", "number", "boolean"};
static const char *const IN_WORDS[] = {"a text that is not empty", "a whole number", "a number", "true or false"};

static bool put(const df_option *option, const df_value *value) {
  switch (option->type) {
    case DF_TEXT_OPTION:
      if (value->type != DF_TEXT || !value->length || strlen(value->text) != value->length) return false;
      /* Kept for good: configurations are small, and come once or twice. */
      *(const char **)option->into = df_keep_text(value->text);
      return true;
    case DF_INTEGER_OPTION: return df_as_integer(value, option->into);
    case DF_NUMBER_OPTION: return df_as_number(value, option->into);
    case DF_BOOLEAN_OPTION:
      if (value->type != DF_BOOLEAN) return false;
      *(bool *)option->into = value->boolean;
      return true;
  }
  return false;
}

static const char *known(const df_option *options, size_t count) {
  if (!count) return "there are none";
  const char *text = "there are";
  for (size_t i = 0; i < count; i++) text = df_format("%s%s %s", text, i ? "," : "", options[i].name);
  return text;
}

static df_value *parsed_default(const df_option *option) {
  const char *wrong = "";
  df_value *value = df_parse(option->otherwise, strlen(option->otherwise), &wrong);
  if (!value) df_panic("the default of the option %s is not JSON: %s", option->name, wrong);
  return value;
}

bool df_configure(const df_option *options, size_t count, df_string_t config, df_error *error) {
  const char *wrong = "it is not an object";
  const df_value *given = df_parse((const char *)config.ptr, config.len, &wrong);
  if (!given || given->type != DF_OBJECT) return df_fail(error, DF_INVALID_CONFIG, "the configuration: %s", wrong);
  for (size_t i = 0; i < given->count; i++) {
    size_t place = 0;
    while (place < count && strcmp(options[place].name, given->names[i])) place++;
    if (place == count)
      return df_fail(error, DF_INVALID_CONFIG, "%s: there is no such option, %s", given->names[i], known(options, count));
  }
  for (size_t i = 0; i < count; i++) {
    const df_option *option = &options[i];
    const df_value *value = df_get(given, option->name);
    if (!value && !option->otherwise) return df_fail(error, DF_INVALID_CONFIG, "%s: it is missing", option->name);
    if (!put(option, value ? value : parsed_default(option)))
      return df_fail(error, DF_INVALID_CONFIG, "%s: give %s", option->name, IN_WORDS[option->type]);
  }
  return true;
}

df_string_t df_config_schema(const df_option *options, size_t count) {
  df_value *schema = df_object(), *properties = df_object(), *required = df_list();
  df_set(schema, "type", df_text("object"));
  df_set(schema, "properties", properties);
  for (size_t i = 0; i < count; i++) {
    df_value *property = df_object();
    df_set(property, "type", df_text(TYPES[options[i].type]));
    if (options[i].type == DF_TEXT_OPTION) df_set(property, "minLength", df_integer(1));
    if (options[i].description) df_set(property, "description", df_text(options[i].description));
    if (options[i].otherwise) df_set(property, "default", parsed_default(&options[i]));
    else df_append(required, df_text(options[i].name));
    df_set(properties, options[i].name, property);
  }
  if (required->count) df_set(schema, "required", required);
  df_set(schema, "additionalProperties", df_boolean(false));
  return df_write(schema);
}
