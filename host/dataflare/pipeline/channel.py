"""A queue between two threads that can be stopped from anywhere."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

__all__ = ["Channel", "Stopped"]

T = TypeVar("T")


class Stopped(Exception):
    """The channel was stopped: the work of this thread is not needed any more."""


class Channel(Generic[T]):
    """Holds up to `capacity` items on their way from one thread to another."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: deque[T] = deque()
        self._stopped = False
        self._changed = threading.Condition()

    def put(self, item: T) -> None:
        """Add an item; waits while the channel is full.

        Raises:
            Stopped: The channel is stopped, before or while waiting.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or len(self._items) < self._capacity)
            if self._stopped:
                raise Stopped
            self._items.append(item)
            self._changed.notify_all()

    def get(self) -> T:
        """Take the oldest item; waits while there is none.

        Raises:
            Stopped: The channel is stopped, before or while waiting.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._items)
            if self._stopped:
                raise Stopped
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def stop(self) -> None:
        """Let every call from now on, and those that wait, raise `Stopped`."""
        with self._changed:
            self._stopped = True
            self._items.clear()
            self._changed.notify_all()
