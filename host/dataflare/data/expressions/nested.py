"""Functions that reach into lists and structs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataflare.data.expressions.function import Function, arrow, as_array, integer, own, signatures, text
from dataflare.data.expressions.types import LIST, STRUCT

__all__ = ["FUNCTIONS"]


def _struct_field(arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
    value, name = arguments[0], options["name"]
    if pa.types.is_null(value.type):
        return value
    if len(value.type.get_all_field_indices(name)) != 1:
        raise ValueError(f"the struct has no field {name!r}")
    return pc.struct_field(value, value.type.get_field_index(name))


def _list_element(arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Return the element at an index; null if a list is too short."""
    value, index = arguments[0], options["index"]
    array = as_array(value)
    lengths = np.asarray(pc.list_value_length(array).cast(pa.int64()).fill_null(0))
    offsets = np.asarray(array.offsets.cast(pa.int64()))[:-1]
    at = pa.array(offsets + index, pa.int64(), mask=lengths <= index)
    result = array.values.take(at)
    return result[0] if isinstance(value, pa.Scalar) else result


FUNCTIONS: Final[tuple[Function, ...]] = (
    own(
        "struct_field",
        "A field of a struct",
        signatures((STRUCT,)),
        (({"a": 1},), 1),
        _struct_field,
        given={"name": "a"},
        options=(text("name", "the field's name", 1000, required=True),),
        errors="the struct has no such field",
    ),
    arrow("list_value_length", "The number of a list's elements", signatures((LIST,)), (([1, 2],), 2)),
    own(
        "list_element",
        "The element of a list at `index`",
        signatures((LIST,)),
        (([1, 2],), 2),
        _list_element,
        given={"index": 1},
        options=(integer("index", "the element's place, from 0", 0, 2**31 - 1, required=True),),
        nulls="null where the list is, or is too short",
    ),
)
