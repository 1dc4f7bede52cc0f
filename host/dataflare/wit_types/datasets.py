# Written by `dataflare bindgen`. Write it anew rather than change it.
"""`dataflare:plugin/datasets@1.0.0`.

Datasets: what sources read and destinations write. A dataset is a table, a file, a
topic or a collection.

A column has its roles as metadata of its field (`schemas.field.metadata`). They
travel with the batch through every plugin:
- `dataflare.key`: the column is part of the key, which identifies a row. The value
  is its position in the key, from `0`.
- `dataflare.role` = `cursor`: rows are read in ascending order of this column.
- `dataflare.role` = `operation`: the column says what happened to the row, as an
  `int8`: 0 insert, 1 update, 2 delete. Null means insert.

A schema has at most one cursor column and at most one operation column. Other values
of `dataflare.key` and `dataflare.role` are not valid. Other metadata belongs to the
plugin.

Rows with an operation:
- An insert or an update has the values of all columns; there are no partial updates
  and no values from before the update.
- A delete needs values in the key columns only. In the other columns it has nulls,
  so these columns are nullable.
- An update that changes the key is a delete of the old key and an insert of the new
  one, in one transaction.
- A row with any other number is not valid. In the mode `merge` the destination
  rejects it, and names the operation column.

Since version 1.0.0.
"""

from __future__ import annotations

import collections.abc as _abc
import dataclasses as _dataclasses
import typing as _t

from dataflare import values as _df

from . import schemas as _schemas

__all__ = ["Dataset", "DatasetName", "ReadingMode", "ReadingModes", "WritingMode"]


@_dataclasses.dataclass(frozen=True, slots=True)
class DatasetName:
    """The name of a dataset, unique within a plugin and its configuration.

    Since version 1.0.0.
    """

    namespace: str
    """Where the dataset lives, such as a database schema; empty if the plugin has
    nothing of this kind.
    """
    name: str
    """The name within the namespace; not empty."""


ReadingModes: _t.TypeAlias = frozenset[
    _t.Literal["full", "incremental", "changes", "unbounded", "splittable"],
]
"""The ways to read a dataset.

Since version 1.0.0.

- `full`: All rows, from the beginning.
- `incremental`: Rows that are new by a cursor column.
- `changes`: Inserts, updates and deletes, in the order in which they happened, each
  row with its operation.
- `unbounded`: A read in the modes `incremental` and `changes` does not end: it
  becomes idle when there are no more rows for now. A host that wants a read to end
  stops at the first `idle`.
- `splittable`: A read can be divided into parts, in at least one mode.
"""


@_dataclasses.dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset, as the source found it.

    Since version 1.0.0.
    """

    name: DatasetName
    """Its name."""
    description: str
    """One line that describes it; may be empty."""
    schema: _schemas.Schema
    """Its columns now, with the roles that hold in every reading mode. A column that
    the source adds in one mode only, such as the operation in `changes`, is not
    among them: `source.open` returns it.
    """
    key: _abc.Sequence[str]
    """The columns that identify a row, in order; empty if they are not known."""
    cursors: _abc.Sequence[str]
    """The columns that can be a cursor, the best one first; empty if `incremental` is
    not among the modes.
    """
    modes: ReadingModes
    """How it can be read: at least one of `full`, `incremental` and `changes`."""


ReadingMode: _t.TypeAlias = _df.Variant
"""How to read a dataset.

Since version 1.0.0.

- `full`: All rows.
- `incremental` with a `string`: Rows that are new by this column, one of
  `dataset.cursors`. Without a state, all rows.
- `changes`: Inserts, updates and deletes. Without a state, the rows that exist come
  first, as inserts.
"""


WritingMode: _t.TypeAlias = _t.Literal["append", "replace", "merge"]
"""How to write rows.

Since version 1.0.0.

- `append`: Add the rows to those that exist. An operation column is written like any
  other.
- `replace`: The rows replace all rows that exist, in one step, when the run
  finishes. Rows with an operation are not valid: the host does not open a target of
  this mode whose schema has an operation column.
- `merge`: Insert or update by key. A row whose operation is a delete removes the row
  of its key, if there is one; the operation column itself is not written. Of several
  rows with the same key, the last one counts, so that rows can be written again.
  Insert and update are the same: whether the key exists decides. A row with a null
  in its key is rejected, or null is equal to null in keys: however often it is
  written, it is there once.
"""
