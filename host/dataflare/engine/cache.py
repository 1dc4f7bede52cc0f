"""Compiled components on disk.

Native code from a file is run unchecked. So a file is used only if nobody else can have written it, and if its content
is what was stored. The folder belongs to the user, only the user can write to it, and nobody else can replace it by
another folder. Each entry is two files:

- `KEY.json`: the component's type; which plugin was loaded last; size, SHA-256 and file status of the code; a digest of
  all that. The file's modification time is the time of the entry's last use;
- `KEY.cwasm`: the code.

The key is a digest of the plugin's code, the versions of wasmtime and of the generated code, and the configuration.
Both files are written under temporary names and renamed, by one process at a time. If the code's file status differs
from the record, the code is hashed again, and the new status is recorded. The code is loaded from the open file that
was checked. A faulty entry is treated as missing. The least recently used entries are removed when all together are too
large.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Final, Self

from dataflare.engine.abi.types import ComponentType
from dataflare.engine.abi.types_json import shape_from_json, shape_to_json
from dataflare.errors import ConfigError
from dataflare.real_paths import place_of
from dataflare.user_files import as_path, cache_folder

__all__ = ["Cache", "CacheEntry", "Entry", "default_folder", "default_max_bytes"]

_FORMAT: Final = 4
_MAX_RECORD_BYTES: Final = 64 * 2**20
_MAX_BYTES: Final = 4 * 2**30
_LOCK: Final = "lock"
_LOCK_TIMEOUT_S: Final = 10.0
_NEW: Final = ".new-"
_OWN_FILE: Final = re.compile(r"([0-9a-f]{64})\.(json|cwasm)")
_UNUSABLE: Final = (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError)
"""The exceptions that reading a damaged entry may raise."""
_HINT: Final = "name another folder for the cache of compiled components, with DATAFLARE_CACHE or cache_dir"


@dataclass(frozen=True, slots=True)
class Entry:
    """A compiled component that was found; close it, or use it in a `with` block.

    `code` is the checked file of its code, open for reading; `shape` is what it imports and exports; `digest` is the
    plugin's `sha256:...`, or empty if another plugin with the same code was loaded last.
    """

    code: BufferedReader
    shape: ComponentType
    digest: str = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.code.close()

    @property
    def path(self) -> str:
        """Return a path to the open file itself, valid even if its name is gone; empty if the system has none."""
        path = f"/proc/self/fd/{self.code.fileno()}"
        return path if os.path.exists(path) else ""


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """Facts about an entry: name and digest of the plugin that was loaded last, the entry's size, and its last use.

    `used_s` is in seconds since 1970 in UTC. Name and digest are empty if the entry is damaged.
    """

    key: str
    plugin: str
    digest: str
    size_bytes: int
    used_s: float


def default_folder() -> Path:
    """Return `compiled` in the user's cache folder (see `dataflare.user_files.cache_folder`)."""
    return cache_folder() / "compiled"


def default_max_bytes() -> int:
    """Return `$DATAFLARE_CACHE_BYTES`, or 4 GiB if it is not set.

    Raises:
        ConfigError: The variable is not a whole number of at least 0.
    """
    text = os.environ.get("DATAFLARE_CACHE_BYTES", "")
    if text and not re.fullmatch(r"[0-9]{1,18}", text):
        raise ConfigError(f"{text!r} is not a whole number of bytes", where="DATAFLARE_CACHE_BYTES")
    return int(text) if text else _MAX_BYTES


