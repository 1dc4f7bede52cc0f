"""Batches of a good size: many small batches cost too much per call, and huge ones too much memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import pyarrow as pa

from dataflare.data.joins import join_batches
from dataflare.pipeline.branches import Rejected
from dataflare.pipeline.pipeline_state import Checkpoint

__all__ = ["MOST_BYTES", "MOST_ROWS", "SMALL_BYTES", "SMALL_ROWS", "bytes_of", "resized"]

SMALL_ROWS: Final = 1_024
"""Batches below this are merged until they have this many rows, or `SMALL_BYTES`."""
SMALL_BYTES: Final = 2**20
MOST_ROWS: Final = 65_536
"""Batches beyond this, or `MOST_BYTES`, are split."""
MOST_BYTES: Final = 64 * 2**20


def bytes_of(item: pa.RecordBatch | Checkpoint | None) -> int:
    """How many bytes an item of a queue has."""
    return int(item.nbytes) if isinstance(item, pa.RecordBatch) else 0


def resized(
    items: Iterable[pa.RecordBatch | Rejected | Checkpoint], *, announces: bool = False
) -> Iterator[pa.RecordBatch | Rejected | Checkpoint]:
    """Merge batches that are small, and split those that are large; rows and their order stay.

    Where a batch ends depends on the rows and the barriers alone, never on time, so that runs repeat. No row passes a
    barrier. If at least one batch goes in, at least one comes out, even if it has no rows. Rejected rows stay as they
    are.

    Args:
        items: Batches and barriers.
        announces: Whether a batch without rows comes first and at once, so that what follows knows the columns.
    """
    waiting = _Waiting()
    empty: pa.RecordBatch | None = None
    none = True
    for item in items:
        if announces and isinstance(item, pa.RecordBatch):
            announces = none = False
            yield item.slice(0, 0)
        if isinstance(item, Rejected):
            yield item
        elif isinstance(item, Checkpoint):
            merged = waiting.take()
            if none and not merged and empty is not None:
                merged = [empty]  # before the barrier: who writes has to begin first
            none = none and not merged
            yield from merged
            yield item
        elif item.num_rows == 0:
            empty = item
        else:
            none = False
            if not waiting.fits(item):
                yield from waiting.take()
            waiting.add(item)
            if waiting.is_enough:
                for rows in waiting.take():
                    yield from _split(rows)
    yield from waiting.take()
    if none and empty is not None:
        yield empty


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
            return [join_batches(batches)]
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
        piece = rows.slice(start, step)
        if piece.num_rows > 1 and piece.nbytes > MOST_BYTES:  # rows of different sizes
            yield from _split(piece)
        else:
            yield piece
