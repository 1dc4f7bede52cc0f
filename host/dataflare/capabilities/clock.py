"""`dataflare:host/clock`: the time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from dataflare.errors import UsageError
from dataflare.locks import Lock
from dataflare.wit_types.clock import Instant, MonotonicReading

__all__ = ["Clock", "ManualClock", "SystemClock", "imports", "provide"]

_NANOSECONDS = 10**9


class Clock(Protocol):
    """A source of the time. Any thread may use it."""

    def now_ns(self) -> int:
        """Return nanoseconds since 1970-01-01T00:00:00Z, at least 0."""

    def monotonic_ns(self) -> int:
        """Return nanoseconds that never go back, at least 0."""


class SystemClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        return max(0, time.time_ns())

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()


class ManualClock:
    """A clock that changes only when it is told to, for tests.

    Args:
        now_ns: Its initial time, in nanoseconds since 1970-01-01T00:00:00Z.

    Raises:
        UsageError: `now_ns` is before 1970.
    """

    def __init__(self, now_ns: int = 0) -> None:
        if now_ns < 0:
            raise UsageError(f"{now_ns} ns is before 1970")
        self._lock = Lock()
        self._now_ns = now_ns
        self._monotonic_ns = 0

    def now_ns(self) -> int:
        return self._now_ns

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    def advance(self, nanoseconds: int) -> None:
        """Let time pass.

        Raises:
            UsageError: `nanoseconds` is negative.
        """
        if nanoseconds < 0:
            raise UsageError("time does not go back", hint="set_now moves the clock, but not the monotonic reading")
        with self._lock:
            self._now_ns += nanoseconds
            self._monotonic_ns += nanoseconds

    def set_now(self, now_ns: int) -> None:
        """Set the wall clock; the monotonic reading does not change.

        Raises:
            UsageError: `now_ns` is before 1970.
        """
        if now_ns < 0:
            raise UsageError(f"{now_ns} ns is before 1970")
        self._now_ns = now_ns


def imports(clock: Clock) -> dict[str, Callable[..., Any]]:
    """Make the functions of the interface, by their names in the WIT."""

    def now() -> Instant:
        return Instant(*divmod(clock.now_ns(), _NANOSECONDS))

    def monotonic_now() -> MonotonicReading:
        return MonotonicReading(clock.monotonic_ns())

    return {"now": now, "monotonic-now": monotonic_now}


class _Context(Protocol):
    @property
    def clock(self) -> Clock: ...


def provide(context: _Context) -> dict[str, Callable[..., Any]]:
    """Make the functions that one plugin gets, by their names in the WIT."""
    return imports(context.clock)
