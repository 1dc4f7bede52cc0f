"""The system calls that a process keeps once it has confined itself; the kernel refuses all others.

The filter is a program for the kernel's BPF machine (https://docs.kernel.org/userspace-api/seccomp_filter.html). It is
made here and not by libseccomp, which many machines do not have. Calls that are not listed are refused with EPERM. That
gives an attacker nothing, while killing the process would also kill workers in which a new C library only probes a
call. Calls of another ABI (32 bits, x32), which only an attacker makes, end the process.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

__all__ = ["ALLOWED", "ALLOWED_WITH_FILES", "NUMBERS", "Rule", "allowed_to_connect", "install", "program"]

# Numbers of the kernel's headers (`asm/unistd_64.h` and `asm-generic/unistd.h`); a test compares. Architectures are
# the values of `AUDIT_ARCH_X86_64` and `AUDIT_ARCH_AARCH64`.
_NAMES: Final = ("x86_64", "aarch64")
_MACHINE: Final = os.uname().machine  # the filter does not let the question through
_ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_TABLE: Final[dict[str, tuple[int | None, int | None]]] = {
    "access": (21, None),
    "brk": (12, 214),
    "clock_getres": (229, 114),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "clone": (56, 220),
    "clone3": (435, 435),
    "close": (3, 57),
    "connect": (42, 203),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "fallocate": (285, 47),
    "fchmod": (91, 52),
    "fchown": (93, 55),
    "fcntl": (72, 25),
    "fdatasync": (75, 83),
    "fstat": (5, 80),
    "fsync": (74, 82),
    "ftruncate": (77, 46),
    "futex": (202, 98),
    "getcwd": (79, 17),
    "getdents64": (217, 61),
    "getegid": (108, 177),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getpeername": (52, 205),
    "getpid": (39, 172),
    "getrandom": (318, 278),
    "getsockname": (51, 204),
    "getsockopt": (55, 209),
    "gettid": (186, 178),
    "gettimeofday": (96, 169),
    "getuid": (102, 174),
    "lseek": (8, 62),
    "lstat": (6, None),
    "madvise": (28, 233),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "munmap": (11, 215),
    "nanosleep": (35, 101),
    "newfstatat": (262, 79),
    "open": (2, None),
    "openat": (257, 56),
    "poll": (7, None),
    "ppoll": (271, 73),
    "prctl": (157, 167),
    "pread64": (17, 67),
    "preadv": (295, 69),
    "preadv2": (327, 286),
    "prlimit64": (302, 261),
    "pwrite64": (18, 68),
    "pwritev": (296, 70),
    "read": (0, 63),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "readv": (19, 65),
    "recvfrom": (45, 207),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "restart_syscall": (219, 128),
    "rseq": (334, 293),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_getaffinity": (204, 123),
    "sched_yield": (24, 124),
    "seccomp": (317, 277),
    "sendto": (44, 206),
    "set_robust_list": (273, 99),
    "setsockopt": (54, 208),
    "sigaltstack": (131, 132),
    "socket": (41, 198),
    "stat": (4, None),
    "statx": (332, 291),
    "sysinfo": (99, 179),
    "tgkill": (234, 131),
    "time": (201, None),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "write": (1, 64),
    "writev": (20, 66),
}
NUMBERS: Final[dict[str, dict[str, int]]] = {
    machine: {name: row[at] for name, row in _TABLE.items() if row[at] is not None}  # type: ignore[misc]
    for at, machine in enumerate(_NAMES)
}
"""The number of each system call named here, by machine."""


class Rule(NamedTuple):
    """A condition on one argument of an allowed call.

    Args:
        argument: The index of the argument, from 0.
        within: Only these bits may be set.
        has: These bits must be set.
        values: The argument must be one of these; only the low 32 bits are compared, as the kernel does for an `int`.
        but: Bits that may be set in addition to one of `values`.
        own_pid: The argument must be the id of this process.
    """

    argument: int
    within: int | None = None
    has: int = 0
    values: tuple[int, ...] = ()
    but: int = 0
    own_pid: bool = False


_THREAD_FLAGS: Final = 0x3D0F00 | 0x400000  # the flags of glibc's threads, and one more that musl sets
_THREAD_NEEDS: Final = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000  # CLONE_VM, FS, FILES, SIGHAND, THREAD
_MAP_PRIVATE: Final = 0x02
# Not: MAP_SHARED and MAP_GROWSDOWN, which RLIMIT_DATA does not count, MAP_HUGETLB, MAP_LOCKED, MAP_SYNC.
_MAP_FLAGS: Final = _MAP_PRIVATE | 0x10 | 0x20 | 0x800 | 0x4000 | 0x8000 | 0x20000 | 0x100000
# MADV_NORMAL, RANDOM, SEQUENTIAL, WILLNEED, DONTNEED, FREE, HUGEPAGE, NOHUGEPAGE, DONTDUMP, DODUMP: what allocators and
# wasmtime give. GUARD_INSTALL and GUARD_REMOVE: what glibc 2.42 and later give for a thread's stack, on Linux 6.13 and
# later. Not: REMOVE, HWPOISON, PAGEOUT and COLLAPSE, which work on pages that others share.
_ADVICE: Final = (0, 1, 2, 3, 4, 8, 14, 15, 16, 17, 102, 103)
# FUTEX_WAIT, WAKE, REQUEUE, CMP_REQUEUE, WAKE_OP, WAIT_BITSET, WAKE_BITSET, with or without FUTEX_PRIVATE_FLAG and
# FUTEX_CLOCK_REALTIME. Not: the priority-inheriting ones, which nothing here uses and which had many vulnerabilities.
_WAITING: Final = Rule(1, values=(0, 1, 3, 4, 5, 9, 10), but=0x80 | 0x100)
# MSG_DONTWAIT, MSG_NOSIGNAL. Not: MSG_OOB, MSG_ZEROCOPY, MSG_FASTOPEN, MSG_PEEK and the rest.
_PLAIN: Final = Rule(3, within=0x40 | 0x4000)
_NO_EXECUTION: Final = 0x1 | 0x2  # PROT_READ, PROT_WRITE
_NULL: Final = Rule(4, within=0)

ALLOWED: Final[dict[str, tuple[Rule, ...]]] = {
    # The calls that every plugin call makes come first.
    "futex": (_WAITING,),
    **dict.fromkeys(("read", "write", "poll", "ppoll", "pread64", "pwrite64"), ()),
    "recvfrom": (_PLAIN, _NULL),
    "sendto": (_PLAIN, _NULL),
    # Memory: private and without execution.
    "mmap": (Rule(2, within=_NO_EXECUTION), Rule(3, within=_MAP_FLAGS, has=_MAP_PRIVATE)),
    # Not: taking the right to write away. RLIMIT_DATA would count what was written there no more.
    "mprotect": (Rule(2, values=(_NO_EXECUTION,)),),
    "mremap": (Rule(3, within=0x1 | 0x2),),
    "madvise": (Rule(2, values=_ADVICE),),
    **dict.fromkeys(("munmap", "brk"), ()),
    # Descriptors that it has.
    **dict.fromkeys(("preadv", "readv", "lseek", "fstat", "close"), ()),
    "preadv2": (Rule(5, within=0),),  # without flags; Python calls it for `preadv`
    "fcntl": (Rule(1, values=(1, 3)),),  # F_GETFD, F_GETFL
    # Threads, within this process.
    "clone": (Rule(0, within=_THREAD_FLAGS, has=_THREAD_NEEDS),),
    **dict.fromkeys(("set_robust_list", "rseq", "sched_yield", "gettid", "getpid", "exit", "exit_group"), ()),
    "sched_getaffinity": (Rule(0, values=(0,)),),
    "prctl": (Rule(0, values=(15,)),),  # PR_SET_NAME
    "prlimit64": (Rule(0, values=(0,)), Rule(2, within=0)),  # reads its own
    # Signals to itself.
    **dict.fromkeys(("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall"), ()),
    "tgkill": (Rule(0, own_pid=True),),
    # Time, randomness, who it is.
    **dict.fromkeys(("clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time"), ()),
    **dict.fromkeys(("getrandom", "getuid", "geteuid", "getgid", "getegid"), ()),
}
"""The system calls that a worker keeps, each with the conditions on its arguments."""

_MAP_SHARED: Final = 0x01
# F_GETFD, SETFD, GETFL, GETLK, SETLK, SETLKW. Not: F_SETOWN, which sends signals, F_SETFL, and leases.
_ON_FILES: Final = Rule(1, values=(1, 2, 3, 5, 6, 7))

ALLOWED_WITH_FILES: Final[dict[str, tuple[Rule, ...]]] = {
    **ALLOWED,
    # Which files: that is for Landlock to say.
    **dict.fromkeys(("fsync", "fdatasync", "ftruncate", "fallocate", "pwritev", "writev"), ()),
    **dict.fromkeys(("openat", "open", "unlink", "unlinkat", "rename", "renameat", "renameat2", "getdents64"), ()),
    **dict.fromkeys(("stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2"), ()),
    **dict.fromkeys(("readlink", "readlinkat", "getcwd", "sysinfo", "fchown"), ()),
    "fchmod": (Rule(1, within=0o777),),  # not: the rights of its owner to whoever starts it
    "fcntl": (_ON_FILES,),
    # A log of SQLite's has memory that the file's users share.
    "mmap": (Rule(2, within=_NO_EXECUTION), Rule(3, within=_MAP_FLAGS | _MAP_SHARED)),
}
"""The system calls that the process of a database's file keeps; as before, it starts nothing and has no network."""

