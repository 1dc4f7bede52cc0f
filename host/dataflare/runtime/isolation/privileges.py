"""Removes privileges: a separate user, no capabilities, separate namespaces, and an end with the parent process."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from contextlib import suppress
from typing import Final

__all__ = [
    "FILE_CAPABILITIES",
    "be_ended_first",
    "become_nobody",
    "die_with",
    "drop_capabilities",
    "enter_namespaces",
    "is_own_user",
    "no_new_privileges",
    "threads_of_user",
]

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP = 1, 4, 24
_PR_SET_SECUREBITS, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _CLEAR_ALL = 28, 38, 47, 4
_SECUREBITS: Final = 0b11101111  # root has no special rights, and all bits are locked (KEEP_CAPS stays off)
_CAP_KILL: Final = 5
FILE_CAPABILITIES: Final = 0b11011
"""What root may do with files of others: CHOWN, DAC_OVERRIDE, FOWNER and FSETID."""
_CAPABILITY_VERSION: Final = 0x20080522
_NEW_USER, _NEW_IPC, _NEW_NET, _NEW_UTS = 0x10000000, 0x08000000, 0x40000000, 0x04000000
_NOBODY: Final = 65534
_UNUSED_IDS: Final = 0x70000000
"""The first of the user ids that neither distributions nor containers use (https://systemd.io/UIDS-GIDS). With its
process id added, each worker gets a unique user."""

_libc = ctypes.CDLL(None, use_errno=True)


def become_nobody() -> None:
    """If this process is root, become a unique unprivileged user without groups.

    Raises:
        OSError: The kernel does not accept it, or the host could no longer end this process.
    """
    if os.geteuid() != 0 and os.getuid() != 0:
        return
    if not _effective_capabilities() >> _CAP_KILL & 1:
        raise OSError("a root without CAP_KILL could not end a process of another user")
    _empty_bounding_set()
    os.setgroups([])
    own = _UNUSED_IDS + os.getpid()
    try:
        os.setresgid(own, own, own)
        os.setresuid(own, own, own)
    except OSError:
        # A user namespace without this user id.
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)


def be_ended_first() -> None:
    """Make this process the first that the kernel ends when the machine's memory runs out.

    Raises:
        OSError: The kernel does not take it.
    """
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def threads_of_user() -> int:
    """Return the number of threads of this process's user, as far as visible."""
    count = 0
    for each in os.scandir("/proc"):
        with suppress(OSError):  # it has ended
            if each.name.isdecimal() and each.stat().st_uid == os.getuid():
                count += len(os.listdir(f"/proc/{each.name}/task"))
    return count


def is_own_user() -> bool:
    """Whether no other process has this process's user."""
    return os.getuid() == _UNUSED_IDS + os.getpid()


def enter_namespaces() -> None:
    """Leave the network, shared memory, message queues and host names that other processes share.

    Raises:
        OSError: The kernel or the operator does not allow it to users, or there is more than one thread.
    """
    _check(_libc.unshare(_NEW_USER | _NEW_IPC | _NEW_NET | _NEW_UTS))


def drop_capabilities(keep: int = 0) -> None:
    """Drop capabilities, and all ways to get them back.

    Args:
        keep: Those that stay if there are any, as bits; see `FILE_CAPABILITIES`.

    Raises:
        OSError: Some are left.
    """
    left = _effective_capabilities() & keep
    if _effective_capabilities():
        _empty_bounding_set()
        _libc.prctl(_PR_SET_SECUREBITS, _SECUREBITS, 0, 0, 0)
    _libc.prctl(_PR_CAP_AMBIENT, _CLEAR_ALL, 0, 0, 0)
    header = ctypes.create_string_buffer(struct.pack("<Ii", _CAPABILITY_VERSION, 0), 8)
    _check(_libc.capset(header, ctypes.create_string_buffer(struct.pack("<6I", left, left, 0, 0, 0, 0), 24)))
    if _effective_capabilities() != left:
        raise OSError("capabilities are left")


def no_new_privileges() -> None:
    """Forbid new privileges when this process starts a program.

    Raises:
        OSError: The kernel does not take it.
    """
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def die_with(parent: int) -> None:
    """Let the kernel end this process with the parent's thread that started it.

    Also keeps other processes from reading its memory. A change of user resets both, so call this after it.

    Args:
        parent: The parent's process id.

    Raises:
        OSError: The kernel does not accept it, or the parent has already ended.
    """
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))
    _check(_libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0))
    if os.getppid() != parent:
        raise OSError("the parent has gone")


def _empty_bounding_set() -> None:
    for number in range(64):
        if _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) < 0:
            return  # past the kernel's last


def _effective_capabilities() -> int:
    header = ctypes.create_string_buffer(struct.pack("<Ii", _CAPABILITY_VERSION, 0), 8)
    data = ctypes.create_string_buffer(24)
    _check(_libc.capget(header, data))
    low, _, _, high, _, _ = struct.unpack("<6I", data.raw)
    return int(low | high << 32)


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
