#include "dataflare_test.h"

DF_TEST(all_rows_are_read_in_chunks_of_any_size) {
  df_test_configure("{\"rows\":2}");
  const char *rows = "{\"id\":0,\"square\":0}\n{\"id\":1,\"square\":1}\n";
  DF_CHECK_TEXT(df_test_read("numbers", 1), rows);
  DF_CHECK_TEXT(df_test_read("numbers", 100), rows);
}

DF_TEST(fewer_rows_than_none_are_refused) {
  DF_CHECK_TEXT(df_test_refusal("{\"rows\":-1}"), "rows: give at least 0");
}
