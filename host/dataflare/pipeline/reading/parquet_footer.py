"""The footer of a Parquet file: where the columns are, and the schema that Arrow must not see unchecked.

Arrow's own answers about columns are not asked for: what is wrong with a footer can make them end the process. Writers
store the schema in Base64 under the key `ARROW:schema`, in the footer's pairs, in Thrift's compact form.
https://parquet.apache.org/docs/file-format/metadata/
"""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from dataflare.data.flatbuffers import root
from dataflare.data.guard.types import MAX_METADATA_BYTES
from dataflare.data.ipc_schema import read_schema
from dataflare.data.shapes import malformed
from dataflare.pipeline.reading.thrift import BINARY, I32, I64, Definition, read_known, read_struct

__all__ = ["Footer", "Group", "StoredColumn", "read_footer"]

_KEY: Final = b"ARROW:schema"
_BEFORE_KEY: Final = bytes([0x18, len(_KEY)])  # the first field of a pair, a string: its length and its bytes follow
_PAIR: Final[Definition] = {1: BINARY, 2: BINARY}
_PAIRS: Final[list[int | Definition]] = [{}]
_COLUMN: Final[Definition] = {
    1: I32,
    2: [I32],
    3: [BINARY],
    4: I32,
    **dict.fromkeys((5, 6, 7, 9, 10, 11), I64),
    8: _PAIRS,
    13: [{}],
    16: {2: [I64], 3: [I64]},
    17: {2: [I32]},
}
_FOOTER: Final[Definition] = {
    2: [{}],
    3: I64,
    4: [{1: [{3: _COLUMN, 8: {2: {1: [BINARY]}}}], 2: I64, 3: I64, 4: [{}]}],
    5: _PAIRS,
    7: [{}],
}
"""What of the footer is read, and all of its lists.
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift"""
_CODECS: Final = range(8)
_WHERE: Final = "a Parquet file whose stored schema"


@dataclass(frozen=True, slots=True)
class StoredColumn:
    """A column within a group of rows.

    Args:
        codec: The number of its compression.
        values: How many values it has, nulls included.
        packed_bytes: What it takes in the file.
        start: Where Arrow begins to read it.
    """

    codec: int
    values: int
    packed_bytes: int
    start: int


@dataclass(frozen=True, slots=True)
class Group:
    """A group of rows: their number, and their columns."""

    rows: int
    columns: list[StoredColumn]


@dataclass(frozen=True, slots=True)
class Footer:
    """A footer: the bytes that it takes, and the groups of rows, unless it is too long to look at."""

    size: int
    groups: list[Group] | None


def read_footer(file: BinaryIO, *, most_bytes: int) -> Footer:
    """Read a file's footer, and check the schemas in it; Arrow finds what else may be wrong with the file.

    Args:
        file: The file.
        most_bytes: The size of a footer that is read; in a longer one, only the schemas are checked.

    Raises:
        DataFailure: `malformed`.
        OSError: The file cannot be read.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - 8))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if len(tail) < 8 or length > min(size - 8, MAX_METADATA_BYTES):
        raise malformed("not a Parquet file, or one whose footer does not fit")
    file.seek(size - 8 - length)
    footer = file.read(length)
    at = footer.find(_KEY)
    while at >= 0:
        _check_schema(_text(footer, at - len(_BEFORE_KEY)))
        at = footer.find(_KEY, at + len(_KEY))
    return Footer(length, _groups(footer) if length <= most_bytes else None)


def _groups(footer: bytes) -> list[Group]:
    try:
        fields, _ = read_known(footer, 0, _FOOTER, "the footer of a Parquet file")
        return [Group(group[3], [_column(each[3]) for each in group[1]]) for group in fields[4]]
    except IndexError:
        raise malformed("not a valid Parquet file: its footer ends early") from None
    except KeyError:
        raise malformed("not a valid Parquet file: its footer lacks what each must have") from None


def _column(fields: dict[int, Any]) -> StoredColumn:
    codec, first, dictionary = fields[4], fields[9], fields.get(11, 0)
    if codec not in _CODECS:
        raise malformed(f"not a valid Parquet file: a column has the unknown compression {codec}")
    return StoredColumn(codec, fields[5], fields[7], dictionary if 0 < dictionary < first else first)


def _text(footer: bytes, at: int) -> bytes:
    """Read the value of a pair to the pair's end: a second value would be the one that Arrow takes."""
    try:
        pair, _ = read_struct(footer, at, _PAIR, _WHERE) if footer.startswith(_BEFORE_KEY, max(0, at)) else ({}, 0)
    except IndexError:
        raise malformed(f"{_WHERE} ends early") from None
    text: bytes | None = pair.get(2)
    if text is None:
        raise malformed(f"{_WHERE} has no text")
    return text


def _check_schema(text: bytes) -> None:
    try:
        message = base64.b64decode(text, validate=True)
        table = root(message[8:]).table(2)
        if message[:4] != b"\xff\xff\xff\xff" or table is None:
            raise malformed(f"{_WHERE} is not a message")
        read_schema(table, stored=True)
    except (binascii.Error, struct.error, UnicodeDecodeError) as error:
        raise malformed(f"{_WHERE} is not valid: {error}") from error
