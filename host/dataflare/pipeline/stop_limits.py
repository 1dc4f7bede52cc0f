"""When a run stops before its sources come to their end, as if they had: after some rows, or some time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from dataflare.errors import UsageError

__all__ = ["SourceLimit", "StopLimits", "StopReason"]

StopReason = Literal["max-rows", "max-time"]


class StopLimits:
    """How far a run goes. It serves one run at a time; any thread may call it.

    Args:
        max_rows: Each source gives this many rows, and one that reads several datasets as many of each; `None` for all.
            A source within a transaction gives the rest of it.
        max_time_s: Sources are read for this long, in seconds from `begin` on; `None` for as long as it takes.

    Raises:
        UsageError: A limit is not greater than 0.
    """

    def __init__(self, max_rows: int | None = None, max_time_s: float | None = None) -> None:
        for name, limit in (("max_rows", max_rows), ("max_time_s", max_time_s)):
            if limit is not None and not limit > 0:
                raise UsageError(f"{name} = {limit} is not greater than 0")
        self.max_rows = max_rows
        self._max_time_s = max_time_s
        self._ends_s: float | None = None
        self.reason: StopReason | None = None
        """Why a source was not read to its end; `None` where none was stopped."""

    def reset(self) -> None:
        """Prepare for another run."""
        self.reason = self._ends_s = None

    def begin(self) -> None:
        """Start the clock, unless it runs already: a run may have several parts."""
        self.reason = None
        if self._max_time_s is not None and self._ends_s is None:
            self._ends_s = time.monotonic() + self._max_time_s

    @property
    def seconds_left(self) -> float | None:
        """How long sources may still be read; `None` for any time."""
        return None if self._ends_s is None else max(0.0, self._ends_s - time.monotonic())

    def wait(self) -> Callable[[], bool]:
        """Begin to wait for what a source reads. What is returned says whether the time for that is over.

        While the run is loaded, its clock stands still: then, that is the whole time, from this call on.
        """
        began_s = time.monotonic()

        def is_over() -> bool:
            if self._max_time_s is None or self._ends_s is not None:
                return self.seconds_left == 0
            return time.monotonic() - began_s >= self._max_time_s

        return is_over


class SourceLimit:
    """How far one dataset of a source is read; one thread at a time.

    Args:
        limits: Those of the run; `None`: there are none.
    """

    def __init__(self, limits: StopLimits | None = None) -> None:
        self._limits = limits or StopLimits()
        self._rows = 0

    @property
    def rows_left(self) -> int | None:
        """How many rows may still be read; `None` for any number."""
        most = self._limits.max_rows
        return None if most is None else max(0, most - self._rows)

    @property
    def seconds_left(self) -> float | None:
        """How long may still be read; `None` for any time."""
        return self._limits.seconds_left

    @property
    def is_reached(self) -> bool:
        """Whether the source stops."""
        return self.rows_left == 0 or self.seconds_left == 0

    def take(self, rows: int) -> None:
        """Take note of rows that were read."""
        self._rows += rows

    def stop(self) -> None:
        """Take note that the source was not read to its end."""
        self._limits.reason = "max-rows" if self.rows_left == 0 else "max-time"
