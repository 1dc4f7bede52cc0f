"""The memory that an operation takes, computed from declared sizes before it starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dataflare.data.guard.types import is_flat, kind
from dataflare.data.shapes import too_large

__all__ = [
    "ARRAY_BYTES",
    "batch_row_sizes",
    "expanded_bytes",
    "holds",
    "require",
    "row_bytes",
    "row_sizes",
    "value_count",
]

ARRAY_BYTES: Final = 1024
"""Approximate size in bytes of an array without its buffers."""

_WIDEST_TEXT: Final = 128
_TEXTS: Final = frozenset({"string", "large_string", "binary", "large_binary"})


def require(size: int, what: str, max_bytes: int) -> None:
    """Refuse an operation that would take more memory than allowed.

    Args:
        size: The bytes that it takes.
        what: What takes them, for the message.
        max_bytes: The limit in bytes.

    Raises:
        DataFailure: `too-large`.
    """
    if size > max_bytes:
        raise too_large(f"{what} takes more than max_batch_bytes = {max_bytes}")


def holds(data_type: pa.DataType, check: Callable[[pa.DataType], bool]) -> bool:
    """Whether the check is true for the type or for a type nested in it."""
    return check(data_type) or any(holds(data_type.field(i).type, check) for i in range(data_type.num_fields))


def row_bytes(data_type: pa.DataType) -> int:
    """Bound the bytes of one row when a number or a null is converted to this type; for a list, of one item."""
    name = kind(data_type)
    if name == "dictionary":
        return 8 + row_bytes(data_type.value_type)
    if name == "fixed_size_list":
        return int(data_type.list_size) * row_bytes(data_type.value_type) + 1
    if data_type.num_fields:  # structs, lists and maps
        return 9 + sum(row_bytes(data_type.field(i).type) for i in range(data_type.num_fields))
    if name == "fixed_size_binary":
        return int(data_type.byte_width) + 1  # its bit_width overflows
    return _WIDEST_TEXT if name in _TEXTS else 1 if name in ("null", "struct") else int(data_type.bit_width) // 8 + 1


def expanded_bytes(array: pa.Array) -> int:
    """Bound the bytes of a checked array with all values written out: a dictionary or a null array can become larger.

    Counts at least 1 byte for each value at each level, so that nulls and structs without fields count too.
    """
    size = len(array)
    name = kind(array.type)
    if name == "dictionary":
        return size + _dictionary_bytes(array)
    if name == "null":
        return size
    return size + sum(map(expanded_bytes, _children(array, name))) + _own_bytes(array, name)


def row_sizes(array: pa.Array) -> npt.NDArray[np.float64]:
    """Bound the bytes of each row of a checked array; for a dictionary only the index, since selected rows share it."""
    name = kind(array.type)
    if name in _TEXTS:
        return np.diff(_offsets(array, name)).astype(np.float64) + 9.0 if len(array) else np.zeros(0)
    if name == "struct":
        sizes = np.ones(len(array))
        for child in _children(array, name):
            sizes += row_sizes(child)
        return sizes
    if name == "fixed_size_list":
        (items,) = _children(array, name)
        sums: npt.NDArray[np.float64] = row_sizes(items).reshape(len(array), int(array.type.list_size)).sum(axis=1)
        return sums + 1.0
    if name in ("list", "large_list", "map"):
        if len(array) == 0:
            return np.zeros(0)
        offsets = _offsets(array, name).astype(np.int64)
        first, last = int(offsets[0]), int(offsets[-1])
        sums = np.zeros(last - first + 1)
        for child in _children(array, name):
            sums[1:] += np.cumsum(row_sizes(child))
        return 9.0 + np.diff(sums[offsets - first])
    return np.full(len(array), 9.0 if name == "dictionary" else float(row_bytes(array.type)))


def batch_row_sizes(batch: pa.RecordBatch) -> npt.NDArray[np.float64]:
    """Bound the bytes of each row of a checked batch, like `row_sizes`."""
    sizes = np.zeros(batch.num_rows)
    for column in batch.columns:
        sizes += row_sizes(column)
    return sizes


def value_count(array: pa.Array) -> int:
    """Count the values of a checked array at all its levels."""
    return len(array) + sum(map(value_count, _children(array, kind(array.type))))


def _children(array: pa.Array, name: str) -> list[pa.Array]:
    """Return the children of an array, cut to its rows."""
    if name == "struct":
        return [array.field(i) for i in range(array.type.num_fields)]
    if name == "fixed_size_list":
        size = int(array.type.list_size)
        return [array.values.slice(array.offset * size, len(array) * size)]
    if name in ("list", "large_list", "map"):
        offsets = _offsets(array, name)
        first, last = int(offsets[0]), int(offsets[-1])
        children = [array.keys, array.items] if name == "map" else [array.values]
        return [child.slice(first, last - first) for child in children]
    return []


def _own_bytes(array: pa.Array, name: str) -> int:
    """Return the bytes of an array without its children."""
    size = len(array) // 8
    if name in _TEXTS:
        offsets = _offsets(array, name)
        return size + len(array) * offsets.itemsize + int(offsets[-1]) - int(offsets[0])
    if name in ("list", "large_list", "map"):
        return size + len(array) * (8 if name == "large_list" else 4)
    if name in ("struct", "fixed_size_list"):
        return size
    if name == "fixed_size_binary":
        return size + len(array) * int(array.type.byte_width)
    return size + len(array) * int(array.type.bit_width) // 8


def _offsets(array: pa.Array, name: str) -> npt.NDArray[Any]:
    dtype: Any = np.int64 if name.startswith("large") else np.int32
    buffer = array.buffers()[1]
    if buffer is None or buffer.size == 0:
        return np.zeros(1, dtype)
    return np.frombuffer(buffer, dtype, len(array) + 1, array.offset * np.dtype(dtype).itemsize)


def _dictionary_bytes(array: pa.DictionaryArray) -> int:
    values = array.dictionary
    name = kind(values.type)
    assert is_flat(values.type)
    if len(values) == 0 or len(array) == 0:
        return 0
    if name not in _TEXTS:
        return len(array) * row_bytes(values.type)
    indices = array.indices.drop_null().to_numpy(zero_copy_only=False)
    return len(array) * 8 + int(np.diff(_offsets(values, name)).astype(np.int64)[indices].sum())
