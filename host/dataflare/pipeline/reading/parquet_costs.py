"""What reading a Parquet file takes at most, told from the headers of its pages before any of them is read.

A few bytes can say that a page has two billion values, that each row has the same long text, or that one row is a list
of everything: what a file takes has little to do with its size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from dataflare.data.guard.types import FEWER_COLUMNS, MAX_COLUMNS
from dataflare.data.shapes import malformed, too_large
from dataflare.pipeline.reading.parquet_footer import Group
from dataflare.pipeline.reading.parquet_pages import Chunk, Pages, read_pages

__all__ = ["Costs", "costs_of"]

_FEW_BYTES: Final = 2**28
"""What a batch should take, where fewer rows at a time bring it down to that."""
_FEW_ROWS: Final = 1024
"""Not fewer rows at a time for that: each batch has a price of its own."""
_WIDTHS: Final = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8, "BYTE_ARRAY": 8}
"""The bytes of a value as Arrow reads it; of a text, of where it begins."""
_LEVEL_BYTES: Final = 4
_DECIMAL_BYTES: Final = 32
_SHORT_BYTES: Final = 64
"""A dictionary of texts that is not looked into."""
_GROWTH: Final = 3
"""Arrow doubles a buffer that is full, and copies it: for a moment there are both."""


@dataclass(frozen=True)
class Costs:
    """What to read at a time.

    Args:
        rows: How many rows.
        most_bytes: What reading them takes at most, where that is known.
        are_known: Whether reading them takes no more than it may; else it might.
        column: The column that takes the most, or of which it is not known.
        compressed_bytes: What the columns of a group of rows take in the file.
    """

    rows: int
    most_bytes: int
    are_known: bool
    column: str
    compressed_bytes: int


def costs_of(file: Any, groups: list[Group], descriptor: int, *, batch_rows: int, max_bytes: int) -> Costs:
    """Find out how many rows can be read at a time.

    Args:
        file: A `pyarrow.parquet.ParquetFile`. It is asked for the schema alone.
        groups: The groups of rows in the file's footer.
        descriptor: The same file.
        batch_rows: The most rows.
        max_bytes: The most bytes that reading them may take, those of the batch included.

    Raises:
        DataFailure: `malformed`, or `too-large` for too many columns.
    """
    metadata, schema = file.metadata, file.schema
    if metadata.num_columns > MAX_COLUMNS:
        what = f"{metadata.num_columns} columns, with those within others, are more than {MAX_COLUMNS}"
        raise too_large(what, FEWER_COLUMNS)
    leaves = [_Leaf(schema.column(place)) for place in range(metadata.num_columns)]
    compressed = 0
    if len(groups) != metadata.num_row_groups:
        raise malformed("not a valid Parquet file: its footer can be read in two ways")
    for group in groups:
        if group.rows < 0:
            raise malformed("not a valid Parquet file: a group of fewer rows than none")
        if len(group.columns) != len(leaves):
            raise malformed("not a valid Parquet file: a group of rows has other columns than the schema")
        size = 0
        for leaf, column in zip(leaves, group.columns, strict=True):
            if column.packed_bytes < 0 or column.start < 0 or column.values < 0:
                why = "a column begins before the file, or has fewer bytes or values than none"
                raise malformed(f"not a valid Parquet file: {why}")
            size += column.packed_bytes
            chunk = Chunk(column.start, column.values, column.codec, leaf.has_texts)
            leaf.take(read_pages(descriptor, chunk, short=_SHORT_BYTES, most_bytes=max_bytes), group.rows)
        compressed = max(compressed, size)
    rows = most = min(batch_rows, max(1, metadata.num_rows))
    total = sum(leaf.bytes_of(rows) for leaf in leaves)
    few = min(_FEW_BYTES, max_bytes)
    while total > few and most > _FEW_ROWS:
        most = max(_FEW_ROWS, most // 2)
        less = sum(leaf.bytes_of(most) for leaf in leaves)
        if less > total * 0.75:
            break  # most of it is there however few rows are read
        rows, total = most, less
    worst = max(leaves, key=lambda leaf: (not leaf.is_bounded, leaf.bytes_of(rows)))
    return Costs(rows, total, total <= max_bytes and worst.is_bounded, worst.name, compressed)


class _Leaf:
    """One column of values, over all groups of rows."""

    def __init__(self, column: Any) -> None:
        self.name: str = column.path
        self.has_texts: bool = column.physical_type == "BYTE_ARRAY"
        self.is_bounded = True
        self._is_repeated = column.max_repetition_level > 0
        width: int = column.length if column.physical_type == "FIXED_LEN_BYTE_ARRAY" else _WIDTHS[column.physical_type]
        # Each level of nesting has offsets or bits of its own.
        levels: int = column.max_definition_level + column.max_repetition_level
        converted = _DECIMAL_BYTES if column.logical_type.type == "DECIMAL" or width == 12 else 0
        self._value_bytes = 2 * (width + _LEVEL_BYTES + 1) + converted + 6 * levels
        self._width: int = width
        self._at_once = 0
        self._longest = 0
        self._rows: list[int] = []
        self._bytes: list[int] = []

    def take(self, pages: Pages, rows: int) -> None:
        """Take in the pages of one group of rows."""
        self.is_bounded &= pages.is_bounded
        dictionary = 4 * pages.dictionary_bytes + pages.entries * (self._width + 64)
        self._at_once = max(self._at_once, pages.most_bytes + dictionary)
        values = sum(pages.values)
        if self._is_repeated:
            # How many values a row has is said by the values themselves: one row may have them all.
            self._rows.append(rows)
            self._bytes.append(values * (self._value_bytes + _GROWTH * pages.longest) + _GROWTH * sum(pages.sizes))
            return
        if values != rows:
            raise malformed(f"not a valid Parquet file: {values} values in a group of {rows} rows")
        self._longest = max(self._longest, pages.longest)
        self._rows += pages.values
        self._bytes += [_GROWTH * size for size in pages.sizes]

    def bytes_of(self, rows: int) -> int:
        """Bound what reading this many rows of the column at a time takes."""
        if self._is_repeated:
            return self._at_once + self._most_within(rows)
        return self._at_once + rows * (self._value_bytes + _GROWTH * self._longest) + self._most_within(rows)

    def _most_within(self, rows: int) -> int:
        """The most bytes of parts that a batch of rows takes some of."""
        if sum(self._bytes) <= _FEW_BYTES // 64:
            return sum(self._bytes)
        ends = np.cumsum(np.array(self._rows, np.float64))
        sums = np.concatenate([[0.0], np.cumsum(np.array(self._bytes, np.float64))])
        # A batch that begins within a part ends before this many rows after the end of the part.
        last = np.searchsorted(np.concatenate([[0.0], ends[:-1]]), ends + rows, side="left")
        most: np.float64 = np.max(sums[last] - sums[:-1])
        return int(most)
