"""Makes texts from plugins, files and other sources safe to show.

A printable text is one line, moves no cursor, changes no colour, and reads in the order of its characters. Everything
else is written as Python's escapes: `\\n`, `\\x1b`, `\\u202e`, `\\U000e0041`.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

__all__ = ["printable"]

# Characters that take no ink although Unicode's categories count them among letters, marks and symbols.
_INVISIBLE: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str) -> str:
    """Escape what is not visible in a text, so that it can be shown in a terminal.

    Escaped are control characters (C0, C1, DEL), line and paragraph separators, format characters (those that change
    the direction of writing, joiners, marks, tags), halves of surrogate pairs, private and unassigned characters, and
    letters and marks without ink. Spaces of all widths are kept.
    """
    if text.isprintable() and (text.isascii() or _INVISIBLE.search(text) is None):
        return text
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character.isprintable() and _INVISIBLE.match(character) is None:
        return character
    if unicodedata.category(character) == "Zs":
        return character
    code = ord(character)
    short = f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return _SHORT.get(character, short)
