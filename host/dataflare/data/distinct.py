"""Columns as dictionaries of their distinct values.

Arrow finds them in one step that cannot be interrupted, and that takes ten times the memory of the values if all are
distinct. So parts of the rows are done first; their results bound the memory for all rows.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from dataflare.budgets import current

__all__ = ["dictionary_of"]

_ROWS_AT_ONCE: Final = 2**17
_VALUE_BYTES: Final = 256
"""Upper bound in bytes of Arrow's memory for each further value, including unused room in its hash tables."""
_VALUE_S: Final = 2e-7
"""Lower bound in seconds of the time for each further value."""


def dictionary_of(array: pa.Array) -> pa.DictionaryArray:
    """Encode plain values as 32-bit indices into their distinct values, in order of first appearance.

    Raises:
        OverHostBytes: There are so many distinct values that the current budget has no room to find them.
        OverTime: The call's time is not enough to find them.
    """
    if len(array) <= _ROWS_AT_ONCE:
        return array.dictionary_encode()
    if pa.types.is_float16(array.type):  # Arrow returns integers when it unifies them
        encoded = dictionary_of(array.view(pa.uint16()))
        return pa.DictionaryArray.from_arrays(encoded.indices, encoded.dictionary.view(pa.float16()))
    budget = current()
    parts: list[pa.DictionaryArray] = []
    values = 0
    for start in range(0, len(array), _ROWS_AT_ONCE):
        budget.check_time()
        part = array.slice(start, _ROWS_AT_ONCE).dictionary_encode()
        values += len(part.dictionary)
        budget.require(values * _VALUE_BYTES)
        budget.require_time(values * _VALUE_S)
        parts.append(part)
    return pa.chunked_array(parts).unify_dictionaries().combine_chunks()
