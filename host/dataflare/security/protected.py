"""Files that no run may write to: policies and other rules, logs and state, and code.

The states of pipelines are such files wherever they are: a folder named `.dataflare` is no place for an output.

A file is identified by its folder (device and inode) and its name there, and by its own device and inode, so links do
not help. Names that a file system may treat as the same (different case, or decomposed accents) are the same here.
"""

from __future__ import annotations

import contextlib
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dataflare.locks import Lock
from dataflare.real_paths import real_path

__all__ = ["BESIDE_STATES", "STATES_FOLDER", "ProtectedFiles"]

STATES_FOLDER: Final = ".dataflare"
"""The folder beside a pipeline's file that has its state, unless another file is named."""
BESIDE_STATES: Final = ("-journal", "-wal", "-shm", ".lock")
"""What is added to a state's name for the files beside it."""

_Identity = tuple[int, int]
_MAX_DEPTH = 4096
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A folder that may not be listed must not hide what is above it.
_ABOVE = _DIRECTORY | getattr(os, "O_PATH", 0)


class ProtectedFiles:
    """The files that must never be an output. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._files: dict[Path, str] = {}
        self._trees: dict[Path, str] = {}

    def add(self, path: str | os.PathLike[str], what: str) -> None:
        """Protect a file, which need not exist yet: its name, and the target if the name is a link.

        Args:
            path: The file.
            what: A description for errors, such as `the policy`.
        """
        named = Path(os.path.abspath(path))
        with self._lock:
            for each in (named, real_path(named)):
                self._files.setdefault(each, what)

    def add_tree(self, path: str | os.PathLike[str], what: str) -> None:
        """Protect a directory with everything in it, at any depth."""
        with self._lock:
            self._trees.setdefault(real_path(path), what)

    def add_state(self, path: str | os.PathLike[str], what: str) -> None:
        """Protect the file of a state, with those beside it."""
        for each in ("", *BESIDE_STATES):
            self.add(f"{os.fspath(path)}{each}", what)

    def reason(self, folder: int, name: str) -> str:
        """Say why a name may not be written; empty if it may.

        Args:
            folder: An open directory.
            name: A name in it, which may exist or not.
        """
        with self._lock:
            files, trees = dict(self._files), dict(self._trees)
        parent = _identity(os.fstat(folder))
        target = _of(name, folder)
        for path, what in files.items():
            same = _folded(name) == _folded(path.name) and parent == _of(path.parent)
            if same or (target is not None and target == _of(path)):
                return f"is {what}"
            if target is not None and target in _around(path.parent):
                return f"holds {what}"
        above = dict(_upwards(os.dup(folder)))
        if _folded(name) == STATES_FOLDER or any(above.values()):
            return f"is in {STATES_FOLDER}, the folder of the states of pipelines"
        around = {target, *above} - {None}
        for path, what in trees.items():
            if _of(path) in around:
                return f"is in {what}"
            if target is not None and target in _around(path):
                return f"holds {what}"
        return ""

    def reason_of(self, path: Path) -> str:
        """Say why a path may not be written, links followed; empty if it may."""
        real = real_path(path)
        # If folders are missing, the first missing one decides: everything below it would be created in its parent.
        for folder, name in ((each.parent, each.name) for each in (real, *real.parents)):
            try:
                descriptor = os.open(folder, _DIRECTORY)
            except OSError:
                continue
            try:
                return self.reason(descriptor, name)
            finally:
                os.close(descriptor)
        return ""


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino


def _of(path: str | Path, folder: int | None = None) -> _Identity | None:
    with contextlib.suppress(OSError, ValueError):
        return _identity(os.stat(path, dir_fd=folder))
    return None


def _around(path: Path) -> frozenset[_Identity]:
    """Return the identities of a directory and of its parents."""
    try:
        return frozenset(each for each, _ in _upwards(os.open(path, _DIRECTORY)))
    except OSError:
        return frozenset()


def _upwards(descriptor: int) -> Iterator[tuple[_Identity, bool]]:
    """Walk from an open directory, which is closed at the end, up to the root.

    Yields:
        The identity of each, and whether it has the name of a folder of states.
    """
    for _ in range(_MAX_DEPTH):
        identity = _identity(os.fstat(descriptor))
        try:
            above = os.open("..", _ABOVE, dir_fd=descriptor)
        except OSError:
            yield identity, False
            break
        os.close(descriptor)
        descriptor = above
        yield identity, _of(STATES_FOLDER, above) == identity
        if identity == _identity(os.fstat(above)):
            break
    os.close(descriptor)
