"""Remembers which columns of which batches were checked, so that a batch that goes from plugin to plugin is not again.

A batch never changes. It is known by its identity, and forgotten with it.
"""

from __future__ import annotations

import weakref
from typing import Final

import pyarrow as pa

__all__ = ["remember", "vetted_columns"]

_NONE: Final[frozenset[str]] = frozenset()
_known: Final[dict[int, tuple[weakref.ref[pa.RecordBatch], frozenset[str]]]] = {}


def vetted_columns(batch: pa.RecordBatch) -> frozenset[str]:
    """The names of the columns that were checked."""
    reference, names = _known.get(id(batch), (None, _NONE))
    return names if reference is not None and reference() is batch else _NONE


def remember(batch: pa.RecordBatch, columns: frozenset[str]) -> pa.RecordBatch:
    """Note that these columns of a batch were checked, all that have one of the names; return the batch."""
    key = id(batch)

    def forget(reference: weakref.ref[pa.RecordBatch]) -> None:
        # By then another batch may have been given the number.
        if (entry := _known.get(key)) is not None and entry[0] is reference:
            _known.pop(key, None)

    _known[key] = (weakref.ref(batch, forget), columns)
    return batch
