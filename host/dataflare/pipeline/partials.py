"""Names and locks of partial files and folders, which are written beside their final names.

A run holds a lock (`flock`) on each of its own. A file of a killed run has no lock, so the next run that writes the
same target recognizes and removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
from pathlib import Path

__all__ = ["create_partial_file", "create_partial_folder", "remove_leftovers"]

_LONGEST_NAME_BYTES = 200  # of the 255 that file systems take
_ATTEMPTS = 100
_UNREMOVABLE = (OSError, RecursionError)
"""Errors of removing that are ignored; also that of folders nested a thousand deep, which Python cannot walk."""


def create_partial_file(target: Path, mode: int) -> tuple[Path, int]:
    """Create a file beside its final name.

    Args:
        target: The final name.
        mode: Permission bits, from which the process's umask takes some away.

    Returns:
        The file, and its descriptor, open for writing and reading. The file is locked until the descriptor is closed.

    Raises:
        OSError: It cannot be made.
    """
    for _ in range(_ATTEMPTS):
        path = _new_name(target)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        if _hold(descriptor):
            return path, descriptor
        os.close(descriptor)
    raise OSError("another process removes what this one makes")


def create_partial_folder(target: Path) -> tuple[Path, int]:
    """Create a folder beside its final name; as `create_partial_file`.

    Raises:
        OSError: It cannot be made.
    """
    for _ in range(_ATTEMPTS):
        path = _new_name(target)
        path.mkdir()
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # another process took it for a leftover before it could be locked
        if _hold(descriptor):
            return path, descriptor
        os.close(descriptor)
    raise OSError("another process removes what this one makes")


def remove_leftovers(target: Path) -> None:
    """Remove what dead runs left of a target; what cannot be removed stays."""
    pattern = re.compile(re.escape(_prefix(target)) + r"[0-9a-f]{16}\.partial")
    with contextlib.suppress(OSError):
        for name in [entry.name for entry in os.scandir(target.parent) if pattern.fullmatch(entry.name)]:
            with contextlib.suppress(*_UNREMOVABLE):
                _remove_dead(target.parent / name)


def _remove_dead(path: Path) -> None:
    # Opening must neither wait for a pipe's other end nor follow a link.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    finally:
        os.close(descriptor)


def _hold(descriptor: int) -> bool:
    """Lock what was just made. False where another process took it for a leftover first."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # the file system has no locks: then nobody can take this one for a leftover either
    return os.fstat(descriptor).st_nlink > 0


def _new_name(target: Path) -> Path:
    return target.with_name(f"{_prefix(target)}{secrets.token_hex(8)}.partial")


def _prefix(target: Path) -> str:
    return f".{os.fsdecode(os.fsencode(target.name)[:_LONGEST_NAME_BYTES])}."
