"""The end of the process: instances that are still open are closed."""

from __future__ import annotations

import atexit
import contextlib
import time
import weakref
from typing import Final, Protocol

from dataflare.errors import UsageError

__all__ = ["Closable", "close_at_exit"]

_LEAVING_S: Final = 1.0


class Closable(Protocol):
    """An instance. `busy`: whether a call is running, which `interrupt` ends."""

    busy: bool

    def interrupt(self) -> None: ...

    def close(self) -> None: ...


_live: Final[weakref.WeakSet[Closable]] = weakref.WeakSet()


def close_at_exit(instance: Closable) -> None:
    """Close an instance at the end of the process, if it still exists."""
    _live.add(instance)


@atexit.register
def _close_all() -> None:
    """Close the remaining instances; first end the calls of other threads."""
    instances = list(_live)
    busy = [instance for instance in instances if instance.busy]
    for instance in busy:
        instance.interrupt()
    until_s = time.monotonic() + _LEAVING_S
    while any(instance.busy for instance in busy) and time.monotonic() < until_s:
        time.sleep(0.005)
    for instance in instances:
        with contextlib.suppress(UsageError):  # a thread still uses it, and ends with the process
            instance.close()
