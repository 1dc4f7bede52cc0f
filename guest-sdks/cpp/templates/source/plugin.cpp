// Makes rows of consecutive numbers, and continues where a read ended.
#include "dataflare.hpp"

#include <algorithm>
#include <vector>

namespace {

// The configuration: its JSON Schema, and the checks of what the operator writes, come from the options.
struct {
  std::int64_t rows;
} config;

const df_option options[] = {
    {"rows", DF_INTEGER_OPTION, &config.rows, "10", "How many rows to make."},
};

bool configured(df_error *error) {
  return config.rows >= 0 || df_fail(error, DF_INVALID_CONFIG, "rows: give at least 0");
}

const df_field columns[] = {{"id", "int64"}, {"square", "int64"}};
const char *const key[] = {"id"};
const df_dataset all[] = {
    {.name = "numbers", .columns = columns, .column_count = DF_COUNT(columns), .key = key, .key_count = DF_COUNT(key)},
};

bool datasets(df_datasets *found, df_error *) {
  *found = {all, DF_COUNT(all)};
  return true;
}

// Give rows, and the state from which a later read continues: the next number.
bool read(const df_request *request, df_chunk *chunk, bool *ended, df_error *error) {
  std::int64_t begin = 0;
  if (request->state && !df_as_integer(request->state, &begin))
    return df_fail(error, DF_INVALID_STATE, "the state is not a number");
  std::int64_t end = std::min(config.rows, begin + static_cast<std::int64_t>(request->max_rows));
  *ended = begin >= end;
  if (*ended) return true;
  std::vector<std::int64_t> ids, squares;
  for (std::int64_t id = begin; id < end; id++) {
    ids.push_back(id);
    squares.push_back(id * id);
  }
  chunk->rows = df_new_batch(ids.size());
  chunk->state = df_integer(end);
  return df_put_integers(&chunk->rows, "id", {ids.data(), ids.size(), nullptr}, error) &&
         df_put_integers(&chunk->rows, "square", {squares.data(), squares.size(), nullptr}, error);
}

}  // namespace

const df_source df_source_plugin = {
    .options = options,
    .option_count = DF_COUNT(options),
    .configured = configured,
    .datasets = datasets,
    .read = read,
};
