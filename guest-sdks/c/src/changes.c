/* Reads of logs of changes: what `next_event` gives, in chunks whose rows have their operation. */
#include <stdlib.h>
#include <string.h>

#include "source.h"

/* A quiet dataset in a busy log: without rows, the host keeps the position after so many events all the same. */
#define MOST_PASSED 65536
#define NOT_READ ((size_t)-1)

typedef enum operation { INSERTED, UPDATED, DELETED } operation;

/* The read that is under way, kept between calls. */
static struct {
  bool is_open;
  df_kept_request *tables;
  size_t count;
  /* The position of the last commit, as JSON; `NULL` before the first. */
  char *position;
  /* Whether the plugin goes on from where it is; otherwise the log begins anew from the position. */
  bool goes_on;
  /* Events after the last commit: how many were taken, and how many of them come again. */
  size_t since, again;
  /* Rows of one table that were not given yet, each as JSON, and how many of them the position covers. */
  size_t place, safe, row_count, room;
  char **rows;
  /* The event that waits until these rows are given, as JSON. */
  char *held;
  bool given_since_state;
  size_t passed;
  /* The dataset of the last event that was passed over. */
  char *other;
} reading;

/* A dataset that is read, in a call: the columns that its rows have now, and those that the host gets. */
typedef struct table {
  df_request request;
  df_columns chosen;
  const char *operation;
  df_schema schema;
} table;

static void columns_are(table *to, df_columns columns) {
  const df_dataset *dataset = to->request.dataset;
  to->request.columns = columns;
  to->operation = "_operation";
  while (df_has_column(columns, df_wit_string(to->operation))) to->operation = df_format("%s_", to->operation);
  to->chosen = df_chosen_of(dataset, columns, &to->request.chosen);
  df_schema schema = df_schema_of_columns(dataset, to->chosen);
  dataflare_data_schemas_field_t *fields = df_alloc((schema.fields.len + 1) * sizeof *fields);
  if (schema.fields.len) memcpy(fields, schema.fields.ptr, schema.fields.len * sizeof *fields);
  df_tuple2_string_string_t *role = df_alloc(sizeof *role);
  *role = (df_tuple2_string_string_t){df_wit_string("dataflare.role"), df_wit_string("operation")};
  fields[schema.fields.len++] = (dataflare_data_schemas_field_t){
      .name = df_wit_string(to->operation), .type_name = df_wit_string("int8"), .metadata = {role, 1}};
  schema.fields.ptr = fields;
  to->schema = schema;
}

/* The tables of the read that is under way; `NULL` with an error. */
static table *tables_again(df_error *error) {
  table *tables = df_alloc(reading.count * sizeof *tables);
  for (size_t i = 0; i < reading.count; i++) {
    if (!df_request_again(&reading.tables[i], &tables[i].request, error)) return NULL;
    columns_are(&tables[i], tables[i].request.columns);
  }
  return tables;
}

/* Rows. */

static void add_row(df_value *row, const table *of, operation operation) {
  df_set(row, of->operation, df_integer(operation));
  if (reading.row_count == reading.room) {
    reading.room = reading.room ? reading.room * 2 : 64;
    reading.rows = realloc(reading.rows, reading.room * sizeof *reading.rows);
    if (!reading.rows) df_panic("out of memory for %zu rows", reading.room);
  }
  reading.rows[reading.row_count++] = df_kept_value(row);
}

static bool wrong(const table *of, df_error *error, const char *what, const char *column, const char *more) {
  return df_fail(error, DF_INVALID_INPUT, "dataset \"%s\": %s \"%s\"%s", of->request.dataset->name, what, column, more);
}

