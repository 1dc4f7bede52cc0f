# Written by `dataflare bindgen`. Write it anew rather than change it.
"""`dataflare:data/batches@1.0.0`.

Batches of rows, kept by the host in Arrow memory.

A batch is a handle. Only what a plugin asks for is copied: a batch that only passes
through, and a column that the plugin does not read, stay in the host. A batch never
changes: every function that "changes" one returns a new batch, which shares what is
equal. Drop a handle as soon as you no longer need it.

Since version 1.0.0.
"""

from __future__ import annotations

import dataclasses as _dataclasses
import typing as _t

from dataflare import value_types as _df

__all__ = [
    "Batch",
    "BinaryValues",
    "DataError",
    "Shape",
    "TextValues",
    "TypeMismatch",
    "WordBuffer",
]


@_dataclasses.dataclass(frozen=True, slots=True)
class TypeMismatch:
    """What was asked for, and what the type is.

    Since version 1.0.0.
    """

    column: str
    """The column's name. If a function of expressions was given computed values, the
    columns that they are computed from, separated by commas; empty for literals
    alone.
    """
    function_name: str
    """The function of expressions that does not take the type; empty if no expression
    is involved.
    """
    expected: str
    """The types that the operation takes, in words."""
    actual: str
    """The column's Arrow type, in the notation of `schemas.field.type-name`."""


DataError: _t.TypeAlias = _df.Variant
"""Why an operation on a batch failed. A retry with the same arguments does not help.

Since version 1.0.0.

- `no-such-column` with a `string`: The batch has no column of this name.
- `no-such-function` with a `string`: Expressions have no function of this name.
- `wrong-type` with a `type-mismatch`: The column's type does not fit the view or the
  builder that was asked for.
- `out-of-range` with a `string`: A length, an offset or a row number does not fit
  the batch; the text says which.
- `malformed` with a `string`: The bytes or the text are not valid, such as a broken
  Arrow stream, JSON or number.
- `too-large` with a `string`: It would exceed a limit that the operator set; the
  text names the limit.
- `other` with a `string`: Anything else. The text is for logs: do not match it.
"""


@_dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """A batch's size.

    Since version 1.0.0.
    """

    rows: int
    """The number of rows."""
    columns: int
    """The number of columns."""
    data_bytes: int
    """The size of the batch's buffers in the host's memory, in bytes."""


@_dataclasses.dataclass(frozen=True, slots=True, eq=False)
class TextValues(_df.Value):
    """A column of strings: row `i` is the UTF-8 text from byte `offsets[i]` to byte
    `offsets[i + 1]`.

    Since version 1.0.0.
    """

    offsets: _df.ArrayU32
    """One entry more than rows, in ascending order; the first is 0, the last is the
    length of `text` in bytes.
    """
    text: str
    """All rows' texts, one after another. A null row takes no bytes."""

    if _t.TYPE_CHECKING:

        def __init__(self, offsets: _df.ArrayLikeU32, text: str) -> None: ...


@_dataclasses.dataclass(frozen=True, slots=True, eq=False)
class BinaryValues(_df.Value):
    """A column of byte strings: row `i` is from byte `offsets[i]` to byte `offsets[i +
    1]` of `data`.

    Since version 1.0.0.
    """

    offsets: _df.ArrayU32
    """One entry more than rows, in ascending order; the first is 0, the last is the
    length of `data`.
    """
    data: bytes
    """All rows' bytes, one after another. A null row takes no bytes."""

    if _t.TYPE_CHECKING:

        def __init__(self, offsets: _df.ArrayLikeU32, data: _df.BytesLike) -> None: ...


@_dataclasses.dataclass(frozen=True, slots=True, eq=False)
class WordBuffer(_df.Value):
    """Many bytes, eight in a word. They cross the boundary several times faster than a
    list of bytes.

    Since version 1.0.0.
    """

    byte_length: int
    """The number of bytes; the last word is padded with zeros."""
    words: _df.ArrayU64
    """The bytes, little-endian: byte `i` is bits `8 * (i mod 8)` and up of word `i /
    8`.
    """

    if _t.TYPE_CHECKING:

        def __init__(self, byte_length: int, words: _df.ArrayLikeU64) -> None: ...


Batch: _t.TypeAlias = _t.Any
"""A table of named columns of equal length.

Bitmaps (validity and masks) have one bit for each row: row `i` is bit `i mod 64`,
counted from the lowest, of word `i / 64`. Bits after the last row are ignored.

Since version 1.0.0.
"""
