/* What the parts of sources have in common. */
#ifndef DATAFLARE_SOURCE_H
#define DATAFLARE_SOURCE_H

#include "sdk.h"

typedef exports_dataflare_plugin_source_list_selection_t df_selections;

/* When the host asks again, where the source does not say. */
#define DF_RETRY_MS 1000

/* Datasets and their columns. */

bool df_is_text(df_string_t text, const char *other);
dataflare_plugin_datasets_reading_modes_t df_modes_of(const df_dataset *dataset);
/* The dataset of a name; `NULL` with an error of this kind if there is none. */
const df_dataset *df_dataset_of(const char *name, df_error_kind kind, df_error *error);
/* Whether a column is the cursor, or one of the key. */
bool df_is_role(const df_dataset *dataset, const char *name);
df_columns df_columns_of(const df_dataset *dataset);
bool df_has_column(df_columns columns, df_string_t name);
bool df_are_same_columns(df_columns columns, df_columns other);
/* Those of the columns that are read. */
df_columns df_chosen_of(const df_dataset *dataset, df_columns columns, const df_list_string_t *chosen);
/* Columns, with their roles in the metadata. */
df_schema df_schema_of_columns(const df_dataset *dataset, df_columns columns);
/* Columns, as the states of all SDKs have them; and what was written so. */
df_value *df_written_columns(const df_dataset *dataset, df_columns columns);
bool df_read_columns(const df_value *list, df_columns *columns);

/* Requests, and the states that belong to them. */

typedef struct df_requests { df_request *items; size_t count; bool are_of_log; } df_requests;

/* Check what the host selects, against what there is: one dataset, or several of one log of changes. */
bool df_requests_of(const df_selections *list, const df_list_u8_t *part, const df_list_u8_t *state, df_requests *found, df_error *error);
/* Write a part, with the read that it belongs to. */
df_string_t df_encoded_part(const df_request *request, df_value *part);
/* Write a state, with the read that it belongs to, and the columns of the rows that follow where the dataset has others. */
df_string_t df_encoded_state(const df_request *request, df_columns columns, const df_value *state);
/* Write a state of a log: what its datasets have now can come later in the log, so that it has all their columns. */
df_string_t df_encoded_changes(const df_request *requests, size_t count, const df_value *position);
bool df_is_same_value(const df_value *value, const df_value *other);

/* What is kept of a request between calls. */
typedef struct df_kept_request {
  char *dataset;
  /* The columns that rows have now, as a state has them. */
  char *columns;
  /* The names of the columns that are read; none for all. */
  df_list_string_t chosen;
} df_kept_request;

df_kept_request df_keep_request(const df_request *request);
void df_forget_request(df_kept_request *kept);
/* Fill dataset, columns and chosen columns of a request. */
bool df_request_again(const df_kept_request *kept, df_request *request, df_error *error);
/* A value as JSON that lives until it is given to `free`; and such a text as a value. `NULL` stays `NULL`. */
char *df_kept_value(const df_value *value);
const df_value *df_parsed(const char *kept);

/* What comes next in a read: rows of a selection, with the state after them as the host keeps it where there is a safe point, the
 * schema of the rows that follow, or a pause with such a state. */
typedef struct df_progress {
  enum { DF_ROWS, DF_CHANGE, DF_PAUSE, DF_ENDED } type;
  size_t selection;
  df_batch rows;
  const char *state;
  df_schema schema;
  uint32_t retry_after_ms;
} df_progress;

/* Reads of logs of changes. */

bool df_open_log(const df_requests *requests, exports_dataflare_plugin_source_list_schema_t *schemas, df_error *error);
bool df_is_log_open(void);
bool df_read_log(size_t max_rows, df_progress *found, df_error *error);
void df_close_log(void);

#endif
