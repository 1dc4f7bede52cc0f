/* A log of changes whose events are in the configuration, for tests; a position is the number of events before it. */
#include <stdlib.h>
#include <string.h>

#include "dataflare.h"

/* The events as JSON. */
static const char *text;
static const df_option options[] = {{"events", DF_TEXT_OPTION, &text}};

static size_t count;
static char **events;
/* Where the log goes on. */
static int64_t at;
static bool failed;
static int64_t safe = -1;

#define CHANGES DATAFLARE_PLUGIN_DATASETS_READING_MODES_CHANGES

static const df_field orders[] = {{"id", "int64"}, {"note", "string"}};
static const df_field lines[] = {{"order", "int64"}, {"line", "int64"}, {"what", "string"}};
static const char *const id[] = {"id"}, *const order[] = {"order", "line"};
/* Two with a key, and one that is read in no test. */
static const df_dataset all[] = {
    {"orders", .columns = orders, .column_count = 2, .key = id, .key_count = 1, .modes = CHANGES},
    {"lines", .columns = lines, .column_count = 3, .key = order, .key_count = 2, .modes = CHANGES},
    {"others", .columns = orders, .column_count = 1, .key = id, .key_count = 1, .modes = CHANGES},
};

static bool datasets(df_datasets *found, df_error *error) {
  (void)error;
  *found = (df_datasets){all, DF_COUNT(all)};
  return true;
}

static bool acknowledge(const df_value *state, df_error *error) {
  (void)error;
  df_as_integer(state, &safe);
  return true;
}

static const char *health(void) { return safe < 0 ? "" : df_format("safe: %d", (int)safe); }

static bool initialize(df_error *error) {
  const char *wrong = "give a list";
  df_value *list = df_parse(text, strlen(text), &wrong);
  if (!list || list->type != DF_LIST) return df_fail(error, DF_INVALID_CONFIG, "events: %s", wrong);
  events = calloc(list->count + 1, sizeof *events);
  if (!events) df_panic("out of memory");
  for (count = 0; count < list->count; count++) events[count] = df_keep_text(df_c_string(df_write(list->items[count])));
  return true;
}

static bool changes(const df_value *position, const df_dataset *read, size_t read_count, df_error *error) {
  (void)read, (void)read_count;
  at = 0;
  if (position) df_as_integer(position, &at);
  return (size_t)at <= count || df_fail(error, DF_INVALID_STATE, "the log is shorter");
}

static df_columns columns_of(const df_value *said) {
  df_field *fields = df_alloc(said->count * sizeof *fields);
  for (size_t i = 0; i < said->count; i++) fields[i] = (df_field){said->names[i], said->items[i]->text};
  return (df_columns){fields, said->count};
}

static bool next_event(df_event *event, df_error *error) {
  const char *wrong;
  while ((size_t)at < count) {
    df_value *said = df_parse(events[at], strlen(events[at]), &wrong), *of = said->items[0];
    const char *what = said->names[0];
    at++;
    *event = (df_event){.dataset = of->text, .row = df_get(said, "row"), .old_key = df_get(said, "was")};
    if (!strcmp(what, "insert")) event->type = DF_INSERT;
    else if (!strcmp(what, "update")) event->type = DF_UPDATE;
    else if (!strcmp(what, "delete")) event->type = DF_DELETE;
    else if (!strcmp(what, "schema")) {
      event->type = DF_NEW_SCHEMA;
      event->columns = columns_of(df_get(said, "columns"));
    } else if (!strcmp(what, "commit")) {
      event->type = DF_COMMIT;
      event->position = df_integer(at);
    } else if (!strcmp(what, "idle")) {
      int64_t wait = 0;
      df_as_integer(of, &wait);
      *event = (df_event){DF_IDLE, .retry_after_ms = (uint32_t)wait};
    } else if (!failed) {
      /* What comes after it is read by the next call. */
      failed = true;
      return strcmp(what, "fail") || df_fail(error, DF_UNAVAILABLE, "%s", of->text);
    } else {
      continue;
    }
    return true;
  }
  return true;
}

const df_source df_source_plugin = {
    .options = options,
    .option_count = DF_COUNT(options),
    .initialize = initialize,
    .health = health,
    .datasets = datasets,
    .acknowledge = acknowledge,
    .changes = changes,
    .next_event = next_event,
};
