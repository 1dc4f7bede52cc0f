"""`dataflare:host/files`: files in granted directories."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dataflare.capabilities.capability_failure import CapabilityFailure, returns_result
from dataflare.capabilities.clock import Clock, SystemClock
from dataflare.errors import ConfigError
from dataflare.locks import Lock
from dataflare.wit_types.batches import WordBuffer
from dataflare.wit_types.files import Directory, Entry, Position

__all__ = [
    "MAX_READ_BYTES",
    "PRIVATE_PREFIX",
    "FileLimits",
    "FileStore",
    "MemoryDirectory",
    "MemoryFiles",
    "Reader",
    "Writer",
    "imports",
    "parse_path",
]

MAX_READ_BYTES = 16 * 2**20
"""Maximum bytes of one read."""

PRIVATE_PREFIX = ".dataflare-"
"""Prefix of the names of unpublished files, which plugins cannot see."""

_MAX_PATH_BYTES = 4096
_MAX_NAME_BYTES = 255
_MAX_PARTS = 64

Bytes = bytes | memoryview


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLimits:
    """The limits of one plugin for files.

    Args:
        open_files: Maximum number of readers and writers that are open at the same time.
        file_bytes: The largest file that it may write, in bytes; `None` for no limit.
        entries: Maximum number of entries of a directory that it may list.

    Raises:
        ConfigError: A value is below 1.
    """

    open_files: int = 64
    file_bytes: int | None = None
    entries: int = 100_000

    def __post_init__(self) -> None:
        for name in ("open_files", "file_bytes", "entries"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{value!r} is not at least 1", where=f"files.{name}")


class Reader(Protocol):
    """A file open for reading. One thread at a time."""

    def read(self, max_bytes: int) -> bytes:
        """Return the next bytes, at most `max_bytes` and `MAX_READ_BYTES`; fewer only at the end of the file."""

    def read_words(self, max_bytes: int) -> WordBuffer:
        """Return the next bytes as 64-bit words; otherwise like `read`."""

    def seek(self, to: int) -> None:
        """Go to a position, in bytes."""

    def tell(self) -> int:
        """Return the position, in bytes."""

    def length(self) -> int:
        """Return the file's length, in bytes."""

    def close_handle(self) -> None:
        """Close the file; idempotent."""


class Writer(Protocol):
    """A file being written, invisible before `publish`. One thread at a time."""

    def write(self, data: Bytes) -> None:
        """Append bytes: all of them, or none and an error."""

    def tell(self) -> int:
        """Return the number of bytes written so far."""

    def sync(self) -> None:
        """Wait until the written bytes are on the disk."""

    def publish(self) -> None:
        """Give the file its name, atomically and durably; a second call does nothing."""

    def close_handle(self) -> None:
        """Close the file, and remove it if it was not published; idempotent."""


class FileStore(Protocol):
    """Granted directories. Any thread may call; each call raises `CapabilityFailure` with a case of `file-error`."""

    def granted(self) -> list[Directory]:
        """Return the granted directories, by name."""

    def open(self, path: str) -> Reader:
        """Open a file for reading."""

    def create(self, path: str, replace: bool) -> Writer:
        """Begin to write a file; `replace` says whether it may replace another file."""

    def append(self, path: str) -> Writer:
        """Begin to write at the end of a file, in place; it is created if it is missing."""

    def stat(self, path: str) -> Entry:
        """Describe a file or a directory."""

    def list_entries(self, path: str) -> list[Entry]:
        """Return a directory's entries, sorted by name."""

    def delete(self, path: str) -> None:
        """Delete a file; an absent one is not a failure."""


