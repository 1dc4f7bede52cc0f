/* Unit tests that run natively, without a component: the host's part is played by a twin in memory.
 *
 * The twin has the log (on stderr) and the state. It has no batches: what works on them is tested by the cases in
 * `tests/cases`, which run in the sandbox. */
#ifndef DATAFLARE_TEST_H
#define DATAFLARE_TEST_H

#include "dataflare.h"

#ifdef __cplusplus
extern "C" {
#endif

void df_test_add(const char *name, void (*test)(void));
__attribute__((__noreturn__)) void df_test_fail(const char *file, int line, const char *format, ...) DF_PRINTF(3, 4);
void df_test_check_text(const char *file, int line, const char *found, const char *wanted);

/* Give the plugin a configuration, as JSON; the test fails if it is refused. */
void df_test_configure(const char *config);
/* The same; returns the text of the error, `NULL` if there is none. */
const char *df_test_refusal(const char *config);
/* Give a processor a record, as JSON; returns what comes of it, `NULL` if it is dropped. */
df_value *df_test_process(const char *record);
/* The same; returns the text of the error, `NULL` if there is none. */
const char *df_test_process_error(const char *record);
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
