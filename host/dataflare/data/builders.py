"""Batches from other batches: add, replace, convert and select columns, select and join rows.

Values come from a plugin and are checked in full. Every function returns a new batch, which shares unchanged columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import types

from dataflare.budgets import current
from dataflare.data.casts import cast
from dataflare.data.columns import column_index, empty_batch, find_column, owned, words_to_bitmap
from dataflare.data.guard.arrays import MAX_ROWS, build
from dataflare.data.guard.batches import all_columns
from dataflare.data.guard.costs import ARRAY_BYTES, batch_row_sizes, require
from dataflare.data.guard.types import MAX_COLUMNS
from dataflare.data.joins import join_arrays
from dataflare.data.schemas import SchemaError, metadata_from_wit, parse_type
from dataflare.data.shapes import DataFailure, malformed, other, out_of_range, too_large, wrong_type
from dataflare.data.views import is_int64_like
from dataflare.texts import first_repeated

__all__ = [
    "cast_column",
    "concat",
    "filter_rows",
    "keep_rows",
    "put_column",
    "rename_column",
    "select",
    "slice_rows",
    "with_binary",
    "with_boolean",
    "with_float64",
    "with_int64",
    "with_metadata",
    "with_text",
]

_AT_ONCE_BYTES: Final = 64 * 2**20
"""The largest batch whose rows are selected at once: Arrow then reads the mask once, not for each column."""

_EXTENSION_KEYS = (b"ARROW:extension:name", b"ARROW:extension:metadata")
_MAX_STRING_BYTES = 2**31 - 1


def with_int64(
    batch: pa.RecordBatch, column: str, values: npt.NDArray[np.int64], validity: npt.NDArray[np.uint64] | None
) -> pa.RecordBatch:
    """Add or replace a column of integers; a replaced column keeps its type if its values are stored as integers."""
    bitmap = _check(batch, column, len(values), validity)
    buffers = [bitmap, pa.py_buffer(owned(values, np.int64))]
    array = pa.Array.from_buffers(pa.int64(), len(values), buffers)
    kept = _type_to_keep(batch, column)
    if kept is not None and is_int64_like(kept) and not types.is_int64(kept):
        try:
            if types.is_integer(kept):
                array = array.cast(kept)
            else:
                array = (array.cast(pa.int32()) if kept.bit_width == 32 else array).view(kept)
            array.validate(full=True)  # times within a day, dates on whole days
        except pa.ArrowInvalid as error:
            raise out_of_range(f"column {column!r}: {error}") from error
    return put_column(batch, column, array)


def with_float64(
    batch: pa.RecordBatch, column: str, values: npt.NDArray[np.float64], validity: npt.NDArray[np.uint64] | None
) -> pa.RecordBatch:
    """Add or replace a column of doubles; a replaced column keeps its type if that is floating-point."""
    bitmap = _check(batch, column, len(values), validity)
    kept = _type_to_keep(batch, column)
    target = kept if kept is not None and types.is_floating(kept) else pa.float64()
    numbers = owned(values, np.float64)
    if not types.is_float64(target):
        with np.errstate(over="ignore"):
            narrowed = numbers.astype(target.to_pandas_dtype())
        overflown = np.isinf(narrowed) & np.isfinite(numbers)
        if bitmap is not None:
            bits = np.frombuffer(bitmap, np.uint8)
            overflown &= np.unpackbits(bits, count=len(numbers), bitorder="little").view(np.bool_)
        if overflown.any():
            row = int(overflown.argmax())
            raise out_of_range(f"column {column!r}, row {row}: {numbers[row]!r} does not fit {target}")
        numbers = narrowed
    return put_column(batch, column, pa.Array.from_buffers(target, len(values), [bitmap, pa.py_buffer(numbers)]))


def with_boolean(
    batch: pa.RecordBatch, column: str, values: npt.NDArray[np.bool_], validity: npt.NDArray[np.uint64] | None
) -> pa.RecordBatch:
    """Add or replace a column of booleans."""
    bitmap = _check(batch, column, len(values), validity)
    bits = pa.py_buffer(np.packbits(np.asarray(values, np.bool_), bitorder="little"))
    return put_column(batch, column, pa.Array.from_buffers(pa.bool_(), len(values), [bitmap, bits]))


def with_text(
    batch: pa.RecordBatch, column: str, values: Any, validity: npt.NDArray[np.uint64] | None
) -> pa.RecordBatch:
    """Add or replace a column of strings; `values.text` is UTF-8 as bytes."""
    return _with_variable(batch, column, pa.string(), values.offsets, values.text, validity)


def with_binary(
    batch: pa.RecordBatch, column: str, values: Any, validity: npt.NDArray[np.uint64] | None
) -> pa.RecordBatch:
    """Add or replace a column of byte strings."""
    return _with_variable(batch, column, pa.binary(), values.offsets, values.data, validity)


def put_column(batch: pa.RecordBatch, column: str, array: pa.Array) -> pa.RecordBatch:
    """Add a column, or replace the one of this name and keep its metadata; with a null, the column becomes nullable."""
    indices = batch.schema.get_all_field_indices(column)
    if not indices:
        if batch.num_columns >= MAX_COLUMNS:
            raise too_large(f"a batch has at most {MAX_COLUMNS} columns")
        return batch.append_column(pa.field(column, array.type), array)
    index = column_index(batch, column)
    old = batch.schema.field(index)
    metadata = dict(old.metadata or {})
    for key in _EXTENSION_KEYS:  # they describe a type that is gone
        metadata.pop(key, None)
    nullable = old.nullable or array.null_count > 0 or types.is_null(array.type)
    return batch.set_column(index, pa.field(column, array.type, nullable=nullable, metadata=metadata or None), array)


def cast_column(batch: pa.RecordBatch, column: str, type_name: str, max_bytes: int) -> pa.RecordBatch:
    """Convert one column to the type of this name, in Arrow's notation.

    Raises:
        DataFailure: `malformed` if a value cannot be converted or the name is not a type; `wrong-type` if there is no
            conversion between the types; `too-large` if the result could be larger than `max_bytes` and than its
            source.
    """
    try:
        target = parse_type(type_name)
    except SchemaError as error:
        raise malformed(error.message) from error
    return put_column(batch, column, cast(find_column(batch, column), target, column, max_bytes))


def select(batch: pa.RecordBatch, columns: Sequence[str]) -> pa.RecordBatch:
    """Select columns, in this order.

    Raises:
        DataFailure: `no-such-column`; `out-of-range` if a name is repeated.
    """
    if (twice := first_repeated(columns)) is not None:
        raise out_of_range(f"column {twice[:80]!r} is selected twice, and names are unique within a batch")
    return batch.select([column_index(batch, column) for column in columns])


def rename_column(batch: pa.RecordBatch, column: str, to: str) -> pa.RecordBatch:
    """Rename a column.

    Raises:
        DataFailure: `no-such-column`; `out-of-range` if another column has the new name.
    """
    index = column_index(batch, column)
    if to != column and batch.schema.get_all_field_indices(to):
        raise out_of_range(f"the name {to!r} is taken")
    schema = batch.schema.set(index, batch.schema.field(index).with_name(to))
    return pa.RecordBatch.from_arrays(all_columns(batch), schema=schema)


def with_metadata(batch: pa.RecordBatch, column: str, metadata: Sequence[tuple[str, str]]) -> pa.RecordBatch:
    """Replace the metadata of a column.

    Raises:
        DataFailure: `no-such-column`; `malformed` for a key that occurs twice, or more pairs than a schema can have.
    """
    index = column_index(batch, column)
    try:
        pairs = metadata_from_wit(metadata, f"column {column[:100]!r}")
    except SchemaError as error:
        raise malformed(error.message) from error
    field = batch.schema.field(index).with_metadata(pairs)
    return pa.RecordBatch.from_arrays(all_columns(batch), schema=batch.schema.set(index, field))


def filter_rows(batch: pa.RecordBatch, mask: npt.NDArray[np.uint64]) -> pa.RecordBatch:
    """Keep the rows whose bit is 1.

    Raises:
        DataFailure: `out-of-range` if the mask is too short.
    """
    bitmap = words_to_bitmap(mask, batch.num_rows, "the mask")
    return keep_rows(batch, pa.Array.from_buffers(pa.bool_(), batch.num_rows, [None, bitmap]))


def keep_rows(batch: pa.RecordBatch, rows: pa.BooleanArray) -> pa.RecordBatch:
    """Keep the rows for which `rows` is true; for a large batch, check the deadline before each column.

    Raises:
        DataFailure: `other` if Arrow cannot select them.
    """
    if batch.num_columns == 0:
        return empty_batch(rows.true_count).replace_schema_metadata(batch.schema.metadata)
    if batch.nbytes > current().room():
        kept = np.asarray(rows.fill_null(False))
        current().require(int(batch_row_sizes(batch)[kept].sum()))
    try:
        if batch.nbytes <= _AT_ONCE_BYTES:
            current().check_time()
            return batch.filter(rows)
        return pa.RecordBatch.from_arrays([_filter(column, rows) for column in batch.columns], schema=batch.schema)
    except pa.ArrowException as error:
        raise other(str(error)) from error


def slice_rows(batch: pa.RecordBatch, offset: int, length: int) -> pa.RecordBatch:
    """Return `length` rows, beginning at row `offset`.

    Raises:
        DataFailure: `out-of-range` if the batch has fewer rows.
    """
    if offset + length > batch.num_rows:
        raise out_of_range(f"rows {offset} to {offset + length} of {batch.num_rows}")
    return batch.slice(offset, length)


def concat(parts: Sequence[pa.RecordBatch], max_bytes: int) -> pa.RecordBatch:
    """Join batches of one schema; the result has the metadata of the first.

    Raises:
        DataFailure: `out-of-range` if there is no batch, `wrong-type` if the schemas differ, `too-large` if the result
            would be larger than `max_bytes`.
    """
    if not parts:
        raise out_of_range("the list of batches is empty")
    schema = parts[0].schema
    for part in parts[1:]:
        current().check_time()
        if not part.schema.equals(schema):
            _refuse_schema(schema, part.schema)
    if len(parts) == 1:
        return parts[0]
    rows = sum(part.num_rows for part in parts)
    if rows > MAX_ROWS:
        raise too_large(f"{rows} rows are more than 2^32 - 1")
    if not schema:
        return empty_batch(rows).replace_schema_metadata(schema.metadata)
    require(sum(map(_bytes, parts)) + len(schema) * ARRAY_BYTES, "the batches together", max_bytes)
    try:
        columns = [_concat([part.column(i) for part in parts]) for i in range(len(schema))]
    except (pa.ArrowException, ValueError) as error:
        raise too_large(f"the batches cannot be one: {error}") from error
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _bytes(batch: pa.RecordBatch) -> int:
    current().check_time()
    return int(batch.nbytes)


def _filter(column: pa.Array, rows: pa.BooleanArray) -> pa.Array:
    current().check_time()
    return column.filter(rows)


def _concat(columns: Sequence[pa.Array]) -> pa.Array:
    current().check_time()
    return join_arrays(columns)


def _refuse_schema(expected: pa.Schema, actual: pa.Schema) -> None:
    for ours, theirs in zip(expected, actual, strict=False):
        if not ours.equals(theirs):
            raise wrong_type(theirs.name, str(ours), str(theirs))
    raise wrong_type("", f"{len(expected)} columns", f"{len(actual)} columns")


def _type_to_keep(batch: pa.RecordBatch, column: str) -> pa.DataType | None:
    if not batch.schema.get_all_field_indices(column):
        return None
    return find_column(batch, column).type


def _check(
    batch: pa.RecordBatch, column: str, length: int, validity: npt.NDArray[np.uint64] | None
) -> pa.Buffer | None:
    if length != batch.num_rows:
        raise out_of_range(f"column {column!r} has {length} values for {batch.num_rows} rows")
    return None if validity is None else words_to_bitmap(validity, length, "the validity")


def _with_variable(
    batch: pa.RecordBatch,
    column: str,
    data_type: pa.DataType,
    given_offsets: Any,
    data: Any,
    validity: npt.NDArray[np.uint64] | None,
) -> pa.RecordBatch:
    bitmap = _check(batch, column, len(given_offsets) - 1, validity)
    content = data if isinstance(data, pa.Buffer) else pa.py_buffer(data if isinstance(data, bytes) else bytes(data))
    if content.size > _MAX_STRING_BYTES:
        raise too_large(f"column {column!r} has {content.size} bytes, more than a column of {data_type} holds")
    offsets = owned(given_offsets, np.uint32)
    if offsets[0] != 0:
        raise malformed(f"column {column!r}: the offsets begin with {offsets[0]}, not 0")
    if offsets[-1] != content.size:
        raise malformed(f"column {column!r}: the offsets end with {offsets[-1]}, and there are {content.size} bytes")
    try:
        # Checks that offsets ascend, and that no string begins or ends within a character.
        array = build(data_type, len(offsets) - 1, [bitmap, pa.py_buffer(offsets), content])
    except DataFailure as error:
        raise malformed(f"column {column!r}: {error.message}") from error
    return put_column(batch, column, array)
