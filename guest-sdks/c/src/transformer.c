/* Transformers: a batch in, a batch out. */
#include "sdk.h"

const df_common *df_plugin_common(void) { return (const df_common *)&df_transformer_plugin; }

dataflare_plugin_types_kind_t df_plugin_kind(void) { return DATAFLARE_PLUGIN_TYPES_KIND_TRANSFORMER; }

bool exports_dataflare_plugin_transformer_transform(df_batch input, df_batch *output, df_error *error) {
  *output = df_owned(input);
  bool done = df_transformer_plugin.transform(output, error);
  df_drop_batches(done ? output : NULL);
  return done;
}

/* The columns of a batch without rows, transformed. */
bool exports_dataflare_plugin_transformer_output_schema(df_schema *input, df_schema *output, df_error *error) {
  df_batch batch;
  bool done = df_from_json_lines(df_wit_string(""), input, &batch, error) && df_transformer_plugin.transform(&batch, error);
  if (done) *output = df_schema_of(batch);
  df_drop_batches(NULL);
  return done;
}
