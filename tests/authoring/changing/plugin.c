/* Rows of which the last two have a column more, for tests: `described` says whether the dataset has that column. */
#include "dataflare.h"

static bool described;

static const df_option options[] = {{"described", DF_BOOLEAN_OPTION, &described, .otherwise = "false"}};

static const df_field fields[] = {{"id", "int64"}, {"name", "string"}, {"age", "int32"}};
static const char *const key[] = {"id"};

static bool datasets(df_datasets *found, df_error *error) {
  (void)error;
  df_dataset *all = df_alloc(sizeof *all);
  *all = (df_dataset){"people", .columns = fields, .column_count = described ? 3 : 2, .key = key, .key_count = 1};
  *found = (df_datasets){all, 1};
  return true;
}

static int64_t place(const df_request *request) {
  int64_t at = 0;
  if (request->state) df_as_integer(request->state, &at);
  return at;
}

/* The first rows have the old columns in any case. */
static bool columns_at(const df_request *request, df_columns *columns, df_error *error) {
  (void)error;
  if (described && place(request) <= 2) *columns = (df_columns){fields, 2};
  return true;
}

static bool read(const df_request *request, df_chunk *chunk, bool *ended, df_error *error) {
  int64_t at = place(request);
  *ended = at >= 4;
  if (*ended) return true;
  const char *name = df_format("n%d", (int)at);
  chunk->state = df_integer(at + 1);
  if (at == 2) chunk->columns = (df_columns){fields, 3};
  chunk->rows = df_new_batch(1);
  if (!df_put_integers(&chunk->rows, "id", (df_integers){&at, 1, NULL}, error)) return false;
  if (!df_put(&chunk->rows, "name", df_literal_text(name), error)) return false;
  return at < 2 || df_put_integers(&chunk->rows, "age", (df_integers){&at, 1, NULL}, error);
}

const df_source df_source_plugin = {
    .options = options,
    .option_count = DF_COUNT(options),
    .datasets = datasets,
    .columns_at = columns_at,
    .read = read,
};
