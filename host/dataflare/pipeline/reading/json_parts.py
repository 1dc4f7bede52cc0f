"""Cuts JSON Lines, and files of one JSON array, into parts of whole lines with one object each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from dataflare.pipeline.run_errors import DataError

__all__ = ["Part", "cut"]

PART_BYTES = 4 * 2**20
_GAP = re.compile(rb"[ \t\r\n]*,[ \t\r\n]*")
_SPACE = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class Part:
    """Some lines: `text`, and for each of its lines from 1, the line of the file that it begins in."""

    text: bytes
    line_of: Callable[[int], int]


def cut(path: Path, file: IO[bytes], max_line_bytes: int) -> Iterator[Part]:
    """Cut a file into parts; a file that begins with `[` is one array, of which each object becomes a line.

    Raises:
        DataError: A line or an object is longer than `max_line_bytes`; an array is broken.
    """
    head, line = b"", 1
    while not head.lstrip(_SPACE) and (more := file.read(PART_BYTES)):
        line += head.count(b"\n")
        head = more
    begun = head.lstrip(_SPACE)
    line += head.count(b"\n", 0, len(head) - len(begun))
    if begun.startswith(b"["):
        yield from _array(path, begun[1:], file, line, max_line_bytes)
    else:
        yield from _lines(path, begun, file, line, max_line_bytes)


def _lines(path: Path, head: bytes, file: IO[bytes], line: int, max_line_bytes: int) -> Iterator[Part]:
    rest = head
    data = head
    while data:
        end = rest.rfind(b"\n") + 1
        if end:
            yield Part(rest[:end], lambda number, first=line: first + number - 1)  # type: ignore[misc]
            line += rest.count(b"\n", 0, end)
            rest = rest[end:]
        elif len(rest) > max_line_bytes:
            raise _too_long(path, line, max_line_bytes)
        data = file.read(PART_BYTES)
        rest += data
    if rest:
        yield Part(rest, lambda number: line + number - 1)


def _too_long(path: Path, line: int, max_line_bytes: int) -> DataError:
    what = f"is longer than max_line = {max_line_bytes} bytes"
    return DataError(what, file=str(path), line=line, hint="set max_line to more, 1GiB at most")


def _array(path: Path, rest: bytes, file: IO[bytes], line: int, max_line_bytes: int) -> Iterator[Part]:
    """Find the objects of an array. `rest` always begins between two of them."""
    first = True
    while True:
        objects, lines, used, between = _objects(path, rest, line, first)
        if objects:
            first = False
            yield Part(b"\n".join(objects) + b"\n", lambda number, of=lines: of[number - 1])  # type: ignore[misc]
        line += rest.count(b"\n", 0, used)
        rest = rest[used:]
        if between.lstrip(_SPACE).startswith(b"]"):
            _check_end(path, rest[rest.index(b"]") + 1 :], file, line)
            return
        if len(rest) > max_line_bytes:
            raise _too_long(path, line, max_line_bytes)
        data = file.read(PART_BYTES)
        if not data:
            line += rest.count(b"\n")
            what = "the array is not closed before the end of the file"
            raise DataError(what, file=str(path), line=line, hint="get the file again: its end may be missing")
        rest += data


def _objects(path: Path, text: bytes, line: int, first: bool) -> tuple[list[bytes], list[int], int, bytes]:
    """Find the whole objects: each in one line, its line in the file; how many bytes they take, and what follows."""
    # Escaped quotes are blanked out, so that every quote left begins or ends a string.
    plain = text if b"\\" not in text else text.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    data = np.frombuffer(plain, np.uint8)
    in_string = np.cumsum(data == ord('"'), dtype=np.uint8)  # counts modulo 256, of which one bit matters
    folded = data | 0x20  # brackets fall together with braces
    brackets = np.flatnonzero((folded == ord("{")) | (folded == ord("}")))
    brackets = brackets[in_string[brackets] & 1 == 0]
    depths = np.cumsum(np.where(folded[brackets] == ord("{"), 1, -1))
    closing = np.flatnonzero(depths == 0)
    # The end of the array closes what its beginning, which is not in `text`, opened.
    if len(over := np.flatnonzero(depths < 0)):
        closing = closing[closing < over[0]]
    ends = brackets[closing]
    begins = brackets[np.concatenate([[0], closing[:-1] + 1])] if len(closing) else ends
    feeds = np.flatnonzero(data == ord("\n"))
    numbers = (np.searchsorted(feeds, begins) + line).tolist()
    objects: list[bytes] = []
    used = 0
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        gap = text[used:begin]
        fits = not gap.strip(_SPACE) if first and not objects else _GAP.fullmatch(gap)
        if not fits or text[begin : begin + 1] != b"{":
            raise _no_object(path, text, used, line)
        objects.append(text[begin : end + 1].replace(b"\n", b" ").replace(b"\r", b" "))
        used = end + 1
    following = text[used : int(brackets[over[0]]) + 1] if len(over) else b""
    if len(over) and following.strip(_SPACE) != b"]":
        raise _no_object(path, text, used, line)
    return objects, numbers, used, following


def _no_object(path: Path, text: bytes, used: int, line: int) -> DataError:
    place = len(text) - len(text[used:].lstrip(_SPACE + b","))
    what = "something other than an object in the array"
    number = line + text.count(b"\n", 0, place)
    return DataError(what, file=str(path), line=number, hint="each item is a row: {...}")


def _check_end(path: Path, rest: bytes, file: IO[bytes], line: int) -> None:
    while rest or (rest := file.read(PART_BYTES)):
        if rest.strip(_SPACE):
            hint = "a file is one array, or one object a line"
            raise DataError("something follows the array", file=str(path), line=line, hint=hint)
        rest = b""
