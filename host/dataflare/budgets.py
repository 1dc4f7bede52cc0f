"""What the host may spend on one plugin instance: the bytes that it keeps for it, and the time of a call.

Host functions run in the thread that called the plugin. While they do, `current()` is the budget of that plugin's
instance. Code below the engine charges it without knowing the engine:

- `current().charge(size)` before memory is taken on behalf of a plugin, `release(size)` when it is let go;
- `current().check_time()` in every loop whose length a plugin controls, and between the parts of a long kernel.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["UNLIMITED", "HostBudget", "OverHostBytes", "OverTime", "current", "serving"]


class OverHostBytes(Exception):
    """The instance's `host_bytes` would be passed; the engine turns it into `HostBytesExceeded`."""


class OverTime(Exception):
    """The call's time is over; the engine turns it into `CallTimeout`."""


class HostBudget:
    """The bytes that the host keeps for one instance, and the end of the call that runs.

    Any thread may charge and release.

    Args:
        most_bytes: The most bytes that the host keeps for the instance at a time; `None` for any number.
    """

    __slots__ = ("_lock", "deadline_s", "most_bytes", "peak_bytes", "used_bytes")

    def __init__(self, most_bytes: int | None = None) -> None:
        self.most_bytes = most_bytes
        self.used_bytes = 0
        self.peak_bytes = 0
        self.deadline_s = math.inf
        """When the call under way must end, on the clock `time.monotonic`."""
        self._lock = threading.Lock()

    def room(self) -> float:
        """The bytes that may still be charged; infinity without a limit."""
        return math.inf if self.most_bytes is None else self.most_bytes - self.used_bytes

    def charge(self, size: int) -> None:
        """Take `size` bytes of the budget, or nothing at all.

        Raises:
            OverHostBytes: There is no room for them.
        """
        with self._lock:
            used = self.used_bytes + size
            if self.most_bytes is not None and used > self.most_bytes:
                raise OverHostBytes(f"{size} bytes more than {self.used_bytes} of {self.most_bytes}")
            self.used_bytes = used
            self.peak_bytes = max(self.peak_bytes, used)

    def release(self, size: int) -> None:
        """Give back what was charged."""
        with self._lock:
            self.used_bytes -= size

    def check_time(self) -> None:
        """Raise `OverTime` when the call's time is over."""
        if time.monotonic() >= self.deadline_s:
            raise OverTime


UNLIMITED: Final = HostBudget()
"""The budget of code that works for no plugin."""

_local = threading.local()


def current() -> HostBudget:
    """The budget of the instance that this thread works for; `UNLIMITED` where it works for none."""
    budget: HostBudget = getattr(_local, "budget", UNLIMITED)
    return budget


@contextmanager
def serving(budget: HostBudget) -> Iterator[None]:
    """Make `budget` the current one of this thread; restores the one before at the end."""
    outer = current()
    _local.budget = budget
    try:
        yield
    finally:
        _local.budget = outer
