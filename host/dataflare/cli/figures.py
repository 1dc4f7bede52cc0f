"""Numbers for people."""

from __future__ import annotations

__all__ = ["byte_count", "count", "duration"]


def count(number: float) -> str:
    """`336,776`."""
    return f"{number:,.0f}"


def byte_count(number: float) -> str:
    """`1.5 MiB`; whole bytes below one KiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(number) < 1024 or unit == "GiB":
            return f"{number:,.0f} {unit}" if unit == "B" else f"{number:,.1f} {unit}"
        number /= 1024
    raise AssertionError("unreachable")


def duration(seconds: float) -> str:
    """`340 us`, `12 ms`, `1.24 s`, `3 min 20 s`."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} us"
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
