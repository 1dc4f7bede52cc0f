"""Ends the work of one thread on another's request, at the places where its code asks: `check()`.

A plugin's code asks when it looks up from its work, which `request` makes it do within milliseconds; so do waits of the
host. An exception that is only raised where somebody asked for it tears nothing apart.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

__all__ = ["Cancellation", "Cancelled", "check", "is_cancellable", "is_requested", "wakers"]


class Cancelled(KeyboardInterrupt):
    """Nobody waits for this work any more. It ends whatever an interrupt ends, and in the same way."""


class Cancellation:
    """The work of one thread, from `with` to its end, which another thread can end.

    What it does after `Cancelled` was raised, such as removing files, is not disturbed a second time.
    """

    __slots__ = ("_raised", "_requested", "_thread")

    def __init__(self) -> None:
        self._requested = False
        self._raised = False
        self._thread: int | None = None

    def __enter__(self) -> Self:
        _local.cancellation = self
        self._thread = threading.get_ident()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._thread = None
        _local.cancellation = None

    def request(self) -> None:
        """Ask the work to end. Ask again until it has: it may have been between two places where it looks."""
        self._requested = True
        thread = self._thread
        if thread is not None and not self._raised:
            for wake in wakers:
                wake(thread)

    def check(self) -> None:
        """Raise `Cancelled`, once, if the end was requested."""
        if self._requested and not self._raised:
            self._raised = True
            raise Cancelled


def check() -> None:
    """Raise `Cancelled` if the end of this thread's work was requested."""
    cancellation: Cancellation | None = getattr(_local, "cancellation", None)
    if cancellation is not None:
        cancellation.check()


def is_requested() -> bool:
    """Whether the end of this thread's work was requested."""
    cancellation: Cancellation | None = getattr(_local, "cancellation", None)
    return cancellation is not None and cancellation._requested


def is_cancellable() -> bool:
    """Whether another thread can end this thread's work, so that waits have to be cut into turns."""
    return getattr(_local, "cancellation", None) is not None


wakers: Final[list[Callable[[int], object]]] = []
"""What makes plugins that a thread runs look up. Filled by engines when they are imported."""
_local = threading.local()
