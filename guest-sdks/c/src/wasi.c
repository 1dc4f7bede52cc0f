/* What libc would import from WASI, answered here, so that a component imports what its world says and no more.
 *
 * The linker takes a definition in the place of an import of its name. What is printed to stdout or stderr is logged, line
 * by line; that is how the message of a failed `assert` reaches the operator. */
#include "sdk.h"

enum { SUCCESS = 0, BAD_DESCRIPTOR = 8, NOT_SEEKABLE = 70 };

typedef struct piece { const uint8_t *bytes; size_t length; } piece;

static uint8_t line[1024];
static size_t used;

static void log_line(int32_t descriptor) {
  df_string_t text = {line, used};
  df_list_tuple2_string_string_t none = {0};
  if (used) dataflare_host_logging_log(descriptor == 2 ? DF_ERROR : DF_INFO, &text, &none);
  used = 0;
}

int32_t __imported_wasi_snapshot_preview1_fd_write(int32_t descriptor, int32_t pieces, int32_t count, int32_t written) {
  const piece *all = (const piece *)pieces;
  size_t total = 0;
  for (int32_t i = 0; i < count; i++) {
    total += all[i].length;
    for (size_t j = 0; j < all[i].length; j++) {
      uint8_t byte = all[i].bytes[j];
      if (byte == '\n' || used == sizeof line) log_line(descriptor);
      if (byte != '\n') line[used++] = byte;
    }
  }
  *(size_t *)written = total;
  return SUCCESS;
}

_Noreturn void __imported_wasi_snapshot_preview1_proc_exit(int32_t code) {
  (void)code;
  log_line(2);
  __builtin_trap();
}

int32_t __imported_wasi_snapshot_preview1_fd_seek(int32_t a, int64_t b, int32_t c, int32_t d) {
  (void)a, (void)b, (void)c, (void)d;
  return NOT_SEEKABLE;
}

int32_t __imported_wasi_snapshot_preview1_fd_read(int32_t a, int32_t b, int32_t c, int32_t d) {
  (void)a, (void)b, (void)c, (void)d;
  return BAD_DESCRIPTOR;
}

int32_t __imported_wasi_snapshot_preview1_fd_close(int32_t descriptor) {
  (void)descriptor;
  return SUCCESS;
}

/* A terminal, or something like it: what is written is passed on with each line. */
int32_t __imported_wasi_snapshot_preview1_fd_fdstat_get(int32_t descriptor, int32_t status) {
  (void)descriptor;
  uint8_t *bytes = (uint8_t *)status;
  for (int i = 0; i < 24; i++) bytes[i] = 0;
  bytes[0] = 2;
  return SUCCESS;
}

int32_t __imported_wasi_snapshot_preview1_environ_sizes_get(int32_t count, int32_t size) {
  *(size_t *)count = 0;
  *(size_t *)size = 0;
  return SUCCESS;
}

int32_t __imported_wasi_snapshot_preview1_environ_get(int32_t a, int32_t b) {
  (void)a, (void)b;
  return SUCCESS;
}

/* Seeds of hash tables; not a secret. */
int32_t __imported_wasi_snapshot_preview1_random_get(int32_t buffer, int32_t size) {
  static uint32_t seed = 2463534242u;
  for (int32_t i = 0; i < size; i++) {
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    ((uint8_t *)buffer)[i] = (uint8_t)seed;
  }
  return SUCCESS;
}

/* Zig's own parts of libc import some under another symbol. */
int32_t df_fd_close(int32_t descriptor) __asm__("fd_close|wasi_snapshot_preview1");
int32_t df_fd_close(int32_t descriptor) { return __imported_wasi_snapshot_preview1_fd_close(descriptor); }
int32_t df_fd_write(int32_t a, int32_t b, int32_t c, int32_t d) __asm__("fd_write|wasi_snapshot_preview1");
int32_t df_fd_write(int32_t a, int32_t b, int32_t c, int32_t d) {
  return __imported_wasi_snapshot_preview1_fd_write(a, b, c, d);
}
int32_t df_random_get(int32_t buffer, int32_t size) __asm__("random_get|wasi_snapshot_preview1");
int32_t df_random_get(int32_t buffer, int32_t size) {
  return __imported_wasi_snapshot_preview1_random_get(buffer, size);
}
