"""Remembers which columns of which batches were checked, so that nothing is checked again from plugin to plugin.

A batch never changes. It is identified by its object identity, and its entry is removed with it.
"""

from __future__ import annotations

import weakref
from typing import Final

import pyarrow as pa

__all__ = ["remember", "vetted_columns"]

_NONE: Final[frozenset[str]] = frozenset()
_known: Final[dict[int, tuple[weakref.ref[pa.RecordBatch], frozenset[str]]]] = {}


def vetted_columns(batch: pa.RecordBatch) -> frozenset[str]:
    """Return the names of the columns that were checked."""
    reference, names = _known.get(id(batch), (None, _NONE))
    return names if reference is not None and reference() is batch else _NONE


def remember(batch: pa.RecordBatch, columns: frozenset[str]) -> pa.RecordBatch:
    """Record that all columns of a batch with these names were checked; return the batch."""
    key = id(batch)

    def forget(reference: weakref.ref[pa.RecordBatch]) -> None:
        # By then another batch may have the same identity.
        if (entry := _known.get(key)) is not None and entry[0] is reference:
            _known.pop(key, None)

    _known[key] = (weakref.ref(batch, forget), columns)
    return batch
