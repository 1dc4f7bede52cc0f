"""Parquet files of few bytes that take much memory to read, and what a reader with a limit of 64 MiB says to each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pyarrow as pa

import parquet_kit as kit
from parquet_kit import Column, Page

MOST: Final = "64MiB"
"""The `max_batch` with which they are read."""
_MANY: Final = 2**31 - 1
_REFUSED, _READ = "DataError", ""


def _dictionary(size: int, rows: int) -> bytes:
    """One text, which each row has."""
    pages = [Page(1, kit.texts(b"x" * size), is_dictionary=True), Page(rows, b"\1" + kit.run(0, rows), kit.DICTIONARY)]
    return kit.file([Column("a", pages)], rows)


def _list(*pages: Page, kind: int = kit.INT32) -> bytes:
    return kit.file([Column("a", pages, kind, kit.REPEATED)], 1)


def _one_row(values: int, defined: int) -> bytes:
    return kit.levels(kit.run(0, 1), kit.run(1, values - 1)) + kit.levels(kit.run(defined, values))


def _of_width(width: int, rows: int) -> bytes:
    return kit.file([Column("a", [Page(rows, kit.levels(kit.run(0, rows)))], kit.FIXED, kit.OPTIONAL, width)], rows)


def _prefixes(size: int, rows: int, *, said: int = kit.DELTA_BYTES, more: bytes = b"") -> bytes:
    """A text of which each further one is a copy, by its prefix; what its page's header says of its encoding."""
    blocks = -(-(rows - 1) // 128)
    rest = (kit.zigzag(0) + bytes(4)) * (blocks - 1)
    first = kit.zigzag(0) + bytes([24, 0, 0, 0]) + size.to_bytes(24 * 4, "little")
    prefixes = kit.varint(128) + kit.varint(4) + kit.varint(rows) + kit.zigzag(0) + first + rest
    packed = [sum(size << 24 * place for place in range(block == 0, 32)).to_bytes(96, "little") for block in range(4)]
    lengths = kit.varint(128) + kit.varint(4) + kit.varint(rows) + kit.zigzag(size)
    suffixes = lengths + kit.zigzag(-size) + bytes([24] * 4) + b"".join(packed) + rest + b"x" * size
    return kit.file([Column("a", [Page(rows, prefixes + suffixes, said, more=more)])], rows)


def _pages_of_zeros(size: int, columns: int) -> bytes:
    body = bytes(pa.compress(bytes(size), codec="zstd", asbytes=True))
    page = Page(size // 4, body, plain_size=size)
    return kit.file([Column(f"c{i}", [page], kit.INT32, codec=kit.ZSTD) for i in range(columns)], size // 4)


HOSTILE: Final[dict[str, Callable[[], tuple[bytes, str]]]] = {
    "text_in_every_row": lambda: (_dictionary(30_000, 65_536), _REFUSED),
    "short_text_in_every_row": lambda: (_dictionary(2_000, 2**20), _READ),
    "text_of_64_mib_in_every_row": lambda: (_dictionary(2**26, 2**20), _REFUSED),
    "list_of_everything": lambda: (_list(Page(_MANY, _one_row(_MANY, 0))), _REFUSED),
    "list_of_one_number": lambda: (
        _list(
            Page(1, bytes(4), is_dictionary=True),
            Page(_MANY, _one_row(_MANY, 1) + b"\1" + kit.run(0, _MANY), kit.DICTIONARY),
        ),
        _REFUSED,
    ),
    "list_of_one_text": lambda: (
        _list(
            Page(1, kit.texts(b"x" * 1000), is_dictionary=True),
            Page(2**20, _one_row(2**20, 1) + b"\1" + kit.run(0, 2**20), kit.DICTIONARY),
            kind=kit.BYTE_ARRAY,
        ),
        _REFUSED,
    ),
    "nulls_without_number": lambda: (
        kit.file([Column("a", [Page(_MANY, kit.levels(kit.run(0, _MANY)))], kit.INT32, kit.OPTIONAL)], _MANY),
        _READ,
    ),
    "wide_nulls": lambda: (_of_width(2**24, 2**20), _REFUSED),
    "nulls_of_a_kilobyte": lambda: (_of_width(2**10, 2**20), _READ),
    "lengths_without_number": lambda: (
        kit.file([Column("a", [Page(1, kit.same(0, _MANY), kit.DELTA_LENGTH)])], 1),
        _REFUSED,
    ),
    "prefixes_of_a_megabyte": lambda: (_prefixes(2**20, 65_536), _REFUSED),
    "prefixes_said_to_be_plain": lambda: (
        _prefixes(*(2**20, 65_536), said=kit.PLAIN, more=kit.long_form(2**16 + 2, 5) + kit.zigzag(kit.DELTA_BYTES)),
        _REFUSED,
    ),
    "prefixes_of_a_kilobyte": lambda: (_prefixes(2**10, 65_536), _READ),
    "rows_that_are_not_there": lambda: (kit.file([Column("a", [Page(1, bytes(4))], kit.INT32)], 2**40), _REFUSED),
    "rows_without_columns": lambda: (kit.file([], 2**62), _READ),
    "dictionary_without_number": lambda: (
        kit.file(
            [
                Column(
                    "a",
                    [Page(_MANY, kit.texts(b"x"), is_dictionary=True), Page(1, b"\1" + kit.run(0, 1), kit.DICTIONARY)],
                )
            ],
            1,
        ),
        _REFUSED,
    ),
    "page_that_says_two_gigabytes": lambda: (
        kit.file([Column("a", [Page(1, bytes(4), plain_size=_MANY)], kit.INT32, codec=kit.ZSTD)], 1),
        _REFUSED,
    ),
    "pages_of_zeros": lambda: (_pages_of_zeros(2**26, 16), _REFUSED),
    "chunk_that_says_two_gigabytes": lambda: (
        kit.file([Column("a", [Page(1, bytes(4))], kit.INT32, size=2**31)], 1),
        _REFUSED,
    ),
    "footer_of_empty_elements": lambda: (kit.file([], 1, empty_elements=900_000), _REFUSED),
}
"""Files by what is in them: what makes one, and the class of the error, empty for one that is read."""
