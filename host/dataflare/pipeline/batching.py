"""Batches of a good size: what comes in many small or few huge ones costs too much per call, or too much memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import pyarrow as pa

__all__ = ["MOST_BYTES", "MOST_ROWS", "SMALL_BYTES", "SMALL_ROWS", "resized"]

SMALL_ROWS: Final = 1_024
"""Batches below this are merged until they have so many rows, or `SMALL_BYTES`."""
SMALL_BYTES: Final = 2**20
MOST_ROWS: Final = 65_536
"""Batches beyond this, or `MOST_BYTES`, are split."""
MOST_BYTES: Final = 64 * 2**20


def resized(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Merge batches that are small, and split those that are large; rows and their order stay.

    Where a batch ends depends on the rows alone, never on time, so that runs repeat. At least one batch comes out where
    one went in, if need be without rows.
    """
    empty: list[pa.RecordBatch] = []
    none = True
    for rows in _sized(_without_empty(batches, empty)):
        none = False
        yield rows
    if none and empty:
        yield empty[0]


def _without_empty(batches: Iterable[pa.RecordBatch], empty: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for rows in batches:
        if rows.num_rows:
            yield rows
        else:
            empty[:] = [rows]


def _sized(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    waiting = _Waiting()
    for rows in batches:
        if not waiting.fits(rows):
            yield from waiting.take()
        waiting.add(rows)
        if waiting.is_enough:
            for merged in waiting.take():
                yield from _split(merged)
    yield from waiting.take()


class _Waiting:
    """Small batches of one schema."""

    def __init__(self) -> None:
        self._batches: list[pa.RecordBatch] = []
        self._rows = 0
        self._bytes = 0

    @property
    def is_enough(self) -> bool:
        return bool(self._rows >= SMALL_ROWS or self._bytes >= SMALL_BYTES)

    def fits(self, rows: pa.RecordBatch) -> bool:
        """Whether a batch is small itself, and of the same schema."""
        if not self._batches:
            return True
        same = rows.schema.equals(self._batches[0].schema, check_metadata=True)
        return bool(same and rows.num_rows < SMALL_ROWS)

    def add(self, rows: pa.RecordBatch) -> None:
        self._batches.append(rows)
        self._rows += rows.num_rows
        self._bytes += int(rows.nbytes)

    def take(self) -> list[pa.RecordBatch]:
        batches, self._batches, self._rows, self._bytes = self._batches, [], 0, 0
        if len(batches) < 2:
            return batches
        try:
            return [pa.concat_batches(batches)]
        except pa.ArrowException:  # such as dictionaries within other columns: as they came, then
            return batches


def _split(rows: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    size = rows.nbytes
    if rows.num_rows <= MOST_ROWS and size <= MOST_BYTES:
        yield rows
        return
    pieces = max(-(-rows.num_rows // MOST_ROWS), -(-size // MOST_BYTES))
    step = max(1, -(-rows.num_rows // pieces))
    for start in range(0, rows.num_rows, step):
        yield rows.slice(start, step)
