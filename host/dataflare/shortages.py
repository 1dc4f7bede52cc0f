"""A system that is short of memory: not a fault of the program, and told like other errors."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from dataflare.errors import HostShortage

__all__ = ["SHORTAGE_HINT", "require_memory", "told_shortages"]

SHORTAGE_HINT: Final = "run fewer plugins at a time, or raise the process's limits (ulimit -v, cgroup)"
_THREAD_HINT: Final = "run fewer plugins at a time, or raise the process's limits (ulimit -v, ulimit -u, cgroup)"
_NO_THREAD: Final = "can't start new thread"  # the only name that Python gives it


@contextmanager
def told_shortages() -> Iterator[None]:
    """Raise a `HostShortage` in place of a `MemoryError`, and where a thread cannot be started."""
    try:
        yield
    except MemoryError as error:
        raise HostShortage("the system has no memory left for the host's own work", hint=SHORTAGE_HINT) from error
    except RuntimeError as error:
        if str(error) != _NO_THREAD:
            raise
        raise HostShortage("the system has no room for another thread of the host's own", hint=_THREAD_HINT) from error


def require_memory(size: int, what: str) -> None:
    """Fail now if the system does not have so much memory for work in native code, which would end the process.

    Args:
        size: In bytes.
        what: What it is for.

    Raises:
        HostShortage: It has not.
    """
    try:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except (OSError, MemoryError, OverflowError) as error:
        raise HostShortage(f"the system does not have the memory for {what}", hint=SHORTAGE_HINT) from error
