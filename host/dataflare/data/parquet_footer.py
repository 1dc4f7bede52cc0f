"""What Arrow must not see unchecked in the footer of a Parquet file: a schema of its own, and unknown codecs.

Writers store it in Base64 under the key `ARROW:schema`, in the footer's pairs, in Thrift's compact form.
https://parquet.apache.org/docs/file-format/metadata/
"""

from __future__ import annotations

import base64
import binascii
import struct
from typing import BinaryIO, Final

from dataflare.data.flatbuffers import root
from dataflare.data.guard.types import MAX_METADATA_BYTES
from dataflare.data.ipc_schema import read_schema
from dataflare.data.shapes import malformed
from dataflare.data.thrift import BINARY, Definition, read_struct, walk_struct

__all__ = ["check_footer"]

_KEY: Final = b"ARROW:schema"
_BEFORE_KEY: Final = bytes([0x18, len(_KEY)])  # the first field of a pair, a string: its length and its bytes follow
_PAIR: Final[Definition] = {1: BINARY, 2: BINARY}
_CODEC: Final = (4, 1, 3, 4)
"""Row groups, columns, their metadata, the codec."""
_CODECS: Final = range(8)
_WHERE: Final = "a Parquet file whose stored schema"


def check_footer(file: BinaryIO) -> int:
    """Check the schemas and codecs in a file's footer; Arrow finds what else may be wrong with the file.

    Returns:
        The bytes that the footer takes.

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
    try:
        walk_struct(footer, 0, _check_codec, "the footer of a Parquet file")
    except IndexError:
        raise malformed("not a valid Parquet file: its footer ends early") from None
    return length


def _check_codec(path: tuple[int, ...], value: int) -> None:
    """Refuse a compression that is not known: Arrow ends the process when it is asked for its name."""
    if path == _CODEC and value not in _CODECS:
        raise malformed(f"not a valid Parquet file: a column has the unknown compression {value}")


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
