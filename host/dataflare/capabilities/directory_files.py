"""Files in real directories, opened without races and without a way out of the granted directory.

The system never gets a whole path: each part is opened relative to the directory before it, without following symbolic
links. This module reads and follows links itself, within the granted directory only. A concurrent change of the tree
can make a call fail, but cannot redirect it. Needs a POSIX system.
"""

from __future__ import annotations

import errno
import functools
import os
import stat
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dataflare.budgets import current
from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.directory_writers import (
    PART_BYTES,
    AppendedFile,
    NewFile,
    Place,
    failure_of,
    kind_of,
    kind_of_mode,
    roll_back,
    translated,
)
from dataflare.capabilities.files import (
    MAX_READ_BYTES,
    PRIVATE_PREFIX,
    FileLimits,
    Reader,
    Writer,
    imports,
    parse_path,
)
from dataflare.errors import ConfigError
from dataflare.grants import DirectoryGrant, Grants
from dataflare.interruptible import Descriptor, interruptible
from dataflare.locks import Lock
from dataflare.wit_types.batches import WordBuffer
from dataflare.wit_types.files import Directory, Entry

__all__ = ["DirectoryFiles", "provide"]

_ENTRY_BYTES = 512
"""Approximate size in bytes of an entry of a listing."""

_MAX_LINKS = 40  # as in Linux
_MAX_OFFSET = 2**63 - 1
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a FIFO that took a file's place would wait forever.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class DirectoryFiles:
    """Granted directories of the file system. Any thread may use it. Close it, or use it in a `with` block.

    Open files stay open when it is closed.

    Args:
        directories: Directories by the name that the plugin uses for them.
        limits: The limits for files; `None` for the defaults.
        refusal: Called with an open directory and a name in it, before the file is created, replaced or deleted.
            Returns why this is not allowed; empty if it is.

    Raises:
        ConfigError: A directory is missing or cannot be opened.
    """

    def __init__(
        self,
        directories: Mapping[str, DirectoryGrant],
        *,
        limits: FileLimits | None = None,
        refusal: Callable[[int, str], str] = lambda _folder, _name: "",
    ) -> None:
        self._refusal = refusal
        self._limits = limits or FileLimits()
        self._lock = Lock()
        # One for each open file. If a handle is lost, for example to an interrupt, its file is closed with it.
        self._slots: weakref.WeakSet[_Slot] = weakref.WeakSet()
        self._grants = dict(sorted(directories.items()))
        self._roots: dict[str, Descriptor] = {}
        for name, grant in self._grants.items():
            try:
                self._roots[name] = interruptible(functools.partial(_open_root, grant.path))
            except OSError as error:
                self.close()
                raise ConfigError(
                    f"{grant.path}: {error.strerror}",
                    where=f"grants.files.{name}",
                    hint="grant a directory that exists",
                ) from error

    def __enter__(self) -> DirectoryFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the directories; idempotent."""
        with self._lock:
            self._roots.clear()

    def granted(self) -> list[Directory]:
        return [Directory(name, grant.writable) for name, grant in self._grants.items()]

    # No interrupt can come between opening a directory or a file and registering it for closing.

    def open(self, path: str) -> Reader:
        return interruptible(lambda: self._open(path))

    def create(self, path: str, replace: bool) -> Writer:
        return interruptible(lambda: self._create(path, replace))

    def append(self, path: str) -> Writer:
        return interruptible(lambda: self._append(path))

    def stat(self, path: str) -> Entry:
        return interruptible(lambda: self._stat(path))

    def list_entries(self, path: str) -> list[Entry]:
        return interruptible(lambda: self._list_entries(path))

    def delete(self, path: str) -> None:
        interruptible(lambda: self._delete(path))

    def _open(self, path: str) -> Reader:
        with self._at(path, follow=True) as (parent, name):
            self._roll_back(path, parent, name)
            _require_file(parent, name, path)
            free = self._take_slot()
            descriptor = Descriptor(os.open(name, _FILE, dir_fd=parent))
            if not stat.S_ISREG(os.fstat(descriptor.number).st_mode):  # it changed in between
                raise CapabilityFailure("wrong-kind", f"{path!r} is not a file")
            return _DirectoryReader(descriptor, free)

    def _create(self, path: str, replace: bool) -> Writer:
        with self._at(path, writes=True) as (parent, name):
            self._require_allowed(parent, name, path)
            self._roll_back(path, parent, name)
            kind = kind_of(parent, name)
            if kind not in (None, "file"):
                raise CapabilityFailure("wrong-kind", f"{path!r} is not a file")
            if kind == "file" and not replace:
                raise CapabilityFailure("already-exists", f"{path!r} is there already")
            place = Place(parent, name, path, self._limits.file_bytes, self._take_slot())
            return NewFile(place, replace=replace)

    def _append(self, path: str) -> Writer:
        with self._at(path, writes=True) as (parent, name):
            self._require_allowed(parent, name, path)
            if kind_of(parent, name) not in (None, "file"):
                raise CapabilityFailure("wrong-kind", f"{path!r} is not a file")
            return AppendedFile(Place(parent, name, path, self._limits.file_bytes, self._take_slot()))

    def _stat(self, path: str) -> Entry:
        shown = path.rstrip("/").rpartition("/")[2]
        with self._at(path, follow=True) as (parent, name):
            self._roll_back(path, parent, name)
            return _entry(shown, os.stat(name, dir_fd=parent, follow_symlinks=False))

    def _list_entries(self, path: str) -> list[Entry]:
        with self._at(path, follow=True) as (parent, name):
            descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
            try:
                return self._list(descriptor, path)
            finally:
                os.close(descriptor)

    def _delete(self, path: str) -> None:
        try:
            with self._at(path, writes=True) as (parent, name):
                self._require_allowed(parent, name, path)
                self._roll_back(path, parent, name)
                if _require_file(parent, name, path):
                    os.unlink(name, dir_fd=parent)
        except CapabilityFailure as failure:
            if failure.case != "not-found":
                raise

    def _require_allowed(self, parent: int, name: str, path: str) -> None:
        if reason := self._refusal(parent, name):
            raise CapabilityFailure("denied", f"{path!r} {reason}")

    def _roll_back(self, path: str, parent: int, name: str) -> None:
        """Roll back an append after a crash; only if the plugin may write."""
        if self._grants[parse_path(path)[0]].writable:
            roll_back(parent, name)

    def _list(self, descriptor: int, path: str) -> list[Entry]:
        entries: list[Entry] = []
        budget = current()
        with os.scandir(descriptor) as found:
            for item in found:
                budget.check_time()
                if item.name.startswith(PRIVATE_PREFIX) or not _is_text(item.name):
                    continue
                if len(entries) >= self._limits.entries:
                    raise CapabilityFailure("other", f"{path!r} has more than {self._limits.entries} entries")
                try:
                    budget.require(_ENTRY_BYTES * len(entries))
                    entries.append(_entry(item.name, item.stat(follow_symlinks=False)))
                except FileNotFoundError:  # deleted in between
                    continue
        return sorted(entries, key=lambda entry: entry.name)

    def _take_slot(self) -> Callable[[], None]:
        """Reserve a slot for a file; return a function that releases it. Dropping the function releases it too."""
        slot = _Slot()
        with self._lock:
            if (count := len(list(self._slots))) >= self._limits.open_files:
                raise CapabilityFailure("no-space", f"{count} files are open, the limit of open_files")
            self._slots.add(slot)
        return functools.partial(self._slots.discard, slot)

    @contextmanager
    def _at(self, path: str, *, writes: bool = False, follow: bool = False) -> Iterator[tuple[int, str]]:
        """Resolve a path to an open directory and a name in it; `.` for the granted directory itself.

        With `follow`, the name is not a symbolic link, unless it becomes one at the same time.
        """
        name, parts = parse_path(path)
        grant = self._grants.get(name)
        if grant is None:
            raise CapabilityFailure("denied", f"{path!r}: no directory {name!r} is granted")
        if writes and not grant.writable:
            raise CapabilityFailure("denied", f"{path!r}: {name!r} is granted for reading only")
        try:
            with self._lock:
                if name not in self._roots:
                    raise CapabilityFailure("other", "the directories are closed")
                root = os.dup(self._roots[name].number)
            walk = _Walk(root, path)
            try:
                yield walk.go(list(parts), follow=follow)
            finally:
                walk.close()
        except OSError as error:
            raise failure_of(error, path) from error


class _Slot:
    """One of the slots for open files."""

    __slots__ = ("__weakref__",)


class _Walk:
    """The open directories on the path from a root down."""

    def __init__(self, root: int, path: str) -> None:
        self._stack = [root]
        self._path = path
        self._links = 0

    def go(self, parts: list[str], *, follow: bool) -> tuple[int, str]:
        """Walk to the last part; return its directory, still open, and its name."""
        last = "."
        pending = parts[::-1]
        while pending:
            part = pending.pop()
            if part in ("", "."):
                last = "."
            elif part == "..":  # can come only from a link
                self._up()
                last = "."
            elif target := self._link(part, follow or bool(pending)):
                pending += target.split("/")[::-1]
                last = "."
            elif pending:
                self._stack.append(os.open(part, _DIRECTORY, dir_fd=self._stack[-1]))
                last = "."
            else:
                last = part
        return self._stack[-1], last

    def close(self) -> None:
        for descriptor in self._stack:
            os.close(descriptor)

    def _up(self) -> None:
        if len(self._stack) == 1:
            raise CapabilityFailure("denied", f"{self._path!r} leads out of its directory by a symbolic link")
        os.close(self._stack.pop())

    def _link(self, part: str, follow: bool) -> str | None:
        try:
            target = os.readlink(part, dir_fd=self._stack[-1]) if follow else None
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):  # not a link, or missing: opening it will report that
                return None
            raise
        if target is None:
            return None
        self._links += 1
        if target.startswith("/") or self._links > _MAX_LINKS:
            raise CapabilityFailure("denied", f"{self._path!r} leads out of its directory by a symbolic link")
        return target


def _open_root(path: Path) -> Descriptor:
    return Descriptor(os.open(path, _DIRECTORY))


class _DirectoryReader:
    def __init__(self, descriptor: Descriptor, free: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._free = free
        self._position = 0

    def read(self, max_bytes: int) -> bytes:
        buffer = bytearray(self._at_most(max_bytes))
        return bytes(memoryview(buffer)[: self._fill(memoryview(buffer))])

    def read_words(self, max_bytes: int) -> WordBuffer:
        size = self._at_most(max_bytes)
        words: npt.NDArray[np.uint64] = np.empty((size + 7) // 8, np.uint64)
        data = words.view(np.uint8)
        length = self._fill(data.data[:size]) if size else 0
        data[length : (length + 7) // 8 * 8] = 0
        return WordBuffer(length, words[: (length + 7) // 8])

    def seek(self, to: int) -> None:
        self._position = to

    def tell(self) -> int:
        return self._position

    def length(self) -> int:
        with translated("the file"):
            return os.fstat(self._number()).st_size

    def close_handle(self) -> None:
        self._descriptor.close()
        self._free()

    def _number(self) -> int:
        if self._descriptor.number < 0:
            raise CapabilityFailure("other", "the file is closed")
        return self._descriptor.number

    def _at_most(self, max_bytes: int) -> int:
        # At most the rest of the file, so that a request for 16 MiB allocates no more than that.
        return max(0, min(max_bytes, MAX_READ_BYTES, self.length() - self._position))

    def _fill(self, target: memoryview) -> int:
        filled = 0
        with translated("the file"):
            budget = current()
            while filled < len(target) and self._position < _MAX_OFFSET - MAX_READ_BYTES:
                budget.check_time()
                count = os.preadv(self._number(), [target[filled : filled + PART_BYTES]], self._position)
                if count == 0:
                    break
                filled += count
                self._position += count
        return filled


def _require_file(parent: int, name: str, path: str) -> bool:
    kind = kind_of(parent, name)
    if kind is None:
        raise CapabilityFailure("not-found", f"there is no {path!r}")
    if kind != "file":
        raise CapabilityFailure("wrong-kind", f"{path!r} is not a file")
    return True


def _entry(name: str, status: os.stat_result) -> Entry:
    kind = kind_of_mode(status.st_mode)
    return Entry(name, kind, status.st_size if kind == "file" else 0, max(0, status.st_mtime_ns // 10**6))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Context(Protocol):
    @property
    def grants(self) -> Grants: ...
    @property
    def write_refusal(self) -> Callable[[int, str], str]: ...
    @property
    def resources(self) -> ExitStack: ...


def provide(context: _Context) -> dict[str, Callable[..., Any]]:
    """Make the functions that one plugin gets, by their names in the WIT.

    Raises:
        ConfigError: A granted directory is missing.
    """
    files = DirectoryFiles(context.grants.files, refusal=context.write_refusal)
    return imports(context.resources.enter_context(files))