def parse_path(path: str) -> tuple[str, tuple[str, ...]]:
    """Split a path into the granted directory's name and the parts below it; none for the directory itself.

    Raises:
        CapabilityFailure: `denied` for `..` and for absolute paths, `invalid-path` for any other path of the wrong
            form.
    """
    if len(path.encode()) > _MAX_PATH_BYTES:
        raise CapabilityFailure("invalid-path", f"the path is longer than {_MAX_PATH_BYTES} bytes")
    shown = repr(path)
    if path.startswith("/"):
        raise CapabilityFailure("denied", f"{shown} is absolute: a path begins with the name of a granted directory")
    name, slash, rest = path.partition("/")
    parts = tuple(rest.split("/")) if slash and rest else ()
    if ".." in (name, *parts):
        raise CapabilityFailure("denied", f"{shown} leads out of its directory with `..`")
    if len(parts) > _MAX_PARTS:
        raise CapabilityFailure("invalid-path", f"{shown} has more than {_MAX_PARTS} parts")
    for part in (name, *parts):
        if part in ("", ".") or "\0" in part or "\\" in part or len(part.encode()) > _MAX_NAME_BYTES:
            raise CapabilityFailure("invalid-path", f"{shown} has the part {part!r}, which is not a name of a file")
        if part.startswith(PRIVATE_PREFIX):
            raise CapabilityFailure("invalid-path", f"{shown}: names that begin with {PRIVATE_PREFIX} are the host's")
    return name, parts


def imports(files: FileStore) -> dict[str, Callable[..., Any]]:
    """Make the functions of the interface, by their names in the WIT.

    A handle's object is a `Reader` or a `Writer`; the engine calls its `close_handle` when the handle is dropped.
    """

    def seek(reader: Reader, to: Any) -> None:
        reader.seek(to.offset_bytes)

    def length(reader: Reader) -> Position:
        return Position(reader.length())

    def write_words(writer: Writer, data: Any) -> None:
        words: npt.NDArray[np.uint64] = np.ascontiguousarray(data.words, np.uint64)
        if data.byte_length > words.nbytes:
            raise CapabilityFailure("other", f"{data.byte_length} bytes cannot be in {len(words)} words")
        writer.write(memoryview(words.data).cast("B")[: data.byte_length] if len(words) else b"")

    write_text = returns_result(lambda writer, text: writer.write(text))
    write_text.text_as_bytes = True  # type: ignore[attr-defined]  # what the engine looks for
    write_text.takes_views = True  # type: ignore[attr-defined]  # a writer keeps none of its arguments
    put_words = returns_result(write_words)
    put_words.takes_views = True  # type: ignore[attr-defined]
    return {
        "[method]reader.read": returns_result(lambda reader, max_bytes: reader.read(max_bytes)),
        "[method]reader.read-words": returns_result(lambda reader, max_bytes: reader.read_words(max_bytes)),
        "[method]reader.seek": returns_result(seek),
        "[method]reader.tell": lambda reader: Position(reader.tell()),
        "[method]reader.length": returns_result(length),
        "[method]writer.write": returns_result(lambda writer, data: writer.write(data)),
        "[method]writer.write-text": write_text,
        "[method]writer.write-words": put_words,
        "[method]writer.tell": lambda writer: Position(writer.tell()),
        "[method]writer.sync": returns_result(lambda writer: writer.sync()),
        "[method]writer.publish": returns_result(lambda writer: writer.publish()),
        "granted": files.granted,
        "open": returns_result(files.open),
        "create": returns_result(files.create),
        "append": returns_result(files.append),
        "stat": returns_result(files.stat),
        "list-entries": returns_result(files.list_entries),
        "delete": returns_result(files.delete),
    }


@dataclass(slots=True, kw_only=True)
class MemoryDirectory:
    """A directory in memory: files by path, and directories, including the parents of files."""

    writable: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    directories: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for path in (*self.files, *(f"{directory}/" for directory in tuple(self.directories))):
            parts = path.split("/")[:-1]
            self.directories |= {"/".join(parts[: i + 1]) for i in range(len(parts))}


