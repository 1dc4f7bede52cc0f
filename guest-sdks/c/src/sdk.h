/* What the parts of the SDK have in common, and plugins do not use. */
#ifndef DATAFLARE_SDK_H
#define DATAFLARE_SDK_H

#include <stdarg.h>

#include "dataflare.h"

/* Where the SDK lies is not the same on two machines. */
#undef df_panic

typedef struct df_mark { void *chunk; size_t used; } df_mark;

/* Memory with any contents. */
void *df_alloc_raw(size_t size);
/* Where the call's memory ends now; `df_rewind` gives back all that came after. */
df_mark df_mark_memory(void);
void df_rewind(df_mark mark);
/* Give back all memory of the call: its result has been read. */
void df_release(void);
char *df_format_list(const char *format, va_list arguments);

/* A batch that goes when the call ends, unless it is its result. */
df_batch df_owned(df_batch batch);
/* Drop the call's batches, all but one; 0 drops all. */
void df_drop_batches(const df_batch *but);
/* Mark an error as one of a batch; returns whether there was none. */
bool df_done(bool done, df_error *error);
dataflare_data_batches_borrow_batch_t df_borrowed(df_batch batch);

/* The nodes of expressions, each after its arguments, and the place of each expression among them. */
dataflare_data_expressions_list_node_t df_nodes(df_expression **expressions, size_t count, uint32_t *places);

bool df_configure(const df_option *options, size_t count, df_string_t config, df_error *error);
df_string_t df_config_schema(const df_option *options, size_t count);

/* What the plugin of the linked kind has in common with all. */
const df_common *df_plugin_common(void);
dataflare_plugin_types_kind_t df_plugin_kind(void);

#endif
