"""Writes Parquet files byte by byte, so that they can say anything.

https://parquet.apache.org/docs/file-format/
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

BOOLEAN, INT32, INT64, INT96, FLOAT, DOUBLE, BYTE_ARRAY, FIXED = range(8)
REQUIRED, OPTIONAL, REPEATED = range(3)
PLAIN, PLAIN_DICTIONARY, RLE, DELTA, DELTA_LENGTH, DELTA_BYTES, DICTIONARY = 0, 2, 3, 5, 6, 7, 8
PLAIN_BYTES, SNAPPY, GZIP, BROTLI, ZSTD = 0, 1, 2, 4, 6
_MAGIC: Final = b"PAR1"


@dataclass(frozen=True)
class Page:
    """A page: what its header says, and its bytes. Without `body_size` the header says the truth.

    `more` is written after the fields of a data page's own header.
    """

    values: int
    body: bytes
    encoding: int = PLAIN
    is_dictionary: bool = False
    plain_size: int | None = None
    body_size: int | None = None
    more: bytes = b""


@dataclass(frozen=True)
class Column:
    """A column that holds one kind of value. `path` names the groups around it, with how often each is there.

    `values` and `size` are what the footer says of the pages, where that is not the truth; `histogram` is what it says
    of the levels of definition.
    """

    name: str
    pages: Sequence[Page]
    type: int = BYTE_ARRAY
    repetition: int = REQUIRED
    width: int = 0
    codec: int = PLAIN_BYTES
    values: int | None = None
    size: int | None = None
    converted: int | None = None
    path: Sequence[tuple[str, int]] = field(default_factory=tuple)
    histogram: Sequence[int] = ()


def file(columns: Sequence[Column], rows: int, *, groups: int = 1, empty_elements: int = 0) -> bytes:
    """Write a file; each of its row groups has the same pages, and the schema `empty_elements` that no column has."""
    data = bytearray(_MAGIC)
    chunks = [_chunk(data, column) for column in columns]
    elements = [_struct((4, "schema"), (5, len(columns)))]
    for column in columns:
        elements += [_struct((3, repetition), (4, name), (5, 1)) for name, repetition in column.path]
        elements.append(
            _struct(
                (1, column.type),
                (2, column.width or None),
                (3, column.repetition),
                (4, column.name),
                (6, column.converted),
            )
        )
    elements += [_struct((4, ""))] * empty_elements
    group = _struct((1, chunks), (2, Long(len(data))), (3, Long(rows)))
    footer = _struct(
        (1, 1),
        (2, elements),
        (3, Long(rows * groups)),
        (4, [group] * groups),
    ).data
    return bytes(data) + footer + struct.pack("<I", len(footer)) + _MAGIC


def texts(*values: bytes) -> bytes:
    """Write byte strings plainly."""
    return b"".join(struct.pack("<I", len(each)) + each for each in values)


def run(value: int, count: int, *, width: int = 1) -> bytes:
    """Write the same level or index any number of times."""
    return varint(count << 1) + value.to_bytes(max(1, (width + 7) // 8), "little")


def levels(*parts: bytes) -> bytes:
    """Write levels as the first kind of page has them: with their length before them."""
    data = b"".join(parts)
    return struct.pack("<I", len(data)) + data


def same(value: int, count: int) -> bytes:
    """Write one number many times as differences, in one block of any size."""
    block = -(-max(1, count - 1) // 128) * 128
    return varint(block) + varint(1) + varint(count) + zigzag(value) + zigzag(0) + b"\0"


@dataclass(frozen=True)
class Long:
    """A number of 64 bits."""

    value: int


@dataclass(frozen=True)
class _Struct:
    data: bytes


def _chunk(data: bytearray, column: Column) -> _Struct:
    start, first, dictionary = len(data), None, None
    for page in column.pages:
        if page.is_dictionary:
            dictionary = len(data)
        elif first is None:
            first = len(data)
        data += _page(page)
    values = sum(page.values for page in column.pages if not page.is_dictionary)
    size = len(data) - start if column.size is None else column.size
    names = [*(name for name, _ in column.path), column.name]
    meta = _struct(
        *((1, column.type), (2, [page.encoding for page in column.pages] or [0]), (3, names), (4, column.codec)),
        *((5, Long(values if column.values is None else column.values)), (6, Long(size)), (7, Long(size))),
        *((9, Long(start if first is None else first)), (11, None if dictionary is None else Long(dictionary))),
        (16, _struct((3, [Long(count) for count in column.histogram])) if column.histogram else None),
    )
    return _struct((2, Long(start)), (3, meta))


def _page(page: Page) -> bytes:
    size = len(page.body) if page.body_size is None else page.body_size
    if page.is_dictionary:
        own: Any = (7, _struct((1, page.values), (2, page.encoding)))
    else:
        fields = _struct((1, page.values), (2, page.encoding), (3, RLE), (4, RLE))
        own = (5, _Struct(fields.data[:-1] + page.more + b"\0"))
    plain = size if page.plain_size is None else page.plain_size
    header = _struct((1, 2 if page.is_dictionary else 0), (2, plain), (3, size), own)
    return header.data + page.body


def _struct(*fields: tuple[int, Any]) -> _Struct:
    data, last = bytearray(), 0
    for number, value in fields:
        if value is None:
            continue
        kind, written = _value(value)
        data += bytes([(number - last) << 4 | kind]) + written
        last = number
    return _Struct(bytes(data) + b"\0")


def long_form(number: int, kind: int) -> bytes:
    """Write the head of a field with its own number, of any size, not the distance to the one before."""
    return bytes([kind]) + zigzag(number)


def _value(value: Any) -> tuple[int, bytes]:
    match value:
        case int():
            return 5, zigzag(value)
        case Long():
            return 6, zigzag(value.value)
        case str():
            return 8, varint(len(value.encode())) + value.encode()
        case _Struct():
            return 12, value.data
    kind = _value(value[0])[0] if value else 12
    head = bytes([len(value) << 4 | kind]) if len(value) < 15 else bytes([0xF0 | kind]) + varint(len(value))
    return 9, head + b"".join(_value(each)[1] for each in value)


def zigzag(value: int) -> bytes:
    return varint(value * 2 if value >= 0 else -value * 2 - 1)


def varint(value: int) -> bytes:
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(data) + bytes([value])
