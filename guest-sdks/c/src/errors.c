/* Errors and the log. */
#include <stdio.h>

#include "sdk.h"

bool df_fail(df_error *error, df_error_kind kind, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  error->tag = (uint8_t)kind;
  /* All texts are at the same place. */
  error->val.invalid_config = df_wit_string(df_format_list(format, arguments));
  va_end(arguments);
  return false;
}

bool df_rate_limited(df_error *error, uint32_t milliseconds) {
  error->tag = DATAFLARE_PLUGIN_TYPES_ERROR_RATE_LIMITED;
  error->val.rate_limited = milliseconds;
  return false;
}

const char *df_error_text(const df_error *error) {
  switch (error->tag) {
    case DATAFLARE_PLUGIN_TYPES_ERROR_DATA:
    case DATAFLARE_PLUGIN_TYPES_ERROR_RATE_LIMITED:
    case DATAFLARE_PLUGIN_TYPES_ERROR_CANCELLED: return "";
    default: return df_c_string(error->val.invalid_config);
  }
}

void df_log(df_level level, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  df_string_t text = df_wit_string(df_format_list(format, arguments));
  va_end(arguments);
  df_list_tuple2_string_string_t none = {0};
  dataflare_host_logging_log((dataflare_host_logging_level_t)level, &text, &none);
}

/* There may be no memory for a text of any length. */
static _Noreturn void panic(const char *place, const char *format, va_list arguments) {
  char text[1024];
  int length = snprintf(text, sizeof text, "%s", place);
  if (length >= 0 && (size_t)length < sizeof text) vsnprintf(text + length, sizeof text - (size_t)length, format, arguments);
  df_string_t message = df_wit_string(text);
  df_list_tuple2_string_string_t none = {0};
  dataflare_host_logging_log(DATAFLARE_HOST_LOGGING_LEVEL_ERROR, &message, &none);
  __builtin_trap();
}

_Noreturn void df_panic(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  panic("", format, arguments);
}

_Noreturn void df_panic_at(const char *file, int line, const char *format, ...) {
  char place[512];
  snprintf(place, sizeof place, "%s:%d: ", file, line);
  va_list arguments;
  va_start(arguments, format);
  panic(place, format, arguments);
}
