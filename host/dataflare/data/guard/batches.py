"""Checks of batches from elsewhere: from a file that Arrow has read, or from an embedding program."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from dataflare.data.guard.arrays import admit, admit_type
from dataflare.data.guard.types import FEWER_COLUMNS, MAX_COLUMNS, OTHER_NAME, note_of
from dataflare.data.guard.vetted import remember
from dataflare.data.shapes import malformed, too_large
from dataflare.texts import first_repeated

__all__ = ["admit_batch", "admit_columns", "admit_schema", "all_columns"]


def admit_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Check a batch in full; return it as plugins see it.

    Columns of extension types become their storage, with the extension's name and parameters in the field's metadata.
    Views of strings and bytes are written out.

    Raises:
        DataFailure: `wrong-type` for a type that is not on the list, `malformed` for invalid contents, `too-large` for
            too many columns.
    """
    _check_names(batch.schema)
    admitted = admit_columns(batch, range(batch.num_columns))
    return remember(admitted, frozenset(admitted.schema.names))


def admit_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema that `admit_batch` gives batches of this schema; raises the same errors."""
    _check_names(schema)
    return pa.schema([_field(field) for field in schema], metadata=schema.metadata)


def admit_columns(batch: pa.RecordBatch, indices: Sequence[int]) -> pa.RecordBatch:
    """Check some columns of a batch; return it with these columns as plugins see them. Raises the same errors."""
    for index in indices:
        field = batch.schema.field(index)
        admit_type(field.type, field.name)  # before reading the column: pyarrow has no arrays of some types
        column = batch.column(index)
        admitted = admit(column, field.name)
        if admitted is not column:
            batch = batch.set_column(index, _field(field), admitted)
    return batch


def all_columns(batch: pa.RecordBatch) -> list[pa.Array]:
    """Return the columns of a batch, which may have types that plugins cannot use.

    Raises:
        DataFailure: `wrong-type` for a type for which pyarrow has no arrays, such as months.
    """
    try:
        columns: list[pa.Array] = batch.columns
    except KeyError:
        for field in batch.schema:
            admit_type(field.type, field.name)
        raise
    return columns


def _check_names(schema: pa.Schema) -> None:
    if len(schema) > MAX_COLUMNS:
        raise too_large(f"{len(schema)} columns are more than {MAX_COLUMNS}", FEWER_COLUMNS)
    try:
        names = schema.names
    except UnicodeDecodeError as error:
        raise malformed("the name of a column is not UTF-8") from error
    if (twice := first_repeated(names)) is not None:
        raise malformed(f"two columns are named {twice[:80]!r}, and names are unique within a batch", OTHER_NAME)


def _field(field: pa.Field) -> pa.Field:
    seen = admit_type(field.type, field.name)
    if not isinstance(field.type, pa.BaseExtensionType):
        return field.with_type(seen)
    return field.with_type(seen).with_metadata(note_of(field))
