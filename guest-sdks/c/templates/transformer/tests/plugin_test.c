#include "dataflare_test.h"

DF_TEST(a_ratio_is_added) {
  df_test_configure("{\"of\":\"amount\",\"to\":\"quantity\"}");
  DF_CHECK_TEXT(df_test_transform("{\"amount\":3,\"quantity\":2}\n"), "{\"amount\":3,\"quantity\":2,\"ratio\":1.5}\n");
}

DF_TEST(a_column_that_is_not_there_is_told) {
  df_test_configure("{\"of\":\"amount\",\"to\":\"missing\"}");
  DF_CHECK_TEXT(df_test_transform_error("{\"amount\":3}\n"), "there is no column missing");
}
