"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from dataflare.errors import ConfigError

__all__ = ["read_limited", "write_atomically"]


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644, replace: bool = True) -> None:
    """Write a file in one step, durable when this returns.

    Args:
        path: The file; its directory has to exist.
        data: All of its contents.
        mode: Its permissions, narrowed by the process's umask.
        replace: Whether a file of this name may be replaced.

    Raises:
        ConfigError: It cannot be written, or exists and may not be replaced.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
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


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_limited(path: Path, max_bytes: int) -> bytes:
    """Read a file of at most so many bytes.

    Raises:
        ConfigError: It cannot be read, or is longer.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if len(data) > max_bytes:
        raise ConfigError(f"is longer than {max_bytes} bytes", where=str(path))
    return data
