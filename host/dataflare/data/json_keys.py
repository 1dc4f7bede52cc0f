"""Checks how many distinct keys a text of JSON Lines has, before Arrow's reader makes a column for each."""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from dataflare.budgets import current, in_time
from dataflare.data.guard.types import MAX_COLUMNS
from dataflare.data.shapes import too_large

__all__ = ["check_keys"]

_TEXT: Final = re.compile(rb'"((?:[^"\\]++|\\.)*+)"([ \t\r]*:)?')
_KEY_SPACE: Final = re.compile(rb'"[ \t\r]+:')
_BYTES_AT_ONCE: Final = 2**17  # of text that is scanned at a time: intermediate results stay in the cache
_FEW_KEYS: Final = 100
_HEAD_BYTES: Final = 2**16
_KEYS_UNSEEN: Final = 2**17  # that may all be distinct: Arrow's reader takes a second for this many columns
_NULL_BYTES: Final = 4


def check_keys(lines: bytes, rows: int, max_bytes: int) -> None:
    """Refuse too many keys that differ from line to line: each becomes a column, with a null in every row without it.

    Args:
        lines: The text.
        rows: The number of lines with an object.
        max_bytes: Limit in bytes of the nulls of all columns.

    Raises:
        DataFailure: `too-large`.
    """
    most = min(max_bytes // (_NULL_BYTES * max(rows, 1)), _KEYS_UNSEEN)
    if _KEY_SPACE.search(lines) is None:
        keys = lines.count(b'":')
        if keys <= most:
            return
        # If all lines have the keys of the first line, which is usual, there are no others.
        end = lines.find(b"\n", 0, _HEAD_BYTES)
        first = [match.group(1) for match in _TEXT.finditer(lines, 0, end) if match.group(2)] if end > 0 else []
        if 0 < len(first) <= min(most, _FEW_KEYS) and (
            _have_keys(lines, first, keys) or sum(_key_count(lines, key) for key in set(first)) == keys
        ):
            return
    names: set[bytes] = set()
    for match in in_time(_TEXT.finditer(lines)):
        if not match.group(2):
            continue
        names.add(match.group(1))
        if len(names) > min(most, MAX_COLUMNS):
            raise too_large(
                f"{rows} lines with more than {len(names) - 1} different keys are larger than "
                f"max_batch_bytes = {max_bytes}, or of more than {MAX_COLUMNS} columns"
            )


def _have_keys(lines: bytes, first: list[bytes], keys: int) -> bool:
    """Whether every line repeats these keys in the same order, judged by the bytes before each `":`.

    `False` if there is any backslash: only after one can `":` be part of a text.
    """
    if b"\\" in lines or keys % len(first):
        return False
    data = np.frombuffer(lines, np.uint8)
    found = []
    for start in range(0, len(data) - 1, _BYTES_AT_ONCE):
        part = data[start : start + _BYTES_AT_ONCE + 1]
        found.append(np.flatnonzero((part[:-1] == ord('"')) & (part[1:] == ord(":"))) + start)
    places = np.concatenate(found)
    # The eight bytes from each position on, as one number.
    words = np.ndarray((len(data) - 7,), "<u8", lines, strides=(1,))
    for number, key in enumerate(first):
        current().check_time()
        begins = places[number :: len(first)] - (len(key) + 1)
        text = b'"%b":' % key
        if not lines.startswith(text, begins[0]):
            return False
        for at in [*range(0, len(text) - 8, 8), len(text) - 8]:
            expected = np.frombuffer(text[max(at, 0) : at + 8].rjust(8, b"\0"), "<u8")[0]
            mask = np.uint64(2**64 - 2 ** (8 * max(-at, 0)))
            # Only the first key may have too few bytes before it.
            if ((words[begins[1:] + at] & mask) != expected).any():
                return False
    return True


def _key_count(lines: bytes, key: bytes) -> int:
    """Count the occurrences of a whole key, without those at the end of another key."""
    if b"\\" in key:
        return 0
    return lines.count(b'"%b":' % key) - (lines.count(b'\\"%b":' % key) if b"\\" in lines else 0)
