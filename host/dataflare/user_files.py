"""Reads files that users name, up to a limit and without waiting.

Reading always ends: only regular files are read (not FIFOs, devices, sockets or directories), links are followed, and
no more than a limit is read into memory.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dataflare.built_in_plugins import built_in_file
from dataflare.errors import ConfigError

__all__ = [
    "MAX_COMPONENT_BYTES",
    "as_path",
    "cache_folder",
    "check_journal",
    "find_file",
    "opened_file",
    "read_component",
    "read_file",
]

MAX_COMPONENT_BYTES: Final = 256 * 2**20
"""What is read of a component's file, at most."""

_PART_BYTES: Final = 2**20
_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_KINDS: Final = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


_JOURNAL_MARK: Final = bytes.fromhex("d9d505f920a163d7")


def as_path(path: str | os.PathLike[str], *, where: str) -> Path:
    """Take what a caller gives as a path.

    Args:
        path: The path.
        where: What it is given for, for errors.

    Raises:
        ConfigError: It is not a text or an `os.PathLike`, is empty, or holds a NUL or half a character.
    """
    try:
        text: object = os.fspath(path)
    except TypeError:
        text = None
    if not isinstance(text, str):
        raise ConfigError(f"a {type(path).__name__} is not a path", where=where, hint="give a str or a pathlib.Path")
    if not text or "\0" in text:
        problem = "the path is empty" if not text else f"{text!r} is not a path: it holds a NUL"
        raise ConfigError(problem, where=where)
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise ConfigError(f"{text!a} is not a path: it holds half a character", where=where) from None
    return Path(text)


def cache_folder() -> Path:
    """Find the user's cache folder for this package; it need not be there.

    It is `$DATAFLARE_CACHE`, or `dataflare` in `$XDG_CACHE_HOME` if that is absolute, or in `~/.cache`, where an
    empty `HOME` is none.

    Raises:
        ConfigError: The user has no home.
    """
    if own := os.environ.get("DATAFLARE_CACHE"):
        return Path(own).absolute()
    if os.path.isabs(shared := os.environ.get("XDG_CACHE_HOME", "")):
        return Path(shared) / "dataflare"
    home = os.environ.get("HOME", "")
    if not home:
        try:
            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            home = ""
    if not os.path.isabs(home):
        raise ConfigError(
            f"there is no folder for the cache of compiled components: the home of the user is {home!r}",
            where="HOME",
            hint="set DATAFLARE_CACHE to a folder that can be written",
        )
    return Path(home) / ".cache" / "dataflare"


@contextmanager
def opened_file(path: str | os.PathLike[str], *, follow: bool = True) -> Iterator[tuple[int, os.stat_result]]:
    """Open a regular file to read it.

    Args:
        path: The file.
        follow: Whether it may be a link.

    Yields:
        Its descriptor, which is closed at the end, and its status.

    Raises:
        ConfigError: It cannot be opened or read, or is not a regular file.
    """
    where = os.fspath(as_path(path, where="path"))
    descriptor = -1
    try:
        # Only a regular file is sure to begin and to end, so the kind of file is checked before it is read.
        try:
            descriptor = os.open(where, _FLAGS if follow else _FLAGS | os.O_NOFOLLOW)
        except ValueError as error:  # a NUL, or what no name of a file can hold
            raise ConfigError(f"cannot be read: {error}", where=ascii(where)) from error
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = next((name for test, name in _KINDS if test(status.st_mode)), "not a regular file")
            raise ConfigError(f"cannot be read: it is {kind}", where=where, hint="give the name of a regular file")
        yield descriptor, status
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror or error}", where=where) from error
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def read_file(
    path: str | os.PathLike[str], max_bytes: int, *, check: Callable[[os.stat_result], object] = lambda _: None
) -> bytes:
    """Read a regular file whole.

    Args:
        path: The file.
        max_bytes: How long it may be.
        check: Is given the status of the file that is read, and raises where that is not good enough.

    Raises:
        ConfigError: It cannot be read, is not a regular file, or is longer than `max_bytes`.
    """
    with opened_file(path) as (descriptor, status):
        check(status)
        parts = []
        # A file may grow while it is read, and those of /proc have no size.
        left = max_bytes + 1
        if status.st_size <= max_bytes:
            while left and (part := os.read(descriptor, min(left, max(_PART_BYTES, status.st_size + 1)))):
                parts.append(part)
                left -= len(part)
        if status.st_size > max_bytes or not left:
            hint = "give a smaller file; is it the right one?"
            raise ConfigError(f"is longer than {max_bytes} bytes", where=os.fspath(path), hint=hint)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def check_journal(database: Path, beside: Sequence[str] = ("-journal", "-wal", "-shm")) -> None:
    """Refuse a database whose journals, logs or shared memory are not its own.

    Whoever may write beside the file can put them there. The journal of SQLite may end with a name and a mark: SQLite
    would delete the file of that name. https://www.sqlite.org/fileformat2.html#the_rollback_journal
    What is a link, or is also another file by a hard link, would be written in its place.

    Args:
        database: The file.
        beside: What is added to its name.

    Raises:
        ConfigError: A journal names another file, or is not a regular file of its own.
    """
    for each in beside:
        place = f"{os.path.realpath(database)}{each}"
        try:
            with opened_file(place, follow=False) as (descriptor, status):
                size = status.st_size
                end = os.pread(descriptor, len(_JOURNAL_MARK), max(0, size - len(_JOURNAL_MARK)))
        except ConfigError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                continue
            raise
        if each == "-journal" and size >= 2 * len(_JOURNAL_MARK) and end == _JOURNAL_MARK:
            raise ConfigError(
                "names another file, which SQLite would delete",
                where=place,
                hint="if no program that died has left it, remove it; else open the database with that program",
            )
        if status.st_nlink > 1:
            raise ConfigError(
                "is also another file by a hard link, which would be overwritten",
                where=place,
                hint="copy the database with what is beside it to another folder",
            )


def find_file(path: str | os.PathLike[str], max_bytes: int) -> bytes | None:
    """Read a regular file whole; `None` where there is nothing of this name.

    Raises:
        ConfigError: As in `read_file`.
    """
    try:
        return read_file(path, max_bytes)
    except ConfigError as error:
        if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError) and not os.path.islink(path):
            return None
        raise


def read_component(path: str | os.PathLike[str]) -> bytes:
    """Read a component's file, of at most `MAX_COMPONENT_BYTES`.

    Args:
        path: The file, or `builtin:NAME` for a plugin of this package.

    Raises:
        ConfigError: As in `read_file`, or there is no such built-in plugin.
    """
    return read_file(built_in_file(path) or Path(path), MAX_COMPONENT_BYTES)
