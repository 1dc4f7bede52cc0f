"""Names in messages: those that are known, those most like a wrong one, and those that differ."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Final

from dataflare.texts import cut_name

__all__ = ["close_matches", "differing_names", "known_names"]

_COMPARED_CHARACTERS: Final = 100
_LISTED: Final = 10


def close_matches(word: str, known: Iterable[str], most: int = 1) -> list[str]:
    """Return the known words that are most like a wrong one, the best first; at most `most`.

    Only the first 100 characters of `word` count: comparing takes time by the product of the lengths.
    """
    return difflib.get_close_matches(word[:_COMPARED_CHARACTERS], list(known), n=most)


def _listed(names: Sequence[str]) -> str:
    """Write the first names of a list, and how many there are if these are not all."""
    rest = f", ... ({len(names):,} in all)" if len(names) > _LISTED else ""
    return ", ".join(cut_name(name) for name in names[:_LISTED]) + rest


def known_names(word: str, known: Sequence[str]) -> str:
    """Write a hint for a name that is not known: the one that is most like it, and the known names."""
    near = close_matches(word, known, 3)
    meant = f"did you mean {cut_name(near[0])!r}? " if near else ""
    return f"{meant}there are {_listed([*near, *(name for name in known if name not in near)])}"


def differing_names(expected: Sequence[str], found: Sequence[str]) -> str:
    """Say which of the expected names something lacks, and which it also has; empty if they are the same."""
    here, there = dict.fromkeys(found), dict.fromkeys(expected)
    gone = [repr(name) for name in there if name not in here]
    new = [repr(name) for name in here if name not in there]
    parts = [f"lacks {_listed(gone)}"] if gone else []
    return " and ".join([*parts, f"also has {_listed(new)}"] if new else parts)