# TCP_NODELAY, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, SO_KEEPALIVE, TCP_USER_TIMEOUT, of sockets and of TCP. Not:
# programs for the kernel's BPF machine, and what only root may.
_OPTIONS: Final = (Rule(1, values=(1, 6)), Rule(2, values=(1, 4, 5, 6, 9, 18)))


def allowed_to_connect(families: tuple[int, ...]) -> dict[str, tuple[Rule, ...]]:
    """Return the system calls that a process keeps which is about to connect to a server.

    Args:
        families: The families of its sockets.
    """
    return {
        **ALLOWED,
        # SOCK_STREAM, with SOCK_CLOEXEC and SOCK_NONBLOCK.
        "socket": (Rule(0, values=families), Rule(1, values=(1,), but=0x80000 | 0x800)),
        "setsockopt": _OPTIONS,
        **dict.fromkeys(("connect", "getsockopt", "getsockname", "getpeername"), ()),
        "fcntl": (Rule(1, values=(1, 2, 3, 4)),),  # F_GETFD, SETFD, GETFL, SETFL
        # Certificates: which files, that is for Landlock to say.
        **dict.fromkeys(("openat", "open", "getdents64", "stat", "lstat", "newfstatat", "statx", "access"), ()),
        **dict.fromkeys(("faccessat", "faccessat2", "readlink", "readlinkat"), ()),
        "seccomp": (Rule(0, values=(1,)),),  # SECCOMP_SET_MODE_FILTER: to take all this away, too
    }


