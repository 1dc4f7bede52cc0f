// What the standard library does instead of throwing: plugins have no exceptions.
#include <cstdarg>
#include <cstdio>

#include "dataflare.h"

// Without this, `vector::at` and the like would trap without a word.
_LIBCPP_BEGIN_NAMESPACE_STD
[[noreturn]] void __libcpp_verbose_abort(const char *format, ...) noexcept {
  std::va_list arguments;
  va_start(arguments, format);
  char text[512];
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  // As a function: where the SDK lies is not the same on two machines.
  (df_panic)("%s", text);
}
_LIBCPP_END_NAMESPACE_STD
