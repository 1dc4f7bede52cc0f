"""Removes all rights from this process that it does not need. This cannot be undone.

If the kernel does not accept a necessary part, confining fails (`JailIncomplete`), unless the operator accepts a weaker
jail. Only the parts that the kernel accepted are reported as in force.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from dataflare.runtime.isolation import landlock, privileges, seccomp

__all__ = [
    *("PARTS", "JailIncomplete", "confine", "confine_to_files", "confine_to_server", "leave_connected"),
    "missing_barriers",
]

PARTS: Final = (
    *("ended-first", "unprivileged", "namespaces", "no-capabilities", "rlimits", "parent-death", "no-new-privileges"),
    *(*landlock.parts(2**31), "seccomp"),
)
"""The names of all parts that there are."""
_BARRIERS: Final = ("landlock-files", "seccomp")
"""What keeps a process from files of others, and from all else."""

_OPEN_FILES: Final = 32
_THREADS: Final = 64
_THREADS_BESIDE: Final = 1024
"""Limit of a worker's threads, in addition to its user's other threads, if the kernel counts them together."""
_STACK_BYTES: Final = 64 * 2**20
_FEW: Final = {
    **dict.fromkeys((resource.RLIMIT_CORE, resource.RLIMIT_MEMLOCK, resource.RLIMIT_MSGQUEUE), 0),
    **dict.fromkeys((resource.RLIMIT_NICE, resource.RLIMIT_RTPRIO), 0),
    resource.RLIMIT_NOFILE: 256,
}
"""Limits of a process that uses files."""
_Part = tuple[tuple[str, ...], bool, Callable[[], None]]
"""The names of a part of the jail, whether it is necessary, and what takes the rights away."""


class JailIncomplete(Exception):
    """The kernel did not accept a necessary part of the jail.

    Args:
        part: The part's name.
        reason: The kernel's error.
    """

    def __init__(self, part: str, reason: str) -> None:
        super().__init__(f"{part}: {reason}")
        self.part = part
        self.reason = reason


def confine(
    *,
    data_bytes: int | None,
    address_bytes: int | None = None,
    file_bytes: int = 0,
    parent: int | None = None,
    best_effort: bool = False,
) -> tuple[str, ...]:
    """Confine this process, which uses what is open alone, including all its later threads.

    Args:
        data_bytes: Limit of its private memory in bytes; `None` for no limit. It can have no other kind of memory.
        address_bytes: How much its address space may still grow, in bytes; `None` for no limit.
        file_bytes: Maximum length in bytes of the files that it writes; it has only those that are already open.
        parent: The id of the process with which it ends; `None` for the one that started it.
        best_effort: Whether to skip parts that the kernel does not accept.

    Returns:
        The names of the parts in force, of `PARTS`; `unprivileged` is not among them if it was not root.

    Raises:
        JailIncomplete: A necessary part is missing, and `best_effort` is false.
    """
    parent = os.getppid() if parent is None else parent
    kernel = landlock.version()
    in_force: list[str] = []
    # RLIMIT_DATA does not count read-only mappings, but they take page tables.
    addresses = None if address_bytes is None else _addresses_bytes() + address_bytes

    def limit() -> None:
        _limit(data_bytes, addresses, file_bytes)
        # If no other process has the same user or user namespace, only its own threads are counted.
        own = "namespaces" in in_force or privileges.is_own_user()
        _limit_each({resource.RLIMIT_NPROC: _THREADS if own else _THREADS_BESIDE + privileges.threads_of_user()})

    root = 0 in (os.getuid(), os.geteuid())
    parts: tuple[_Part, ...] = (
        (("ended-first",), False, privileges.be_ended_first),
        *(((("unprivileged",), True, privileges.become_nobody),) if root else ()),
        (("namespaces",), False, privileges.enter_namespaces),
        (("no-capabilities",), True, privileges.drop_capabilities),
        (("rlimits",), True, limit),
        (("parent-death",), True, lambda: privileges.die_with(parent)),
        (("no-new-privileges",), True, privileges.no_new_privileges),
        # Optional: seccomp refuses all of it too.
        (landlock.parts(kernel), False, lambda: _restrict_files(kernel)),
        (("seccomp",), True, lambda: seccomp.install(seccomp.ALLOWED)),
    )
    return _taken_away(parts, best_effort=best_effort, in_force=in_force)


def confine_to_files(kept: Mapping[str, int]) -> tuple[str, ...]:
    """Confine this process, which uses files, including all its later threads: it has no network, and starts nothing.

    Args:
        kept: The files and folders that it may still open, each with its rights; see `landlock`.

    Returns:
        The names of the parts that the kernel accepted, of `PARTS`.
    """
    return _confine_to(kept, (), seccomp.ALLOWED_WITH_FILES, privileges.FILE_CAPABILITIES)


def confine_to_server(kept: Mapping[str, int], families: tuple[int, ...], ports: Sequence[int]) -> tuple[str, ...]:
    """Confine this process, which is about to connect to a server; `leave_connected` takes that away, too.

    Args:
        kept: The files and folders that it may read until then; see `landlock`.
        families: The families of sockets that it may make.
        ports: The ports to which it may connect by TCP.

    Returns:
        The names of the parts that the kernel accepted, of `PARTS`.
    """
    return _confine_to(kept, ports, seccomp.allowed_to_connect(families), 0)


def leave_connected(in_force: Sequence[str]) -> None:
    """Take away what connecting to a server needed: this process makes no more sockets, and opens no more files.

    Args:
        in_force: What `confine_to_server` returned. Without `seccomp` among it, the kernel has no filters to add to.

    Raises:
        JailIncomplete: The kernel accepted the first filter, and not this one.
    """
    if "seccomp" in in_force:
        _taken_away([(("seccomp",), True, lambda: seccomp.install(seccomp.ALLOWED))], best_effort=False, in_force=[])


def missing_barriers(in_force: Sequence[str]) -> str:
    """Name the parts that are not in force, of those without which a process reaches more than it should."""
    return ", ".join(each for each in _BARRIERS if each not in in_force)


def _confine_to(
    kept: Mapping[str, int],
    ports: Sequence[int],
    allowed: Mapping[str, tuple[seccomp.Rule, ...]],
    capabilities: int,
) -> tuple[str, ...]:
    kernel = landlock.version()
    parts: tuple[_Part, ...] = (
        (("no-capabilities",), True, lambda: privileges.drop_capabilities(capabilities)),
        (("rlimits",), True, lambda: _limit_each(_FEW)),
        (("no-new-privileges",), True, privileges.no_new_privileges),
        (landlock.parts(kernel), True, lambda: _restrict_files(kernel, kept, ports)),
        (("seccomp",), True, lambda: seccomp.install(allowed)),
    )
    return _taken_away(parts, best_effort=True, in_force=[])


def _restrict_files(kernel: int, kept: Mapping[str, int] | None = None, ports: Sequence[int] = ()) -> None:
    if kernel < 1:
        raise OSError("the kernel has no Landlock")
    landlock.restrict(kernel, kept, ports)


def _taken_away(parts: Sequence[_Part], *, best_effort: bool, in_force: list[str]) -> tuple[str, ...]:
    for names, necessary, part in parts:
        try:
            part()
        except (OSError, ValueError) as error:
            if necessary and not best_effort:
                raise JailIncomplete(names[0], getattr(error, "strerror", None) or str(error)) from error
            continue
        in_force += names
    return tuple(in_force)


def _addresses_bytes() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _limit(data_bytes: int | None, addresses: int | None, file_bytes: int) -> None:
    most: dict[int, int] = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_STACK: _STACK_BYTES,
        resource.RLIMIT_NICE: 0,
        resource.RLIMIT_RTPRIO: 0,
    }
    if data_bytes is not None:
        most[resource.RLIMIT_DATA] = data_bytes
    if addresses is not None:
        most[resource.RLIMIT_AS] = addresses
    _limit_each(most)


def _limit_each(most: dict[int, int]) -> None:
    for kind, value in most.items():
        _, hard = resource.getrlimit(kind)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
