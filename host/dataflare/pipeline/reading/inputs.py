"""Files that are read: found by name or pattern, opened once, and watched for changes until their end."""

from __future__ import annotations

import fnmatch
import glob
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

from dataflare.pipeline.run_errors import DataError
from dataflare.waiting_pipes import Pipe, open_plain

__all__ = ["InputFile", "Opener", "find_files", "split_pattern"]

Opener: TypeAlias = Callable[[Path], IO[bytes]]
"""Opens a file for reading. A host with a policy gives its own, which looks at every path first."""

_MOST_NAMES: Final = 1_000_000


def find_files(
    folder: Path, read: str | Sequence[str], *, some: bool = True, allow: Callable[[Path], object] = lambda _: None
) -> list[Path]:
    """Find the files that a node reads.

    Args:
        folder: What relative paths are relative to.
        read: A path, a pattern (`*`, `?`, `[...]`, and `**` for any folders), or a list of these. A file whose name is
            the pattern itself is taken literally. A pattern finds no folder by way of a link.
        some: Whether a pattern has to match.
        allow: Is asked about each path and pattern before anything is looked at; raises where it may not be read.

    Returns:
        Absolute paths; the matches of one pattern are sorted by name.

    Raises:
        DataError: A pattern matches no file, or has to be compared with more than 1,000,000 names.
    """
    found: list[Path] = []
    for text in [read] if isinstance(read, str) else read:
        path = Path(os.path.abspath(folder / text))
        allow(path)
        if not glob.has_magic(text) or path.exists():
            found.append(path)
            continue
        matches = sorted(_matches(Path(os.path.abspath(folder)), path))
        if not matches and some:
            raise DataError("no file matches this pattern", file=str(path), hint="`**` stands for any folders")
        found += map(Path, matches)
    return list(dict.fromkeys(found))


def split_pattern(folder: Path, pattern: Path) -> tuple[Path, tuple[str, ...]]:
    """Split a pattern before its first part with `*`, `?` or `[...]`; what it shares with a folder is taken literally.

    Args:
        folder: An absolute path.
        pattern: An absolute path. Without such a part below what it shares with the folder, it is split before the
            last one.

    Returns:
        The folder that it names in plain words, and the parts below.
    """
    shared = Path(os.path.commonpath([folder, pattern]))
    parts = pattern.relative_to(shared).parts
    first = next((at for at, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    return shared.joinpath(*parts[:first]), parts[first:]


def _matches(folder: Path, pattern: Path) -> Iterator[str]:
    """Find the files that a pattern names; what it has in common with a folder is taken literally."""
    # Links are not followed, and no place is looked at twice: a few links in a folder of data make endless paths.
    start, parts = split_pattern(folder, pattern)
    waiting, done, names = [(str(start), 0)], set(), 0
    while waiting:
        if (place := waiting.pop()) in done:
            continue
        done.add(place)
        around, at = place
        part, is_last = parts[at], at == len(parts) - 1
        if not is_last and not glob.has_magic(part):
            below = os.path.join(around, part)
            if not _leads_away(below):
                waiting.append((below, at + 1))
            continue
        if part == "**" and not is_last:
            waiting.append((around, at + 1))
        for entry in _entries(around):
            names += 1
            if names > _MOST_NAMES:
                what = f"would have to be compared with more than {_MOST_NAMES} names"
                raise DataError(what, file=str(pattern), hint="name a smaller folder")
            if entry.name.startswith(".") > part.startswith(".") or not _fits(entry.name, part):
                continue
            if entry.is_dir(follow_symlinks=False):
                if part == "**" or not is_last:
                    waiting.append((entry.path, at + (part != "**")))
            elif is_last and os.path.isfile(entry.path):
                yield entry.path


def _leads_away(path: str) -> bool:
    return os.path.islink(path)


def _fits(name: str, part: str) -> bool:
    return part == "**" or fnmatch.fnmatchcase(name, part)


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError:
        return  # what cannot be looked at holds nothing that could be read


def _attributes_changed(before: os.stat_result, now: os.stat_result) -> str:
    """Say which attributes of a file differ; some of them, such as access lists, have no field here."""
    words = {"st_mode": "permissions", "st_uid": "owner", "st_gid": "group", "st_nlink": "number of hard links"}
    found = [word for name, word in words.items() if getattr(before, name) != getattr(now, name)]
    return f"its {' and '.join(found or ['attributes'])} changed"


class InputFile:
    """One open file. `check_unchanged` compares it with what it was when it was opened; close it in the end.

    Nothing is mapped into memory: a mapped file that somebody shortens ends the process.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, path: Path, opener: Opener = open_plain) -> None:
        self.path = path
        self.file = opener(path)
        try:
            self._opened = os.fstat(self.file.fileno())
        except BaseException:
            self.file.close()
            raise

    @property
    def is_regular(self) -> bool:
        """Whether it is a plain file, which can be read a second time; a pipe cannot."""
        return stat.S_ISREG(self._opened.st_mode)

    @property
    def was_late(self) -> bool:
        """Whether a wait for a pipe was given up, since its time was over."""
        pipe = getattr(self.file, "raw", None)
        return isinstance(pipe, Pipe) and pipe.was_late

    def check_unchanged(self) -> None:
        """Make sure that the file is what it was when it was opened; does nothing for pipes and devices.

        Raises:
            DataError: It was shortened, appended to, written to, replaced or given other attributes.
        """
        if not self.is_regular or self.file.closed:
            return
        before, now = self._opened, os.fstat(self.file.fileno())
        if before.st_size != now.st_size:
            self._refuse(f"it had {before.st_size} bytes when it was opened, and has {now.st_size} now")
        if before.st_mtime_ns != now.st_mtime_ns:
            self._refuse("it was written to")
        try:
            named = os.stat(self.path)
        except OSError:
            self._refuse("it was removed or renamed")
        if (named.st_dev, named.st_ino) != (before.st_dev, before.st_ino):
            self._refuse("another file has its name now")
        if before.st_ctime_ns != now.st_ctime_ns:
            # The one time that programs cannot set back. Nothing tells whether the bytes are the same: that would take
            # a digest of every file that is read.
            self._refuse(f"{_attributes_changed(before, now)}, or it was written to and its time set back")

    def _refuse(self, how: str) -> Any:
        raise DataError(
            f"the file changed while it was read: {how}",
            file=str(self.path),
            hint="read it when nobody writes to it, or read a copy",
        )

    def stop(self) -> None:
        """End a read in which another thread waits for a pipe; idempotent."""
        if isinstance(pipe := getattr(self.file, "raw", None), Pipe):
            pipe.stopped = True

    def close(self) -> None:
        """Close the file; idempotent."""
        self.stop()
        self.file.close()
