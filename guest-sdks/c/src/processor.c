/* Processors: one record in, one record out, or none. */
#include <stdlib.h>
#include <string.h>

#include "sdk.h"

const df_common *df_plugin_common(void) { return (const df_common *)&df_processor_plugin; }

dataflare_plugin_types_kind_t df_plugin_kind(void) { return DATAFLARE_PLUGIN_TYPES_KIND_PROCESSOR; }

static df_value *read_record(const char *text, size_t length, df_error *error) {
  const char *wrong = "it is not an object";
  df_value *record = df_parse(text, length, &wrong);
  if (record && record->type == DF_OBJECT) return record;
  df_fail(error, DF_INVALID_INPUT, "the record: %s", wrong);
  return NULL;
}

static bool process(const char *text, size_t length, df_string_t *changed, bool *keep, df_error *error) {
  df_value *record = read_record(text, length, error);
  *keep = true;
  if (!record || !df_processor_plugin.process(record, keep, error)) return false;
  if (*keep) *changed = df_write(record);
  return true;
}

bool exports_dataflare_plugin_processor_process(df_string_t *input, df_option_string_t *output, df_error *error) {
  bool done = process((const char *)input->ptr, input->len, &output->val, &output->is_some, error);
  df_drop_batches(NULL);
  return done;
}

/* The lines of changed records; they outlive the memory of each. */
typedef struct lines { char *text; size_t length, room; } lines;

static void add_line(lines *out, df_string_t line) {
  if (out->room - out->length < line.len + 1) {
    out->room = (out->room + line.len + 1) * 2;
    out->text = realloc(out->text, out->room);
    if (!out->text) df_panic("out of memory: %zu bytes were asked for", out->room);
  }
  memcpy(out->text + out->length, line.ptr, line.len);
  out->length += line.len;
  out->text[out->length++] = '\n';
}

static bool process_rows(df_string_t rows, lines *out, df_error *error) {
  const char *at = (const char *)rows.ptr, *end = at + rows.len;
  for (size_t row = 0; at < end; row++) {
    const char *line_end = memchr(at, '\n', (size_t)(end - at));
    df_mark mark = df_mark_memory();
    df_string_t changed;
    bool keep;
    if (!process(at, (size_t)(line_end - at), &changed, &keep, error)) {
      if (error->tag == DATAFLARE_PLUGIN_TYPES_ERROR_INVALID_INPUT)
        return df_fail(error, DF_INVALID_INPUT, "row %zu: %s", row, df_error_text(error));
      return false;
    }
    if (keep) add_line(out, changed);
    df_rewind(mark);
    at = line_end + 1;
  }
  return true;
}

/* Read the lines; columns that the input has keep their types and metadata. */
static bool read_lines(lines *out, df_batch *batch, df_error *error) {
  df_string_t text = {(uint8_t *)out->text, out->length};
  df_schema known = df_schema_of(*batch);
  df_batch made;
  if (!df_from_json_lines(text, NULL, &made, error)) return false;
  df_schema schema = df_schema_of(made);
  for (size_t i = 0; i < schema.fields.len; i++)
    for (size_t j = 0; j < known.fields.len; j++) {
      dataflare_data_schemas_field_t *field = &schema.fields.ptr[i], *had = &known.fields.ptr[j];
      if (field->name.len == had->name.len && !memcmp(field->name.ptr, had->name.ptr, had->name.len)) *field = *had;
    }
  return df_from_json_lines(text, &schema, batch, error);
}

static bool process_batch(df_batch *batch, df_error *error) {
  df_string_t rows;
  bool done = dataflare_data_batches_method_batch_to_json_lines(df_borrowed(*batch), &rows, &error->val.data);
  if (!df_done(done, error)) return false;
  lines out = {0};
  done = process_rows(rows, &out, error) &&
         (out.length ? read_lines(&out, batch, error) : df_slice(batch, 0, 0, error));
  free(out.text);
  return done;
}

bool exports_dataflare_plugin_processor_process_batch(df_batch input, df_batch *output, df_error *error) {
  *output = df_owned(input);
  bool done = df_processor_plugin.process_batch ? df_processor_plugin.process_batch(output, error) : process_batch(output, error);
  df_drop_batches(done ? output : NULL);
  return done;
}
