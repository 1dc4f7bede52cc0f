"""Functions for both views and builders: find a column, convert bitmaps to words and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dataflare.data.shapes import no_such_column, other, out_of_range

__all__ = [
    "bitmap_to_words",
    "column_index",
    "empty_batch",
    "entries_of_map",
    "find_column",
    "no_rows",
    "owned",
    "row_values",
    "words_to_bitmap",
]


def column_index(batch: pa.RecordBatch, name: str) -> int:
    """Find a column's position.

    Raises:
        DataFailure: `no-such-column`, or `other` if several columns have the name.
    """
    indices = batch.schema.get_all_field_indices(name)
    if not indices:
        raise no_such_column(name)
    if len(indices) > 1:
        raise other(f"{len(indices)} columns are named {name!r}")
    return int(indices[0])


def find_column(batch: pa.RecordBatch, name: str) -> pa.Array:
    """Find a column; for an extension type, return its storage."""
    array = batch.column(column_index(batch, name))
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def empty_batch(rows: int) -> pa.RecordBatch:
    """Make a batch without columns: pyarrow can take the number of rows only from a struct without fields."""
    return pa.RecordBatch.from_struct_array(pa.StructArray.from_buffers(pa.struct([]), rows, [None]))


def no_rows(schema: pa.Schema) -> pa.RecordBatch:
    """Make a batch without rows."""
    if not schema:
        return empty_batch(0).replace_schema_metadata(schema.metadata)
    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)


def row_values(rows: pa.RecordBatch) -> pa.StructArray:
    """Convert a batch to one struct column with its rows as values."""
    return pa.StructArray.from_arrays(rows.columns, fields=list(rows.schema))


def bitmap_to_words(bitmap: pa.Buffer, offset: int, length: int) -> npt.NDArray[np.uint64]:
    """Copy `length` bits, beginning at bit `offset`, into 64-bit words; the remaining bits are 0."""
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
    """Copy a bitmap of at least `length` bits from a guest; `what` names it in the message.

    Raises:
        DataFailure: `out-of-range` if it is too short.
    """
    if len(words) * 64 < length:
        raise out_of_range(f"{what} has {len(words)} words, too few for {length} rows")
    return pa.py_buffer(owned(words, np.uint64))


def owned(values: Any, dtype: Any) -> npt.NDArray[Any]:
    """Return a contiguous array that nobody else can change: the same array if that is certain, otherwise a copy."""
    array = np.asarray(values, dtype)
    if (array.flags.owndata and array is values) or isinstance(array.base, bytes):
        return np.ascontiguousarray(array)
    return array.copy()


def entries_of_map(array: pa.MapArray) -> pa.ListArray:
    """View a map as a list of structs with `key` and `value`."""
    kind = array.type
    fields = [pa.field("key", kind.key_type), pa.field("value", kind.item_type)]
    if len(array) == 0:
        return pa.array([], pa.list_(pa.struct(fields)))
    # Arrow's cast makes an invalid array of a part of a map whose values hold nulls alone.
    ends = array.offsets.to_numpy()
    pairs = array.values.slice(int(ends[0]), int(ends[-1] - ends[0]))
    entries = pa.StructArray.from_arrays([pairs.field(0), pairs.field(1)], fields=fields)
    mask = array.is_null() if array.null_count else None
    return pa.ListArray.from_arrays(pa.array(ends - ends[0]), entries, mask=mask)
