"""Expressions: what the host computes on columns, so that no value is copied into the plugin.

`col("amount") / col("quantity")`, `col("name").call("utf8_lower")`, `(col("age") >= 18) & col("name").is_valid()`.
The functions are those of the host's reference of expressions.
"""

from __future__ import annotations

from typing import Any

from dataflare_plugin.bindings import expressions

__all__ = ["Expression", "call", "col", "lit", "nodes_of"]


class Expression:
    """A column, a constant, or a function of others; never changes.

    Operators make others of it: `+`, `-`, `*`, `/`, `%`, comparisons, and `&`, `|`, `~` for and, or, not. `col`, `lit`
    and `call` make the first.
    """

    __slots__ = ("_arguments", "_node", "_options")

    def __init__(self, node: Any, arguments: tuple[Expression, ...] = (), options: tuple[tuple[str, Any], ...] = ()):
        self._node = node
        self._arguments = arguments
        self._options = options

    def call(self, name: str, *arguments: Any, **options: Any) -> Expression:
        """A function of this expression and of others, such as `col("name").call("utf8_lower")`."""
        return call(name, self, *arguments, **options)

    def is_null(self) -> Expression:
        """Whether it is null."""
        return call("is_null", self)

    def is_valid(self) -> Expression:
        """Whether it is not null."""
        return call("is_valid", self)

    def is_in(self, *values: Any) -> Expression:
        """Whether it is one of these."""
        return call("is_in", self, *values)

    def otherwise(self, value: Any) -> Expression:
        """This, or the value where it is null."""
        return call("coalesce", self, value)

    def __add__(self, other: Any) -> Expression:
        return call("add_checked", self, other)

    def __radd__(self, other: Any) -> Expression:
        return call("add_checked", other, self)

    def __sub__(self, other: Any) -> Expression:
        return call("subtract_checked", self, other)

    def __rsub__(self, other: Any) -> Expression:
        return call("subtract_checked", other, self)

    def __mul__(self, other: Any) -> Expression:
        return call("multiply_checked", self, other)

    def __rmul__(self, other: Any) -> Expression:
        return call("multiply_checked", other, self)

    def __truediv__(self, other: Any) -> Expression:
        return call("divide", self, other)

    def __rtruediv__(self, other: Any) -> Expression:
        return call("divide", other, self)

    def __mod__(self, other: Any) -> Expression:
        return call("modulo", self, other)

    def __neg__(self) -> Expression:
        return call("negate_checked", self)

    def __eq__(self, other: object) -> Expression:  # type: ignore[override]
        return call("equal", self, other)

    def __ne__(self, other: object) -> Expression:  # type: ignore[override]
        return call("not_equal", self, other)

    def __lt__(self, other: Any) -> Expression:
        return call("less", self, other)

    def __le__(self, other: Any) -> Expression:
        return call("less_equal", self, other)

    def __gt__(self, other: Any) -> Expression:
        return call("greater", self, other)

    def __ge__(self, other: Any) -> Expression:
        return call("greater_equal", self, other)

    def __and__(self, other: Any) -> Expression:
        return call("and_kleene", self, other)

    def __or__(self, other: Any) -> Expression:
        return call("or_kleene", self, other)

    def __invert__(self) -> Expression:
        return call("invert", self)

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise TypeError("an expression has no truth: use & for `and`, | for `or`, ~ for `not`, in parentheses")


def col(name: str) -> Expression:
    """A column."""
    return Expression(expressions.Node_Column(name))


def lit(value: Any, type: str = "") -> Expression:
    """A constant: `None`, a boolean, a number, a text, bytes; with `type`, the text of a value of that Arrow type."""
    if type:
        return Expression(
            expressions.Node_Literal(expressions.Literal_Typed(expressions.TypedLiteral(type, str(value))))
        )
    return Expression(expressions.Node_Literal(_literal(value)))


def call(name: str, *arguments: Any, **options: Any) -> Expression:
    """A function of the host, of columns, constants and expressions."""
    given = tuple((key, _literal(value)) for key, value in options.items())
    return Expression(name, tuple(each if isinstance(each, Expression) else lit(each) for each in arguments), given)


def nodes_of(outputs: dict[str, Expression]) -> tuple[list[Any], list[int]]:
    """The nodes of expressions, each after its arguments, and the place of each expression among them."""
    nodes: list[Any] = []
    places: dict[int, int] = {}

    def place(each: Expression) -> int:
        if id(each) not in places:
            if isinstance(each._node, str):
                arguments = [place(argument) for argument in each._arguments]
                node = expressions.Node_Call(expressions.Call(each._node, arguments, list(each._options)))
            else:
                node = each._node
            nodes.append(node)
            places[id(each)] = len(nodes) - 1
        return places[id(each)]

    return nodes, [place(each) for each in outputs.values()]


def _literal(value: Any) -> Any:
    match value:
        case None:
            return expressions.Literal_NullValue()
        case bool():
            return expressions.Literal_Boolean(value)
        case int():
            return expressions.Literal_Int64(value)
        case float():
            return expressions.Literal_Float64(value)
        case str():
            return expressions.Literal_Text(value)
        case bytes():
            return expressions.Literal_Binary(value)
    raise TypeError(f"a {type(value).__name__} cannot be in an expression: {value!r}")
