"""Columns as dictionaries of their different values.

Arrow finds them in one step that nothing interrupts, and that takes ten times the memory of the values where all are
different. So it is done for parts of the rows first: what the parts find bounds what all of them take together.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from dataflare.budgets import current

__all__ = ["dictionary_of"]

_ROWS_AT_ONCE: Final = 2**17
_VALUE_BYTES: Final = 256
"""What Arrow takes at most to find one more value, its tables of hashes growing by half too much."""
_VALUE_S: Final = 2e-7
"""The least that one more value takes, in seconds."""


def dictionary_of(array: pa.Array) -> pa.DictionaryArray:
    """Encode plain values as indices of 32 bits into their different values, in the order in which these appear.

    Raises:
        OverHostBytes: There are so many different values that the current budget has no room to find them.
        OverTime: They would not be found within the call's time.
    """
    if len(array) <= _ROWS_AT_ONCE:
        return array.dictionary_encode()
    if pa.types.is_float16(array.type):  # Arrow leaves them integers when it unifies
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