/* The columns of the key, each with a value; `NULL` with an error. */
static df_value *key_of(const table *of, const df_value *row, df_error *error) {
  const df_dataset *dataset = of->request.dataset;
  df_value *key = df_object();
  for (size_t i = 0; i < dataset->key_count; i++) {
    df_value *value = row ? df_get(row, dataset->key[i]) : NULL;
    if (!df_is_valid(value)) {
      wrong(of, error, "a change lacks the key column", dataset->key[i], "");
      return NULL;
    }
    df_set(key, dataset->key[i], value);
  }
  return key;
}

/* A copy of a row whose columns are known; `NULL` with an error. */
static df_value *whole(const table *of, const df_value *row, df_error *error) {
  if (!row || row->type != DF_OBJECT) {
    df_fail(error, DF_INVALID_INPUT, "dataset \"%s\": a row is not an object", of->request.dataset->name);
    return NULL;
  }
  df_value *copy = df_object();
  for (size_t i = 0; i < row->count; i++) {
    if (!df_has_column(of->request.columns, df_wit_string(row->names[i]))) {
      wrong(of, error, "the rows have a column", row->names[i],
            ", which its schema lacks: name it there, leave it out, or give a new schema first");
      return NULL;
    }
    df_set(copy, row->names[i], row->items[i]);
  }
  return copy;
}

/* Add the rows that say what happened. */
static bool add_rows(const table *of, const df_event *event, df_error *error) {
  if (event->type == DF_DELETE) {
    df_value *key = key_of(of, event->row, error);
    if (key) add_row(key, of, DELETED);
    return key;
  }
  df_value *row = whole(of, event->row, error), *key = row ? key_of(of, row, error) : NULL, *before = NULL;
  if (!key) return false;
  if (event->type == DF_UPDATE) {
    for (size_t i = 0; i < of->chosen.count; i++)
      if (!df_get(row, of->chosen.items[i].name))
        return wrong(of, error, "an update lacks the column", of->chosen.items[i].name, ": it has the values of all columns");
    if (event->old_key && !(before = key_of(of, event->old_key, error))) return false;
  }
  bool moves = before && !df_is_same_value(before, key);
  if (moves) add_row(before, of, DELETED);
  add_row(row, of, event->type == DF_INSERT || moves ? INSERTED : UPDATED);
  return true;
}

/* Events. */

static const df_value *position(void) { return df_parsed(reading.position); }

static bool follow(const table *tables, df_error *error) {
  if (!df_source_plugin.changes || !df_source_plugin.next_event)
    return df_fail(error, DF_INTERNAL, "dataset \"%s\": the source has no `changes` and `next_event`", tables->request.dataset->name);
  df_dataset *datasets = df_alloc(reading.count * sizeof *datasets);
  for (size_t i = 0; i < reading.count; i++) datasets[i] = *tables[i].request.dataset;
  return reading.goes_on = df_source_plugin.changes(position(), datasets, reading.count, error);
}

/* The next event that was not taken yet. After an error or an end, the log begins anew from its last commit. */
static bool pull(const table *tables, df_event *event, df_error *error) {
  if (!reading.goes_on) {
    reading.again = reading.since;
    if (!follow(tables, error)) return false;
  }
  for (;;) {
    *event = (df_event){0};
    reading.goes_on = df_source_plugin.next_event(event, error);
    if (!reading.goes_on || event->type == DF_IDLE) return reading.goes_on;
    if (event->type == DF_END) break;
    if (reading.again) {
      reading.again--;
      continue;
    }
    reading.since = event->type == DF_COMMIT ? 0 : reading.since + 1;
    return true;
  }
  reading.goes_on = false;
  if (reading.again)
    return df_fail(error, DF_INVALID_STATE, "the changes after the last commit are not those that were read before");
  event->type = DF_IDLE;
  return true;
}

/* An event as JSON, for the next call. */
static char *kept_event(const df_event *event) {
  df_value *said = df_object();
  df_set(said, "type", df_integer(event->type));
  df_set(said, "retry", df_integer(event->retry_after_ms));
  if (event->dataset) df_set(said, "dataset", df_text(event->dataset));
  if (event->row) df_set(said, "row", event->row);
  if (event->old_key) df_set(said, "old", event->old_key);
  df_value *columns = df_list();
  for (size_t i = 0; i < event->columns.count; i++) {
    df_append(columns, df_text(event->columns.items[i].name));
    df_append(columns, df_text(event->columns.items[i].type));
  }
  df_set(said, "columns", columns);
  return df_kept_value(said);
}

