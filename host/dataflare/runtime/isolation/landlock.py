"""Landlock: takes access to files away from this process, and whatever else the kernel's version supports.

https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

__all__ = ["READ", "READ_FILE", "WRITE", "parts", "restrict", "version"]

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_BENEATH, _PORT = 1, 2
_CONNECT: Final = 1 << 1
READ_FILE: Final = 1 << 2
"""The right to read a file."""
READ: Final = READ_FILE | 1 << 3
"""The rights to read the files of a folder, and to list it."""
WRITE: Final = READ | 1 << 1 | 1 << 5 | 1 << 8 | 1 << 14
"""The rights to read, write, make, rename and remove plain files of a folder; but no folders, links or devices."""
_ASK_VERSION = 1
_FILE_RIGHTS: Final = ((1, 13), (2, 14), (3, 15), (5, 16))
"""Version of Landlock, and the number of file rights that it knows."""
_PARTS: Final = (
    (1, "landlock-files"),
    (2, "landlock-rename"),
    (3, "landlock-truncate"),
    (4, "landlock-tcp"),
    (5, "landlock-devices"),
    (6, "landlock-signals"),
)
_NETWORK_SINCE, _SCOPES_SINCE = 4, 6

_libc = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """Return the kernel's version of Landlock; 0 if it has none or it is off."""
    return max(0, int(_libc.syscall(_CREATE, None, ctypes.c_size_t(0), _ASK_VERSION)))


def parts(kernel: int) -> tuple[str, ...]:
    """Return the names of what a version of Landlock can take away."""
    return tuple(name for since, name in _PARTS if kernel >= since)


def restrict(kernel: int, kept: Mapping[str, int] | None = None, ports: Sequence[int] = ()) -> None:
    """Take away access to all files that are not open, and to TCP, abstract sockets and signals to other processes.

    Applies to the calling thread and to the threads that it starts.

    Args:
        kernel: The result of `version`.
        kept: What it may still open: files and folders, each with its rights.
        ports: The ports of TCP to which it may still connect.

    Raises:
        OSError: The kernel does not accept it, or there is more than one thread.
    """
    if len(os.listdir("/proc/self/task")) > 1:
        raise OSError("it would hold for one of the threads alone")
    rights = max(count for since, count in _FILE_RIGHTS if kernel >= since)
    network, scopes = 3 if kernel >= _NETWORK_SINCE else 0, 3 if kernel >= _SCOPES_SINCE else 0
    size = 24 if kernel >= _SCOPES_SINCE else 16 if kernel >= _NETWORK_SINCE else 8
    attributes = ctypes.create_string_buffer(struct.pack("<QQQ", (1 << rights) - 1, network, scopes)[:size], size)
    ruleset = _check(_libc.syscall(_CREATE, attributes, ctypes.c_size_t(size), 0))
    try:
        for path, wanted in (kept or {}).items():
            with suppress(FileNotFoundError):
                _keep(ruleset, path, wanted & (1 << rights) - 1)
        for port in ports if network else ():
            _check(_libc.syscall(_ADD_RULE, ruleset, _PORT, struct.pack("<QQ", _CONNECT, port), 0))
        _check(_libc.syscall(_RESTRICT, ruleset, 0))
    finally:
        os.close(ruleset)


def _keep(ruleset: int, path: str, rights: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = ctypes.create_string_buffer(struct.pack("<Qi", rights, place), 12)
        _check(_libc.syscall(_ADD_RULE, ruleset, _BENEATH, rule, 0))
    finally:
        os.close(place)


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
