"""Compiled components on disk.

Native code from a file is run as it is, so a file is only taken where nobody else can have written it, and its
content is what was written. The folder belongs to the user and only the user can write in it; each entry is two files:

- `KEY.json`: a digest of the rest; the shape, and name, size, SHA-256 and file status of the code;
- `SHA256.cwasm`: the code.

The key is a digest of the plugin's bytes, of the engine's version and configuration and of the bridge's text. Both
files are written beside and renamed. The code is hashed again whenever its file status is not the one that was
recorded. Anything wrong with an entry means that there is none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dataflare.engine.shape_json import shape_from_json, shape_to_json
from dataflare.engine.types import Shape
from dataflare.errors import ConfigError

__all__ = ["Cache", "Entry", "default_folder"]

_FORMAT: Final = 2
_MAX_RECORD_BYTES: Final = 64 * 2**20
_UNUSABLE: Final = (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError)
"""What reading a damaged entry may raise."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A compiled component: where its code is, and what it imports and exports."""

    code: Path
    shape: Shape


def default_folder() -> Path:
    """`$DATAFLARE_CACHE`, or `dataflare` in `$XDG_CACHE_HOME` or in `~/.cache`; below it `compiled`."""
    own = os.environ.get("DATAFLARE_CACHE")
    if own:
        return Path(own) / "compiled"
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "dataflare" / "compiled"


class Cache:
    """A folder of compiled components. Any thread and any process of the user may use it.

    Args:
        folder: Made if it is not there.

    Raises:
        ConfigError: The folder cannot be made, or others can write in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            status = os.lstat(folder)
        except OSError as error:
            raise ConfigError(f"cannot be made: {error.strerror}", where=str(folder)) from error
        hint = "name another folder for the cache, with cache_dir or DATAFLARE_CACHE"
        if not stat.S_ISDIR(status.st_mode):
            raise ConfigError("is no folder (a link is not followed)", where=str(folder), hint=hint)
        if status.st_uid != os.getuid():
            raise ConfigError("belongs to another user, whose native code would be run", where=str(folder), hint=hint)
        if status.st_mode & 0o022:
            raise ConfigError(
                "can be written by others, whose native code would be run",
                where=str(folder),
                hint=f"chmod 700 {folder}",
            )

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self._folder

    def find(self, key: str) -> Entry | None:
        """Look an entry up; `None` where there is none that can be trusted."""
        try:
            record = self._read_record(key)
            code = self._folder / f"{record['sha256']}.cwasm"
            with open(code, "rb", opener=_open_own) as file:
                status = os.fstat(file.fileno())
                if _stamp(status) != record["stamp"]:
                    if status.st_size != record["stamp"][0]:
                        return None
                    if hashlib.file_digest(file, "sha256").hexdigest() != record["sha256"]:
                        return None
            return Entry(code, shape_from_json(record["shape"]))
        except _UNUSABLE:
            return None

    def find_shape(self, key: str) -> Shape | None:
        """Look up only what an entry's component imports and exports, whatever has become of its code."""
        try:
            return shape_from_json(self._read_record(key)["shape"])
        except _UNUSABLE:
            return None

    def put(self, key: str, code: bytes | bytearray, shape: Shape) -> Entry | None:
        """Add an entry, or replace it; `None` where the disk does not take it."""
        digest = hashlib.sha256(code).hexdigest()
        path = self._folder / f"{digest}.cwasm"
        try:
            self._write(path, code)
            record = {
                "format": _FORMAT,
                "key": key,
                "sha256": digest,
                "stamp": _stamp(os.lstat(path)),
                "shape": shape_to_json(shape),
            }
            self._write(self._folder / f"{key}.json", _sealed(record))
        except OSError:
            return None
        return Entry(path, shape)

    def discard(self, key: str) -> None:
        """Remove an entry that turned out to be of no use."""
        with contextlib.suppress(OSError):
            (self._folder / f"{key}.json").unlink()

    def _read_record(self, key: str) -> dict[str, Any]:
        with open(self._folder / f"{key}.json", "rb", opener=_open_own) as file:
            seal, _, content = file.read(_MAX_RECORD_BYTES).partition(b"\n")
        if seal != _seal(content):
            raise ValueError("a damaged record")
        record = json.loads(content)
        if record["format"] != _FORMAT or record["key"] != key or not _is_digest(record["sha256"]):
            raise ValueError("another entry's record")
        made: dict[str, Any] = record
        return made

    def _write(self, path: Path, content: bytes | bytearray) -> None:
        descriptor, name = tempfile.mkstemp(dir=self._folder, prefix=".new-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise


def _sealed(record: dict[str, Any]) -> bytes:
    content = json.dumps(record, separators=(",", ":")).encode()
    return _seal(content) + b"\n" + content


def _seal(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _open_own(path: str, flags: int) -> int:
    """Open a regular file of the user's that nobody else can write, and no link."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        os.close(descriptor)
        raise PermissionError(f"{path} can be written by others")
    return descriptor


def _stamp(status: os.stat_result) -> list[int]:
    # The time of the last change of status cannot be set by a program, so that a file that was written to shows it.
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _is_digest(text: Any) -> bool:
    return isinstance(text, str) and len(text) == 64 and set(text) <= set("0123456789abcdef")
