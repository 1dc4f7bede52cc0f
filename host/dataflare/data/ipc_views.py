"""Views of strings and bytes in Arrow's IPC format, converted to the large type of the same values.

A view has 16 bytes: the length, then the value itself if it has at most 12 bytes. Otherwise its first four bytes, the
number of a buffer, and the offset in that buffer follow.
https://arrow.apache.org/docs/format/Columnar.html#variable-size-binary-view-layout
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dataflare.budgets import current
from dataflare.data.shapes import malformed

__all__ = ["Charge", "unfolded"]

_VIEW: Final = np.dtype([("length", "<i4"), ("prefix", "<i4"), ("buffer", "<i4"), ("begin", "<i4")])
_INLINE: Final = 12
_AT_ONCE: Final = 2**20
Charge: TypeAlias = Callable[[int], None]


def unfolded(
    rows: int, bitmap: pa.Buffer | None, views: pa.Buffer | None, parts: Sequence[pa.Buffer | None], charge: Charge
) -> tuple[pa.Buffer, pa.Buffer]:
    """Copy the values of views into one buffer.

    Args:
        rows: The number of views.
        bitmap: Which of them are valid; `None` if all are.
        views: The views.
        parts: The buffers to which they refer.
        charge: Called with the number of bytes before they are copied; raises if these are too many. Many views may
            refer to the same bytes.

    Returns:
        64-bit offsets, and the bytes.

    Raises:
        DataFailure: `malformed`: a view refers to bytes outside its buffer.
    """
    if not 0 <= rows * _VIEW.itemsize <= (views.size if views else 0) or (bitmap and bitmap.size * 8 < rows):
        raise malformed("a buffer of views is too short")
    found = np.frombuffer(views, _VIEW, rows) if views and rows else np.empty(0, _VIEW)
    lengths = found["length"].astype(np.int64)
    if bitmap:
        valid = np.unpackbits(np.frombuffer(bitmap, np.uint8), count=rows, bitorder="little").view(np.bool_)
        lengths[~valid] = 0
    if (lengths < 0).any():
        raise malformed("a view of a negative length")
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if rows else 0
    charge(total + 8 * (rows + 1) + sum(part.size for part in parts if part))
    offsets = np.concatenate([np.zeros(1, np.int64), ends])
    begins, data = _sources(found, lengths, views, parts)
    return pa.py_buffer(offsets), pa.py_buffer(_gathered(data, begins, offsets))


def _sources(
    views: npt.NDArray[np.void],
    lengths: npt.NDArray[np.int64],
    inline: pa.Buffer | None,
    parts: Sequence[pa.Buffer | None],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Return the start of each value in the concatenation of the views and their buffers, and that concatenation."""
    sizes = np.array([part.size if part else 0 for part in parts], np.int64)
    held = [np.frombuffer(part, np.uint8) for part in parts if part]
    data = np.concatenate([np.frombuffer(inline, np.uint8) if inline else np.empty(0, np.uint8), *held])
    begins = np.arange(len(views), dtype=np.int64) * _VIEW.itemsize + 4
    far = np.flatnonzero(lengths > _INLINE)
    numbers, places = views["buffer"][far].astype(np.int64), views["begin"][far].astype(np.int64)
    _check_within(numbers, places, lengths[far], sizes)
    firsts = (inline.size if inline else 0) + np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    begins[far] = firsts[numbers] + places
    return begins, data


def _check_within(
    numbers: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
) -> None:
    if ((numbers < 0) | (numbers >= len(sizes))).any():
        raise malformed("a view of a buffer that is not there")
    if ((places < 0) | (places + lengths > sizes[numbers])).any():
        raise malformed("a view points outside of its buffer")


def _gathered(
    data: npt.NDArray[np.uint8], begins: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint8]:
    """Copy the values, about a MiB at a time: the index of each byte takes eight bytes."""
    made = np.empty(int(offsets[-1]), np.uint8)
    row = 0
    while row < len(begins):
        current().check_time()
        first = int(offsets[row])
        last = max(row + 1, int(np.searchsorted(offsets, first + _AT_ONCE, side="right")) - 1)
        end = int(offsets[last])
        if last == row + 1:
            made[first:end] = data[begins[row] : begins[row] + end - first]
        else:
            shifts = np.repeat(begins[row:last] - offsets[row:last], np.diff(offsets[row : last + 1]))
            made[first:end] = data[shifts + np.arange(first, end)]
        row = last
    return made
