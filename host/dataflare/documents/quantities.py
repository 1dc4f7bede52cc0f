"""Sizes and durations as people write them: a number and its unit, never a number alone."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

__all__ = ["Duration", "Size", "parse_duration", "parse_size", "write_duration", "write_size"]

_SIZE_UNITS: Final = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_DURATION_UNITS: Final = {"ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000}
"""In milliseconds, so that what is written in them is rounded once."""

_SIZE_PATTERN: Final = r"^[0-9]{1,15} ?(B|kB|MB|GB|KiB|MiB|GiB)$"
_DURATION_PATTERN: Final = r"^[0-9]{1,15}(\.[0-9]{1,9})? ?(ms|s|min|h)$"


def parse_size(text: str) -> int:
    """Read a size such as `256MiB`; returns bytes.

    Raises:
        ValueError: The text is not a size; the message says what one looks like.
    """
    match = re.fullmatch(_SIZE_PATTERN.strip("^$"), text, re.ASCII)
    if match is None:
        raise ValueError(f"{_shorten(text)} is not a size: write a whole number and B, KiB, MiB, GiB, kB, MB or GB")
    unit = match.group(1)
    return int(text[: -len(unit)]) * _SIZE_UNITS[unit]


def parse_duration(text: str) -> float:
    """Read a duration such as `30s` or `1.5min`; returns seconds.

    Raises:
        ValueError: The text is not a duration; the message says what one looks like.
    """
    match = re.fullmatch(_DURATION_PATTERN.strip("^$"), text, re.ASCII)
    if match is None:
        raise ValueError(f"{_shorten(text)} is not a duration: write a number and ms, s, min or h")
    unit = match.group(2)
    return float(text[: -len(unit)]) * _DURATION_UNITS[unit] / 1000


def write_size(size_bytes: int) -> str:
    """Write bytes as `parse_size` reads them, in the largest unit that needs no fraction."""
    for unit in ("GiB", "MiB", "KiB"):
        if size_bytes and size_bytes % _SIZE_UNITS[unit] == 0:
            return f"{size_bytes // _SIZE_UNITS[unit]}{unit}"
    return f"{size_bytes}B"


def write_duration(seconds: float) -> str:
    """Write seconds as `parse_duration` reads them, to the nanosecond."""
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


def _as_size(value: Any) -> str:
    return _quantity(value, parse_size, "256MiB")


def _as_duration(value: Any) -> str:
    return _quantity(value, parse_duration, "30s")


def _quantity(value: Any, parse: Any, example: str) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        context = {"value": value, "hint": f"write such as {example}"}
        raise PydanticCustomError("quantity", "{value} has no unit", context)
    if not isinstance(value, str):
        raise PydanticCustomError("quantity", "give a text such as {example}", {"example": example})
    try:
        parse(value)
    except ValueError as error:
        raise PydanticCustomError("quantity", "{why}", {"why": str(error)}) from error
    return value


# The pattern comes first: pydantic tells editors of no pattern that follows a function.
Size = Annotated[str, Field(pattern=_SIZE_PATTERN), BeforeValidator(_as_size), Field(examples=["256MiB"])]
Duration = Annotated[str, Field(pattern=_DURATION_PATTERN), BeforeValidator(_as_duration), Field(examples=["30s"])]
