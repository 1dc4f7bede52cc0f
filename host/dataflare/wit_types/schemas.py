# Written by `dataflare bindgen`. Write it anew rather than change it.
"""`dataflare:data/schemas@1.0.0`.

Arrow schemas as WIT values.

A schema says which columns a batch has. It crosses the boundary as plain values: a
plugin needs no Arrow library to read or make one.

Since version 1.0.0.
"""

from __future__ import annotations

import collections.abc as _abc
import dataclasses as _dataclasses

__all__ = ["Field", "Schema"]


@_dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """One column of a schema.

    Since version 1.0.0.
    """

    name: str
    """The column's name; unique within its schema."""
    type_name: str
    """The column's Arrow type in Arrow's own notation: `null`, `bool`, `int8` to
    `int64`, `uint8` to `uint64`, `halffloat`, `float`, `double`, `string`,
    `large_string`, `binary`, `large_binary`, `fixed_size_binary[16]`, `date32[day]`,
    `date64[ms]`, `timestamp[us]`, `timestamp[us, tz=UTC]`, `time32[ms]`,
    `time64[us]`, `duration[us]` (units are `s`, `ms`, `us` and `ns`; `time32` has
    the first two, `time64` the last two), `decimal128(10, 2)` (and `decimal32`,
    `decimal64`, `decimal256`), `list<item: int64>`, `large_list<item: int64>`,
    `fixed_size_list<item: int64>[2]`, `struct<a: int64, b: string not null>`,
    `map<string, int64>`, `dictionary<values=string, indices=int32, ordered=0>`.
    Views of strings and of bytes come as `large_string` and `large_binary`, an
    extension type as its storage, with its name in the metadata. No other types
    reach a plugin.
    """
    nullable: bool
    """Whether a value may be null."""
    metadata: _abc.Sequence[tuple[str, str]]
    """Key and value pairs that travel with the column; the order is kept, keys are
    unique.
    """


@_dataclasses.dataclass(frozen=True, slots=True)
class Schema:
    """The columns of a batch, in order.

    Since version 1.0.0.
    """

    fields: _abc.Sequence[Field]
    """The columns, first to last."""
    metadata: _abc.Sequence[tuple[str, str]]
    """Key and value pairs that travel with the schema; the order is kept, keys are
    unique.
    """
