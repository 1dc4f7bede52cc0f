"""Compressed files as streams of plain bytes: never more than a part of a file is in memory, however far it expands."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from pathlib import Path
from typing import IO, Any, Final, Literal, TypeAlias

import pyarrow as pa

from dataflare.pipeline.run_errors import DataError

__all__ = ["COMPRESSED_ENDINGS", "Compression", "PlainBytes", "decompress"]

COMPRESSED_ENDINGS: Final = ("gz", "zst", "bz2", "xz")
Compression: TypeAlias = Literal["auto", "none", "gzip", "zstd", "bz2", "xz"]

_MAGIC = {
    "gzip": (b"\x1f\x8b",),
    # The others begin frames that are skipped, as parallel writers of zstd put them first.
    "zstd": (b"\x28\xb5\x2f\xfd", *(bytes([0x50 + number]) + b"\x2a\x4d\x18" for number in range(16))),
    "xz": (b"\xfd7zXZ\x00",),
    # A text may begin with `BZh9`, but not continue with the digits of pi, or with those of the end of an empty file.
    "bz2": tuple(
        b"BZh%d" % level + block
        for level in range(1, 10)
        for block in (b"\x31\x41\x59\x26\x53\x59", b"\x17\x72\x45\x38\x50\x90")
    ),
}
_MAGIC_BYTES = 10
_PART_BYTES = 2**18
_XZ_BYTES = 2**28
"""What xz may take to unpack; a file may ask for 4 GiB. `xz -9` needs 65 MiB. The other formats have less by design."""
_FAILURES = (EOFError, zlib.error, lzma.LZMAError, OSError)


class PlainBytes(io.RawIOBase):
    """The decompressed bytes of a file.

    Raises:
        DataError: From `read`: the file is cut off, or damaged.
    """

    def __init__(self, path: Path, kind: str, stream: Any) -> None:
        self._path = path
        self._kind = kind
        self._stream = stream

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        try:
            return bytes(self._stream.read(size))
        except _FAILURES as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            what = f"the {self._kind} data is cut off or damaged: {error}"
            hint = "get the file again: its last bytes may be missing, or it has extra bytes at the end"
            if "Memory usage limit" in str(error):
                what = f"the xz data takes more than {_XZ_BYTES} bytes of memory to unpack"
                hint = "compress it again with a smaller dictionary: xz -9 or less"
            raise DataError(what, file=str(self._path), hint=hint) from error


def decompress(path: Path, file: IO[bytes], compression: Compression) -> tuple[IO[bytes], str]:
    """Make a stream of a file's plain bytes.

    Args:
        path: Where it is, for errors.
        file: The file, at its beginning.
        compression: How it is compressed. `auto` looks at its first bytes; its name does not matter.

    Returns:
        The stream, and how the file is compressed.

    Raises:
        DataError: It is not compressed as `compression` says.
    """
    head = file.read(_MAGIC_BYTES)
    found = next((kind for kind, starts in _MAGIC.items() if head.startswith(starts)), "none")
    if compression == "none":
        found = "none"
    elif compression != "auto" and found != compression:
        what = f"is not {compression}: it begins with {head[:4].hex(' ') or 'nothing'}"
        raise DataError(what, file=str(path), hint="leave `compression` out: it is detected")
    source: Any = Prefixed(head, file)
    if found == "none":
        return source, found
    streams: dict[str, Any] = {
        "gzip": lambda: gzip.GzipFile(fileobj=source),
        "bz2": lambda: _Members(source, bz2.BZ2Decompressor),
        "xz": lambda: _Members(source, lambda: lzma.LZMADecompressor(memlimit=_XZ_BYTES)),
        "zstd": lambda: pa.CompressedInputStream(pa.PythonFile(source, "r"), "zstd"),
    }
    return PlainBytes(path, found, streams[found]()), found  # type: ignore[return-value]  # what a reader needs of it


class _Members:
    """One bz2 or xz stream after another. The readers of the standard library take a damaged second one for nothing."""

    def __init__(self, source: Any, make: Any) -> None:
        self._source = source
        self._make = make
        self._member: Any = None
        self._data = b""

    def read(self, size: int) -> bytes:
        while True:
            if self._member is None or self._member.eof:
                if not self._begin():
                    return b""
            elif self._member.needs_input:
                self._data = self._source.read(_PART_BYTES)
                if not self._data:
                    raise EOFError("the end is missing")
            data = self._member.decompress(self._data, size)
            self._data = b""
            if data:
                return bytes(data)

    def _begin(self) -> bool:
        """Begin the next stream; `False` at the end. Zeros after a stream are padding."""
        data = b"" if self._member is None else self._member.unused_data.lstrip(b"\0")
        while not data:
            data = self._source.read(_PART_BYTES)
            if not data:
                return False
            if self._member is not None:
                data = data.lstrip(b"\0")
        self._data, self._member = data, self._make()
        return True


class Prefixed(io.RawIOBase):
    """Bytes that were read already, and then the rest of a stream, which may give more or less than it is asked for.

    Every `read` but the last one gives as many bytes as it is asked for, which Arrow takes for granted.
    """

    def __init__(self, head: bytes, rest: Any) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        parts, left = [self._head], size - len(self._head)
        while (size < 0 or left > 0) and (more := bytes(self._rest.read(max(left, -1)))):
            parts.append(more)
            left -= len(more)
        data = b"".join(parts)
        end = len(data) if size < 0 else size
        self._head = data[end:]
        return data[:end]
