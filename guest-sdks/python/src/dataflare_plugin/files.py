"""Files in the directories that the operator granted; `plugin.yaml` lists `files` under `needs`.

A path is `NAME/rest`, with `/` on every system: `NAME` is the name of a granted directory. Python's own `open` finds
nothing in a component. Open readers and writers in a `with`:

```python
with files.open("data/people.csv") as reader:
    text = reader.read_all().decode()
with files.create("out/people.csv", replace=True) as writer:
    writer.write_text(text)
    writer.publish()
```

A function that fails raises a `FileError`: one of its subclasses where the reason is known. One that a plugin does not
catch reaches the operator as the error that its class is a kind of.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Self

from dataflare_plugin import errors
from dataflare_plugin.bindings import interface
from dataflare_plugin.errors import host_call

__all__ = [
    "AlreadyExists",
    "Busy",
    "Denied",
    "Directory",
    "Entry",
    "FileError",
    "InputOutput",
    "InvalidPath",
    "NoSpace",
    "NotFound",
    "Reader",
    "Writer",
    "WrongKind",
    "append",
    "create",
    "delete",
    "granted",
    "list_entries",
    "open",
    "stat",
]

_files = interface("files")
_MOST_BYTES = 16 * 2**20


class FileError(errors.PluginError):
    """A call failed; the text says what and where. This class itself: for another reason than those below."""


class NotFound(FileError, errors.InvalidConfig):
    """The file or directory does not exist."""


class Denied(FileError, errors.Denied):
    """The operator did not grant this: the path leads out of its directory, or only reading is granted."""


class AlreadyExists(FileError, errors.InvalidConfig):
    """The file exists already, and `create` or `publish` was not to replace it."""


class WrongKind(FileError, errors.InvalidConfig):
    """A directory where a file is needed, or the reverse, or neither."""


class InvalidPath(FileError, errors.InvalidConfig):
    """The path is not `NAME/rest`."""


class NoSpace(FileError, errors.Denied):
    """It would exceed a limit that the operator set, or the disk is full."""


class InputOutput(FileError, errors.Unavailable):
    """The device failed; a retry can help."""


class Busy(FileError, errors.Unavailable):
    """Another writer appends to the file; a retry can help when it has ended."""


_REASONS = (NotFound, Denied, AlreadyExists, WrongKind, InvalidPath, NoSpace, InputOutput, Busy)
_call = host_call({each.__name__: each for each in _REASONS}, FileError)


@dataclass(frozen=True)
class Directory:
    """A granted directory: its name, and whether files in it may be written."""

    name: str
    writable: bool


@dataclass(frozen=True)
class Entry:
    """A file or a directory.

    Args:
        name: Its name, without the directory.
        kind: What it is; an `other` cannot be opened.
        size_bytes: The length of a file; 0 for others.
        modified_ms: When it last changed, in milliseconds since 1970-01-01T00:00:00Z.
    """

    name: str
    kind: Literal["file", "directory", "other"]
    size_bytes: int
    modified_ms: int


class _Open:
    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it; a writer that was not published leaves nothing behind. Idempotent."""
        raw, self._raw = self._raw, None
        if raw is not None:
            raw.__exit__(None, None, None)

    def tell(self) -> int:
        """A reader's position, in bytes from the beginning of the file; how many bytes a writer has written."""
        return int(_call(self._raw.tell).offset_bytes)


class Reader(_Open):
    """A file open for reading, with a position that every read moves forward."""

    def read(self, max_bytes: int = _MOST_BYTES) -> bytes:
        """Read the next bytes, at most 16 MiB; fewer than `max_bytes` only at the end, and none after it."""
        return bytes(_call(self._raw.read, max_bytes))

    def read_all(self) -> bytes:
        """Read from the position to the end."""
        return b"".join(iter(self.read, b""))

    def lines(self, encoding: str = "utf-8") -> Iterator[str]:
        """Yield line after line from the position on, with the line feed at its end."""
        rest = b""
        while part := self.read(2**20):
            *whole, rest = (rest + part).split(b"\n")
            for line in whole:
                yield line.decode(encoding) + "\n"
        if rest:
            yield rest.decode(encoding)

    def seek(self, to: int) -> None:
        """Go to a position, in bytes; after the end there is nothing to read."""
        _call(self._raw.seek, _files.Position(to))

    def length(self) -> int:
        """The length of the file in bytes."""
        return int(_call(self._raw.length).offset_bytes)


class Writer(_Open):
    """A file being written. What is written counts with `publish` only."""

    def write(self, data: bytes) -> None:
        """Add bytes at the end."""
        _call(self._raw.write, data)

    def write_text(self, text: str) -> None:
        """Add a text at the end, as UTF-8; the fastest for text."""
        _call(self._raw.write_text, text)

    def sync(self) -> None:
        """Wait until everything that was written is on the disk."""
        _call(self._raw.sync)

    def publish(self) -> None:
        """Make what was written count, in one step; it is durable when this returns. A second call does nothing.

        Raises:
            AlreadyExists: A file of this name came up since `create`, and is not to be replaced.
        """
        _call(self._raw.publish)


def granted() -> list[Directory]:
    """The directories that the operator granted."""
    return [Directory(each.name, each.writable) for each in _files.granted()]


def open(path: str) -> Reader:
    """Open a file for reading.

    Raises:
        FileError: It cannot be opened: `NotFound`, `Denied`, `WrongKind`, `InvalidPath`.
    """
    return Reader(_call(_files.open, path))


def create(path: str, replace: bool = False) -> Writer:
    """Begin to write a file, which others do not see before `publish`.

    Args:
        path: Where.
        replace: Whether a file of this name may be replaced.

    Raises:
        FileError: It cannot be written: `AlreadyExists`, `Denied`, `NotFound` for its directory, `NoSpace`.
    """
    return Writer(_call(_files.create, path, replace))


def append(path: str) -> Writer:
    """Begin to write at the end of a file, in place; it is created if it does not exist.

    Raises:
        FileError: It cannot be written: `Busy` while another writer appends to it, and as `create`.
    """
    return Writer(_call(_files.append, path))


def stat(path: str) -> Entry:
    """Describe a file or a directory.

    Raises:
        FileError: `NotFound`, `Denied`, `InvalidPath`.
    """
    return _entry(_call(_files.stat, path))


def list_entries(path: str) -> list[Entry]:
    """The entries of a directory, by name.

    Raises:
        FileError: `NotFound`, `Denied`, `WrongKind`, `InvalidPath`.
    """
    return [_entry(each) for each in _call(_files.list_entries, path)]


def delete(path: str) -> None:
    """Delete a file; one that is not there is not an error.

    Raises:
        FileError: `Denied`, `WrongKind`, `InvalidPath`.
    """
    _call(_files.delete, path)


def _entry(found: Any) -> Entry:
    kind: Any = found.kind.name.lower()
    return Entry(found.name, kind, found.size_bytes, found.modified_ms)
