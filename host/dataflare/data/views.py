"""One checked column of a batch as plain numbers, text or bytes.

If the type allows it, a view shares the column's memory; it must not be written to. The functions keep no state and may
run in any thread.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from dataflare.data.columns import bitmap_to_words
from dataflare.data.guard.costs import expanded_bytes, require
from dataflare.data.shapes import BinaryValues, TextValues, out_of_range, too_large, wrong_type

__all__ = [
    "binary_values",
    "boolean_values",
    "float64_values",
    "int64_values",
    "is_int64_like",
    "is_text",
    "text_values",
    "validity_words",
]

_INT64_TYPES = "integers, dates, times, timestamps or durations"
_FLOAT64_TYPES = "floating-point numbers, integers of at most 32 bits, or decimals"
_MAX_OFFSET = 2**32 - 1
_EXACT_DIGITS = 15


def is_int64_like(data_type: pa.DataType) -> bool:
    """Whether `int64-column` accepts the type."""
    return bool(
        types.is_integer(data_type)
        or types.is_date(data_type)
        or types.is_time(data_type)
        or types.is_timestamp(data_type)
        or types.is_duration(data_type)
    )


def is_text(data_type: pa.DataType) -> bool:
    """Whether values of the type are strings, not a dictionary or a view of strings."""
    return bool(types.is_string(data_type) or types.is_large_string(data_type))


def validity_words(array: pa.Array) -> npt.NDArray[np.uint64] | None:
    """Return the bitmap of the rows with a value, as 64-bit words; `None` if no row is null."""
    if types.is_null(array.type):
        return np.zeros((len(array) + 63) // 64, np.uint64) if len(array) else None
    bitmap = array.buffers()[0]
    if types.is_dictionary(array.type):
        # Their nulls can be in the values to which the rows refer.
        valid = pc.is_valid(array)
        if bool(pc.all(valid).as_py()):
            return None
        return bitmap_to_words(valid.buffers()[1], valid.offset, len(valid))
    if array.null_count == 0 or bitmap is None:
        return None
    return bitmap_to_words(bitmap, array.offset, len(array))


def int64_values(array: pa.Array, column: str) -> npt.NDArray[np.int64]:
    """Return a column in its own unit, a null as 0; the column's own memory if it has 64 bits and no null.

    Raises:
        DataFailure: `wrong-type`; `out-of-range` if a value is over 2**63 - 1.
    """
    if not is_int64_like(array.type):
        raise wrong_type(column, _INT64_TYPES, array.type)
    if types.is_integer(array.type):
        integers = array
    else:
        integers = array.view(pa.int32() if array.type.bit_width == 32 else pa.int64())
    if integers.null_count:
        integers = integers.fill_null(0)
    values = _numbers(integers, integers.type.to_pandas_dtype())
    if types.is_uint64(array.type) and len(values) and int(values.max()) > 2**63 - 1:
        raise out_of_range(f"column {column!r} holds {int(values.max())}, which is over 2^63 - 1")
    if values.dtype == np.uint64:
        return values.view(np.int64)
    return _frozen(values.astype(np.int64, copy=False))


def float64_values(array: pa.Array, column: str) -> npt.NDArray[np.float64]:
    """Return a column as the nearest doubles, a null as 0; the column's own memory if it has doubles and no null.

    Raises:
        DataFailure: `wrong-type`.
    """
    data_type = array.type
    small_integer = types.is_integer(data_type) and data_type.bit_width <= 32
    if types.is_decimal(data_type):
        return _frozen(_decimals(array))
    if not (types.is_floating(data_type) or small_integer):
        raise wrong_type(column, _FLOAT64_TYPES, data_type)
    values = _numbers(array, data_type.to_pandas_dtype()).astype(np.float64, copy=False)
    return _frozen(_without_nulls(values, array))


def boolean_values(array: pa.Array, column: str) -> npt.NDArray[np.bool_]:
    """Return a column of booleans, a null as false.

    Raises:
        DataFailure: `wrong-type`.
    """
    if not types.is_boolean(array.type):
        raise wrong_type(column, "booleans", array.type)
    values = _bits(array.buffers()[1], array.offset, len(array))
    if array.null_count:
        values &= _bits(array.buffers()[0], array.offset, len(array))
    return _frozen(values)


def text_values(array: pa.Array, column: str, max_bytes: int) -> TextValues:
    """Return a column of strings, a null as an empty text; shares the column's memory if nulls take no bytes in it.

    Raises:
        DataFailure: `wrong-type`; `too-large` above 2**32 - 1 bytes, or if a dictionary takes more than `max_bytes`
            when written out.
    """
    data_type = array.type
    if types.is_dictionary(data_type) and is_text(data_type.value_type):
        require(expanded_bytes(array), f"column {column!r} written out", max(max_bytes, 2 * int(array.nbytes)))
        array = array.dictionary.cast(pa.large_string()).take(array.indices)
    elif not is_text(data_type):
        raise wrong_type(column, "strings, or a dictionary of strings", data_type)
    offsets, text = _variable(array, column)
    return TextValues(offsets, text)


def binary_values(array: pa.Array, column: str) -> BinaryValues:
    """Return a column of byte strings, a null as no bytes; shares the column's memory if nulls take no bytes in it.

    Raises:
        DataFailure: `wrong-type`; `too-large` above 2**32 - 1 bytes.
    """
    data_type = array.type
    if types.is_fixed_size_binary(data_type):
        array = array.cast(pa.large_binary())
    elif not (types.is_binary(data_type) or types.is_large_binary(data_type)):
        raise wrong_type(column, "byte strings", data_type)
    offsets, data = _variable(array, column)
    return BinaryValues(offsets, data)


def _numbers(array: pa.Array, dtype: Any) -> npt.NDArray[Any]:
    buffer = array.buffers()[1]
    width = np.dtype(dtype).itemsize
    if buffer is None or len(array) == 0:
        return np.empty(0, dtype)
    return np.frombuffer(buffer, dtype, len(array), array.offset * width)


def _bits(bitmap: pa.Buffer | None, offset: int, length: int) -> npt.NDArray[np.bool_]:
    if bitmap is None or length == 0:
        return np.ones(length, np.bool_)
    first = offset // 8
    source = np.frombuffer(bitmap, np.uint8)[first : (offset + length + 7) // 8]
    bits = np.unpackbits(source, bitorder="little")[offset % 8 : offset % 8 + length]
    return bits.view(np.bool_)


def _without_nulls(values: npt.NDArray[Any], array: pa.Array) -> npt.NDArray[Any]:
    if array.null_count == 0:
        return values
    return np.where(_bits(array.buffers()[0], array.offset, len(array)), values, values.dtype.type(0))


def _decimals(array: pa.Array) -> npt.NDArray[np.float64]:
    data_type = array.type
    if data_type.precision <= _EXACT_DIGITS and 0 <= data_type.scale <= _EXACT_DIGITS and data_type.bit_width >= 64:
        # Both numbers are exact in a double, so that one division rounds once: the nearest double. Arrow's own cast is
        # off by one unit in the last place for about half of all values.
        lanes = data_type.bit_width // 64
        buffer = array.buffers()[1]
        if buffer is None or len(array) == 0:
            return np.zeros(len(array), np.float64)
        unscaled = np.frombuffer(buffer, np.int64, len(array) * lanes, array.offset * lanes * 8)[::lanes]
        return _without_nulls(unscaled / float(10**data_type.scale), array)
    nearest = array.cast(pa.string()).cast(pa.float64())
    return _without_nulls(_numbers(nearest, np.float64), nearest)


def _variable(array: pa.Array, column: str) -> tuple[npt.NDArray[np.uint32], pa.Buffer]:
    if len(array) == 0:
        return np.zeros(1, np.uint32), pa.py_buffer(b"")
    wide = types.is_large_string(array.type) or types.is_large_binary(array.type)
    offsets = _offsets(array, wide)
    if array.null_count:
        lengths = np.diff(offsets)
        if lengths[~_bits(array.buffers()[0], array.offset, len(array))].any():
            array = array.fill_null("" if types.is_large_string(array.type) or types.is_string(array.type) else b"")
            offsets = _offsets(array, wide)
    first, last = int(offsets[0]), int(offsets[-1])
    if last - first > _MAX_OFFSET:
        raise too_large(f"column {column!r} holds {last - first} bytes, more than 2^32 - 1")
    data = array.buffers()[2]
    data = pa.py_buffer(b"") if data is None else data.slice(first, last - first)
    if first == 0 and not wide:
        return _frozen(offsets.view(np.uint32)), data
    return _frozen((offsets - offsets.dtype.type(first)).astype(np.uint32)), data


def _offsets(array: pa.Array, wide: bool) -> npt.NDArray[Any]:
    dtype: Any = np.int64 if wide else np.int32
    return np.frombuffer(array.buffers()[1], dtype, len(array) + 1, array.offset * np.dtype(dtype).itemsize)


def _frozen(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    values.flags.writeable = False
    return values
