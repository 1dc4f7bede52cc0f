"""Random rows in the columns of a sample, with unusual values; the same seed gives the same rows."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import pyarrow as pa

from dataflare.conformance.values import objects

__all__ = ["random_rows", "shortest"]

_TEXTS: Final = [
    "",
    " ",
    "0",
    "null",
    "naïve 日本 😀",
    '"',
    "\\",
    "a\nb",
    "\t",
    "x" * 300,
    "é",
    "e\u0301",
    "-1",
    "true",
]
_FLOATS: Final = [0.0, -0.0, 1.5, -1.5, 1e300, -1e300, 5e-324, 0.1]
_NULLS: Final = 0.2
_MOST_SHORTENED: Final = 40


def random_rows(sample: pa.Table, chance: random.Random, rows: int) -> pa.RecordBatch:
    """Draw rows with the columns of a sample: its own values, null, and unusual values of each type."""
    columns = []
    for field in sample.schema:
        given = objects(sample.column(field.name))
        choices = [each for each in given if each is not None] + _awkward(field.type)
        values = [
            None if not choices or (field.nullable and chance.random() < _NULLS) else chance.choice(choices)
            for _ in range(rows)
        ]
        columns.append(pa.array(values, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=sample.schema)


def _awkward(kind: pa.DataType) -> list[Any]:
    if pa.types.is_signed_integer(kind):
        most = 2 ** (kind.bit_width - 1)
        return [0, 1, -1, most - 1, -most]
    if pa.types.is_unsigned_integer(kind):
        return [0, 1, 2**kind.bit_width - 1]
    if pa.types.is_float64(kind):
        return _FLOATS
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _TEXTS
    if pa.types.is_boolean(kind):
        return [True, False]
    return []


def shortest(rows: pa.RecordBatch, fails: Callable[[pa.RecordBatch], bool]) -> pa.RecordBatch:
    """Shorten failing rows: leave out rows as long as the others still fail; at most 40 tries."""
    tries = 0
    at = 0
    while rows.num_rows > 1 and at < rows.num_rows and tries < _MOST_SHORTENED:
        tries += 1
        kept = [each for each in range(rows.num_rows) if each != at]
        candidate = rows.take(pa.array(kept))
        if fails(candidate):
            rows = candidate
        else:
            at += 1
    return rows
