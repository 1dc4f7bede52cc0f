"""The remaining time of the isolated plugin's call that a thread serves."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["remaining_s", "until"]

_local = threading.local()


def remaining_s() -> float:
    """Return the remaining seconds; infinity if this thread serves no such call."""
    deadline: float | None = getattr(_local, "deadline", None)
    return math.inf if deadline is None else deadline - time.monotonic()


@contextmanager
def until(deadline: float | None) -> Iterator[None]:
    """Serve a call that must end by `time.monotonic() == deadline`, or earlier with the call around it."""
    outer: float | None = getattr(_local, "deadline", None)
    given = [each for each in (outer, deadline) if each is not None]
    _local.deadline = min(given, default=None)
    try:
        yield
    finally:
        _local.deadline = outer
