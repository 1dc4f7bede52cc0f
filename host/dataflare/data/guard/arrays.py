"""The structural check of an array's buffers, before Arrow reads them.

`build` makes an array from untrusted buffers; `admit` checks an array that was made elsewhere. Both check at each
level: how many bytes its rows need; whether offsets begin at 0 or later, ascend, and end within their data; whether
indices are within their dictionary; whether text is UTF-8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dataflare.budgets import current
from dataflare.data.guard.types import OTHER_TYPE, kind, reduced, refusal, type_name
from dataflare.data.shapes import malformed, wrong_type

__all__ = ["MAX_ROWS", "admit", "admit_type", "build"]

MAX_ROWS: Final = 2**32 - 1
"""Maximum number of rows of a batch, and of items in all lists of one column."""

_WIDE_OFFSETS: Final = frozenset({"large_string", "large_binary", "large_list"})
_TEXTS: Final = frozenset({"string", "large_string"})
_VARIABLE: Final = frozenset({"string", "large_string", "binary", "large_binary"})
_LISTS: Final = frozenset({"list", "large_list", "map"})
# Their values have a range, which Arrow can check once the buffers are known to be valid.
_RANGED: Final = frozenset({"date64", "time32", "time64", "decimal32", "decimal64", "decimal128", "decimal256"})
_NOTHING: Final = pa.py_buffer(bytes(64))
_Buffers = Sequence[pa.Buffer | None]


def admit_type(data_type: pa.DataType, column: str) -> pa.DataType:
    """Return the type that plugins see for a column of this type.

    Raises:
        DataFailure: `wrong-type` for a type that is not on the list.
    """
    seen = reduced(data_type)
    if refusal(seen):
        raise wrong_type(column, "a type that plugins can use", type_name(data_type), remedy=OTHER_TYPE)
    return seen


def build(
    data_type: pa.DataType,
    rows: int,
    buffers: _Buffers,
    children: Sequence[pa.Array] = (),
    dictionary: pa.Array | None = None,
) -> pa.Array:
    """Make an array from untrusted buffers.

    Args:
        data_type: A type on the list.
        rows: The number of rows that the array claims to have.
        buffers: In the order of Arrow's format, the validity first; `None` for an empty buffer. They must not change.
        children: Child arrays, made by this function.
        dictionary: The values of a dictionary, made by this function.

    Raises:
        DataFailure: `malformed`.
    """
    name = kind(data_type)
    if not 0 <= rows <= MAX_ROWS:
        raise malformed(f"an array of {rows} rows")
    if name == "null":
        return pa.Array.from_buffers(data_type, rows, [None])  # `pa.nulls` takes seconds for many
    _check_level(data_type, rows, 0, buffers, [len(child) for child in children])
    if dictionary is not None:
        indices = build(data_type.index_type, rows, buffers)
        return _dictionary(data_type, _within(indices, dictionary), dictionary)
    filled = [buffers[0], *map(_filled, buffers[1:])]
    array = pa.Array.from_buffers(data_type, rows, filled, children=list(children) or None)
    _check_content(array, name)
    return array


def admit(array: pa.Array, column: str) -> pa.Array:
    """Check an array that was made elsewhere; return it as plugins see it.

    Raises:
        DataFailure: `wrong-type` for a type that is not on the list, `malformed` for invalid contents.
    """
    seen = admit_type(array.type, column)
    try:
        array.validate()
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise malformed(f"column {column!r}: {error}") from error
    while isinstance(array, pa.ExtensionArray):
        array = array.storage
    if array.type != seen:
        array = _unviewed(array, seen, column)
    if len(array) == 0 and kind(array.type) in _LISTS | _VARIABLE and not _has_offsets(array):
        return pa.nulls(0, array.type)
    if pa.types.is_dictionary(array.type):
        indices = _check_dictionary(array)
        return array if indices is None else _dictionary(array.type, indices, array.dictionary)
    _check(array)
    return array


def _check(array: pa.Array) -> None:
    """Check all levels of an array whose type is on the list, and that passed Arrow's own basic validation."""
    current().check_time()
    name = kind(array.type)
    if name == "null":
        return
    if name == "dictionary":
        _check_dictionary(array)
        return
    children, lengths = _children(array, name)
    if name in _LISTS or name in _VARIABLE:
        _require(_has_offsets(array), name, "there are no offsets")
    first, last = _check_level(array.type, len(array), array.offset, array.buffers(), lengths)
    _check_nulls(array)
    _check_content(array, name)
    for child in children:
        _check(child if name == "struct" else child.slice(first, last - first))


