// DataFlare plugins in C++: what is nicer than in C. Everything of `dataflare.h` is there too.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "dataflare.h"

namespace dataflare {

// A text of a value; empty for a value that is not a text.
inline std::string_view text(const df_value *value) {
  return value && value->type == DF_TEXT ? std::string_view(value->text, value->length) : std::string_view();
}

// The values of a column, one for each row.
inline std::span<std::int64_t> values(const df_integers &column) { return {column.values, column.count}; }
inline std::span<double> values(const df_numbers &column) { return {column.values, column.count}; }
inline std::span<bool> values(const df_booleans &column) { return {column.values, column.count}; }
// The text of a row.
inline std::string_view value(const df_texts &column, std::size_t row) {
  return {column.text + column.offsets[row], column.offsets[row + 1] - column.offsets[row]};
}

// An expression, which the host computes: `col("a") / col("b") + 1`.
class Expression {
 public:
  Expression(df_expression *made) : made_(made) {}
  Expression(bool value) : made_(df_literal_boolean(value)) {}
  Expression(int value) : made_(df_literal_integer(value)) {}
  Expression(std::int64_t value) : made_(df_literal_integer(value)) {}
  Expression(double value) : made_(df_literal_number(value)) {}
  Expression(const char *value) : made_(df_literal_text(value)) {}

  operator df_expression *() const { return made_; }
  Expression cast(const char *type_name) const { return df_cast(made_, type_name); }
  Expression between(Expression low, Expression high) const { return df_between(made_, low, high); }

 private:
  df_expression *made_;
};

inline Expression col(const char *name) { return df_column(name); }
// A function of the host: `call("coalesce", col("a"), 0)`.
template <class... Arguments>
Expression call(const char *function, Arguments... arguments) {
  return df_call(function, sizeof...(arguments), static_cast<df_expression *>(Expression(arguments))...);
}

inline Expression operator+(Expression left, Expression right) { return df_add(left, right); }
inline Expression operator-(Expression left, Expression right) { return df_subtract(left, right); }
inline Expression operator*(Expression left, Expression right) { return df_multiply(left, right); }
inline Expression operator/(Expression left, Expression right) { return df_divide(left, right); }
inline Expression operator==(Expression left, Expression right) { return df_equal(left, right); }
inline Expression operator<(Expression left, Expression right) { return df_less(left, right); }
inline Expression operator>(Expression left, Expression right) { return df_greater(left, right); }
inline Expression operator&&(Expression left, Expression right) { return df_and(left, right); }
inline Expression operator||(Expression left, Expression right) { return df_or(left, right); }
inline Expression operator!(Expression value) { return df_not(value); }

}  // namespace dataflare