class Cache:
    """A folder of compiled components. Any thread and any process of the user may use it.

    Args:
        folder: Created if it is missing.
        max_bytes: The maximum size of all entries together, in bytes; the newest entry always stays. `None` for
            `default_max_bytes()`.

    Raises:
        ConfigError: The folder cannot be created, or others can write to it or to a folder above it.
    """

    def __init__(self, folder: str | os.PathLike[str], *, max_bytes: int | None = None) -> None:
        given = Path(os.path.abspath(as_path(folder, where="cache_dir")))
        self._max_bytes = default_max_bytes() if max_bytes is None else max_bytes
        # The path is resolved once, so that replacing a link later has no effect.
        self._folder = place_of(given)
        self._make()

    @property
    def folder(self) -> Path:
        """The folder's resolved path."""
        return self._folder

    def find(self, key: str, contents: str = "") -> Entry | None:
        """Look up an entry; `None` if there is none that can be trusted.

        Args:
            key: The entry's key.
            contents: A digest of all of the plugin's bytes: the entry's `digest` is that of these bytes alone.
        """
        return self._find(key, contents, self._record_stamp)

    def _find(
        self, key: str, contents: str, moved: Callable[[dict[str, Any], list[int], BufferedReader], None]
    ) -> Entry | None:
        """Work like `find`; call `moved` if the code is unchanged but its file status differs."""
        try:
            record = self._read_record(key)
            shape = shape_from_json(record["shape"])
            code = open(self._folder / f"{key}.cwasm", "rb", opener=_open_own)  # noqa: SIM115  # the entry closes it
        except _UNUSABLE:
            return None
        with contextlib.ExitStack() as undo:
            undo.callback(code.close)
            try:
                stamp = _stamp(os.fstat(code.fileno()))
                if stamp != record["stamp"]:
                    if not _is_recorded(code, record):
                        return None
                    moved(record, stamp, code)
            except _UNUSABLE:
                return None
            undo.pop_all()
        with contextlib.suppress(OSError):
            os.utime(self._folder / f"{key}.json", follow_symlinks=False)
        return Entry(code, shape, str(record["digest"]) if record["contents"] == contents else "")

    def find_shape(self, key: str) -> ComponentType | None:
        """Look up only what an entry's component imports and exports; its code is not checked."""
        try:
            return shape_from_json(self._read_record(key)["shape"])
        except _UNUSABLE:
            return None

    def put(
        self,
        key: str,
        code: bytes | bytearray,
        shape: ComponentType,
        *,
        plugin: str = "",
        digest: str = "",
        contents: str = "",
    ) -> bool:
        """Add an entry, unless another process has already added it; return whether there is one now.

        Args:
            key: The entry's key.
            code: The native code.
            shape: What the component imports and exports.
            plugin: The plugin's name, shown to users.
            digest: The plugin's digest, shown to users.
            contents: The digest by which `find` knows the same bytes again.
        """
        try:
            with self._locked():
                # Another process may have been faster.
                if (found := self._find(key, contents, lambda *_: None)) is not None:
                    found.code.close()
                    return True
                path = self._folder / f"{key}.cwasm"
                self._write(path, code)
                record = {
                    "format": _FORMAT,
                    "key": key,
                    "plugin": plugin,
                    "digest": digest,
                    "contents": contents,
                    "sha256": hashlib.sha256(code).hexdigest(),
                    "stamp": _stamp(os.lstat(path)),
                    "shape": shape_to_json(shape),
                }
                self._write(self._folder / f"{key}.json", _sealed(record))
                self._sweep(key)
            return True
        except (OSError, ConfigError):
            return False

    def rename(self, key: str, *, plugin: str, digest: str, contents: str) -> None:
        """Record that another plugin with an entry's code was loaded; nothing happens while somebody else writes."""
        with contextlib.suppress(ConfigError, *_UNUSABLE), self._locked(timeout_s=0.0):
            record = {**self._read_record(key), "plugin": plugin, "digest": digest, "contents": contents}
            self._write(self._folder / f"{key}.json", _sealed(record))

    def discard(self, key: str) -> None:
        """Remove an entry that cannot be used."""
        for suffix in ("json", "cwasm"):
            with contextlib.suppress(OSError):
                (self._folder / f"{key}.{suffix}").unlink()

    def entries(self) -> list[CacheEntry]:
        """List the entries, the most recently used first."""
        found = []
        for key, (size, used_s) in self._sizes().items():
            plugin = digest = ""
            with contextlib.suppress(*_UNUSABLE):
                record = self._read_record(key)
                plugin, digest = str(record["plugin"]), str(record["digest"])
            found.append(CacheEntry(key, plugin, digest, size, used_s))
        return sorted(found, key=lambda each: each.used_s, reverse=True)

    def clear(self) -> int:
        """Remove all entries; return their size in bytes. Loaded components keep working.

        Raises:
            OSError: An entry cannot be removed.
        """
        with self._locked():
            sizes = self._sizes()
            for key in sizes:
                self._remove(key)
            self._sweep("")
        return sum(size for size, _ in sizes.values())

    def _make(self) -> None:
        folder = self._folder
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            status = os.lstat(folder)
            above = [(parent, os.stat(parent)) for parent in folder.parents]
        except OSError as error:
            raise ConfigError(
                f"the cache of compiled components cannot be made: {error.strerror}", where=str(folder), hint=_HINT
            ) from error
        if not stat.S_ISDIR(status.st_mode):
            raise ConfigError("is not a folder (a link is not followed)", where=str(folder), hint=_HINT)
        if status.st_uid != os.getuid():
            raise ConfigError("belongs to another user, whose native code would be run", where=str(folder), hint=_HINT)
        if status.st_mode & 0o022:
            raise ConfigError(
                "can be written by others, whose native code would be run",
                where=str(folder),
                hint=f"chmod 700 {folder}",
            )
        for parent, status in above:
            if problem := _problem_of_parent(parent, status):
                raise ConfigError(f"is below {parent}, which {problem}", where=str(folder), hint=_HINT)

    def _read_record(self, key: str) -> dict[str, Any]:
        with open(self._folder / f"{key}.json", "rb", opener=_open_own) as file:
            # Python takes as much memory as may be read, whatever there is.
            size = min(os.fstat(file.fileno()).st_size, _MAX_RECORD_BYTES)
            seal, _, content = file.read(size).partition(b"\n")
        if seal != _seal(content):
            raise ValueError("a damaged record")
        record = json.loads(content)
        if record["format"] != _FORMAT or record["key"] != key:
            raise ValueError("another entry's record")
        made: dict[str, Any] = record
        return made

    def _record_stamp(self, record: dict[str, Any], stamp: list[int], code: BufferedReader) -> None:
        """Record the file status of hashed code, so that it is not hashed again: the folder may have been copied."""
        key = record["key"]
        with contextlib.suppress(ConfigError, *_UNUSABLE), self._locked(timeout_s=0.0):
            # Do nothing if the code changed while it was hashed, or if the entry was replaced.
            if _stamp(os.fstat(code.fileno())) == stamp and self._read_record(key) == record:
                self._write(self._folder / f"{key}.json", _sealed({**record, "stamp": stamp}))

    # The methods below are only for the holder of the lock.

    @contextlib.contextmanager
    def _locked(self, *, timeout_s: float = _LOCK_TIMEOUT_S) -> Iterator[None]:
        """Hold the lock for writing; creates the folder again if it was deleted."""
        self._make()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._folder / _LOCK, flags, 0o600)
        try:
            until = time.monotonic() + timeout_s
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    # A process that hangs must not block the others.
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.01)
            yield
        finally:
            os.close(descriptor)

    def _write(self, path: Path, content: bytes | bytearray) -> None:
        descriptor, name = tempfile.mkstemp(dir=self._folder, prefix=_NEW)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), 0o400)  # loaded code is mapped: truncating it would end the host
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise

    def _sweep(self, newest: str) -> None:
        """Remove leftovers of dead writers, and the least recently used entries while all together are too large; never
        the newest.
        """
        for name in os.listdir(self._folder):
            match = _OWN_FILE.fullmatch(name)
            stray = match is not None and match[2] == "cwasm" and not (self._folder / f"{match[1]}.json").exists()
            if stray or name.startswith(_NEW):
                (self._folder / name).unlink(missing_ok=True)
        sizes = self._sizes()
        total = sum(size for size, _ in sizes.values())
        for key in sorted(sizes, key=lambda each: sizes[each][1]):
            if total <= self._max_bytes:
                return
            if key != newest:
                self._remove(key)
                total -= sizes[key][0]

    def _remove(self, key: str) -> None:
        # The record first: code without one is never run.
        for suffix in ("json", "cwasm"):
            (self._folder / f"{key}.{suffix}").unlink(missing_ok=True)

    def _sizes(self) -> dict[str, tuple[int, float]]:
        """Return size in bytes and time of the last use of each entry that has a record."""
        found: dict[str, tuple[int, float]] = {}
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self._folder):
                if (match := _OWN_FILE.fullmatch(name)) is None or match[2] != "json":
                    continue
                with contextlib.suppress(OSError):
                    record, size = os.lstat(self._folder / name), 0
                    with contextlib.suppress(OSError):
                        size = os.lstat(self._folder / f"{match[1]}.cwasm").st_size
                    found[match[1]] = record.st_size + size, record.st_mtime
        return found


