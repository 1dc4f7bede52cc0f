"""Compares the columns of rows with the announced columns."""

from __future__ import annotations

import pyarrow as pa

from dataflare.data.guard.batches import all_columns
from dataflare.data.guard.vetted import remember, vetted_columns
from dataflare.data.schemas import SchemaError, from_wit, to_wit
from dataflare.texts import cut, cut_name

__all__ = ["as_schema", "columns_text", "fits_schema", "same_columns"]


def same_columns(one: pa.Schema, other: pa.Schema) -> bool:
    """Whether two schemas have the same columns: names, types and nullability, in order; metadata are ignored.

    Types are compared in their WIT form: an extension type counts as its storage.
    """
    if one.equals(other):
        return True
    try:
        return bool(from_wit(to_wit(one)).equals(from_wit(to_wit(other))))
    except SchemaError:
        return False


def fits_schema(rows: pa.RecordBatch, schema: pa.Schema) -> bool:
    """Whether rows have the columns of a schema: its names and types, in order, and nulls only where it allows them."""
    if same_columns(rows.schema, schema):
        return True
    if any(not field.nullable and column.null_count for field, column in zip(schema, all_columns(rows), strict=False)):
        return False
    return same_columns(_nullable(rows.schema), _nullable(schema))


def as_schema(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return rows that fit a schema with the schema's nullability and metadata."""
    if rows.schema.equals(schema, check_metadata=True):
        return rows
    # A plugin's schema has the storage for an extension type.
    fields = [field.with_type(column.type) for field, column in zip(schema, all_columns(rows), strict=True)]
    made = pa.RecordBatch.from_arrays(all_columns(rows), schema=pa.schema(fields, metadata=schema.metadata))
    return remember(made, vetted_columns(rows))


def _nullable(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field.with_nullable(True) for field in schema])


def columns_text(schema: pa.Schema) -> str:
    """Write a schema's columns on one line."""
    return cut(", ".join(f"{cut_name(f.name)}: {f.type}{'' if f.nullable else ' not null'}" for f in schema))
