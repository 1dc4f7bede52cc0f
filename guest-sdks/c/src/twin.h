/* Batches of the host's twin: columns of JSON values. */
#ifndef DATAFLARE_TWIN_H
#define DATAFLARE_TWIN_H

#include "sdk.h"

typedef dataflare_data_batches_data_error_t twin_error;

typedef struct twin_column {
  const char *name, *type;
  bool nullable;
  df_list_tuple2_string_string_t metadata;
  /* One for each row, none of them `NULL`. A floating-point number may be one that JSON does not have, such as `inf`. */
  df_value **cells;
} twin_column;

typedef struct twin_batch {
  size_t rows, count;
  twin_column *columns;
} twin_batch;

const twin_batch *twin_of(dataflare_data_batches_borrow_batch_t batch);
df_batch twin_made(twin_batch batch);
/* The batch with a column: in the place of the one of its name, or at the end. */
twin_batch twin_with(const twin_batch *batch, twin_column column);
/* These rows of a batch. */
twin_batch twin_rows(const twin_batch *batch, const size_t *rows, size_t count);
const twin_column *twin_column_of(const twin_batch *batch, df_string_t name, twin_error *error);
twin_column twin_new_column(const char *name, const char *type, size_t rows);
/* A value converted to a type; `NULL` with the error if it cannot be. */
df_value *twin_cast(df_value *value, const char *type, twin_error *error);
df_value *twin_number(double value);
bool twin_is_whole(const char *type);
bool twin_is_real(const char *type);
/* Fill the error; returns `false`. */
bool twin_fail(twin_error *error, uint8_t tag, const char *format, ...) DF_PRINTF(3, 4);
bool twin_wrong_type(twin_error *error, const char *function, const char *column, const char *expected, const char *found);
/* For what the twin does not have: no test may pass by chance. */
bool twin_only_in_a_component(twin_error *error, const char *what);

#endif
