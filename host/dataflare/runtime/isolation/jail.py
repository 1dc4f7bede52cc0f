"""Takes away from this process what a plugin's worker does not need. It cannot be undone.

Each part is tried by itself, and told only where the kernel took it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = ["confine"]

_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_DUMPABLE: Final = 4
_PR_SET_PDEATHSIG: Final = 1
_SIGKILL: Final = 9

_LANDLOCK_CREATE: Final = 444
_LANDLOCK_ADD_RULE: Final = 445
_LANDLOCK_RESTRICT: Final = 446
_LANDLOCK_VERSION: Final = 1
_LANDLOCK_PATH_BENEATH: Final = 1
_READ_FILE_AND_DIR: Final = (1 << 2) | (1 << 3)
_FS_RIGHTS: Final = ((1, 13), (2, 14), (3, 15), (5, 16))
"""From which version on the kernel knows how many rights of files."""

# Numbers of system calls: socket, connect, accept, bind, listen, socketpair, execve, ptrace, mount, umount2,
# init_module, kexec_load, unshare, perf_event_open, open_by_handle_at, setns, process_vm_readv, process_vm_writev,
# finit_module, bpf, execveat, io_uring_setup; for x86_64 also fork and vfork, which aarch64 has not.
_DENIED: Final[dict[str, tuple[int, ...]]] = {
    "x86_64": (
        *(41, 42, 43, 49, 50, 53, 59, 101, 165, 166, 175, 246, 272, 298, 304, 308, 310, 311, 313, 321, 322, 425),
        *(57, 58),
    ),
    "aarch64": (
        *(198, 203, 202, 200, 201, 199, 221, 117, 40, 39, 105, 104, 97, 241, 265, 268, 270, 271, 273, 280, 281, 425),
    ),
}
_CLONE: Final = {"x86_64": 56, "aarch64": 220}
_SECCOMP: Final = {"x86_64": 317, "aarch64": 277}
_CLONE3: Final = 435
_CLONE_THREAD: Final = 0x10000
_ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_ALLOW, _KILL, _REFUSE, _UNKNOWN = 0x7FFF0000, 0x80000000, 0x00050000 | 1, 0x00050000 | 38
_LOAD, _EQUAL, _AT_LEAST, _HAS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06

_libc = ctypes.CDLL(None, use_errno=True)


def confine(*, data_bytes: int | None) -> tuple[str, ...]:
    """Confine this process, all its later threads included.

    Args:
        data_bytes: The most private memory that it may have, in bytes; `None` for any.

    Returns:
        What is in force: of `rlimits`, `no-new-privileges`, `landlock` and `seccomp`.
    """
    parts: tuple[tuple[str, Callable[[], None]], ...] = (
        ("rlimits", lambda: _limit(data_bytes)),
        ("no-new-privileges", _no_new_privileges),
        ("landlock", _landlock),
        ("seccomp", _seccomp),
    )
    done = []
    for name, part in parts:
        try:
            part()
        except (OSError, ValueError):
            continue
        done.append(name)
    return tuple(done)


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _limit(data_bytes: int | None) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**40, 2**40))
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    if data_bytes is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (data_bytes, data_bytes))
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))
    _check(_libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0))


def _no_new_privileges() -> None:
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def _landlock() -> None:
    """Let it read Python's own files, and nothing else; no TCP, no signals to others where the kernel can see to it."""
    if len(os.listdir("/proc/self/task")) > 1:
        raise OSError("it would hold for one of the threads alone")
    version = _check(_libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), _LANDLOCK_VERSION))
    rights = max(count for since, count in _FS_RIGHTS if version >= since)
    files, network, scopes = (1 << rights) - 1, 3 if version >= 4 else 0, 3 if version >= 6 else 0
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    attributes = ctypes.create_string_buffer(struct.pack("<QQQ", files, network, scopes)[:size], size)
    ruleset = _check(_libc.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(size), 0))
    try:
        for path in _own_files():
            try:
                parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                allowed = _READ_FILE_AND_DIR if os.path.isdir(path) else 1 << 2
                rule = ctypes.create_string_buffer(struct.pack("<Qi", allowed, parent), 12)
                _check(_libc.syscall(_LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_PATH_BENEATH, rule, 0))
            finally:
                os.close(parent)
        _check(_libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0))
    finally:
        os.close(ruleset)


def _own_files() -> set[str]:
    """Where modules that are loaded late lie: the standard library, site-packages and this package."""
    found = {os.path.dirname(os.__file__), str(Path(__file__).parents[2])}
    return found | {path for path in sys.path if path.endswith(("site-packages", "lib-dynload", "dist-packages"))}


def _seccomp() -> None:
    """Refuse system calls that reach other processes, other programs or the network; threads may be made."""
    machine = platform.machine()
    if machine not in _DENIED:
        raise OSError("no filter for this machine")
    denied = _DENIED[machine]
    # Instructions: code, how many to skip if it is true and if it is not, and a number.
    program = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
        # Numbers of the x32 ABI would pass the comparisons.
        (_AT_LEAST, 0, 1, 0x40000000),
        (_RETURN, 0, 0, _REFUSE),
        # Its arguments lie in memory, where no filter sees them; the C library takes `clone` then.
        (_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _UNKNOWN),
        (_EQUAL, 0, 4, _CLONE[machine]),
        (_LOAD, 0, 0, 16),
        (_HAS, 0, 1, _CLONE_THREAD),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
        *((_EQUAL, len(denied) - index, 0, number) for index, number in enumerate(denied)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *each) for each in program))
    filter_ = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(code)))
    # For all threads that there are already (flag 1), or not at all.
    if _check(_libc.syscall(_SECCOMP[machine], 1, 1, filter_)):
        raise OSError("a thread could not be confined")
