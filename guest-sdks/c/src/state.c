/* The state that the host has for the plugin: values by key. */
#include "sdk.h"

static bool done(bool done, const dataflare_host_state_state_error_t *found, df_error *error) {
  if (done) return true;
  switch (found->tag) {
    case DATAFLARE_HOST_STATE_STATE_ERROR_UNAVAILABLE:
      return df_fail(error, DF_UNAVAILABLE, "%s", df_c_string(found->val.unavailable));
    case DATAFLARE_HOST_STATE_STATE_ERROR_VALUE_TOO_LARGE:
      return df_fail(error, DF_INTERNAL, "the state: a value is longer than %u bytes", found->val.value_too_large);
    case DATAFLARE_HOST_STATE_STATE_ERROR_QUOTA_EXCEEDED:
      return df_fail(error, DF_INTERNAL, "the state: it would hold more than %u bytes", found->val.quota_exceeded);
    case DATAFLARE_HOST_STATE_STATE_ERROR_INVALID_KEY:
      return df_fail(error, DF_INTERNAL, "the state: the key is not valid: %s", df_c_string(found->val.invalid_key));
    default: return df_fail(error, DF_INTERNAL, "the state: %s", df_c_string(found->val.other));
  }
}

bool df_state_get(const char *key, df_value **value, df_error *error) {
  df_string_t name = df_wit_string(key);
  df_option_list_u8_t found;
  dataflare_host_state_state_error_t failure;
  if (!done(dataflare_host_state_get(&name, &found, &failure), &failure, error)) return false;
  *value = NULL;
  const char *wrong = "";
  if (found.is_some) *value = df_parse((const char *)found.val.ptr, found.val.len, &wrong);
  if (found.is_some && !*value) return df_fail(error, DF_INTERNAL, "the state: the value of %s is not JSON: %s", key, wrong);
  return true;
}

bool df_state_set(const char *key, const df_value *value, df_error *error) {
  df_string_t name = df_wit_string(key), text = df_write(value);
  df_list_u8_t bytes = {text.ptr, text.len};
  dataflare_host_state_state_error_t failure;
  return done(dataflare_host_state_set(&name, &bytes, &failure), &failure, error);
}