static df_event event_again(const char *kept) {
  const df_value *said = df_parsed(kept), *dataset = df_get(said, "dataset"), *columns = df_get(said, "columns");
  int64_t type, retry;
  df_as_integer(df_get(said, "type"), &type);
  df_as_integer(df_get(said, "retry"), &retry);
  df_event event = {(df_event_type)type, .row = df_get(said, "row"), .old_key = df_get(said, "old"), .retry_after_ms = (uint32_t)retry};
  if (dataset) event.dataset = dataset->text;
  df_field *fields = df_alloc(columns->count / 2 * sizeof *fields);
  for (size_t i = 0; i < columns->count / 2; i++)
    fields[i] = (df_field){columns->items[2 * i]->text, columns->items[2 * i + 1]->text};
  event.columns = (df_columns){fields, columns->count / 2};
  return event;
}

static bool take(const table *tables, df_event *event, df_error *error) {
  if (!reading.held) return pull(tables, event, error);
  *event = event_again(reading.held);
  free(reading.held);
  reading.held = NULL;
  return true;
}

/* Which selection an event's dataset is. */
static bool find_place(const table *tables, const df_event *event, size_t *place, df_error *error) {
  *place = NOT_READ;
  if (event->type == DF_COMMIT || event->type == DF_IDLE) return true;
  if (event->type > DF_IDLE || !event->dataset)
    return df_fail(error, DF_INTERNAL, "`next_event` gave an event of the type %d without a dataset", event->type);
  for (size_t i = 0; i < reading.count; i++)
    if (!strcmp(tables[i].request.dataset->name, event->dataset)) *place = i;
  if (*place != NOT_READ || (reading.other && !strcmp(reading.other, event->dataset))) return true;
  if (!df_dataset_of(event->dataset, DF_INVALID_INPUT, error)) return false;
  free(reading.other);
  reading.other = df_keep_text(event->dataset);
  return true;
}

/* What the host gets. */

static const char *state(const table *tables) {
  df_request *requests = df_alloc(reading.count * sizeof *requests);
  for (size_t i = 0; i < reading.count; i++) requests[i] = tables[i].request;
  return df_c_string(df_encoded_changes(requests, reading.count, position()));
}

/* Give rows, up to the last commit if there is one among them. */
static bool give(const table *tables, size_t max_rows, df_progress *found, df_error *error) {
  size_t count = reading.safe ? reading.safe : reading.row_count, length = 0;
  if (count > max_rows) count = max_rows;
  for (size_t i = 0; i < count; i++) length += strlen(reading.rows[i]) + 1;
  char *lines = df_alloc_raw(length + 1), *end = lines;
  for (size_t i = 0; i < count; i++) {
    size_t size = strlen(reading.rows[i]);
    memcpy(end, reading.rows[i], size);
    end += size;
    *end++ = '\n';
    free(reading.rows[i]);
  }
  reading.row_count -= count;
  if (count) memmove(reading.rows, reading.rows + count, reading.row_count * sizeof *reading.rows);
  bool is_safe = count == reading.safe;
  reading.safe = reading.safe > count ? reading.safe - count : 0;
  reading.given_since_state = !is_safe;
  reading.passed = 0;
  *found = (df_progress){DF_ROWS, .selection = reading.place, .state = is_safe ? state(tables) : NULL};
  df_schema schema = tables[reading.place].schema;
  return df_from_json_lines((df_string_t){(uint8_t *)lines, length}, &schema, &found->rows, error);
}

