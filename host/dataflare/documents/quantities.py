"""Sizes and durations as people write them: a number and its unit, never a number alone."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["DURATION_PATTERN", "SIZE_PATTERN", "parse_duration", "parse_size"]

_SIZE_UNITS: Final = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_DURATION_UNITS: Final = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}

SIZE_PATTERN: Final = r"^[0-9]{1,15} ?(B|kB|MB|GB|KiB|MiB|GiB)$"
DURATION_PATTERN: Final = r"^[0-9]{1,15}(\.[0-9]{1,9})? ?(ms|s|min|h)$"


def parse_size(text: str) -> int:
    """Read a size such as `256MiB`; returns bytes.

    Raises:
        ValueError: The text is no size; the message says what one looks like.
    """
    match = re.fullmatch(SIZE_PATTERN.strip("^$"), text, re.ASCII)
    if match is None:
        raise ValueError(f"{_shorten(text)} is no size: write a whole number and B, KiB, MiB, GiB, kB, MB or GB")
    unit = match.group(1)
    return int(text[: -len(unit)]) * _SIZE_UNITS[unit]


def parse_duration(text: str) -> float:
    """Read a duration such as `30s` or `1.5min`; returns seconds.

    Raises:
        ValueError: The text is no duration; the message says what one looks like.
    """
    match = re.fullmatch(DURATION_PATTERN.strip("^$"), text, re.ASCII)
    if match is None:
        raise ValueError(f"{_shorten(text)} is no duration: write a number and ms, s, min or h")
    unit = match.group(2)
    return float(text[: -len(unit)]) * _DURATION_UNITS[unit]


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
