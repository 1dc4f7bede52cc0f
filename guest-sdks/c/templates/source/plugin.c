/* Makes rows of consecutive numbers, and continues where a read ended. */
#include "dataflare.h"

/* The configuration: its JSON Schema, and the checks of what the operator writes, come from the options. */
static struct {
  int64_t rows;
} config;

static const df_option options[] = {
    {"rows", DF_INTEGER_OPTION, &config.rows, .otherwise = "10", .description = "How many rows to make."},
};

static bool configured(df_error *error) {
  if (config.rows < 0) return df_fail(error, DF_INVALID_CONFIG, "rows: give at least 0");
  return true;
}

static const df_field columns[] = {{"id", "int64"}, {"square", "int64"}};
static const char *const key[] = {"id"};
static const df_dataset all[] = {
    {"numbers", .columns = columns, .column_count = DF_COUNT(columns), .key = key, .key_count = DF_COUNT(key)},
};

static bool datasets(df_datasets *found, df_error *error) {
  (void)error;
  *found = (df_datasets){all, DF_COUNT(all)};
  return true;
}

/* Give rows, and the state from which a later read continues: the next number. */
static bool read(const df_request *request, df_chunk *chunk, bool *ended, df_error *error) {
  int64_t begin = 0;
  if (request->state && !df_as_integer(request->state, &begin))
    return df_fail(error, DF_INVALID_STATE, "the state is not a number");
  int64_t left = config.rows - begin;
  *ended = left <= 0;
  if (*ended) return true;
  size_t count = (size_t)left < request->max_rows ? (size_t)left : request->max_rows;
  df_integers ids = {df_alloc(count * sizeof(int64_t)), count, NULL};
  df_integers squares = {df_alloc(count * sizeof(int64_t)), count, NULL};
  for (size_t i = 0; i < count; i++) {
    ids.values[i] = begin + (int64_t)i;
    squares.values[i] = ids.values[i] * ids.values[i];
  }
  chunk->rows = df_new_batch(count);
  chunk->state = df_integer(begin + (int64_t)count);
  return df_put_integers(&chunk->rows, "id", ids, error) && df_put_integers(&chunk->rows, "square", squares, error);
}

const df_source df_source_plugin = {
    .options = options,
    .option_count = DF_COUNT(options),
    .configured = configured,
    .datasets = datasets,
    .read = read,
};
