"""Room for calls below Python's recursion limit, asked for before work that must not end halfway."""

from __future__ import annotations

__all__ = ["require_headroom"]

_LEVELS = 120


def require_headroom() -> None:
    """Fail now if what follows would reach the recursion limit.

    Within ctypes, that would come out as a raw `ArgumentError`, and within the release of an object as nothing at all:
    the object would be lost.

    Raises:
        RecursionError: The caller is nested too deeply.
    """
    _descend(_LEVELS)


def _descend(levels: int) -> None:
    if levels:
        _descend(levels - 1)
