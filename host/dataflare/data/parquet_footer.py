"""The Arrow schema that a Parquet file can carry in its footer, checked before Arrow parses it.

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

__all__ = ["check_footer"]

_KEY: Final = b"ARROW:schema"
_TEXT_FIELD: Final = 0x18  # the next field, a string: its length and its bytes follow


def check_footer(file: BinaryIO) -> int:
    """Check the schemas in a file's footer; what else may be wrong with the file is left to who reads it.

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
        at += len(_KEY)
        _check_schema(_text(footer, at))
        at = footer.find(_KEY, at)
    return length


def _text(footer: bytes, at: int) -> bytes:
    """Read the string after a key."""
    if footer[at : at + 1] != bytes([_TEXT_FIELD]):
        raise malformed("a Parquet file whose stored schema has no text")
    size = shift = 0
    for place in range(at + 1, at + 6):
        byte = footer[place] if place < len(footer) else 0
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return footer[place + 1 : place + 1 + size]
    raise malformed("a Parquet file whose stored schema has no length")


def _check_schema(text: bytes) -> None:
    try:
        message = base64.b64decode(text, validate=True)
        table = root(message[8:]).table(2)
        if message[:4] != b"\xff\xff\xff\xff" or table is None:
            raise malformed("a Parquet file whose stored schema is not a message")
        read_schema(table, stored=True)
    except (binascii.Error, struct.error, UnicodeDecodeError) as error:
        raise malformed(f"a Parquet file whose stored schema is not valid: {error}") from error
