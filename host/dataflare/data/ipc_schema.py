"""The schema message of Arrow's IPC format: types (only those on the closed list), names, metadata, dictionaries.

Field numbers and codes are those of https://github.com/apache/arrow/blob/main/format/Schema.fbs
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from dataflare.data.flatbuffers import Table
from dataflare.data.guard.types import FEWER_COLUMNS, MAX_COLUMNS, MAX_DEPTH, OTHER_NAME, OTHER_TYPE, refusal
from dataflare.data.shapes import malformed
from dataflare.texts import first_repeated

__all__ = ["Node", "StreamSchema", "read_schema"]

_MAX_PAIRS: Final = 4_096
_MAP: Final = 17
_UNITS: Final = ("s", "ms", "us", "ns")
_LEFT_OUT: Final = {11: "interval", 14: "union", 22: "run_end_encoded"} | {
    25: "list_view",
    26: "large_list_view",
}
_BINARY_VIEW: Final = 23
_STRING_VIEW: Final = 24


@dataclass(frozen=True, slots=True)
class Node:
    """The layout of one array of a batch in the format.

    Args:
        type: Its Arrow type.
        children: Its child arrays.
        dictionary: The id of its dictionary; `None` if it has none.
        is_view: Whether the stream has views; `type` is then the large type of the same values.
    """

    type: pa.DataType
    children: tuple[Node, ...] = ()
    dictionary: int | None = None
    is_view: bool = False


@dataclass(frozen=True, slots=True)
class StreamSchema:
    """A schema, the layout of its columns, and that of the values of its dictionaries."""

    schema: pa.Schema
    columns: tuple[Node, ...]
    dictionaries: dict[int, Node]


def read_schema(table: Table, *, stored: bool = False) -> StreamSchema:
    """Read a schema.

    Args:
        table: The header of its message.
        stored: Whether it only describes the origin of a file. Types that are not on the list are then allowed; they
            are refused when their columns are read.

    Raises:
        DataFailure: `malformed`: a type is not on the list, a name is repeated, there are too many fields, or the bytes
            are not a schema.
        struct.error: The bytes are invalid.
    """
    if table.i16(0):
        raise malformed("not a valid Arrow stream: the bytes are in big-endian order")
    reader = _Reader(stored=stored)
    pairs = [reader.field(each, 1) for each in table.tables(1)]
    if (twice := first_repeated(field.name for field, _ in pairs)) is not None:
        raise malformed(f"two columns are named {twice[:80]!r}, and names are unique within a batch", OTHER_NAME)
    schema = pa.schema([field for field, _ in pairs], metadata=_metadata(table, 2))
    return StreamSchema(schema, tuple(node for _, node in pairs), reader.dictionaries)


class _Reader:
    def __init__(self, *, stored: bool) -> None:
        self._types = _STORED_TYPES if stored else _TYPES
        self._stored = stored
        self.dictionaries: dict[int, Node] = {}
        self._fields = 0

    def field(self, table: Table, depth: int) -> tuple[pa.Field, Node]:
        """Read a field with its children."""
        # Fields can be shared, so a few bytes can describe any number of them.
        self._fields += 1
        if self._fields > MAX_COLUMNS:
            raise malformed(f"the schema has more than {MAX_COLUMNS} fields", FEWER_COLUMNS)
        if depth > MAX_DEPTH:
            raise malformed(f"a type nests deeper than {MAX_DEPTH} levels", OTHER_TYPE)
        name = table.text(0) or ""
        encoding = table.table(4)
        children = [self.field(child, depth + 1) for child in _bounded(table.tables(5))]
        data_type = self._type(table.u8(2), table.table(3), [field for field, _ in children], name)
        inner = tuple(node for _, node in children)
        if table.u8(2) == _MAP and len(inner) == 1:
            # The type of a map determines the type of its entries.
            inner = (Node(data_type.field(0).type, inner[0].children, inner[0].dictionary),)
        node = Node(data_type, inner, is_view=table.u8(2) in (_BINARY_VIEW, _STRING_VIEW))
        if encoding is not None:
            values = node
            data_type = pa.dictionary(_index_type(encoding), values.type, encoding.flag(2))
            node = Node(data_type, (), encoding.i64(0))
            if self.dictionaries.setdefault(encoding.i64(0), values) != values:
                raise malformed("a dictionary has values of two types")
        if depth == 1 and not self._stored and (reason := refusal(data_type)):
            raise malformed(f"the type of column {name[:80]!r}: {reason}", OTHER_TYPE)
        nullable = table.flag(1) or pa.types.is_null(data_type)
        return pa.field(name, data_type, nullable, _metadata(table, 6)), node

    def _type(self, code: int, table: Table | None, children: list[pa.Field], name: str) -> pa.DataType:
        """Make a type from children whose types are on the list."""
        if table is None:
            raise struct.error("a field without a type")
        expected = {12: 1, 16: 1, 17: 1, 21: 1}.get(code, len(children) if code == 13 else 0)
        if code not in self._types and code in _LEFT_OUT:
            why = f"{_LEFT_OUT[code]} is not on the list of types for plugins"
            raise malformed(f"the type of column {name[:80]!r}: {why}", OTHER_TYPE)
        if len(children) != expected:
            raise malformed(f"a type with {len(children)} types within it, and not {expected}")
        try:
            return self._types[code](table, children)
        except KeyError:
            raise malformed(f"a type of the number {code}") from None
        except (pa.ArrowException, ValueError, OverflowError, TypeError) as error:
            raise malformed(f"the type of column {name[:80]!r}: {error}") from error


def _bounded(tables: list[Table]) -> Iterator[Table]:
    if len(tables) > MAX_COLUMNS:
        raise malformed(f"a field has more than {MAX_COLUMNS} fields within it", FEWER_COLUMNS)
    return iter(tables)


def _metadata(table: Table, field: int) -> dict[bytes, bytes] | None:
    pairs = table.tables(field)
    if len(pairs) > _MAX_PAIRS:
        raise malformed(f"more than {_MAX_PAIRS} pairs of metadata")
    return {pair.blob(0) or b"": pair.blob(1) or b"" for pair in pairs} or None


def _index_type(encoding: Table) -> pa.DataType:
    index = encoding.table(1)
    return pa.int32() if index is None else _integer(index)


def _integer(table: Table) -> pa.DataType:
    width = table.i32(0)
    if width not in (8, 16, 32, 64):
        raise malformed(f"an integer of {width} bits")
    return getattr(pa, f"{'int' if table.flag(1) else 'uint'}{width}")()


def _unit(table: Table, default: int, allowed: tuple[str, ...] = _UNITS) -> str:
    number = table.i16(0, default)
    unit = _UNITS[number] if 0 <= number < len(_UNITS) else ""
    if unit not in allowed:
        raise malformed(f"a unit of time of the number {number}")
    return unit


def _floating(table: Table, _: Any) -> pa.DataType:
    precision = table.i16(0)
    if precision not in (0, 1, 2):
        raise malformed(f"a floating-point number of the precision {precision}")
    return (pa.float16(), pa.float32(), pa.float64())[precision]


def _decimal(table: Table, _: Any) -> pa.DataType:
    width, precision, scale = table.i32(2, 128), table.i32(0), table.i32(1)
    if width not in (32, 64, 128, 256):
        raise malformed(f"a decimal of {width} bits")
    return getattr(pa, f"decimal{width}")(precision, scale)


def _time(table: Table, _: Any) -> pa.DataType:
    width = table.i32(1, 32)
    if width == 32:
        return pa.time32(_unit(table, 1, ("s", "ms")))
    if width == 64:
        return pa.time64(_unit(table, 1, ("us", "ns")))
    raise malformed(f"a time of {width} bits")


def _date(table: Table, _: Any) -> pa.DataType:
    unit = table.i16(0, 1)
    if unit not in (0, 1):
        raise malformed(f"a date of the unit {unit}")
    return pa.date64() if unit else pa.date32()


def _fixed_size_binary(table: Table, _: Any) -> pa.DataType:
    width = table.i32(0)
    if width < 1:
        raise malformed(f"byte strings of the width {width}")
    return pa.binary(width)


def _fixed_size_list(table: Table, children: list[pa.Field]) -> pa.DataType:
    size = table.i32(0)
    if size < 1:
        raise malformed(f"lists of {size} items")
    return pa.list_(children[0], size)


def _map(table: Table, children: list[pa.Field]) -> pa.DataType:
    entries = children[0].type
    if not pa.types.is_struct(entries) or entries.num_fields != 2:
        raise malformed("a map whose entries are not of a key and a value")
    key, value = entries.field(0), entries.field(1)
    return pa.map_(key.with_nullable(False), value, keys_sorted=table.flag(0))


_TYPES: Final[dict[int, Any]] = {
    1: lambda table, _: pa.null(),
    2: lambda table, _: _integer(table),
    3: _floating,
    4: lambda table, _: pa.binary(),
    5: lambda table, _: pa.string(),
    6: lambda table, _: pa.bool_(),
    7: _decimal,
    8: _date,
    9: _time,
    10: lambda table, _: pa.timestamp(_unit(table, 0), table.text(1) or None),
    12: lambda table, children: pa.list_(children[0]),
    13: lambda table, children: pa.struct(children),
    15: _fixed_size_binary,
    16: _fixed_size_list,
    17: _map,
    18: lambda table, _: pa.duration(_unit(table, 1)),
    19: lambda table, _: pa.large_binary(),
    20: lambda table, _: pa.large_string(),
    21: lambda table, children: pa.large_list(children[0]),
    _BINARY_VIEW: lambda table, _: pa.large_binary(),
    _STRING_VIEW: lambda table, _: pa.large_string(),
}
_STORED_TYPES: Final[dict[int, Any]] = {
    **_TYPES,
    _BINARY_VIEW: lambda table, _: pa.binary_view(),
    _STRING_VIEW: lambda table, _: pa.string_view(),
}
