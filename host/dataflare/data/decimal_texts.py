"""Decimals that are read from texts and from JSON: Arrow takes a number that has more digits than its bits hold for
another number. So numbers of which that may be true are compared with what was made of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from dataflare.budgets import current
from dataflare.data.casts import convert, require_digits
from dataflare.data.guard.types import DECIMAL_DIGITS
from dataflare.data.shapes import malformed

__all__ = ["check_decimals", "read_decimals"]

_READ_S: Final = 1e-9  # least time to read a byte of JSON


def read_decimals(texts: pa.Array, data_type: pa.DataType) -> pa.Array:
    """Read texts as decimals.

    Raises:
        pa.ArrowException: One is not a number, or has more digits after the point.
        ValueError: One has more digits.
    """
    wide = data_type if data_type.bit_width >= 128 else pa.decimal128(data_type.precision, data_type.scale)
    made = texts.cast(wide)
    require_digits(made, data_type)
    long = pc.greater(pc.binary_length(texts), _digits(wide))
    large = pc.match_substring_regex(texts, f"[0-9]{{{_too_many(wide)}}}|[eE]")
    for place in np.flatnonzero(pc.or_(long, large).fill_null(False)).tolist():
        if Decimal(texts[place].as_py()) != made[place].as_py():
            raise ValueError(f"{texts[place].as_py()[:60]!r} has more digits than {data_type}")
    return made if wide is data_type else convert(made, data_type)


def check_decimals(lines: bytes, schema: pa.Schema, rows: pa.RecordBatch, starts: npt.NDArray[np.int64]) -> None:
    """Compare decimals that were read from JSON Lines with their text, where they may be wrong.

    Args:
        lines: The text.
        schema: The columns that may hold decimals, of types that Arrow's reader supports.
        rows: What was read.
        starts: The line of each row, counted from 1.

    Raises:
        DataFailure: `malformed`, with the line: a number has more digits than its type.
    """
    fewest = min((_too_many(each) for field in schema for each in _decimals(field.type)), default=0)
    if not fewest:
        return
    suspect = re.compile(rb"[0-9]{%d}|[0-9][eE]\+?[0-9]" % fewest)
    at = counted = 0
    line = 1
    while match := suspect.search(lines, at):
        begin = lines.rfind(b"\n", 0, match.start()) + 1
        end = lines.find(b"\n", match.end())
        at = len(lines) if end < 0 else end
        line += lines.count(b"\n", counted, begin)
        counted = begin
        current().require_time(_READ_S * (at - begin))
        record = json.loads(lines[begin:at], parse_int=Decimal, parse_float=Decimal)
        row = int(np.searchsorted(starts, line))
        for field in schema:
            if not _is_same(record.get(field.name), rows.column(field.name)[row].as_py(), field.type):
                raise malformed(f"line {line}: {field.name!r}: a number has more digits than {field.type}")


def _digits(data_type: pa.DataType) -> int:
    return DECIMAL_DIGITS["decimal256" if types.is_decimal256(data_type) else "decimal128"]


def _too_many(data_type: pa.DataType) -> int:
    """How many digits before the point a number has that Arrow may read wrongly; it reads few bits as 128."""
    return max(1, _digits(data_type) - int(data_type.scale) + 1)


def _decimals(data_type: pa.DataType) -> Iterator[pa.DataType]:
    if types.is_decimal(data_type):
        yield data_type
    else:
        for at in range(data_type.num_fields):
            yield from _decimals(data_type.field(at).type)


def _is_same(value: Any, made: Any, data_type: pa.DataType) -> bool:
    if value is None:
        return True
    if types.is_decimal(data_type):
        return bool(Decimal(value) == made)
    if types.is_struct(data_type):
        return all(_is_same(value.get(each.name), made[each.name], each.type) for each in data_type)
    if data_type.num_fields:
        return all(_is_same(a, b, data_type.value_type) for a, b in zip(value, made, strict=True))
    return True
