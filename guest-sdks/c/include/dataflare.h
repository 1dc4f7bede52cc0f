/* DataFlare plugins in C.
 *
 * A plugin defines one constant of its kind, such as `const df_processor df_processor_plugin = { .process = process };`.
 * Functions that can fail return `false` and fill the error: `return df_fail(error, DF_INVALID_INPUT, "...")`.
 *
 * Memory and batches belong to the call: what these functions return lives until the plugin returns to the host, and
 * nothing is freed by hand. `df_keep_text` and `df_keep_batch` keep something longer.
 */
#ifndef DATAFLARE_H
#define DATAFLARE_H

#include "df.h"

#ifdef __cplusplus
extern "C" {
#endif

#define DF_PRINTF(format, first) __attribute__((__format__(__printf__, format, first)))
#define DF_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Errors, by what the caller can do about them. */

/* Why a call failed. */
typedef dataflare_plugin_types_error_t df_error;

typedef enum df_error_kind {
  /* The configuration is wrong: the operator must change it. */
  DF_INVALID_CONFIG = DATAFLARE_PLUGIN_TYPES_ERROR_INVALID_CONFIG,
  /* This record or batch is wrong; others may be right. */
  DF_INVALID_INPUT = DATAFLARE_PLUGIN_TYPES_ERROR_INVALID_INPUT,
  /* The state, part or token does not belong here: begin without it. */
  DF_INVALID_STATE = DATAFLARE_PLUGIN_TYPES_ERROR_INVALID_STATE,
  /* The host refused something: the operator must grant it. */
  DF_DENIED = DATAFLARE_PLUGIN_TYPES_ERROR_DENIED,
  /* Something outside cannot be reached now: a retry can help. */
  DF_UNAVAILABLE = DATAFLARE_PLUGIN_TYPES_ERROR_UNAVAILABLE,
  /* A newer run has replaced this one. */
  DF_SUPERSEDED = DATAFLARE_PLUGIN_TYPES_ERROR_SUPERSEDED,
  /* The plugin does not do this. */
  DF_UNSUPPORTED = DATAFLARE_PLUGIN_TYPES_ERROR_UNSUPPORTED,
  /* A fault of the plugin. */
  DF_INTERNAL = DATAFLARE_PLUGIN_TYPES_ERROR_INTERNAL,
  /* Anything else. */
  DF_OTHER = DATAFLARE_PLUGIN_TYPES_ERROR_OTHER,
} df_error_kind;

/* Fill the error with a text; returns `false`. */
bool df_fail(df_error *error, df_error_kind kind, const char *format, ...) DF_PRINTF(3, 4);
/* Fill the error with the time after which a retry can help; returns `false`. */
bool df_rate_limited(df_error *error, uint32_t milliseconds);
/* The text of an error that `df_fail` filled; empty for one that has none. */
const char *df_error_text(const df_error *error);
/* Log a text, with the file and the line, and end the instance: for what must never happen. */
__attribute__((__noreturn__)) void df_panic(const char *format, ...) DF_PRINTF(1, 2);
__attribute__((__noreturn__)) void df_panic_at(const char *file, int line, const char *format, ...) DF_PRINTF(3, 4);
#define df_panic(...) df_panic_at(__FILE__, __LINE__, __VA_ARGS__)

/* Memory and texts of the call. */

/* Memory, all zeros. */
void *df_alloc(size_t size);
/* A text, as `printf` makes it. */
char *df_format(const char *format, ...) DF_PRINTF(1, 2);
/* A text of the host as a C string. */
char *df_c_string(df_string_t text);
/* A C string for the host. */
df_string_t df_wit_string(const char *text);
/* A copy of a text that lives until it is given to `free`. */
char *df_keep_text(const char *text);

/* Log. */

typedef enum df_level {
  DF_TRACE = DATAFLARE_HOST_LOGGING_LEVEL_TRACE,
  DF_DEBUG = DATAFLARE_HOST_LOGGING_LEVEL_DEBUG,
  DF_INFO = DATAFLARE_HOST_LOGGING_LEVEL_INFO,
  DF_WARN = DATAFLARE_HOST_LOGGING_LEVEL_WARN,
  DF_ERROR = DATAFLARE_HOST_LOGGING_LEVEL_ERROR,
} df_level;

/* Write an event to the operator's log. What is printed to stdout and stderr goes there too. */
void df_log(df_level level, const char *format, ...) DF_PRINTF(2, 3);

/* JSON values. */

typedef enum df_type { DF_NULL, DF_BOOLEAN, DF_NUMBER, DF_TEXT, DF_LIST, DF_OBJECT } df_type;

/* A value. Members of objects keep their order, numbers their digits. */
typedef struct df_value {
  df_type type;
  bool boolean;
  /* Of a text: the text in UTF-8. Of a number: its digits. A zero byte follows. */
  const char *text;
  size_t length;
  /* Of a list: its items. Of an object: the values of its members. */
  struct df_value **items;
  /* Of an object: the names of its members. */
  const char **names;
  size_t count;
  size_t room;
} df_value;

/* Read a text. `NULL` if it is not JSON: `*wrong` then says why. */
df_value *df_parse(const char *text, size_t length, const char **wrong);
/* Write a value, without white space. */
df_string_t df_write(const df_value *value);
df_value *df_null(void);
df_value *df_boolean(bool value);
df_value *df_integer(int64_t value);
/* A floating-point number; null for one that JSON does not have, such as infinity. */
df_value *df_number(double value);
df_value *df_text(const char *text);
df_value *df_list(void);
df_value *df_object(void);
/* The value of a member; `NULL` if there is none. */
df_value *df_get(const df_value *object, const char *name);
/* Set a member: in its place, or at the end. */
void df_set(df_value *object, const char *name, df_value *value);
/* Remove a member, if there is one. */
void df_remove(df_value *object, const char *name);
void df_append(df_value *list, df_value *value);
/* Whether there is a value other than null. */
bool df_is_valid(const df_value *value);
/* The value as a whole number; `false` if it is not one of 64 bits. */
bool df_as_integer(const df_value *value, int64_t *found);
/* The value as the nearest double; `false` if it is not a number. */
bool df_as_number(const df_value *value, double *found);
/* A text without white space at its ends, as Unicode defines white space. */
const char *df_trim(const char *text);

/* Expressions: the host computes them, and no value comes into the plugin. */

typedef struct df_expression df_expression;

df_expression *df_column(const char *name);
df_expression *df_literal_null(void);
df_expression *df_literal_boolean(bool value);
df_expression *df_literal_integer(int64_t value);
df_expression *df_literal_number(double value);
df_expression *df_literal_text(const char *value);
/* A function of the host, of `count` expressions. docs/reference/expressions.md lists them. */
df_expression *df_call(const char *function, size_t count, ...);
/* Set an option of a call; returns the call. The value is a literal. */
df_expression *df_call_option(df_expression *call, const char *name, const df_expression *literal);
df_expression *df_cast(df_expression *value, const char *type_name);
df_expression *df_add(df_expression *left, df_expression *right);
df_expression *df_subtract(df_expression *left, df_expression *right);
df_expression *df_multiply(df_expression *left, df_expression *right);
df_expression *df_divide(df_expression *left, df_expression *right);
df_expression *df_equal(df_expression *left, df_expression *right);
df_expression *df_less(df_expression *left, df_expression *right);
df_expression *df_greater(df_expression *left, df_expression *right);
df_expression *df_and(df_expression *left, df_expression *right);
df_expression *df_or(df_expression *left, df_expression *right);
df_expression *df_not(df_expression *value);
df_expression *df_between(df_expression *value, df_expression *low, df_expression *high);

/* Batches. */

/* Rows, kept by the host. */
typedef dataflare_data_batches_own_batch_t df_batch;
typedef dataflare_data_schemas_schema_t df_schema;

/* Views of columns: `values` has one value for each row; `validity` is a bitmap, or `NULL` if no row is null. */
typedef struct df_integers { int64_t *values; size_t count; uint64_t *validity; } df_integers;
typedef struct df_numbers { double *values; size_t count; uint64_t *validity; } df_numbers;
typedef struct df_booleans { bool *values; size_t count; uint64_t *validity; } df_booleans;
/* Row `i` is the bytes `offsets[i]` to `offsets[i + 1]` of `text`. */
typedef struct df_texts { uint32_t *offsets; char *text; size_t count; uint64_t *validity; } df_texts;

/* Whether a row has a value. */
static inline bool df_has(const uint64_t *validity, size_t row) {
  return !validity || (validity[row / 64] >> (row % 64) & 1);
}

size_t df_rows(df_batch batch);
df_schema df_schema_of(df_batch batch);
bool df_integer_column(df_batch batch, const char *name, df_integers *view, df_error *error);
bool df_number_column(df_batch batch, const char *name, df_numbers *view, df_error *error);
bool df_boolean_column(df_batch batch, const char *name, df_booleans *view, df_error *error);
bool df_text_column(df_batch batch, const char *name, df_texts *view, df_error *error);

/* A batch never changes: each of these puts another one, which shares what is equal, in its place. */
bool df_put_integers(df_batch *batch, const char *name, df_integers values, df_error *error);
bool df_put_numbers(df_batch *batch, const char *name, df_numbers values, df_error *error);
bool df_put_booleans(df_batch *batch, const char *name, df_booleans values, df_error *error);
bool df_put_texts(df_batch *batch, const char *name, df_texts values, df_error *error);
/* Add a computed column, or put it in the place of the one of this name. */
bool df_put(df_batch *batch, const char *name, df_expression *value, df_error *error);
/* Keep the rows for which an expression is true. */
bool df_filter(df_batch *batch, df_expression *condition, df_error *error);
bool df_slice(df_batch *batch, size_t offset, size_t length, df_error *error);
bool df_cast_column(df_batch *batch, const char *name, const char *type_name, df_error *error);
bool df_select(df_batch *batch, const char *const *names, size_t count, df_error *error);

/* A batch of rows without columns. */
df_batch df_new_batch(size_t rows);
/* A batch of JSON Lines; without a schema (`NULL`) the host infers it. */
bool df_from_json_lines(df_string_t lines, df_schema *schema, df_batch *batch, df_error *error);
/* The rows as objects. */
bool df_records(df_batch batch, df_value ***records, df_error *error);
/* Keep a batch after the call, until `dataflare_data_batches_batch_drop_own`. */
df_batch df_keep_batch(df_batch batch);

/* The state that the host has for the plugin: `needs: [state]` in plugin.yaml. */

/* The value of a key; `*value` is `NULL` if there is none. */
bool df_state_get(const char *key, df_value **value, df_error *error);
bool df_state_set(const char *key, const df_value *value, df_error *error);

/* Configuration. */

typedef enum df_option_type { DF_TEXT_OPTION, DF_INTEGER_OPTION, DF_NUMBER_OPTION, DF_BOOLEAN_OPTION } df_option_type;

/* A key of the configuration. The JSON Schema, and the checks of what the operator writes, come from it. */
typedef struct df_option {
  const char *name;
  df_option_type type;
  /* Where the value is written to: a `const char *`, an `int64_t`, a `double` or a `bool`. */
  void *into;
  /* The value of an absent key, as JSON; without one the key is required. */
  const char *otherwise;
  const char *description;
} df_option;

/* What all kinds have in common. Everything may be left out. */
#define DF_COMMON                                                                                                    \
  const df_option *options;                                                                                          \
  size_t option_count;                                                                                               \
  /* The configuration is read: check what the types of options cannot say. */                                       \
  bool (*configured)(df_error * error);                                                                              \
  /* Get ready. Comes once, after the configuration. */                                                              \
  bool (*initialize)(df_error * error);                                                                              \
  /* Let everything go. Comes once, at the end. */                                                                   \
  bool (*shutdown)(df_error * error);                                                                                \
  /* What is wrong, for the operator; `NULL` or an empty text where nothing is. */                                   \
  const char *(*health)(void)

typedef struct df_common { DF_COMMON; } df_common;

/* Processors. */

typedef struct df_processor {
  DF_COMMON;
  /* Change the record, an object; `*keep = false` drops it. */
  bool (*process)(df_value *record, bool *keep, df_error *error);
  /* The same for a batch. By default `process`, record by record: columns keep their types, those of new ones are inferred. */
  bool (*process_batch)(df_batch *batch, df_error *error);
} df_processor;

extern const df_processor df_processor_plugin;

/* Transformers. */

typedef struct df_transformer {
  DF_COMMON;
  /* Change the batch. */
  bool (*transform)(df_batch *batch, df_error *error);
} df_transformer;

extern const df_transformer df_transformer_plugin;

/* Validators. */

typedef enum df_severity { DF_SEVERITY_ERROR, DF_SEVERITY_WARNING, DF_SEVERITY_INFO } df_severity;

typedef struct df_rule {
  const char *name;
  /* What must hold, in one line. */
  const char *description;
  df_severity severity;
  /* The column that it is about; `NULL` if it is not a single one. */
  const char *column;
  /* True for good rows; rows where it is null are good too. */
  df_expression *holds;
} df_rule;

typedef struct df_rules { df_rule *items; size_t count; } df_rules;

typedef struct df_validator {
  DF_COMMON;
  /* Say what must hold, with `df_add_rule`. */
  bool (*rules)(df_rules *rules, df_error *error);
} df_validator;

void df_add_rule(df_rules *rules, df_rule rule);

extern const df_validator df_validator_plugin;

/* Sources. */

typedef struct df_field { const char *name; const char *type; } df_field;

typedef struct df_columns { const df_field *items; size_t count; } df_columns;

typedef struct df_dataset {
  const char *name;
  const char *description;
  /* The columns: names and Arrow types. */
  const df_field *columns;
  size_t column_count;
  /* The columns that tell rows apart. */
  const char *const *key;
  size_t key_count;
  /* The column that rows are ordered by; with one, the dataset can be read incrementally. */
  const char *cursor;
  /* Whether `split` can cut it into parts. */
  bool splittable;
  /* How it can be read: flags `DATAFLARE_PLUGIN_DATASETS_READING_MODES_...`. 0 means: full, and with a cursor, incremental. */
  dataflare_plugin_datasets_reading_modes_t modes;
} df_dataset;

typedef struct df_datasets { const df_dataset *items; size_t count; } df_datasets;

/* A read that a source is asked for. */
typedef struct df_request {
  const df_dataset *dataset;
  /* Whether only the rows after the state's cursor are wanted. */
  bool incremental;
  /* Where the read came to, as the last chunk had it; `NULL` at the beginning. */
  const df_value *state;
  /* The columns that rows have after the state: the dataset's, or those that the last chunk with columns had. */
  df_columns columns;
  /* The names of the columns that the host asks for; none for all. Chunks may have more. */
  df_list_string_t chosen;
  /* The part that is wanted, as `split` made it; `NULL` for all. */
  const df_value *part;
  /* The most rows that the host takes at a time. */
  size_t max_rows;
} df_request;

typedef struct df_chunk {
  df_batch rows;
  /* The state after the rows: anything that JSON has. */
  df_value *state;
  /* The columns of these rows and of those that follow; none: as before. Where they are others than before, the host is told
   * first. Key and cursor stay those of the dataset. Reads that continue after the chunk know them. */
  df_columns columns;
} df_chunk;

/* Something that happened in a log of changes. */
typedef enum df_event_type {
  /* Nothing more is there for now: the log begins anew from its last commit when the host asks again. */
  DF_END,
  /* A row is new. */
  DF_INSERT,
  /* A row as it is now. */
  DF_UPDATE,
  /* A row is gone. */
  DF_DELETE,
  /* The dataset's rows that follow have other columns. */
  DF_NEW_SCHEMA,
  /* The end of a transaction. Rows count only with it. */
  DF_COMMIT,
  /* Nothing to read for now; the log goes on from here when the host asks again. */
  DF_IDLE,
} df_event_type;

typedef struct df_event {
  df_event_type type;
  /* The name of the dataset that it is about. */
  const char *dataset;
  /* An object: of an update, the values of all columns; of a delete, those of the key, where those of others do not count. */
  df_value *row;
  /* Of an update: the values of the key's columns before, where they can have changed. If they did, it becomes a delete of the old
   * key and an insert of the new one. */
  df_value *old_key;
  /* Of a new schema: the columns. Key and cursor stay those of the dataset. */
  df_columns columns;
  /* Of a commit: the position after it, anything that JSON has. */
  df_value *position;
  /* Of a pause: when the host asks again; 0 for one second. */
  uint32_t retry_after_ms;
} df_event;

typedef struct df_source {
  DF_COMMON;
  /* What there is to read. */
  bool (*datasets)(df_datasets *found, df_error *error);
  /* The next rows, and the state after them; `*ended = true` where there are none. */
  bool (*read)(const df_request *request, df_chunk *chunk, bool *ended, df_error *error);
  /* The columns of the rows after the request's state, where they are not those of the request: for a source whose older rows had
   * other columns than the dataset has now. */
  bool (*columns_at)(const df_request *request, df_columns *columns, df_error *error);
  /* Parts of what is left of a read that can be made side by side, at most so many: fill the list. */
  bool (*split)(const df_request *request, size_t at_most, df_value *parts, df_error *error);
  /* How many rows a read has; `*known = false` where it is not known. */
  bool (*estimate)(const df_request *request, uint64_t *rows, bool *known, df_error *error);
  /* The host has kept everything up to this state. */
  bool (*acknowledge)(const df_value *state, df_error *error);
  /* For datasets with the mode of changes: begin to give what happened after a position, the one of a commit. `NULL` stands for the
   * beginning: the rows that exist come first, as inserts. Of a log of several datasets, these are read; events of others may be
   * left out. After an end and after an error, it comes again with the position of the last commit; the events since then that were
   * taken before have to come again, and do not count twice. If the changes after the position are gone: `DF_INVALID_STATE`. */
  bool (*changes)(const df_value *position, const df_dataset *datasets, size_t count, df_error *error);
  /* The next event, in order. Every transaction ends with a commit, and so do rows and new schemas outside of one. What it allocates
   * lives until the next event. */
  bool (*next_event)(df_event *event, df_error *error);
} df_source;

extern const df_source df_source_plugin;

/* Destinations. */

/* A dataset that is written to. Name and namespace together identify it. */
typedef struct df_target {
  /* Where it lives, such as a database schema; empty if nowhere special. */
  const char *namespace_;
  const char *name;
  dataflare_plugin_datasets_writing_mode_t mode;
  /* The columns that tell rows apart. */
  const char **key;
  size_t key_count;
} df_target;

typedef struct df_rejected { exports_dataflare_plugin_destination_rejected_row_t *items; size_t count; } df_rejected;

typedef exports_dataflare_plugin_destination_run_name_t df_run;

typedef struct df_destination {
  DF_COMMON;
  /* What it can do: flags `EXPORTS_DATAFLARE_PLUGIN_DESTINATION_ABILITY_...`. 0 means: append. A target of another mode is refused,
   * and so is a change of columns without the ability for it. */
  exports_dataflare_plugin_destination_ability_t abilities;
  /* Begin a run; `token` is the one that the last run kept, where there are tokens. */
  bool (*open)(const df_run *run, const df_target *targets, size_t count, df_option_list_u8_t *token, df_error *error);
  /* Take rows; say with `df_reject` which are not written. */
  bool (*write)(const df_target *target, df_batch rows, df_rejected *rejected, df_error *error);
  /* Rows of other columns follow. */
  bool (*change_schema)(const df_target *target, const df_schema *schema, df_error *error);
  /* Make what was written last, with the token; `*safe = false`: only `finish` does. */
  bool (*flush)(df_list_u8_t token, bool *safe, df_error *error);
  /* End the run: make all of it visible. May come again after an error. */
  bool (*finish)(df_list_u8_t token, df_error *error);
  /* End the run: nothing of it stays that was not flushed. */
  bool (*abort)(df_error *error);
} df_destination;

/* Send a row back; `column` may be `NULL`. */
void df_reject(df_rejected *rejected, size_t row, const char *column, const char *format, ...) DF_PRINTF(4, 5);

extern const df_destination df_destination_plugin;

#ifdef __cplusplus
}
#endif
#endif
