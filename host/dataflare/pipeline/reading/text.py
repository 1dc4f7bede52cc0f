"""Text files as streams of UTF-8."""

from __future__ import annotations

import codecs
import io
from pathlib import Path
from typing import IO, Any

from dataflare.pipeline.reading.compression import Compression, Prefixed, decompress
from dataflare.pipeline.reading.file_kinds import HEAD_BYTES, binary_kind
from dataflare.pipeline.run_errors import DataError

__all__ = ["Utf8Bytes", "check_encoding", "open_text"]

_UTF_8 = codecs.lookup("utf-8")
_WIDE_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

_NOT_OF_FILES = frozenset({"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape"})
"""Encodings of names and of program text: read part by part, they change what they are given."""


def check_encoding(name: str) -> str:
    """Make sure that an encoding is known.

    Raises:
        ValueError: It is not, or it does not encode text.
    """
    try:
        "".encode(name)
        b"".decode(name)
        known = codecs.lookup(name).name.replace("-", "_")
    except (LookupError, UnicodeError):
        known = ""
    if not known or known in _NOT_OF_FILES:
        raise ValueError(f"there is no encoding of text {name!r}")
    return name


def open_text(path: Path, file: IO[bytes], *, compression: Compression, encoding: str) -> IO[bytes]:
    """Make a stream of a file's text as UTF-8, without a byte order mark.

    In UTF-8 files the bytes are handed on as they are: the reader of the values checks them.

    Raises:
        DataError: The file is compressed in another way than `compression` says, or begins with the byte order mark of
            another encoding.
    """
    stream, found = decompress(path, file, compression)
    head = stream.read(HEAD_BYTES)
    _check_is_text(path, head, found)
    stream = Prefixed(head, stream)  # type: ignore[assignment]
    if codecs.lookup(encoding) != _UTF_8:
        return Prefixed(b"", Utf8Bytes(path, stream, encoding))  # type: ignore[return-value]  # what a reader needs
    head = stream.read(4)
    for mark, name in _WIDE_MARKS.items():
        if head.startswith(mark):
            what = f"begins with the byte order mark of {name.upper()}, and is not UTF-8"
            raise DataError(what, file=str(path), line=1, hint=f"say so in `options`: encoding: {name}")
    if len(head) > 1 and not (any(head[1::2]) and any(head[::2])):
        order = "be" if any(head[1::2]) else "le"
        what = "begins with a NUL character, as UTF-16 without a byte order mark does"
        raise DataError(what, file=str(path), line=1, hint=f"say so in `options`: encoding: utf-16-{order}")
    return Prefixed(head.removeprefix(codecs.BOM_UTF8), stream)  # type: ignore[return-value]


def _check_is_text(path: Path, head: bytes, compression: str) -> None:
    """Refuse what is known not to be text: a lenient encoding would make rows of it.

    Raises:
        DataError: It is another kind of file; names it, and what to do.
    """
    if (found := binary_kind(head)) is None:
        return
    what, hint = found
    if not hint:
        twice = compression != "none"
        hint = "it is compressed twice: expand it once" if twice else "leave `compression: none` out"
    inner = "" if compression == "none" else f", once the {compression} data is expanded"
    raise DataError(f"is not text but {what}{inner}", file=str(path), hint=hint)


class Utf8Bytes(io.RawIOBase):
    """Decodes a stream and encodes it as UTF-8.

    Raises:
        DataError: From `read`: bytes that the encoding does not have; names the line.
    """

    def __init__(self, path: Path, stream: Any, encoding: str) -> None:
        self._path = path
        self._stream = stream
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._line = 1
        self._begun = False
        self._ended = False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Read about this many bytes: a character may take more of them in UTF-8."""
        while not self._ended:
            data = self._stream.read(size)
            self._ended = not data or size < 0
            if text := self._decode(data):
                if not self._begun:
                    text = text.removeprefix("\ufeff")
                    self._begun = True
                self._line += text.count("\n")
                if text:
                    return text.encode()
        return b""

    def _decode(self, data: bytes) -> str:
        try:
            return self._decoder.decode(data, self._ended)
        except UnicodeError as error:
            line, bad = self._line, b""
            if isinstance(error, UnicodeDecodeError):
                bad = error.object[error.start : error.start + 4]
                line += error.object[: error.start].decode(self._encoding, "replace").count("\n")
            what = (
                f"{bad.hex(' ')} is not a character in {self._encoding}" if bad else f"is not {self._encoding}: {error}"
            )
            raise DataError(what, file=str(self._path), line=line, hint="is `encoding` right?") from error
