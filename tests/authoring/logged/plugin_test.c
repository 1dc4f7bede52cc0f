/* The same with the host's twin. */
#include "dataflare_test.h"

#define CONFIG(events) "{\"events\": \"[" events "]\"}"
#define INSERT "{\\\"insert\\\": \\\"orders\\\", \\\"row\\\": {\\\"id\\\": 1, \\\"note\\\": \\\"a\\\"}}, "
#define MOVE "{\\\"update\\\": \\\"orders\\\", \\\"row\\\": {\\\"id\\\": 2, \\\"note\\\": \\\"b\\\"}, \\\"was\\\": {\\\"id\\\": 1}}, "
#define COMMIT "{\\\"commit\\\": true}"

DF_TEST(changes_are_read_in_chunks_of_any_size) {
  const char *wanted =
      "{\"id\":1,\"note\":\"a\",\"_operation\":0}\n"
      "{\"id\":1,\"note\":null,\"_operation\":2}\n"
      "{\"id\":2,\"note\":\"b\",\"_operation\":0}\n";
  df_test_configure(CONFIG(INSERT COMMIT ", " MOVE COMMIT));
  DF_CHECK_TEXT(df_test_read("orders", 1), wanted);
  DF_CHECK_TEXT(df_test_read("orders", 100), wanted);
  DF_CHECK_TEXT(df_test_read("lines", 100), "");
}

DF_TEST(dataset_that_is_not_there_is_refused) {
  df_test_configure(CONFIG("{\\\"delete\\\": \\\"ordres\\\", \\\"row\\\": {}}"));
  DF_CHECK_TEXT(df_test_read_error("orders", 1), "there is no dataset \"ordres\", only orders, lines, others");
}
