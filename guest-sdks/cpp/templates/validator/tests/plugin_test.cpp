#include "dataflare_test.h"

DF_TEST(rows_out_of_bounds_are_found_and_nulls_are_not) {
  df_test_configure("{\"column\":\"age\"}");
  df_value *found = df_test_validate("{\"age\":36}\n{\"age\":-1}\n{\"age\":null}\n");
  DF_CHECK_TEXT(df_test_json(found), "[{\"row\":1,\"column\":\"age\",\"rule\":\"within\"}]");
}

DF_TEST(bounds_that_nothing_is_within_are_refused) {
  DF_CHECK_TEXT(df_test_refusal("{\"column\":\"age\",\"least\":2,\"greatest\":1}"), "least: it is above greatest");
}
