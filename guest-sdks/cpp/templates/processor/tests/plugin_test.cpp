#include "dataflare_test.h"

static df_value *processed(const char *record) {
  df_test_configure("{}");
  return df_test_process(record);
}

DF_TEST(white_space_at_the_ends_goes) {
  DF_CHECK_TEXT(df_test_json(processed("{\"id\":1,\"name\":\" Ada \"}")), "{\"id\":1,\"name\":\"Ada\"}");
}

DF_TEST(a_record_without_a_name_is_dropped) { DF_CHECK(!processed("{\"id\":2,\"name\":\"  \"}")); }