def _check_dictionary(array: pa.DictionaryArray) -> pa.Array | None:
    """Check a dictionary with its indices; return corrected indices if they must be replaced, otherwise `None`."""
    _check(array.dictionary)
    indices = array.indices
    _check_level(array.type, len(indices), indices.offset, indices.buffers(), [])
    _check_nulls(indices)
    within = _within(indices, array.dictionary)
    return None if within is indices else within


def _children(array: pa.Array, name: str) -> tuple[list[pa.Array], list[int]]:
    """Return the children of an array (those of a struct cut to its rows), and the allowed length of each."""
    if name == "struct":
        children = [array.field(position) for position in range(array.type.num_fields)]
        return children, [array.offset + len(child) for child in children]
    if name == "map":
        children = [array.keys, array.items]
    elif name in ("list", "large_list", "fixed_size_list"):
        children = [array.values]
    else:
        return [], []
    return children, [len(child) for child in children]


def _check_level(
    data_type: pa.DataType, rows: int, start: int, buffers: _Buffers, child_lengths: Sequence[int]
) -> tuple[int, int]:
    """Check one level without its children; return the range of child items that it uses, as start and end."""
    name = kind(data_type)
    end = start + rows
    _require(buffers[0] is None or buffers[0].size * 8 >= end, name, "the validity is too short")
    if name == "struct":
        _require(all(length >= end for length in child_lengths), name, "a field has too few rows")
        return start, end
    if name == "fixed_size_list":
        size = int(data_type.list_size)
        _require(child_lengths[0] >= end * size, name, "there are too few items")
        return start * size, end * size
    if name in _LISTS:
        offsets = _offsets(buffers[1], rows, start, name)
        first, last = _ascending(offsets, name)
        _require(all(length >= last for length in child_lengths), name, "an offset points past the items")
        return first, last
    if name in _VARIABLE:
        offsets = _offsets(buffers[1], rows, start, name)
        first, last = _ascending(offsets, name)
        data = _NOTHING.slice(0, 0) if buffers[2] is None else buffers[2]
        _require(data.size >= last, name, "an offset points past the bytes")
        if name in _TEXTS:
            _check_text(offsets, first, last, data, buffers[0], start)
        return first, last
    if name == "bool":
        needed = (end + 7) // 8
    elif name == "dictionary":
        needed = end * (int(data_type.index_type.bit_width) // 8)
    elif name == "fixed_size_binary":
        needed = end * int(data_type.byte_width)
    else:
        needed = end * (int(data_type.bit_width) // 8)
    _require((0 if buffers[1] is None else buffers[1].size) >= needed, name, "there are too few bytes for its rows")
    return start, end


def _require(condition: bool, name: str, what: str) -> None:
    if not condition:
        raise malformed(f"not a sound array of {name}: {what}")


def _filled(buffer: pa.Buffer | None) -> pa.Buffer:
    """Zeros in place of nothing: Arrow reads the first offset even if there are no rows."""
    return _NOTHING if buffer is None or buffer.size == 0 else buffer


def _has_offsets(array: pa.Array) -> bool:
    buffer = array.buffers()[1]
    return buffer is not None and buffer.size > 0


def _offsets(buffer: pa.Buffer | None, rows: int, start: int, name: str) -> npt.NDArray[Any]:
    """View offsets; if there are no rows, the buffer may be missing."""
    dtype: Any = np.int64 if name in _WIDE_OFFSETS else np.int32
    if buffer is None or buffer.size == 0:
        _require(rows == 0, name, "there are no offsets")
        return np.zeros(1, dtype)
    width = np.dtype(dtype).itemsize
    _require(buffer.size >= (start + rows + 1) * width, name, "there are too few offsets")
    return np.frombuffer(buffer, dtype, rows + 1, start * width)


def _ascending(offsets: npt.NDArray[Any], name: str) -> tuple[int, int]:
    first, last = int(offsets[0]), int(offsets[-1])
    _require(first >= 0, name, "an offset is negative")
    _require(bool((offsets[1:] >= offsets[:-1]).all()), name, "the offsets do not ascend")
    return first, last


def _check_text(
    offsets: npt.NDArray[Any], first: int, last: int, data: pa.Buffer, bitmap: pa.Buffer | None, start: int
) -> None:
    """Check that each value is UTF-8; bytes behind a null do not count."""
    if first == last:
        return
    values = np.frombuffer(data, np.uint8, last - first, first)
    if int(values.max()) < 0x80:
        return
    whole = pa.Array.from_buffers(
        pa.large_string(), 1, [None, pa.py_buffer(np.array([first, last], np.int64)), data.slice(0, last)]
    )
    begins = offsets[(offsets > first) & (offsets < last)] - first
    if _is_valid(whole) and not ((values[begins] & 0xC0) == 0x80).any():
        return
    wide = offsets.dtype == np.int64
    rows = len(offsets) - 1
    each = pa.Array.from_buffers(
        pa.large_string() if wide else pa.string(),
        rows,
        [bitmap, pa.py_buffer(np.concatenate([np.zeros(start, offsets.dtype), offsets])), data],
        offset=start,
    )
    if not _is_valid(each):
        raise malformed("not a sound array of strings: a value is not UTF-8")


def _is_valid(array: pa.Array) -> bool:
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _check_nulls(array: pa.Array) -> None:
    """Check that the recorded number of nulls is correct."""
    if array.null_count == 0 and array.buffers()[0] is None:
        return
    bitmap = array.buffers()[0]
    _require(bitmap is not None, kind(array.type), "there are nulls without a validity")
    bits = pa.Array.from_buffers(pa.bool_(), len(array), [None, bitmap], offset=array.offset)
    _require(bits.false_count == array.null_count, kind(array.type), "the number of nulls is not the true one")


def _check_content(array: pa.Array, name: str) -> None:
    if name in _RANGED:
        try:
            array.validate(full=True)
        except pa.ArrowInvalid as error:
            raise malformed(f"not a sound array of {name}: {error}") from error
    elif name == "map" and array.keys.null_count:
        raise malformed("not a sound array of map: a key is null")


def _within(indices: pa.Array, dictionary: pa.Array) -> pa.Array:
    """Return indices that are all within a dictionary: the given ones, or a copy with 0 in null rows."""
    buffer = indices.buffers()[1]
    if buffer is None or len(indices) == 0:
        return indices
    dtype = indices.type.to_pandas_dtype()
    numbers = np.frombuffer(buffer, dtype, len(indices), indices.offset * np.dtype(dtype).itemsize)
    if int(numbers.min()) >= 0 and int(numbers.max()) < len(dictionary):
        return indices
    nulls = indices.is_null().to_numpy(zero_copy_only=False)
    _require(not (((numbers < 0) | (numbers >= len(dictionary))) & ~nulls).any(), "dictionary", "an index is too large")
    # Most of Arrow ignores the index of a null row, but some functions read it.
    return pa.array(np.where(nulls, dtype(0), numbers), indices.type, mask=nulls)


def _dictionary(data_type: pa.DataType, indices: pa.Array, dictionary: pa.Array) -> pa.Array:
    return pa.DictionaryArray.from_arrays(indices, dictionary, ordered=data_type.ordered, safe=False)


def _unviewed(array: pa.Array, seen: pa.DataType, column: str) -> pa.Array:
    """Write out a view of strings or bytes, after checking that each row is within a buffer."""
    buffers = array.buffers()
    needed = (array.offset + len(array)) * 16
    _require((buffers[1] is not None and buffers[1].size >= needed) or needed == 0, "view", "there are too few views")
    if len(array) == 0:
        return pa.array([], seen)
    _check_nulls(array)
    views = np.frombuffer(buffers[1], np.int32, len(array) * 4, array.offset * 16).reshape(-1, 4)
    lengths, numbers, places = views[:, 0], views[:, 2], views[:, 3].astype(np.int64)
    _require(bool((lengths >= 0).all()), "view", "a length is negative")
    apart = lengths > 12
    sizes = np.array([0 if each is None else each.size for each in buffers[2:]], np.int64)
    if apart.any():
        chosen = numbers[apart]
        inside = len(sizes) > 0 and bool(((chosen >= 0) & (chosen < len(sizes))).all())
        _require(inside, "view", "a view points to a buffer that is not there")
        ends = places[apart] + lengths[apart]
        within = bool(((places[apart] >= 0) & (ends <= sizes[chosen])).all())
        _require(within, "view", "a view points past its buffer")
    storage = pa.large_binary() if pa.types.is_large_binary(seen) else pa.large_string()
    try:
        return array.cast(pa.large_binary()).cast(storage)
    except pa.ArrowInvalid as error:
        raise malformed(f"column {column!r}: {error}") from error
