"""Which type to give a column of JSON that has a value which its type does not take."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
from pyarrow import types

from dataflare.data.batches import MAX_BATCH_BYTES
from dataflare.data.json_numbers import inexact_numbers, number_paths, retyped
from dataflare.data.json_reader import decode_json_lines
from dataflare.data.schemas import parse_type
from dataflare.data.shapes import DataFailure
from dataflare.errors import DataflareError
from dataflare.pipeline.reading.json_types import merged_types, with_text

__all__ = ["fitting_type"]

_INTEGER_DIGITS: Final = 19
_FRACTION_DIGITS: Final = 10
"""How many digits a decimal has at least, so that it also takes the values before."""


def fitting_type(line: bytes, column: str, data_type: pa.DataType | None) -> str | None:
    """Find a type that takes a column's values so far, and its value in a line.

    Args:
        line: One row.
        column: The column.
        data_type: Its type so far; `None` for a column that comes up in this line.

    Returns:
        The type, as a value in YAML; `None` where no type but text, which takes every value as it is written, does.
    """
    try:
        found = with_text(decode_json_lines(line, None, MAX_BATCH_BYTES, exact=False).schema.field(column).type)
        fitting = found if data_type is None else merged_types(_widest(data_type), found)
        before = {} if data_type is None else number_paths([pa.field(column, data_type)])
        for _, path, number in inexact_numbers(line, number_paths([pa.field(column, fitting)])):
            whole = path in before and types.is_integer(before[path]) and number.lstrip("-").isdigit()
            fitting = retyped(fitting, path[1:], _decimal_for(number, 0 if whole else _FRACTION_DIGITS))
        text = str(fitting)
        if not parse_type(text).equals(fitting):
            return None
    except (DataFailure, DataflareError, KeyError, ValueError):
        return None
    return f"'{text}'" if text.endswith((")", ">")) else text


def _widest(data_type: pa.DataType) -> pa.DataType:
    if types.is_integer(data_type):
        return pa.int64()
    return pa.float64() if types.is_floating(data_type) else data_type


def _decimal_for(number: str, fraction_digits: int) -> pa.DataType:
    """A decimal that keeps a number, and numbers with so many digits after the point.

    Raises:
        ValueError: There is none.
    """
    whole, _, fraction = number.lstrip("-").partition(".")
    scale = max(fraction_digits, len(fraction))
    digits = max(_INTEGER_DIGITS, len(whole)) + scale
    if not (whole + fraction).isdigit() or digits > 76:
        raise ValueError(number)
    return pa.decimal128(38, scale) if digits <= 38 else pa.decimal256(76, scale)