def _problem_of_parent(folder: Path, status: os.stat_result) -> str:
    """Say why another user could replace entries of a folder; empty if nobody can."""
    if status.st_uid not in (0, os.getuid()) and folder != Path("/"):
        return "belongs to another user, who could exchange it"
    if stat.S_ISVTX & status.st_mode:
        return ""  # as /tmp: only the owners of files can rename them
    others = stat.S_IWOTH if status.st_gid in (0, os.getgid()) else stat.S_IWOTH | stat.S_IWGRP
    return "others can write in" if status.st_mode & others else ""


def _is_recorded(code: BufferedReader, record: dict[str, Any]) -> bool:
    """Whether an open file of code has the recorded content."""
    if os.fstat(code.fileno()).st_size != record["stamp"][0]:
        return False
    matches: bool = hashlib.file_digest(code, "sha256").hexdigest() == record["sha256"]
    code.seek(0)
    return matches


def _sealed(record: dict[str, Any]) -> bytes:
    content = json.dumps(record, separators=(",", ":")).encode()
    return _seal(content) + b"\n" + content


def _seal(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _open_own(path: str, flags: int) -> int:
    """Open a regular file of the user that nobody else can write to; refuse a link."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        os.close(descriptor)
        raise PermissionError(f"{path} can be written by others")
    return descriptor


def _stamp(status: os.stat_result) -> list[int]:
    # Programs cannot set the status-change time, so it shows that a file was written to.
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
