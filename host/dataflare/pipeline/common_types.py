"""The type that holds the values of two types, each without a change."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
from pyarrow import types

__all__ = ["common_type"]

_SIGNED: Final = {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}
_UNSIGNED: Final = {8: pa.uint8(), 16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}
_LARGE: Final = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}
_EXACT_BITS: Final = {16: 11, 32: 24, 64: 53}
"""Whole numbers of so many bits are exact in a floating-point number of that size."""
_FLOATS: Final = {16: pa.float16(), 32: pa.float32(), 64: pa.float64()}
_UNITS: Final = ("s", "ms", "us")
"""A nanosecond does not reach as far as the others."""
_DIGITS: Final = {8: 3, 16: 5, 32: 10, 64: 20}


def common_type(one: pa.DataType, other: pa.DataType, *, inferred: bool = False) -> pa.DataType | None:
    """Find the narrowest type that holds all values of two.

    Args:
        one: The first.
        other: The second.
        inferred: Whether `other` was inferred from texts, which can be read with any type: whole numbers and doubles
            then have `double` in common, and everything has `string`.

    Returns:
        The type; `None` where there is none.
    """
    if one == other or types.is_null(other):
        return one
    if types.is_null(one):
        return other
    found = _numbers(one, other) if _is_number(one) and _is_number(other) else _others(one, other)
    if found is not None or not inferred:
        return found
    if {_is_whole(one), _is_whole(other)} == {True, False} and pa.float64() in (one, other):
        return pa.float64()
    return one if types.is_large_string(one) else pa.string()


def _is_number(data_type: pa.DataType) -> bool:
    return bool(types.is_integer(data_type) or types.is_floating(data_type) or types.is_decimal(data_type))


def _is_whole(data_type: pa.DataType) -> bool:
    return bool(types.is_integer(data_type))


def _numbers(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if types.is_decimal(one) or types.is_decimal(other):
        return _decimal(one, other)
    if types.is_floating(one) and types.is_floating(other):
        return _FLOATS[max(one.bit_width, other.bit_width)]
    if types.is_floating(one) or types.is_floating(other):
        whole, floating = (one, other) if types.is_integer(one) else (other, one)
        fitting = [
            bits for bits, exact in _EXACT_BITS.items() if exact >= whole.bit_width and bits >= floating.bit_width
        ]
        return _FLOATS[min(fitting)] if fitting else None
    signs = types.is_signed_integer(one), types.is_signed_integer(other)
    if signs[0] == signs[1]:
        return (_SIGNED if signs[0] else _UNSIGNED)[max(one.bit_width, other.bit_width)]
    signed, unsigned = (one, other) if signs[0] else (other, one)
    return _SIGNED.get(max(signed.bit_width, 2 * unsigned.bit_width))


def _decimal(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if types.is_floating(one) or types.is_floating(other):
        return None
    sizes = [
        (each.precision, each.scale) if types.is_decimal(each) else (_DIGITS[each.bit_width], 0)
        for each in (one, other)
    ]
    scale = max(each[1] for each in sizes)
    precision = max(each[0] - each[1] for each in sizes) + scale
    if precision > 76 or scale < 0:
        return None
    return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)


def _others(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    for short, large in _LARGE.items():
        if {one, other} == {short, large}:
            return large
    are_times = types.is_timestamp(one) and types.is_timestamp(other) and one.tz == other.tz
    if are_times and one.unit in _UNITS and other.unit in _UNITS:
        return pa.timestamp(max(one.unit, other.unit, key=_UNITS.index), one.tz)
    return None
