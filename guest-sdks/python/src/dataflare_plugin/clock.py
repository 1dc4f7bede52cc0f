"""The time; `plugin.yaml` lists `clock` under `needs`. A plugin cannot sleep: it would hold up its pipeline."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dataflare_plugin.bindings import interface

__all__ = ["monotonic_ns", "now"]

_clock = interface("clock")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> datetime:
    """The time now, in UTC, to the microsecond. It may go back when the clock of the machine is set."""
    found = _clock.now()
    return _EPOCH + timedelta(seconds=found.seconds, microseconds=found.nanoseconds // 1000)


def monotonic_ns() -> int:
    """Nanoseconds of a clock that never goes back; only the difference between two readings has a meaning."""
    return int(_clock.monotonic_now().nanoseconds)
