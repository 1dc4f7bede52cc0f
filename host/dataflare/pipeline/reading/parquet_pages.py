"""What the headers of a Parquet file's pages say of their sizes, read before Arrow takes anything in.

https://parquet.apache.org/docs/file-format/data-pages/
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from dataflare.data.shapes import malformed
from dataflare.pipeline.reading.thrift import BINARY, BOOLEAN, I32, I64, Definition, read_struct

__all__ = ["Chunk", "Pages", "read_pages"]

_HEAD_BYTES: Final = 128
_MAX_HEAD_BYTES: Final = 2**20
_MAX_ENTRIES: Final = 2**20
_DATA, _DICTIONARY, _DATA_2 = 0, 2, 3
_DICTIONARY_INDICES: Final = frozenset({2, 8})
_BOUNDED: Final = frozenset({0, 2, 3, 5, 8, 9})
"""Encodings whose pages hold no more values than their headers say, and no longer ones than they have bytes: plain,
dictionary (two numbers), run lengths, differences of numbers, and bytes split into streams."""
_PLAIN: Final = 0
_PACKED: Final = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
"""Compressions by their numbers."""
_WHERE: Final = "not a valid Parquet file: the header of a page"
_STATISTICS: Final[Definition] = {
    **dict.fromkeys((1, 2, 5, 6), BINARY),
    **dict.fromkeys((3, 4, 9), I64),
    **dict.fromkeys((7, 8), BOOLEAN),
}
_HEADER: Final[Definition] = {
    **dict.fromkeys((1, 2, 3, 4), I32),
    5: {**dict.fromkeys((1, 2, 3, 4), I32), 5: _STATISTICS},
    6: {},
    7: {1: I32, 2: I32, 3: BOOLEAN},
    8: {**dict.fromkeys((1, 2, 3, 4, 5, 6), I32), 7: BOOLEAN, 8: _STATISTICS},
}
"""The header of a page, and those within it: of data, an index, a dictionary, and data of the second kind.
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift"""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Where the pages of one column in one group of rows are, as the footer says.

    Args:
        start: Where the first page begins in the file.
        values: How many values the pages hold, nulls included.
        codec: The number of the pages' compression.
        has_texts: Whether values are of any length.
    """

    start: int
    values: int
    codec: int
    has_texts: bool


@dataclass(slots=True)
class Pages:
    """What pages say of themselves.

    Args:
        values: The values of each data page, nulls included.
        sizes: The plain bytes of each data page; 0 for indices of a dictionary, whose bytes are none of the values.
        most_bytes: The plain and compressed bytes of the largest page.
        entries: The values in the dictionary.
        dictionary_bytes: The plain bytes of the dictionary.
        longest: The bytes of the longest text in the dictionary; no text may be longer.
        is_bounded: Whether all encodings are ones whose cost can be told from this.
    """

    values: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    most_bytes: int = 0
    entries: int = 0
    dictionary_bytes: int = 0
    longest: int = 0
    is_bounded: bool = True


def read_pages(descriptor: int, chunk: Chunk, *, short: int, most_bytes: int) -> Pages:
    """Read the headers of a chunk's pages, and the lengths in its dictionary.

    Args:
        descriptor: The file, whose position stays as it is.
        chunk: Which pages.
        short: The size of a dictionary whose values need not be looked at.
        most_bytes: The size of a page beyond which nothing of it is looked at.

    Raises:
        DataFailure: `malformed`.
        OSError: The file cannot be read.
    """
    pages, at, left = Pages(), chunk.start, chunk.values
    while left > 0:
        header, at = _header(descriptor, at)
        kind, plain, packed = header.get(1), header.get(2), header.get(3)
        if kind is None or plain is None or packed is None or plain < 0 or packed < 0:
            raise malformed(f"{_WHERE} has no size, or a negative one")
        pages.most_bytes = max(pages.most_bytes, plain + packed)
        if kind == _DICTIONARY:
            _take_dictionary(pages, descriptor, at, header, chunk, short, most_bytes)
        elif kind in (_DATA, _DATA_2):
            own = header.get(5 if kind == _DATA else 8)
            values, encoding = _numbers(own, 1, 2 if kind == _DATA else 4)
            pages.values.append(values)
            pages.sizes.append(0 if encoding in _DICTIONARY_INDICES else plain)
            pages.is_bounded &= encoding in _BOUNDED
            left -= values
        at += packed
    if left:
        raise malformed("not a valid Parquet file: its pages hold more values than its footer says")
    return pages


def _take_dictionary(
    pages: Pages, descriptor: int, at: int, header: dict[int, Any], chunk: Chunk, short: int, most_bytes: int
) -> None:
    if pages.dictionary_bytes or pages.entries:
        raise malformed("not a valid Parquet file: a column has two dictionaries")
    plain, packed = header[2], header[3]
    pages.entries, _ = _numbers(header.get(7), 1, 2)
    pages.dictionary_bytes = plain
    if not chunk.has_texts:
        return
    pages.longest = plain
    if plain <= short:
        return
    codec = _PACKED.get(chunk.codec)
    is_readable = codec is not None or chunk.codec == _PLAIN
    if not is_readable or max(plain, packed) > most_bytes or pages.entries > _MAX_ENTRIES:
        return
    data = os.pread(descriptor, packed, at)
    if codec is not None:
        data = pa.decompress(data, decompressed_size=plain, codec=codec, asbytes=True)
    pages.longest = _longest(data, pages.entries)


def _longest(data: bytes, entries: int) -> int:
    """The length of the longest of some byte strings, each of which has its length before it."""
    at, most, end = 0, 0, len(data) - 4
    length = struct.Struct("<I").unpack_from
    for _ in range(entries):
        if at > end:
            raise malformed("not a valid Parquet file: a dictionary ends early")
        (size,) = length(data, at)
        at += 4 + size
        if size > most:
            most = size
    if at > len(data):
        raise malformed("not a valid Parquet file: a dictionary ends early")
    return most


def _header(descriptor: int, at: int) -> tuple[dict[int, Any], int]:
    """Read the header of a page; return its fields by number, and where its body begins."""
    size = _HEAD_BYTES
    while True:
        data = os.pread(descriptor, size, at)
        try:
            header, end = read_struct(data, 0, _HEADER, _WHERE)
        except IndexError:
            if len(data) < size or size >= _MAX_HEAD_BYTES:
                raise malformed(f"{_WHERE} ends early") from None
            size *= 8
            continue
        return header, at + end


def _numbers(fields: Any, first: int, second: int) -> tuple[int, int]:
    values, encoding = (fields.get(first), fields.get(second)) if fields else (None, None)
    if values is None or encoding is None or values < 0:
        raise malformed(f"{_WHERE} does not say what it holds")
    return values, encoding
