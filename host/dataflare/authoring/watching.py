"""Watches files for changes of their contents, by asking for their state again and again.

No library is taken for it: what has to be watched is a list of some dozen files, which a driver gives exactly, where
libraries watch whole trees with all that a build writes into them. Asking works on every file system, those of
containers and networks too, and sees editors that write a new file in the place of the old one.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from dataflare.user_files import MAX_COMPONENT_BYTES

__all__ = ["FileWatch"]

_EVERY_S: Final = 0.2
_SETTLED_S: Final = 0.1
_SHARE: Final = 10
"""The time between two looks is this many times what one takes, or more: a large folder does not fill a processor."""
_PART_BYTES: Final = 2**20
_MOST_READ: Final = MAX_COMPONENT_BYTES
"""A longer file counts as changed when it was written; no build takes it."""


@dataclass(frozen=True, slots=True)
class _State:
    """What tells whether a file was written (`stamp`), and whether that changed it."""

    stamp: tuple[int, ...]
    digest: bytes


class FileWatch:
    """The contents of some files, and which of them have changed since they were accepted.

    Args:
        files: Gives the files; asked at each look, since files come and go. Those that are not there count too.
    """

    def __init__(self, files: Callable[[], Iterable[Path]]) -> None:
        self._files = files
        self._known: Mapping[Path, _State | None] = {}
        self._looked_s = 0.0

    def __len__(self) -> int:
        return len(self._known)

    def accept(self) -> None:
        """Take the files for unchanged, as they are now."""
        self._known = self._look()

    def changes(self) -> list[Path]:
        """The files that are new, gone or of other contents than those that were accepted, sorted."""
        return self._changes(self._look())

    def wait(self) -> list[Path]:
        """Wait until files have changed, and until nobody is writing them any more; returns them."""
        before: Mapping[Path, _State | None] = self._known
        while True:
            now = self._look()
            if now == before and (found := self._changes(now)):
                return found
            quiet = now == before or not self._changes(now)
            before = now
            time.sleep(max(_EVERY_S if quiet else _SETTLED_S, _SHARE * self._looked_s))

    def _changes(self, now: Mapping[Path, _State | None]) -> list[Path]:
        def digest(states: Mapping[Path, _State | None], path: Path) -> bytes | None:
            state = states.get(path)
            return None if state is None else state.digest

        return sorted(path for path in {*now, *self._known} if digest(now, path) != digest(self._known, path))

    def _look(self) -> Mapping[Path, _State | None]:
        begin = time.perf_counter()
        found = {path: _state(path, self._known.get(path)) for path in self._files()}
        self._looked_s = time.perf_counter() - begin
        return found


def _state(path: Path, known: _State | None) -> _State | None:
    """A file's state; `None` for what is not there. Its contents are read where it was written since it was known."""
    try:
        found = os.stat(path)
        stamp = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if known is not None and known.stamp == stamp:
            return known
        digest = sha256()
        if found.st_size > _MOST_READ:
            digest.update(repr(stamp).encode())
        elif stat.S_ISREG(found.st_mode):  # a pipe has no end
            with open(path, "rb") as file:
                while part := file.read(_PART_BYTES):
                    digest.update(part)
        return _State(stamp, digest.digest())
    except OSError:
        return None
