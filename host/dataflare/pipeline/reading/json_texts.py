"""Makes texts of the values of some columns, where the options say that a column of several kinds is text."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Final

__all__ = ["as_texts"]

_SPACE: Final = re.compile(r"[ \t\r]*")
# Numbers stay as they are written: nothing here looks at their value.
_DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str)


def as_texts(lines: bytes, names: Collection[str]) -> bytes:
    """Put the values of some columns in quotes, as they are written: numbers, booleans, objects and arrays.

    Args:
        lines: JSON Lines in UTF-8.
        names: The columns. Texts and nulls in them stay what they are.

    Returns:
        The same lines; one that is not an object in JSON is unchanged.
    """
    return b"\n".join(_line(line.decode(), names).encode() for line in lines.split(b"\n"))


def _line(line: str, names: Collection[str]) -> str:
    try:
        parts, copied = [], 0
        for begin, end in _values(line, names):
            parts += [line[copied:begin], json.dumps(line[begin:end], ensure_ascii=False)]
            copied = end
        return "".join(parts) + line[copied:]
    except (ValueError, IndexError, RecursionError):
        return line


def _values(line: str, names: Collection[str]) -> list[tuple[int, int]]:
    """Where the values stand that are to become texts.

    Raises:
        ValueError: The line is not an object.
        IndexError: It ends too early.
    """
    found = []
    at = _expect(line, 0, "{")
    while line[at] != "}":
        if line[at] != '"':
            raise ValueError("a name was expected")
        name, at = _DECODER.raw_decode(line, at)
        begin = _expect(line, at, ":")
        value, end = _DECODER.raw_decode(line, begin)
        if name in names and value is not None and line[begin] != '"':
            found.append((begin, end))
        at = _skip(line, end)
        if line[at] != "}":
            at = _expect(line, at, ",")
    return found


def _skip(line: str, at: int) -> int:
    match = _SPACE.match(line, at)
    return at if match is None else match.end()


def _expect(line: str, at: int, mark: str) -> int:
    at = _skip(line, at)
    if line[at] != mark:
        raise ValueError(f"{mark} was expected")
    return _skip(line, at + 1)
