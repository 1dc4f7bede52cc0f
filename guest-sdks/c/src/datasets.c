/* Datasets of a source: their columns, and what the host is told of them. */
#include <stdlib.h>
#include <string.h>

#include "source.h"

bool df_is_text(df_string_t text, const char *other) {
  return text.len == strlen(other) && !memcmp(text.ptr, other, text.len);
}

static void add_metadata(dataflare_data_schemas_field_t *field, const char *key, const char *value) {
  df_tuple2_string_string_t *more = df_alloc((field->metadata.len + 1) * sizeof *more);
  for (size_t i = 0; i < field->metadata.len; i++) more[i] = field->metadata.ptr[i];
  more[field->metadata.len] = (df_tuple2_string_string_t){df_wit_string(key), df_wit_string(value)};
  field->metadata.ptr = more;
  field->metadata.len++;
}

bool df_is_role(const df_dataset *dataset, const char *name) {
  if (dataset->cursor && !strcmp(dataset->cursor, name)) return true;
  for (size_t i = 0; i < dataset->key_count; i++)
    if (!strcmp(dataset->key[i], name)) return true;
  return false;
}

df_columns df_columns_of(const df_dataset *dataset) { return (df_columns){dataset->columns, dataset->column_count}; }

bool df_has_column(df_columns columns, df_string_t name) {
  for (size_t i = 0; i < columns.count; i++)
    if (df_is_text(name, columns.items[i].name)) return true;
  return false;
}

bool df_are_same_columns(df_columns columns, df_columns other) {
  if (columns.count != other.count) return false;
  for (size_t i = 0; i < columns.count; i++)
    if (strcmp(columns.items[i].name, other.items[i].name) || strcmp(columns.items[i].type, other.items[i].type)) return false;
  return true;
}

/* Those of the columns that are read. */
df_columns df_chosen_of(const df_dataset *dataset, df_columns columns, const df_list_string_t *chosen) {
  if (!chosen->len) return columns;
  df_field *found = df_alloc(columns.count * sizeof *found);
  size_t count = 0;
  for (size_t i = 0; i < columns.count; i++) {
    bool wanted = df_is_role(dataset, columns.items[i].name);
    for (size_t j = 0; j < chosen->len; j++) wanted |= df_is_text(chosen->ptr[j], columns.items[i].name);
    if (wanted) found[count++] = columns.items[i];
  }
  return (df_columns){found, count};
}

/* Columns, with their roles in the metadata. */
df_schema df_schema_of_columns(const df_dataset *dataset, df_columns columns) {
  df_schema schema = {.fields.ptr = df_alloc(columns.count * sizeof *schema.fields.ptr)};
  for (size_t i = 0; i < columns.count; i++) {
    const df_field *column = &columns.items[i];
    dataflare_data_schemas_field_t *field = &schema.fields.ptr[schema.fields.len++];
    field->name = df_wit_string(column->name);
    field->type_name = df_wit_string(column->type);
    field->nullable = true;
    for (size_t j = 0; j < dataset->key_count; j++)
      if (!strcmp(dataset->key[j], column->name)) add_metadata(field, "dataflare.key", df_format("%zu", j));
    if (dataset->cursor && !strcmp(dataset->cursor, column->name)) add_metadata(field, "dataflare.role", "cursor");
  }
  return schema;
}

dataflare_plugin_datasets_reading_modes_t df_modes_of(const df_dataset *dataset) {
  const uint8_t full = DATAFLARE_PLUGIN_DATASETS_READING_MODES_FULL, new = DATAFLARE_PLUGIN_DATASETS_READING_MODES_INCREMENTAL;
  uint8_t modes = dataset->modes ? dataset->modes : full | new;
  return dataset->cursor ? modes : modes & (uint8_t)~new;
}

bool exports_dataflare_plugin_source_discover(exports_dataflare_plugin_source_list_dataset_t *list, df_error *error) {
  df_datasets found = {0};
  bool done = df_source_plugin.datasets(&found, error);
  list->ptr = df_alloc(found.count * sizeof *list->ptr);
  list->len = found.count;
  for (size_t i = 0; i < found.count; i++) {
    const df_dataset *dataset = &found.items[i];
    dataflare_plugin_datasets_dataset_t *said = &list->ptr[i];
    said->name.namespace_ = df_wit_string("");
    said->name.name = df_wit_string(dataset->name);
    said->description = df_wit_string(dataset->description ? dataset->description : "");
    said->schema = df_schema_of_columns(dataset, df_columns_of(dataset));
    said->key = (df_list_string_t){df_alloc(dataset->key_count * sizeof(df_string_t)), dataset->key_count};
    for (size_t j = 0; j < dataset->key_count; j++) said->key.ptr[j] = df_wit_string(dataset->key[j]);
    said->cursors = (df_list_string_t){df_alloc(sizeof(df_string_t)), df_modes_of(dataset) & DATAFLARE_PLUGIN_DATASETS_READING_MODES_INCREMENTAL ? 1 : 0};
    if (said->cursors.len) said->cursors.ptr[0] = df_wit_string(dataset->cursor);
    said->modes = df_modes_of(dataset);
    if (said->modes & DATAFLARE_PLUGIN_DATASETS_READING_MODES_CHANGES)
      said->modes |= DATAFLARE_PLUGIN_DATASETS_READING_MODES_UNBOUNDED;
    if (dataset->splittable) said->modes |= DATAFLARE_PLUGIN_DATASETS_READING_MODES_SPLITTABLE;
  }
  df_drop_batches(NULL);
  return done;
}

const df_dataset *df_dataset_of(const char *name, df_error_kind kind, df_error *error) {
  df_datasets found = {0};
  if (!df_source_plugin.datasets(&found, error)) return NULL;
  const char *known = "";
  for (size_t i = 0; i < found.count; i++) {
    if (!strcmp(found.items[i].name, name)) return &found.items[i];
    known = df_format("%s%s%s", known, i ? ", " : "", found.items[i].name);
  }
  df_fail(error, kind, "there is no dataset \"%s\", only %s", name, known);
  return NULL;
}
