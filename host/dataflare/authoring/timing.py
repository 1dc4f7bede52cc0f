"""Times the steps of a round."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["timed"]


@contextmanager
def timed(steps: dict[str, float], name: str) -> Iterator[None]:
    """Put the wall seconds of a step among `steps`, also where it fails."""
    begin = time.perf_counter()
    try:
        yield
    finally:
        steps[name] = time.perf_counter() - begin
