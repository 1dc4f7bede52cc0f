"""Conversion of columns to other types.

Arrow converts plain values only. Lists, structs, maps and dictionaries are split here, and rebuilt after it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from dataflare.budgets import current
from dataflare.data.columns import bitmap_to_words
from dataflare.data.distinct import dictionary_of
from dataflare.data.guard.costs import expanded_bytes, require, row_bytes
from dataflare.data.guard.types import DECIMAL_DIGITS, is_flat, kind
from dataflare.data.shapes import malformed, wrong_type

__all__ = ["cast", "convert", "require_digits"]

_ROWS_AT_ONCE: Final = 2**16
_MAX_ITEMS: Final = 2**31 - 1
_MOST_DIGITS: Final = DECIMAL_DIGITS["decimal256"]
_LISTS: Final = frozenset({"list", "large_list", "map", "fixed_size_list"})


def cast(array: pa.Array, target: pa.DataType, column: str, max_bytes: int, *, function: str = "") -> pa.Array:
    """Convert a checked array.

    Args:
        array: An array of a type on the list.
        target: A type on the list.
        column: The column's name, for messages; empty for a computed column.
        max_bytes: Limit of the result in bytes; a result of at most twice the size of `array` is always allowed.
        function: The expression function that needs the conversion, for messages; empty for none.

    Raises:
        DataFailure: `malformed` if a value cannot be converted, `wrong-type` if there is no conversion between the
            types, `too-large` if the result could be larger than `max_bytes`.
    """
    what = function or f"column {column!r}"
    bound = expanded_bytes(array) + len(array) * row_bytes(target)
    require(bound, f"{what} as {target}", max(max_bytes, 2 * int(array.nbytes)))
    try:
        return _cast(array, target)
    except _NotConvertible as error:
        raise wrong_type(column, f"a type that can be converted to {target}", array.type, function=function) from error
    except (pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise wrong_type(column, f"a type that can be converted to {target}", array.type, function=function) from error
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise malformed(f"{what}: {error}") from error


class _NotConvertible(Exception):
    """There is no conversion between the types."""


def _cast(array: pa.Array, target: pa.DataType) -> pa.Array:
    current().check_time()
    source = array.type
    if source.equals(target):
        return array
    name, wanted = kind(source), kind(target)
    if name == "null":
        return pa.nulls(len(array), target)
    if name == "dictionary":
        return _cast(array.dictionary.take(array.indices), target)
    if wanted == "dictionary":
        encoded = dictionary_of(_cast(array, target.value_type))
        indices = _flat(encoded.indices, target.index_type)
        return pa.DictionaryArray.from_arrays(indices, encoded.dictionary, ordered=target.ordered)
    if name in _LISTS and wanted in _LISTS:
        return _list(array, target)
    if name == wanted == "struct":
        return _struct(array, target)
    if is_flat(source) and is_flat(target):
        return _flat(array, target)
    raise _NotConvertible


def _flat(array: pa.Array, target: pa.DataType) -> pa.Array:
    _check_scales(array.type, target)
    if len(array) <= _ROWS_AT_ONCE:
        parts = [convert(array, target)]
    else:
        parts = []
        for start in range(0, len(array), _ROWS_AT_ONCE):
            current().check_time()
            parts.append(convert(array.slice(start, _ROWS_AT_ONCE), target))
    converted = parts[0] if len(parts) == 1 else pa.concat_arrays(parts)
    converted.validate(full=True)
    _check_range(array, converted)
    return converted


def convert(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Convert plain values as Arrow does, but decimals and integers to decimals whose values fit, and decimals to the
    nearest of the floats: Arrow divides as a float, and is off by one unit in the last place.

    Raises:
        pa.ArrowException: A value does not fit, or there is no such conversion.
        ValueError: A number has more digits than the decimal.
    """
    if types.is_decimal(target) and (types.is_decimal(array.type) or types.is_integer(array.type)):
        return _to_decimal(array, target)
    if types.is_decimal(array.type) and (types.is_float32(target) or types.is_float64(target)):
        return array.cast(pa.string()).cast(target)
    return array.cast(target)


