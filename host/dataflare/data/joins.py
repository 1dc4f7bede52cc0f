"""Joins arrays and batches as Arrow does, without its mistake about dictionaries of half floats.

Where Arrow makes one dictionary of several, it takes the bits of half floats for whole numbers: 0.5 becomes 14336.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pyarrow import types

from dataflare.data.guard.costs import holds

__all__ = ["join_arrays", "join_batches"]


def join_batches(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Join batches of one schema, at least one of them.

    Raises:
        pa.ArrowException: Arrow cannot join them.
    """
    schema = batches[0].schema
    if len(batches) == 1 or not any(holds(field.type, _is_half_dictionary) for field in schema):
        return pa.concat_batches(batches)
    columns = [join_arrays([batch.column(place) for batch in batches]) for place in range(len(schema))]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def join_arrays(arrays: Sequence[pa.Array]) -> pa.Array:
    """Join arrays of one type, at least one of them.

    Raises:
        pa.ArrowException: Arrow cannot join them.
    """
    kind = arrays[0].type
    if len(arrays) == 1 or not holds(kind, _is_half_dictionary):
        return pa.concat_arrays(arrays)
    if not types.is_dictionary(kind):
        raise pa.ArrowNotImplementedError(f"dictionaries of half floats within others cannot be joined: {kind}")
    joined = pa.concat_arrays([_with_values_as(array, pa.uint16()) for array in arrays])
    return _with_values_as(joined, pa.float16())


def _is_half_dictionary(data_type: pa.DataType) -> bool:
    return bool(types.is_dictionary(data_type) and types.is_float16(data_type.value_type))


def _with_values_as(array: pa.DictionaryArray, values: pa.DataType) -> pa.DictionaryArray:
    viewed, is_ordered = array.dictionary.view(values), array.type.ordered
    return pa.DictionaryArray.from_arrays(array.indices, viewed, ordered=is_ordered, safe=False)
