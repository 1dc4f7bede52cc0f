"""Runs an attacker's code in a process that has confined itself, or in one that was started as a worker is."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import select
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from dataflare.runtime.isolation import spawn
from dataflare.runtime.isolation.jail import confine, confine_to_files, confine_to_server, leave_connected

DENIED: Final = 1
"""EPERM, which is what the filter answers."""
_WAIT_S: Final = 30.0
_TABLE: Final = {
    **{"add_key": (248, 217), "bind": (49, 200), "bpf": (321, 280), "capset": (126, 91), "chroot": (161, 51)},
    **{"clone": (56, 220), "connect": (42, 203), "dup": (32, 23), "execve": (59, 221), "execveat": (322, 281)},
    **{"fchmod": (91, 52), "fchmodat": (268, 53), "fchown": (93, 55), "fchownat": (260, 54), "fcntl": (72, 25)},
    **{"futex": (202, 98), "recvfrom": (45, 207)},
    **{"ftruncate": (77, 46), "getdents64": (217, 61), "init_module": (175, 105), "io_uring_setup": (425, 425)},
    **{"ioctl": (16, 29), "ioprio_set": (251, 30), "kexec_load": (246, 104), "keyctl": (250, 219), "kill": (62, 129)},
    **{"landlock_create_ruleset": (444, 444), "linkat": (265, 37), "madvise": (28, 233), "memfd_create": (319, 279)},
    **{"memfd_secret": (447, 447), "mkdirat": (258, 34), "mlock": (149, 228), "mmap": (9, 222), "mount": (165, 40)},
    **{"mprotect": (10, 226), "mq_open": (240, 180), "mremap": (25, 216), "msgget": (68, 186)},
    **{"newfstatat": (262, 79), "open_by_handle_at": (304, 265), "openat": (257, 56), "perf_event_open": (298, 241)},
    **{"pidfd_getfd": (438, 438), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "pipe2": (293, 59)},
    **{"pivot_root": (155, 41), "prctl": (157, 167), "prlimit64": (302, 261), "process_vm_readv": (310, 270)},
    **{"process_vm_writev": (311, 271), "ptrace": (101, 117), "recvmsg": (47, 212), "renameat2": (316, 276)},
    **{"request_key": (249, 218), "rt_sigqueueinfo": (129, 138), "sched_setaffinity": (203, 122)},
    **{"sched_setscheduler": (144, 119), "seccomp": (317, 277), "semget": (64, 190), "sendmsg": (46, 211)},
    **{"sendto": (44, 206), "setns": (308, 268), "setpriority": (141, 140), "setresuid": (117, 147)},
    **{"setsid": (112, 157), "setxattr": (188, 5), "shmat": (30, 196), "shmget": (29, 194), "socket": (41, 198)},
    **{"socketpair": (53, 199), "splice": (275, 76), "statx": (332, 291), "symlinkat": (266, 36)},
    **{"tgkill": (234, 131), "timer_create": (222, 107), "tkill": (200, 130), "truncate": (76, 45)},
    **{"unlinkat": (263, 35), "unshare": (272, 97), "userfaultfd": (323, 282), "utimensat": (280, 88)},
}
CALLS: Final = {name: row[("x86_64", "aarch64").index(platform.machine())] for name, row in _TABLE.items()}
_libc = ctypes.CDLL(None, use_errno=True)


def syscall(name: str | int, *args: Any) -> int:
    """Make a system call; the negative number of the error where it fails."""
    ctypes.set_errno(0)
    number = CALLS[name] if isinstance(name, str) else name
    given = [ctypes.c_long(each) if isinstance(each, int) else each for each in args]
    result = int(_libc.syscall(ctypes.c_long(number), *given))
    return -ctypes.get_errno() if result < 0 else result


def calls_beyond_files(host: int) -> tuple[tuple[Any, ...], ...]:
    """System calls for what is no file; `host` is the process that started the one that makes them."""
    return (
        *(("socket", family, 1, 0) for family in (1, 2, 10, 16)),
        *(("connect", -1, 0, 0), ("execve", b"/nonexistent", 0, 0), ("execveat", -1, b"", 0, 0, 0)),
        *(("clone", 0x01200011 | 0x100, 0, 0, 0, 0), ("unshare", 0), ("kill", host, 0), ("tgkill", host, host, 0)),
        *(("ptrace", -1, host, 0, 0), ("process_vm_readv", host, 0, 0, 0, 0, -1), ("prlimit64", host, 0, 0, 0)),
        *(("ioctl", 0, 0x5412, b"x"), ("mount", 0, 0, 0, 0, 0), ("bpf", -1, 0, 0), ("mprotect", 0, 0, 5)),
        *(("fcntl", 0, 8, 0), ("setxattr", b"x", b"user.x", b"", 0, 0), ("open_by_handle_at", -1, 0, 0)),
    )


def data_bytes() -> int:
    """The private memory that this process has."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmData"))


def address_bytes() -> int:
    """The address space of this process, of which one that has run many plugins keeps a lot."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE")


def jailed(attempt: Callable[[], Any], *, room_bytes: int = 256 * 2**20, **options: Any) -> Any:
    """Run something in a child that has confined itself with so much memory left.

    Returns:
        What it returned, as JSON carries it; the name of the exception that it raised; or a negative number, the
        signal that ended it.
    """

    def confined() -> None:
        confine(data_bytes=data_bytes() + room_bytes, address_bytes=address_bytes() + 2**34, **options)

    return _in_child(attempt, confined)


def jailed_to_files(attempt: Callable[[], Any], kept: Mapping[str, int]) -> Any:
    """As `jailed`, in a child that has confined itself to files."""
    return _in_child(attempt, lambda: confine_to_files(kept))


def jailed_to_server(
    attempt: Callable[[], Any],
    kept: Mapping[str, int],
    families: tuple[int, ...],
    ports: Sequence[int],
    *,
    connected: bool,
) -> Any:
    """As `jailed`, in a child that has confined itself to a server, and is connected or not."""

    def confined() -> None:
        in_force = confine_to_server(kept, families, ports)
        if connected:
            leave_connected(in_force)

    return _in_child(attempt, confined)


def _in_child(attempt: Callable[[], Any], confined: Callable[[], object]) -> Any:
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(out)
            confined()
            try:
                found = attempt()
            except BaseException as error:
                found = type(error).__name__
            os.write(into, json.dumps(found).encode())
        except BaseException as error:
            os.write(into, json.dumps(f"not confined: {error}").encode())
        finally:
            os._exit(0)
    os.close(into)
    try:
        said = _all_of(out)
        _, status = os.waitpid(child, 0)
    finally:
        os.close(out)
    return json.loads(said) if said else -os.WTERMSIG(status)


def started(question: str) -> Any:
    """Ask a function of `worker_probe` in a process that was started as workers are, and has confined itself.

    Returns:
        What it returned.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = spawn.start("worker_probe:main", (theirs.fileno(),), roots=[str(Path(__file__).parent)])
        theirs.close()
        ours.sendall(question.encode() + b"\n")
        try:
            return json.loads(_all_of(ours.fileno()))
        finally:
            process.end()


def ended_by(pid: int, timeout_s: float) -> bool:
    """Whether a process that is not a child ends in time."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], timeout_s)[0])
    finally:
        os.close(descriptor)


def kill(pid: int) -> None:
    """Kill a child, and wait for it."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _all_of(descriptor: int) -> bytes:
    data = b""
    while True:
        ready, _, _ = select.select([descriptor], [], [], _WAIT_S)
        assert ready, "the confined process does not answer"
        more = os.read(descriptor, 65536)
        if not more:
            return data
        data += more
