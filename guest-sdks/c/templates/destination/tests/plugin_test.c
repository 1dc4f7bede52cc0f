#include "dataflare_test.h"

DF_TEST(rows_are_visible_when_the_run_is_finished) {
  df_test_configure("{}");
  df_test_open("people");
  DF_CHECK_TEXT(df_test_json(df_test_write("{\"id\":1,\"name\":\"Ada\"}\n")), "[]");
  DF_CHECK_TEXT(df_test_state("[\"\",\"people\",\"1\"]"), "nothing");
  df_test_finish();
  DF_CHECK_TEXT(df_test_state("[\"\",\"people\",\"1\"]"), "{\"id\":1,\"name\":\"Ada\"}");
}

DF_TEST(a_row_without_a_key_is_sent_back) {
  df_test_configure("{}");
  df_test_open("people");
  df_value *rejected = df_test_write("{\"id\":null,\"name\":\"Bo\"}\n");
  DF_CHECK_TEXT(df_test_json(rejected), "[{\"row\":0,\"column\":\"id\",\"reason\":\"id is null\"}]");
  df_test_abort();
}
