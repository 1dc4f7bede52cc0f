# Written by `dataflare bindgen`. Write it anew rather than change it.
"""`dataflare:host/clock@1.0.0`.

The time. A plugin cannot sleep: it would hold up its pipeline.

Since version 1.0.0.
"""

from __future__ import annotations

import dataclasses as _dataclasses

__all__ = ["Instant", "MonotonicReading"]


@_dataclasses.dataclass(frozen=True, slots=True)
class Instant:
    """A moment in UTC.

    Since version 1.0.0.
    """

    seconds: int
    """Seconds since 1970-01-01T00:00:00Z, leap seconds not counted."""
    nanoseconds: int
    """Nanoseconds into that second, 0 to 999,999,999."""


@_dataclasses.dataclass(frozen=True, slots=True)
class MonotonicReading:
    """A reading of a clock that never goes back. Only the difference between two
    readings in one instance has a meaning.

    Since version 1.0.0.
    """

    nanoseconds: int
    """Nanoseconds since a moment that the host chooses."""
