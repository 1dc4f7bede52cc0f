# Written by `dataflare bindgen`. Write it anew rather than change it.
"""`dataflare:data/expressions@1.0.0`.

Expressions that the host computes on batches, so that no column crosses the
boundary.

An expression is a list of nodes. A node is a column, a literal, or a call of a
function whose arguments are earlier nodes. The last node is the value of the
expression, unless a function says otherwise. A list cannot contain a cycle, and what
several columns need is computed once.

The list of functions is closed and the same in every host of this version.
docs/reference/expressions.md describes each with its types, its rules for nulls, its
errors and an example. A later version may add functions, and never changes one.
Types are checked before anything is computed. An extension type counts as its
storage, a dictionary as its values.

Errors name the function, and the columns that its arguments are or are computed
from.

Since version 1.0.0.
"""

from __future__ import annotations

import collections.abc as _abc
import dataclasses as _dataclasses
import typing as _t

from dataflare import value_types as _df

__all__ = [
    "AggregateColumn",
    "Call",
    "JoinKind",
    "Literal",
    "Node",
    "NullOrder",
    "Output",
    "SortKey",
    "TypedLiteral",
]


@_dataclasses.dataclass(frozen=True, slots=True)
class TypedLiteral:
    """A value of a type without its own case in `literal`, such as a decimal or a
    timestamp.

    Since version 1.0.0.
    """

    type_name: str
    """The Arrow type, in the notation of `schemas.field.type-name`; not nested."""
    text: str
    """The value as text, as `batch.cast-column` reads it."""


Literal: _t.TypeAlias = _df.Variant
"""A value that is the same for every row.

Since version 1.0.0.

- `null-value`: Null, of the type that is needed.
- `boolean` with a `bool`: True or false.
- `int64` with a `s64`: A whole number.
- `float64` with a `f64`: A floating-point number.
- `text` with a `string`: A text.
- `binary` with a `list<u8>`: Bytes.
- `typed` with a `typed-literal`: A value of any other type.
"""


@_dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Call(_df.Value):
    """A call of a function.

    Since version 1.0.0.
    """

    name: str
    """The function's name."""
    arguments: _df.ArrayU32
    """The positions of its arguments in the list of nodes, from 0; each before this
    node.
    """
    options: _abc.Sequence[tuple[str, Literal]]
    """Options by name, in any order; the others have their defaults."""

    if _t.TYPE_CHECKING:

        def __init__(
            self,
            name: str,
            arguments: _df.ArrayLikeU32,
            options: _abc.Sequence[tuple[str, Literal]],
        ) -> None: ...


Node: _t.TypeAlias = _df.Variant
"""A part of an expression.

Since version 1.0.0.

- `column` with a `string`: The column of this name.
- `literal` with a `literal`: A value that is the same for every row.
- `call` with a `call`: What a function returns.
"""


@_dataclasses.dataclass(frozen=True, slots=True)
class Output:
    """A column of a result.

    Since version 1.0.0.
    """

    name: str
    """Its name."""
    node: int
    """The position of its value in the list of nodes, from 0."""


@_dataclasses.dataclass(frozen=True, slots=True)
class SortKey:
    """A column to sort by.

    Since version 1.0.0.
    """

    column: str
    """The column's name."""
    descending: bool
    """Whether the greatest comes first."""


NullOrder: _t.TypeAlias = _t.Literal["first", "last"]
"""Where nulls stand in an order.

Since version 1.0.0.

- `first`: Before all values.
- `last`: After all values, NaN before them.
"""


@_dataclasses.dataclass(frozen=True, slots=True)
class AggregateColumn:
    """What is computed from each group of rows.

    Since version 1.0.0.
    """

    name: str
    """The name of the result's column."""
    aggregate: str
    """The aggregate: one of the closed list."""
    column: str
    """The column that it is computed from; empty for `count_rows`."""


JoinKind: _t.TypeAlias = _t.Literal["inner", "left-outer", "left-semi", "left-anti"]
"""Which rows of two batches a join keeps.

Since version 1.0.0.

- `inner`: Each pair of rows whose keys are equal.
- `left-outer`: The same, and the rows of the left batch without a partner, with
  nulls in the columns of the right one.
- `left-semi`: Rows of the left batch that have a partner, once each, without the
  columns of the right batch.
- `left-anti`: Rows of the left batch that have no partner, without the columns of
  the right batch.
"""
