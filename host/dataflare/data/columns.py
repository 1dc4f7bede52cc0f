"""What views and builders share: finding a column, bitmaps in words, and how large Arrow data is once written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dataflare.data.shapes import no_such_column, other, out_of_range

__all__ = [
    "bitmap_to_words",
    "column_index",
    "empty_batch",
    "entries_of_map",
    "expanded_bytes",
    "find_column",
    "holds",
    "no_rows",
    "owned",
    "row_bytes",
    "words_to_bitmap",
]

_WIDEST_TEXT = 128


def column_index(batch: pa.RecordBatch, name: str) -> int:
    """Find a column's position.

    Raises:
        DataFailure: `no-such-column`, or `other` where several columns have the name.
    """
    indices = batch.schema.get_all_field_indices(name)
    if not indices:
        raise no_such_column(name)
    if len(indices) > 1:
        raise other(f"{len(indices)} columns are named {name!r}")
    return int(indices[0])


def find_column(batch: pa.RecordBatch, name: str) -> pa.Array:
    """Find a column; of an extension type, its storage."""
    array = batch.column(column_index(batch, name))
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def empty_batch(rows: int) -> pa.RecordBatch:
    """Make a batch of no columns: only a struct without fields can tell pyarrow how many rows it has."""
    return pa.RecordBatch.from_struct_array(pa.StructArray.from_buffers(pa.struct([]), rows, [None]))


def no_rows(schema: pa.Schema) -> pa.RecordBatch:
    """Make a batch of no rows."""
    if not schema:
        return empty_batch(0).replace_schema_metadata(schema.metadata)
    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)


def bitmap_to_words(bitmap: pa.Buffer, offset: int, length: int) -> npt.NDArray[np.uint64]:
    """Copy `length` bits from bit `offset` on into words, the bits past the last one 0."""
    words: npt.NDArray[np.uint64] = np.zeros((length + 63) // 64, np.uint64)
    if length == 0:
        return words
    out = words.view(np.uint8)
    first, shift = divmod(offset, 8)
    source = np.frombuffer(bitmap, np.uint8)[first : (offset + length + 7) // 8]
    size = (length + 7) // 8
    if shift == 0:
        out[:size] = source[:size]
    else:
        np.right_shift(source[:size], shift, out=out[:size])
        carry = source[1 : size + 1]
        out[: len(carry)] |= np.left_shift(carry, 8 - shift)
    if length % 64:
        words[-1] &= np.uint64((1 << (length % 64)) - 1)
    return words


def words_to_bitmap(words: npt.NDArray[np.uint64], length: int, what: str) -> pa.Buffer:
    """Take a bitmap of at least `length` bits from a guest.

    Raises:
        DataFailure: `out-of-range` where it is too short.
    """
    if len(words) * 64 < length:
        raise out_of_range(f"{what} has {len(words)} words, too few for {length} rows")
    return pa.py_buffer(owned(words, np.uint64))


def owned(values: Any, dtype: Any) -> npt.NDArray[Any]:
    """Return a contiguous array that nobody else can change: the same where that is certain, else a copy."""
    array = np.asarray(values, dtype)
    if (array.flags.owndata and array is values) or isinstance(array.base, bytes):
        return np.ascontiguousarray(array)
    return array.copy()


def entries_of_map(array: pa.MapArray) -> pa.ListArray:
    """See a map as the list of structs of `key` and `value` that it is."""
    kind = array.type
    return array.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))


def holds(data_type: pa.DataType, check: Callable[[pa.DataType], bool]) -> bool:
    """Whether the type, or one within it, is of a kind."""
    return check(data_type) or any(holds(data_type.field(i).type, check) for i in range(data_type.num_fields))


def row_bytes(data_type: pa.DataType) -> int:
    """Bound the bytes of one row that a conversion to this type makes of a number or a null; of a list, one item."""
    if isinstance(data_type, pa.DictionaryType):
        return 8 + row_bytes(data_type.value_type)
    if isinstance(data_type, pa.FixedSizeListType):
        return int(data_type.list_size) * row_bytes(data_type.value_type) + 1
    if data_type.num_fields:  # structs, lists and maps
        return 9 + sum(row_bytes(data_type.field(i).type) for i in range(data_type.num_fields))
    if isinstance(data_type, pa.FixedSizeBinaryType):
        return int(data_type.byte_width) + 1  # its bit_width overflows
    try:
        return int(data_type.bit_width) // 8 + 1
    except ValueError:
        return _WIDEST_TEXT


def expanded_bytes(array: pa.Array) -> int:
    """Bound the bytes of an array with every value written out: a dictionary, a view or a null is larger than it looks.

    At least 1 for each value at each level, so that nulls and structs without fields count too.
    """
    size = len(array)
    if isinstance(array, pa.ExtensionArray):
        return expanded_bytes(array.storage)
    if isinstance(array, pa.DictionaryArray):
        return size + _dictionary_bytes(array)
    if isinstance(array, pa.StructArray):
        return size + sum(expanded_bytes(array.field(i)) for i in range(array.type.num_fields))
    if isinstance(array, pa.MapArray):
        return expanded_bytes(entries_of_map(array))
    if isinstance(array, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        return size + expanded_bytes(array.flatten())
    if isinstance(array, pa.RunEndEncodedArray):
        return size * (1 + expanded_bytes(array.values))
    if isinstance(array, pa.StringViewArray | pa.BinaryViewArray):
        return size + int(_byte_lengths(array).sum())
    return size + int(array.nbytes)


def _dictionary_bytes(array: pa.DictionaryArray) -> int:
    values = array.dictionary
    indices = array.indices.drop_null()
    if len(values) == 0 or len(indices) == 0:
        return 0
    if _is_text_or_binary(values.type):
        return int(_byte_lengths(values)[indices.to_numpy(zero_copy_only=False)].sum())
    widest = row_bytes(values.type) if pa.types.is_primitive(values.type) else expanded_bytes(values)
    return len(indices) * widest


def _is_text_or_binary(data_type: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(data_type)
        or pa.types.is_large_string(data_type)
        or pa.types.is_string_view(data_type)
        or pa.types.is_binary(data_type)
        or pa.types.is_large_binary(data_type)
        or pa.types.is_binary_view(data_type)
    )


def _byte_lengths(array: pa.Array) -> npt.NDArray[np.int64]:
    if isinstance(array, pa.StringViewArray | pa.BinaryViewArray):
        # A view is 16 bytes, of which the first four are the length.
        views = np.frombuffer(array.buffers()[1] or b"", np.int32).reshape(-1, 4)
        return views[array.offset : array.offset + len(array), 0].astype(np.int64)
    return np.asarray(pc.binary_length(array).cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False))