_ALLOW, _KILL, _REFUSE, _UNKNOWN = 0x7FFF0000, 0x80000000, 0x00050000 | 1, 0x00050000 | 38
_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_X32: Final = 0x40000000
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_WORD: Final = 0xFFFFFFFF
_MODE_FILTER, _FOR_ALL_THREADS = 1, 1

_Instruction = tuple[int, int, int, int]
"""Code, the instructions to skip if the condition is true and if it is false, and a number."""

_libc = ctypes.CDLL(None, use_errno=True)


def program(machine: str, *, pid: int, allowed: Mapping[str, tuple[Rule, ...]]) -> list[_Instruction]:
    """Make the filter.

    Args:
        machine: One of `NUMBERS`.
        pid: The process that it is for.
        allowed: The system calls that it lets through.
    """
    numbers = NUMBERS[machine]
    made: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL),
        # Its arguments are in memory, which a filter cannot read; the C library then falls back to `clone`.
        (_EQUAL, 0, 1, numbers["clone3"]),
        (_RETURN, 0, 0, _UNKNOWN),
    ]
    for name, rules in allowed.items():
        if name in numbers:
            block = [*_checks(rules, pid), (_RETURN, 0, 0, _ALLOW)]
            made += [(_EQUAL, 0, len(block), numbers[name]), *block]
    return [*made, (_RETURN, 0, 0, _REFUSE)]


def _checks(rules: Sequence[Rule], pid: int) -> list[_Instruction]:
    """Write the instructions that refuse a call unless all rules are met; otherwise they continue after the last
    one."""
    made: list[_Instruction] = []
    for rule in rules:
        low = _ARGUMENTS_AT + 8 * rule.argument
        if rule.within is not None:
            for at, mask in ((low, rule.within & _WORD), (low + 4, rule.within >> 32)):
                made += [(_LOAD, 0, 0, at), (_AND, 0, 0, ~mask & _WORD), *_unless(0)]
        if rule.has:
            made += [(_LOAD, 0, 0, low), (_AND, 0, 0, rule.has), *_unless(rule.has)]
        values = (pid,) if rule.own_pid else rule.values
        if values:
            count = len(values)
            made.append((_LOAD, 0, 0, low))
            if rule.but:
                made.append((_AND, 0, 0, ~rule.but & _WORD))
            made += [(_EQUAL, count - at, 0, value) for at, value in enumerate(values)]
            made.append((_RETURN, 0, 0, _REFUSE))
    return made


def _unless(value: int) -> list[_Instruction]:
    return [(_EQUAL, 1, 0, value), (_RETURN, 0, 0, _REFUSE)]


def install(allowed: Mapping[str, tuple[Rule, ...]]) -> None:
    """Install the filter for all current and later threads of this process.

    Args:
        allowed: The system calls that it lets through.

    Raises:
        OSError: The kernel does not accept it, or there is no filter for this machine.
    """
    if _MACHINE not in NUMBERS:
        raise OSError(f"there is no filter of system calls for {_MACHINE}")
    code = b"".join(struct.pack("<HBBI", *each) for each in program(_MACHINE, pid=os.getpid(), allowed=allowed))
    text = ctypes.create_string_buffer(code)
    header = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(code) // 8, ctypes.addressof(text)))
    result = _libc.syscall(NUMBERS[_MACHINE]["seccomp"], _MODE_FILTER, _FOR_ALL_THREADS, header)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    if result:
        raise OSError("a thread could not be confined")
