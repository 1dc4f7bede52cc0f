"""Limits that a process gives itself before it reads what a stranger has made."""

from __future__ import annotations

import resource

__all__ = ["limit_memory", "limit_time"]


def limit_time(seconds: int) -> None:
    """Let the kernel end this process after this much processor time."""
    _limit(resource.RLIMIT_CPU, seconds)


def limit_memory(most_bytes: int) -> None:
    """Let this process have so much memory apart from what it has now; and write no core where it ends by that."""
    with open("/proc/self/statm", "rb") as statm:
        taken = int(statm.read().split()[0]) * resource.getpagesize()
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, taken + most_bytes)


def _limit(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    # The hard limit is not reached: the kernel would then not say which one it was.
    resource.setrlimit(what, (most, hard))
