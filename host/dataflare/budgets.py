"""What the host may spend on one plugin instance: the bytes that it keeps for it, and the time of a call.

Host functions run in the thread that called the plugin. While they do, `current()` is the budget of that plugin's
instance. Code below the engine charges it without knowing the engine:

- `current().require(size)` before memory is taken, where its size is known or bounded;
- `Charge(current(), size)` once it is taken: the bytes are given back when nothing refers to the charge any more, so
  the owner of the memory keeps the charge beside it;
- `current().check_time()` in every loop whose length a plugin controls, or `in_time` around what it goes over, and
  between the parts of a long kernel;
- `current().require_time(least_s)` before a kernel that cannot be cut into parts.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from dataflare.locks import Lock

__all__ = [
    "UNLIMITED",
    "Charge",
    "HostBudget",
    "OverHostBytes",
    "OverTime",
    "current",
    "enter",
    "in_time",
    "of_thread",
    "serving",
]

T = TypeVar("T")

_ITEMS_BETWEEN_LOOKS: Final = 65_536


class OverHostBytes(Exception):
    """The instance's `host_memory_bytes` would be passed; the engine turns it into `HostBytesExceeded`."""


class OverTime(Exception):
    """The call's time is over; the engine turns it into `CallTimeout`."""


class HostBudget:
    """The bytes that the host keeps for one instance, and the end of the call that runs.

    Any thread may charge and release.

    Args:
        most_bytes: The most bytes that the host keeps for the instance at a time; `None` for any number.
    """

    __slots__ = ("_lock", "_released", "_used", "deadline_s", "most_bytes", "peak_bytes")

    def __init__(self, most_bytes: int | None = None) -> None:
        self.most_bytes = most_bytes
        self.peak_bytes = 0
        """The most bytes that were kept at a time so far."""
        self.deadline_s = math.inf
        """When the call under way must end, on the clock `time.monotonic`."""
        self._used = 0
        # What was given back since the last look. Objects are destroyed at any moment, also by the cycle collector
        # while this very thread holds the lock: giving back must not wait for it.
        self._released: deque[int] = deque()
        self._lock = Lock()

    @property
    def used_bytes(self) -> int:
        """The bytes that are charged now."""
        with self._lock:
            return self._settled()

    def room(self) -> float:
        """The bytes that may still be charged; infinity without a limit."""
        return math.inf if self.most_bytes is None else self.most_bytes - self.used_bytes

    def require(self, size: int) -> None:
        """Check that `size` more bytes could be charged, without charging them.

        Raises:
            OverHostBytes: There is no room for them.
        """
        if self.most_bytes is not None and size > self.room():
            raise OverHostBytes(f"{size} bytes more than {self.used_bytes} of {self.most_bytes}")

    def charge(self, size: int) -> None:
        """Take `size` bytes of the budget; on an error take nothing.

        Raises:
            OverHostBytes: There is no room for them.
        """
        with self._lock:
            used = self._settled() + size
            if self.most_bytes is not None and used > self.most_bytes:
                raise OverHostBytes(f"{size} bytes more than {self._used} of {self.most_bytes}")
            self._used = used
            if used > self.peak_bytes:
                self.peak_bytes = used

    def release(self, size: int) -> None:
        """Give charged bytes back. Never waits, so that destructors may call it."""
        self._released.append(size)

    def check_time(self) -> None:
        """Raise `OverTime` when the call's time is over."""
        if time.monotonic() >= self.deadline_s:
            raise OverTime

    def require_time(self, least_s: float) -> None:
        """Raise `OverTime` when the call has not `least_s` seconds left for something that nothing can interrupt."""
        if time.monotonic() + least_s >= self.deadline_s:
            raise OverTime

    def _settled(self) -> int:
        while self._released:
            self._used -= self._released.popleft()
        return self._used


class Charge:
    """Bytes of a budget, given back when the last reference to this object is gone.

    Args:
        budget: What they are taken from.
        size: How many, at least 0.
        keeps: Something that must live as long.

    Raises:
        OverHostBytes: There is no room for them.
    """

    __slots__ = ("__weakref__", "_budget", "keeps", "size")

    def __init__(self, budget: HostBudget, size: int, keeps: object = None) -> None:
        self.size = 0  # nothing to give back where the next line raises
        self._budget = budget
        self.keeps = keeps
        budget.charge(size)
        self.size = size

    def __del__(self) -> None:
        if size := getattr(self, "size", 0):  # an interrupt may have come before `__init__`
            self._budget.release(size)


class _Nobody(HostBudget):
    """A budget without limits that counts nothing, so that it does not grow with the life of the process."""

    __slots__ = ()

    def charge(self, size: int) -> None:
        pass

    def release(self, size: int) -> None:
        pass

    def check_time(self) -> None:
        pass


UNLIMITED: Final = _Nobody()
"""The budget of code that works for no plugin."""


class ThreadBudget:
    """Where one thread's current budget is kept; only that thread assigns it."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now: HostBudget = UNLIMITED


class _Local(threading.local):
    def __init__(self) -> None:
        self.budget = ThreadBudget()


_local: Final = _Local()


def of_thread() -> ThreadBudget:
    """Where this thread's budget is kept, for the engine, which assigns it where no function may be called."""
    return _local.budget


def current() -> HostBudget:
    """The budget of the instance that this thread works for; `UNLIMITED` where it works for none."""
    return _local.budget.now


def enter(budget: HostBudget) -> HostBudget:
    """Make `budget` the current one of this thread, and return the one before, to be entered again at the end."""
    kept = _local.budget
    outer, kept.now = kept.now, budget
    return outer


@contextmanager
def serving(budget: HostBudget) -> Iterator[None]:
    """Make `budget` the current one of this thread within a `with`."""
    outer = enter(budget)
    try:
        yield
    finally:
        enter(outer)


def in_time(items: Iterable[T]) -> Iterator[T]:
    """Go over items of which a plugin decides how many there are, and look at the call's time now and then.

    Raises:
        OverTime: It is over.
    """
    for number, item in enumerate(items):
        if number % _ITEMS_BETWEEN_LOOKS == 0:
            current().check_time()
        yield item
