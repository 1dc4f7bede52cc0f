"""A queue between two threads that can be stopped from anywhere."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Generic, TypeVar

__all__ = ["Channel", "Stopped"]

T = TypeVar("T")


class Stopped(Exception):
    """The channel was stopped: the work of this thread is not needed any more."""


class Channel(Generic[T]):
    """Holds up to `capacity` items on their way from one thread to another, or one that is larger than `most_bytes`.

    Args:
        capacity: The most items that wait in it.
        most_bytes: The most bytes that wait in it, where it is more than one item.
        size: Says how many bytes an item has.
        changed: Notified of every change, where other channels share it.

    Attributes:
        capacity: The most items that wait in it.
        taken: How many were asked for and came.
        found: How many waited when one was asked for, added up over all times.
        most: The most items that waited at a time.
        empty_s: The seconds that `get` waited for an item.
        full_s: The seconds that `put` waited for room.
    """

    def __init__(
        self,
        capacity: int,
        *,
        most_bytes: int = 0,
        size: Callable[[T], int] = lambda _: 0,
        changed: threading.Condition | None = None,
    ) -> None:
        self.capacity = capacity
        self._most_bytes = most_bytes
        self._size = size
        self._bytes = 0
        self.taken = self.found = self.most = 0
        self.empty_s = self.full_s = 0.0
        self._items: deque[tuple[T, int]] = deque()
        self._stopped = False
        self._changed = changed or threading.Condition()

    def put(self, item: T) -> None:
        """Add an item; waits while the channel is full.

        Raises:
            Stopped: The channel is stopped, before or while waiting.
        """
        size = self._size(item)
        with self._changed:
            if not self._has_room(size):
                began = perf_counter()
                self._changed.wait_for(lambda: self._stopped or self._has_room(size))
                self.full_s += perf_counter() - began
            if self._stopped:
                raise Stopped
            self._items.append((item, size))
            self._bytes += size
            self.most = max(self.most, len(self._items))
            self._changed.notify_all()

    def get(self, seconds: float | None = None) -> T:
        """Take the oldest item; waits while there is none, for at most `seconds`.

        Raises:
            Stopped: The channel is stopped, before or while waiting.
            TimeoutError: None came in time.
        """
        with self._changed:
            self.found += len(self._items)
            if not self._items:
                began = perf_counter()
                came = self._changed.wait_for(lambda: self._stopped or self._items, seconds)
                self.empty_s += perf_counter() - began
                if not came:
                    raise TimeoutError
            if self._stopped:
                raise Stopped
            item, size = self._items.popleft()
            self._bytes -= size
            self.taken += 1
            self._changed.notify_all()
            return item

    def _has_room(self, size: int) -> bool:
        return len(self._items) < self.capacity and (not self._items or self._bytes + size <= self._most_bytes)

    def __len__(self) -> int:
        return len(self._items)

    def stop(self) -> None:
        """Let every call from now on, and those that wait, raise `Stopped`."""
        with self._changed:
            self._stopped = True
            self._items.clear()
            self._changed.notify_all()
