/* Unit tests that run natively, without a component: the host's part is played by a twin in memory.
 *
 * The twin has the log (on stderr), the state, batches of numbers, booleans and texts, and the functions of expressions that
 * plugins use most. For anything else it says so: test that by the cases in `tests/cases`, which run in the sandbox.
 *
 * Rows are lines, each a record in JSON with its columns in order. What a test is given lives until it ends. */
#ifndef DATAFLARE_TEST_H
#define DATAFLARE_TEST_H

#include "dataflare.h"

#ifdef __cplusplus
extern "C" {
#endif

void df_test_add(const char *name, void (*test)(void));
__attribute__((__noreturn__)) void df_test_fail(const char *file, int line, const char *format, ...) DF_PRINTF(3, 4);
void df_test_check_text(const char *file, int line, const char *found, const char *wanted);

/* Give the plugin a configuration, as JSON, and have it get ready; the test fails if it refuses. */
void df_test_configure(const char *config);
/* The same; returns the text of the error, `NULL` if there is none. */
const char *df_test_refusal(const char *config);
/* Give a processor a record, as JSON; returns what comes of it, `NULL` if it is dropped. */
df_value *df_test_process(const char *record);
/* Give a transformer or a processor rows; returns what comes of them. */
const char *df_test_transform(const char *lines);
/* Give a validator rows; returns the violations: a list of objects with `row`, `column` and `rule`. */
df_value *df_test_validate(const char *lines);
/* Read a dataset of a source to its end, of a log of changes all there is for now, so many rows at a time; each part of it goes on from the state of the last. */
const char *df_test_read(const char *dataset, size_t max_rows);
/* Begin a run of a destination that appends to a dataset. */
void df_test_open(const char *dataset);
/* Give it rows; returns those that are rejected: a list of objects with `row`, `column` and `reason`. */
df_value *df_test_write(const char *lines);
/* End the run. */
void df_test_finish(void);
void df_test_abort(void);

/* The same for what goes wrong; these return the text of the error, `NULL` if there is none. */
const char *df_test_process_error(const char *record);
const char *df_test_transform_error(const char *lines);
const char *df_test_validate_error(const char *lines);
const char *df_test_read_error(const char *dataset, size_t max_rows);
const char *df_test_write_error(const char *lines);

/* What the state has under a key, as JSON; "nothing" if there is nothing. */
const char *df_test_state(const char *key);
/* Empty the state. The runner does so before each test; in Zig, a test does. */
void df_test_forget(void);
/* A value as JSON; "nothing" for `NULL`. */
const char *df_test_json(const df_value *value);

/* A test: `DF_TEST(a_sentence) { DF_CHECK(...); }`. */
#define DF_TEST(name)                                                                                                \
  static void name(void);                                                                                            \
  __attribute__((__constructor__)) static void name##_added(void) { df_test_add(#name, name); }                      \
  static void name(void)
#define DF_CHECK(condition)                                                                                          \
  do {                                                                                                               \
    if (!(condition)) df_test_fail(__FILE__, __LINE__, "%s does not hold", #condition);                              \
  } while (0)
#define DF_CHECK_TEXT(found, wanted) df_test_check_text(__FILE__, __LINE__, found, wanted)

#ifdef __cplusplus
}
#endif
#endif
