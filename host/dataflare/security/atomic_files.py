"""Writes files atomically: completely or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from dataflare.errors import ConfigError

__all__ = ["write_atomically"]


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644, replace: bool = True) -> None:
    """Write a file atomically; it is durable when this returns.

    Args:
        path: The file; its directory must exist.
        data: Its whole contents.
        mode: Its permissions, reduced by the process's umask.
        replace: Whether an existing file of this name may be replaced.

    Raises:
        ConfigError: The file cannot be written, exists and may not be replaced, or is not a regular file.
    """
    draft = path.parent / f".{path.name}.{secrets.token_hex(8)}"
    try:
        if replace:
            _require_regular(path)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            if replace:
                os.replace(draft, path)
            else:
                os.link(draft, path)
                os.unlink(draft)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise
        _sync_directory(path.parent)
    except FileExistsError as error:
        raise ConfigError("exists already", where=str(path), hint="choose another name, or remove it first") from error
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", where=str(path)) from error
    except ValueError as error:  # a NUL, or another character that a file name cannot have
        raise ConfigError(f"cannot be written: {error}", where=ascii(str(path))) from error


def _require_regular(path: Path) -> None:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        # Replacing a device or a pipe would remove it for all its other users.
        hint = "give the name of a regular file, or of one that does not exist yet"
        raise ConfigError("cannot be written: it is not a regular file", where=str(path), hint=hint)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
