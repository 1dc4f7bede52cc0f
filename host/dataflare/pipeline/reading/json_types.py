"""Types of columns of JSON, as they become known part by part."""

from __future__ import annotations

import pyarrow as pa
from pyarrow import types

__all__ = ["merged_types", "with_text"]


def with_text(data_type: pa.DataType) -> pa.DataType:
    """Take what was only null so far for text, which it may be later."""
    if types.is_null(data_type):
        return pa.string()
    if types.is_list(data_type):
        return pa.list_(with_text(data_type.value_type))
    if types.is_struct(data_type):
        return pa.struct([pa.field(field.name, with_text(field.type)) for field in data_type])
    return data_type


def merged_types(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type that keeps the values of two.

    Raises:
        ValueError: There is none.
    """
    if one.equals(other) or types.is_null(other):
        return one
    if types.is_null(one):
        return other
    kinds = {str(one), str(other)}
    if kinds == {"int64", "double"}:
        return pa.float64()
    if types.is_list(one) and types.is_list(other):
        return pa.list_(merged_types(one.value_type, other.value_type))
    if types.is_struct(one) and types.is_struct(other):
        fields = {field.name: field.type for field in one}
        for field in other:
            fields[field.name] = merged_types(fields[field.name], field.type) if field.name in fields else field.type
        return pa.struct(list(fields.items()))
    raise ValueError(f"{one} before, and {other}")
