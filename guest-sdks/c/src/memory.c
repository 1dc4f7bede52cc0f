/* The memory of a call: blocks that are given back together when the host has read the call's result. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdk.h"

#define BLOCK_BYTES ((size_t)64 << 10)
#define ALIGNMENT ((size_t)16)

typedef struct block {
  struct block *before;
  size_t size;
  size_t used;
  _Alignas(16) unsigned char data[];
} block;

static block *last;

void *df_alloc_raw(size_t size) {
  if (size > SIZE_MAX - BLOCK_BYTES) df_panic("out of memory: %zu bytes were asked for", size);
  size = (size + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
  if (!last || last->size - last->used < size) {
    size_t room = size > BLOCK_BYTES ? size : BLOCK_BYTES;
    block *made = malloc(sizeof(block) + room);
    if (!made) df_panic("out of memory: %zu bytes were asked for", size);
    *made = (block){.before = last, .size = room};
    last = made;
  }
  void *found = last->data + last->used;
  last->used += size;
  return found;
}

void *df_alloc(size_t size) { return memset(df_alloc_raw(size), 0, size); }

df_mark df_mark_memory(void) { return (df_mark){last, last ? last->used : 0}; }

void df_rewind(df_mark mark) {
  while (last != mark.chunk) {
    block *before = last->before;
    free(last);
    last = before;
  }
  if (last) last->used = mark.used;
}

void df_release(void) {
  block *first = NULL;
  while (last) {
    block *before = last->before;
    /* The next call needs memory again. */
    if (!before && last->size == BLOCK_BYTES) first = last;
    else free(last);
    last = before;
  }
  last = first;
  if (last) last->used = 0;
}

#ifdef __wasm__
/* The host allocates with it what it gives to the plugin. */
__attribute__((__export_name__("cabi_realloc"))) void *cabi_realloc(
    void *old, size_t old_size, size_t alignment, size_t size);
void *cabi_realloc(void *old, size_t old_size, size_t alignment, size_t size) {
  if (!size) return (void *)alignment;
  void *made = df_alloc_raw(size);
  if (old_size) memcpy(made, old, old_size < size ? old_size : size);
  return made;
}
#endif

char *df_format_list(const char *format, va_list arguments) {
  va_list again;
  va_copy(again, arguments);
  int length = vsnprintf(NULL, 0, format, again);
  va_end(again);
  char *made = df_alloc_raw(length < 0 ? 1 : (size_t)length + 1);
  if (length < 0) *made = 0;
  else vsnprintf(made, (size_t)length + 1, format, arguments);
  return made;
}

char *df_format(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char *made = df_format_list(format, arguments);
  va_end(arguments);
  return made;
}

char *df_c_string(df_string_t text) {
  char *made = df_alloc_raw(text.len + 1);
  if (text.len) memcpy(made, text.ptr, text.len);
  made[text.len] = 0;
  return made;
}

df_string_t df_wit_string(const char *text) { return (df_string_t){(uint8_t *)text, strlen(text)}; }

char *df_keep_text(const char *text) {
  size_t size = strlen(text) + 1;
  char *made = malloc(size);
  if (!made) df_panic("out of memory: %zu bytes were asked for", size);
  return memcpy(made, text, size);
}
