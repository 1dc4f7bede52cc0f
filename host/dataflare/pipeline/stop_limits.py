"""When a run stops before its sources come to their end, as if they had: after some rows, or some time."""

from __future__ import annotations

import time
from typing import Literal

from dataflare.errors import UsageError
from dataflare.locks import Lock

__all__ = ["StopLimits", "StopReason"]

StopReason = Literal["max-rows", "max-time"]


class StopLimits:
    """How far a run goes. It serves one run at a time; any thread may call it.

    Args:
        max_rows: All sources together give this many rows; `None` for all. A source within a transaction gives the rest
            of it.
        max_time_s: Sources are read for this long, in seconds from `begin` on; `None` for as long as it takes.

    Raises:
        UsageError: A limit is not greater than 0.
    """

    def __init__(self, max_rows: int | None = None, max_time_s: float | None = None) -> None:
        for name, limit in (("max_rows", max_rows), ("max_time_s", max_time_s)):
            if limit is not None and not limit > 0:
                raise UsageError(f"{name} = {limit} is not greater than 0")
        self._max_rows = max_rows
        self._max_time_s = max_time_s
        self._rows = 0
        self._ends_s: float | None = None
        self._lock = Lock()
        self.reason: StopReason | None = None
        """Why a source was not read to its end; `None` where none was stopped."""

    def begin(self) -> None:
        """Start the clock, and count rows from 0."""
        self._rows, self.reason = 0, None
        if self._max_time_s is not None:
            self._ends_s = time.monotonic() + self._max_time_s

    @property
    def rows_left(self) -> int | None:
        """How many rows may still be read; `None` for any number."""
        return None if self._max_rows is None else max(0, self._max_rows - self._rows)

    @property
    def seconds_left(self) -> float | None:
        """How long sources may still be read; `None` for any time."""
        return None if self._ends_s is None else max(0.0, self._ends_s - time.monotonic())

    @property
    def is_reached(self) -> bool:
        """Whether sources stop."""
        return self.rows_left == 0 or self.seconds_left == 0

    def take(self, rows: int) -> None:
        """Take note of rows that were read."""
        with self._lock:
            self._rows += rows

    def stop(self) -> None:
        """Take note that a source was not read to its end."""
        self.reason = "max-rows" if self.rows_left == 0 else "max-time"