/* Take an event; `*done` if it gives the host something. */
static bool step(table *tables, const df_event *event, size_t place, bool *done, df_progress *found, df_error *error) {
  if (event->type == DF_IDLE) {
    *done = true;
    *found = (df_progress){DF_PAUSE, .retry_after_ms = event->retry_after_ms ? event->retry_after_ms : DF_RETRY_MS};
    if (reading.position && !reading.given_since_state) found->state = state(tables);
  } else if (event->type == DF_COMMIT) {
    if (!event->position) return df_fail(error, DF_INTERNAL, "`next_event` gave a commit without a position");
    free(reading.position);
    reading.position = df_kept_value(event->position);
    reading.safe = reading.row_count;
  } else if (place == NOT_READ) {
    reading.passed++;
  } else if (event->type == DF_NEW_SCHEMA) {
    df_columns before = tables[place].chosen;
    columns_are(&tables[place], event->columns);
    free(reading.tables[place].columns);
    reading.tables[place].columns = df_kept_value(df_written_columns(tables[place].request.dataset, event->columns));
    /* Otherwise it is about columns that are not read. */
    *done = !df_are_same_columns(tables[place].chosen, before);
    if (!*done) return true;
    reading.given_since_state = true;
    *found = (df_progress){DF_CHANGE, .selection = place, .schema = tables[place].schema};
  } else {
    reading.place = place;
    return add_rows(&tables[place], event, error);
  }
  return true;
}

bool df_read_log(size_t max_rows, df_progress *found, df_error *error) {
  table *tables = tables_again(error);
  if (!tables) return false;
  for (bool done = false; !done;) {
    df_mark mark = df_mark_memory();
    bool is_full = reading.row_count >= max_rows;
    df_event event;
    size_t place;
    if (!take(tables, &event, error) || !find_place(tables, &event, &place, error)) return false;
    bool is_of_others = place != NOT_READ && (event.type == DF_NEW_SCHEMA || place != reading.place);
    /* The commit of the last row that fits belongs to the chunk. */
    if (reading.row_count && ((is_full && event.type != DF_COMMIT) || is_of_others || event.type == DF_IDLE)) {
      reading.held = kept_event(&event);
      return give(tables, max_rows, found, error);
    }
    if (!step(tables, &event, place, &done, found, error)) return false;
    bool is_quiet = !reading.row_count && (reading.given_since_state || reading.passed >= MOST_PASSED);
    if (event.type == DF_COMMIT && (is_full || is_quiet)) return give(tables, max_rows, found, error);
    /* Columns that are new stay for the rest of the call. */
    if (!done && event.type != DF_NEW_SCHEMA) df_rewind(mark);
  }
  return true;
}

bool df_is_log_open(void) { return reading.is_open; }

bool df_open_log(const df_requests *requests, exports_dataflare_plugin_source_list_schema_t *schemas, df_error *error) {
  reading.is_open = true;
  reading.count = requests->count;
  reading.position = df_kept_value(requests->items[0].state);
  reading.tables = calloc(reading.count, sizeof *reading.tables);
  if (!reading.tables) df_panic("out of memory for %zu datasets", reading.count);
  for (size_t i = 0; i < reading.count; i++) reading.tables[i] = df_keep_request(&requests->items[i]);
  table *tables = tables_again(error);
  if (!tables || !follow(tables, error)) {
    df_close_log();
    return false;
  }
  schemas->ptr = df_alloc(reading.count * sizeof *schemas->ptr);
  schemas->len = reading.count;
  for (size_t i = 0; i < reading.count; i++) schemas->ptr[i] = tables[i].schema;
  return true;
}

void df_close_log(void) {
  for (size_t i = 0; i < reading.count; i++) df_forget_request(&reading.tables[i]);
  for (size_t i = 0; i < reading.row_count; i++) free(reading.rows[i]);
  free(reading.tables);
  free(reading.rows);
  free(reading.position);
  free(reading.held);
  free(reading.other);
  memset(&reading, 0, sizeof reading);
}