class MemoryFiles:
    """Granted directories that live in memory."""

    def __init__(
        self,
        directories: Mapping[str, MemoryDirectory],
        *,
        limits: FileLimits | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._directories = dict(sorted(directories.items()))
        self._limits = limits or FileLimits()
        self._clock = clock or SystemClock()
        self._lock = Lock()
        self._modified_ms: dict[tuple[str, str], int] = {}
        self._appending: set[tuple[int, str]] = set()
        self._open = 0

    def granted(self) -> list[Directory]:
        return [Directory(name, directory.writable) for name, directory in self._directories.items()]

    def open(self, path: str) -> Reader:
        directory, rest = self._resolve(path)
        with self._lock:
            self._check_parents(directory, rest, path)
            if rest in directory.directories or not rest:
                raise CapabilityFailure("wrong-kind", f"{path!r} is a directory")
            if rest not in directory.files:
                raise CapabilityFailure("not-found", f"there is no {path!r}")
            self._count_open(+1)
            return _MemoryReader(directory.files[rest], self)

    def create(self, path: str, replace: bool) -> Writer:
        directory, rest = self._resolve(path, writes=True)
        with self._lock:
            self._check_target(directory, rest, path, replace)
            self._count_open(+1)
        return _MemoryWriter(self, directory, path, rest, replace, self._limits.file_bytes)

    def append(self, path: str) -> Writer:
        directory, rest = self._resolve(path, writes=True)
        with self._lock:
            self._check_target(directory, rest, path, True)
            if (id(directory), rest) in self._appending:
                raise CapabilityFailure("busy", f"{path!r}: another writer appends to it")
            self._count_open(+1)
            self._appending.add((id(directory), rest))
        return _MemoryAppender(self, directory, path, rest, True, self._limits.file_bytes)

    def stat(self, path: str) -> Entry:
        directory, rest = self._resolve(path)
        with self._lock:
            self._check_parents(directory, rest, path)
            return self._entry(directory, rest, path)

    def list_entries(self, path: str) -> list[Entry]:
        directory, rest = self._resolve(path)
        prefix = f"{rest}/" if rest else ""
        with self._lock:
            self._check_parents(directory, rest, path)
            if self._entry(directory, rest, path).kind != "directory":
                raise CapabilityFailure("wrong-kind", f"{path!r} is not a directory")
            below = [
                name.removeprefix(prefix)
                for name in (*directory.files, *directory.directories)
                if name.startswith(prefix)
            ]
            names = sorted(name for name in below if "/" not in name)
            if len(names) > self._limits.entries:
                raise CapabilityFailure("other", f"{path!r} has more than {self._limits.entries} entries")
            return [self._entry(directory, prefix + name, f"{path.rstrip('/')}/{name}") for name in names]

    def delete(self, path: str) -> None:
        directory, rest = self._resolve(path, writes=True)
        with self._lock:
            try:
                self._check_target(directory, rest, path, True)
            except CapabilityFailure as failure:
                if failure.case != "not-found":
                    raise
            directory.files.pop(rest, None)

    def _resolve(self, path: str, *, writes: bool = False) -> tuple[MemoryDirectory, str]:
        name, parts = parse_path(path)
        directory = self._directories.get(name)
        if directory is None:
            raise CapabilityFailure("denied", f"{path!r}: no directory {name!r} is granted")
        if writes and not directory.writable:
            raise CapabilityFailure("denied", f"{path!r}: {name!r} is granted for reading only")
        return directory, "/".join(parts)

    def _check_parents(self, directory: MemoryDirectory, rest: str, path: str) -> None:
        parts = rest.split("/")
        for i in range(1, len(parts)):
            parent = "/".join(parts[:i])
            if parent in directory.files:
                raise CapabilityFailure("wrong-kind", f"{path!r}: {parent!r} is not a directory")
            if parent not in directory.directories:
                raise CapabilityFailure("not-found", f"there is no {path!r}")

    def _check_target(self, directory: MemoryDirectory, rest: str, path: str, replace: bool) -> None:
        self._check_parents(directory, rest, path)
        if rest in directory.directories or not rest:
            raise CapabilityFailure("wrong-kind", f"{path!r} is a directory")
        if rest in directory.files and not replace:
            raise CapabilityFailure("already-exists", f"{path!r} is there already")

    def _entry(self, directory: MemoryDirectory, rest: str, path: str) -> Entry:
        name = path.rstrip("/").rpartition("/")[2]
        if rest in directory.directories or not rest:
            return Entry(name, "directory", 0, 0)
        if rest not in directory.files:
            raise CapabilityFailure("not-found", f"there is no {path!r}")
        return Entry(name, "file", len(directory.files[rest]), self._modified_ms.get((str(id(directory)), rest), 0))

    def _count_open(self, change: int) -> None:
        if change > 0 and self._open >= self._limits.open_files:
            raise CapabilityFailure("no-space", f"{self._open} files are open, the limit of open_files")
        self._open += change

    def appended(self, directory: MemoryDirectory, rest: str) -> None:
        """Record that a writer no longer appends to a file."""
        with self._lock:
            self._appending.discard((id(directory), rest))

    def closed(self) -> None:
        """Count a handle that was closed."""
        with self._lock:
            self._count_open(-1)

    def put(self, directory: MemoryDirectory, path: str, rest: str, data: bytes, replace: bool) -> None:
        """Publish a writer's file."""
        with self._lock:
            self._check_target(directory, rest, path, replace)
            directory.files[rest] = data
            self._modified_ms[str(id(directory)), rest] = self._clock.now_ns() // 10**6


class _MemoryReader:
    def __init__(self, data: bytes, files: MemoryFiles) -> None:
        self._data = data
        self._files = files
        self._position = 0
        self._closed = False

    def read(self, max_bytes: int) -> bytes:
        end = min(self._position + min(max_bytes, MAX_READ_BYTES), len(self._data))
        data = self._data[self._position : end]
        self._position += len(data)
        return data

    def read_words(self, max_bytes: int) -> WordBuffer:
        data = self.read(max_bytes)
        return WordBuffer(len(data), np.frombuffer(data + b"\0" * (-len(data) % 8), np.uint64))

    def seek(self, to: int) -> None:
        self._position = to

    def tell(self) -> int:
        return self._position

    def length(self) -> int:
        return len(self._data)

    def close_handle(self) -> None:
        if not self._closed:
            self._closed = True
            self._files.closed()


class _MemoryWriter:
    def __init__(
        self, files: MemoryFiles, directory: MemoryDirectory, path: str, rest: str, replace: bool, limit: int | None
    ) -> None:
        self._files = files
        self._target = (directory, path, rest)
        self._replace = replace
        self._limit = limit
        self._before = b""
        self._data = bytearray()
        self._published = False
        self._closed = False

    def write(self, data: Bytes) -> None:
        if self._published:
            raise CapabilityFailure("other", "the file is published: nothing can be written to it")
        if self._limit is not None and len(self._before) + len(self._data) + len(data) > self._limit:
            raise CapabilityFailure("no-space", f"the file would be larger than file_bytes = {self._limit}")
        self._data += data

    def tell(self) -> int:
        return len(self._data)

    def sync(self) -> None:
        """Do nothing: memory needs no sync."""

    def publish(self) -> None:
        if not self._published:
            self._files.put(*self._target, self._before + bytes(self._data), self._replace)
            self._published = True

    def close_handle(self) -> None:
        if not self._closed:
            self._closed = True
            self._files.closed()


class _MemoryAppender(_MemoryWriter):
    def __init__(
        self, files: MemoryFiles, directory: MemoryDirectory, path: str, rest: str, replace: bool, limit: int | None
    ) -> None:
        super().__init__(files, directory, path, rest, replace, limit)
        self._before = directory.files.get(rest, b"")

    def close_handle(self) -> None:
        directory, _, rest = self._target
        self._files.appended(directory, rest)
        super().close_handle()
