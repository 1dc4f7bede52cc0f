/* What plugins of all kinds export. */
#include "plugin_info.h"
#include "sdk.h"

static bool is_configured;

void exports_dataflare_plugin_lifecycle_get_metadata(dataflare_plugin_types_metadata_t *metadata) {
  const df_common *plugin = df_plugin_common();
  metadata->name = df_wit_string(DF_PLUGIN_NAME);
  metadata->version = df_wit_string(DF_PLUGIN_VERSION);
  metadata->kind = df_plugin_kind();
  metadata->description = df_wit_string(DF_PLUGIN_DESCRIPTION);
  metadata->config_schema = df_config_schema(plugin->options, plugin->option_count);
}

bool exports_dataflare_plugin_lifecycle_configure(df_string_t *config, df_error *error) {
  const df_common *plugin = df_plugin_common();
  is_configured = df_configure(plugin->options, plugin->option_count, *config, error) &&
                  (!plugin->configured || plugin->configured(error));
  df_drop_batches(NULL);
  return is_configured;
}

bool exports_dataflare_plugin_lifecycle_initialize(df_error *error) {
  const df_common *plugin = df_plugin_common();
  if (!is_configured) return df_fail(error, DF_UNSUPPORTED, "`configure` comes first");
  bool done = !plugin->initialize || plugin->initialize(error);
  df_drop_batches(NULL);
  return done;
}

bool exports_dataflare_plugin_lifecycle_shutdown(df_error *error) {
  const df_common *plugin = df_plugin_common();
  bool done = !plugin->shutdown || plugin->shutdown(error);
  df_drop_batches(NULL);
  return done;
}

void exports_dataflare_plugin_lifecycle_health_check(dataflare_plugin_types_health_t *health) {
  const df_common *plugin = df_plugin_common();
  const char *message = plugin->health ? plugin->health() : NULL;
  bool healthy = !message || !*message;
  health->status = healthy ? DATAFLARE_PLUGIN_TYPES_HEALTH_STATUS_HEALTHY : DATAFLARE_PLUGIN_TYPES_HEALTH_STATUS_UNHEALTHY;
  health->message = df_wit_string(message ? message : "");
}
