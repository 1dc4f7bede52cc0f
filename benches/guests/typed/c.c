/* Marks the flights that are late, and drops those that did not arrive. */
#include "dataflare.h"

static bool process(df_value *record, bool *keep, df_error *error) {
  double delay;
  (void)error;
  *keep = df_as_number(df_get(record, "arr_delay"), &delay);
  if (*keep) df_set(record, "late", df_boolean(delay >= 15));
  return true;
}

static bool process_batch(df_batch *batch, df_error *error) {
  df_numbers delays;
  if (!df_number_column(*batch, "arr_delay", &delays, error)) return false;
  df_booleans late = {df_alloc(delays.count), delays.count, NULL};
  for (size_t row = 0; row < delays.count; row++) late.values[row] = df_has(delays.validity, row) && delays.values[row] >= 15;
  return df_put_booleans(batch, "late", late, error) && df_filter(batch, df_call("is_valid", 1, df_column("arr_delay")), error);
}

const df_processor df_processor_plugin = {.process = process, .process_batch = process_batch};
