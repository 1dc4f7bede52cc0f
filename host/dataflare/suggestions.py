"""Suggests known words for a wrong one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

__all__ = ["close_matches"]

_COMPARED_CHARACTERS: Final = 100


def close_matches(word: str, known: Iterable[str], most: int = 1) -> list[str]:
    """Return the known words that are most like a wrong one, the best first; at most `most`.

    Only the first 100 characters of `word` count: comparing takes time by the product of the lengths.
    """
    return difflib.get_close_matches(word[:_COMPARED_CHARACTERS], list(known), n=most)
