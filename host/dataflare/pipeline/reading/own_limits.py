"""Limits that a process gives itself before it reads what a stranger has made."""

from __future__ import annotations

import resource
from typing import Final

__all__ = ["limit_memory", "limit_time"]

_TO_END_S: Final = 5


def limit_time(seconds: int) -> None:
    """Let the kernel end this process after this much processor time, a little later also where it ignores that."""
    _limit(resource.RLIMIT_CPU, seconds, seconds + _TO_END_S)


def limit_memory(most_bytes: int) -> None:
    """Let this process have so much memory apart from what it has now; and write no core where it ends by that."""
    with open("/proc/self/statm", "rb") as statm:
        taken = int(statm.read().split()[0]) * resource.getpagesize()
    _limit(resource.RLIMIT_CORE, 0, 0)
    _limit(resource.RLIMIT_AS, taken + most_bytes, taken + most_bytes)


def _limit(what: int, soft: int, hard: int) -> None:
    _, most = resource.getrlimit(what)
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(what, (soft, hard))