def _to_decimal(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Convert by way of the widest decimal: what does not fit into another one, Arrow makes another number of."""
    scale = array.type.scale if types.is_decimal(array.type) else 0
    wide = array.cast(pa.decimal256(_MOST_DIGITS, scale))
    require_digits(wide, target)
    return wide.cast(pa.decimal256(_MOST_DIGITS, target.scale)).cast(target)


def require_digits(numbers: pa.Array, target: pa.DataType) -> None:
    """Refuse decimals that have more digits before the point than a type.

    Raises:
        ValueError: One has.
    """
    limit = Decimal((0, (1,), target.precision - target.scale))
    for value in pc.min_max(numbers).as_py().values():
        if value is not None and not -limit < value < limit:
            raise ValueError(f"{value} does not fit into {target}")


def _check_range(array: pa.Array, converted: pa.Array) -> None:
    """Refuse numbers that became infinite: Arrow does not report them."""
    if not types.is_floating(converted.type) or not pc.any(infinite := pc.is_inf(converted)).as_py():
        return
    if types.is_floating(array.type):
        meant = pc.is_inf(array)
    elif kind(array.type) in ("string", "large_string"):
        meant = pc.invert(pc.match_substring_regex(array, "[0-9]"))  # a word, such as `inf`
    else:
        meant = pa.scalar(False)
    if pc.any(lost := pc.and_not(infinite, meant)).as_py():
        value = array[int(np.flatnonzero(lost.fill_null(False))[0])].as_py()
        raise ValueError(f"{str(value)[:40]} is beyond the range of {converted.type}")


def _check_scales(source: pa.DataType, target: pa.DataType) -> None:
    """Refuse scales outside Arrow's tables of powers of ten: Arrow reads past their end."""
    digits = [DECIMAL_DIGITS[name] for name in (kind(source), kind(target)) if name in DECIMAL_DIGITS]
    if len(digits) == 2 and abs(source.scale - target.scale) > min(digits):
        raise _NotConvertible


def _validity(array: pa.Array) -> pa.Buffer | None:
    """Return the validity bitmap of an array, from its first row on; `None` if there is none."""
    if array.null_count == 0:
        return None
    return pa.py_buffer(bitmap_to_words(array.buffers()[0], array.offset, len(array)))


def _struct(array: pa.StructArray, target: pa.DataType) -> pa.Array:
    source = array.type
    names = [source.field(i).name for i in range(source.num_fields)]
    if names != [target.field(i).name for i in range(target.num_fields)]:
        raise _NotConvertible
    children = [_child(array.field(i), target.field(i)) for i in range(target.num_fields)]
    return pa.Array.from_buffers(target, len(array), [_validity(array)], children=children)


def _child(array: pa.Array, field: pa.Field) -> pa.Array:
    converted = _cast(array, field.type)
    if converted.null_count and not field.nullable:
        raise ValueError(f"{field.name!r} is null in a row, and must not be")
    return converted


def _list(array: pa.Array, target: pa.DataType) -> pa.Array:
    name, wanted = kind(array.type), kind(target)
    rows = len(array)
    if name == "fixed_size_list":
        size = int(array.type.list_size)
        items = array.values.slice(array.offset * size, rows * size)
        ends = np.arange(rows + 1, dtype=np.int64) * size
    else:
        dtype = np.int64 if name == "large_list" else np.int32
        ends = np.frombuffer(array.offsets.buffers()[1] or bytes(8), dtype, rows + 1, array.offset * dtype().itemsize)
        first, last = int(ends[0]), int(ends[-1])
        items = _entries(array, first, last) if name == "map" else array.values.slice(first, last - first)
        ends = ends.astype(np.int64) - first
    if wanted == "fixed_size_list":
        # A null list of another size has no items to copy.
        if name != wanted or array.type.list_size != target.list_size:
            raise _NotConvertible
        children = [_child(items, target.value_field)]
        return pa.Array.from_buffers(target, rows, [_validity(array)], children=children)
    if (name == "map") != (wanted == "map") and wanted == "map":
        raise _NotConvertible
    if wanted != "large_list" and int(ends[-1]) > _MAX_ITEMS:
        raise ValueError(f"{int(ends[-1])} items are more than a {wanted} has")
    offsets = pa.py_buffer(ends if wanted == "large_list" else ends.astype(np.int32))
    child = _child(items, target.field(0))
    return pa.Array.from_buffers(target, rows, [_validity(array), offsets], children=[child])


def _entries(array: pa.MapArray, first: int, last: int) -> pa.Array:
    columns = [each.slice(first, last - first) for each in (array.keys, array.items)]
    return pa.StructArray.from_arrays(columns, fields=list(array.type.field(0).type))
