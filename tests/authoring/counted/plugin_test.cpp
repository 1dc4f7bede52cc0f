#include "dataflare_test.h"

DF_TEST(log_is_read_in_chunks_of_any_size) {
  const char *wanted = "{\"id\":0,\"_operation\":0}\n{\"id\":1,\"_operation\":0}\n{\"id\":2,\"_operation\":0}\n";
  df_test_configure("{}");
  DF_CHECK_TEXT(df_test_read("numbers", 1), wanted);
  DF_CHECK_TEXT(df_test_read("numbers", 100), wanted);
}
