# Written by `dataflare bindgen`. Write it anew rather than change it.
"""`dataflare:plugin/source@1.0.0`.

A plugin that brings rows into the pipeline.

A read is `open`, any number of `read` and `acknowledge`, then `close`; `acknowledge`
may also come after the last `read`. An instance has one read at a time; after an
error of `open` it has none. `discover`, `split` and `estimate` may come at any time
after `initialize`, also during a read, and change nothing.

The state belongs to the source: bytes that say where to continue. Prefer JSON, so
that operators can read it.
- The same state gives the same rows and the same new schemas, in the same order, as
  long as what is read has not changed. Rows that were read but are not covered by
  the last state that the host kept come again, also after a failure.
- A state covers all rows that were read before it since `open`, of all selections of
  the read. It belongs to the same selections, modes and part: `open` answers
  `invalid-state` to any other state. It says which schema its rows have: `open`
  returns the schema of the rows that follow the state.
- Rows of one dataset come in the order of its cursor or of its changes. No order
  holds between datasets.
- A cursor column may hold equal values. A state covers those rows of the last value
  that were read, and no others: rows with an equal value that are inserted later
  still come. To tell them apart, keep the keys of these rows in the state.
- A source that cannot tell equal values apart returns states only where the value
  changes, and one that covers all rows at the end, or when it becomes idle. Rows
  that are inserted later with the value of that state do not come; its documentation
  says so.
- Rows whose cursor is null come first, and only in a read that began without a
  state. A state among them continues with them; a state after them covers all rows
  whose cursor is null, also those that are inserted later.

What is read may be wrong or out of reach. A response or a row that is not well
formed is `invalid-input`: a source that can leave such rows out does so only if its
configuration says it, and logs them. Rows that do not fit into a response or a batch
of the largest size that the operator allows are `denied`, once fewer rows at a time
do not help.

Since version 1.0.0.
"""

from __future__ import annotations

import collections.abc as _abc
import dataclasses as _dataclasses
import typing as _t

if _t.TYPE_CHECKING:
    from dataflare import value_types as _df
else:
    from dataflare import values as _df

from . import batches as _batches
from . import datasets as _datasets
from . import schemas as _schemas

__all__ = [
    "Chunk",
    "Division",
    "EstimatedRows",
    "Pause",
    "Progress",
    "SchemaChange",
    "Selection",
]


@_dataclasses.dataclass(frozen=True, slots=True)
class Selection:
    """A dataset to read, and how.

    Since version 1.0.0.
    """

    dataset: _datasets.DatasetName
    """The dataset, one of those that `discover` returns. No two selections of a read
    have the same one.
    """
    mode: _datasets.ReadingMode
    """How to read it, one of its modes."""
    columns: _abc.Sequence[str]
    """The columns to read, each once; empty for all columns. The source adds what the
    mode needs: the cursor in `incremental`, the key and the operation in `changes`,
    nothing in `full`. It may add the key and the cursor in every mode. The order of
    the columns is the source's: `open` returns it.
    """


@_dataclasses.dataclass(frozen=True, slots=True)
class EstimatedRows:
    """How many rows are left.

    Since version 1.0.0.
    """

    rows: int
    """The number of rows."""
    exact: bool
    """Whether the number is exact."""


@_dataclasses.dataclass(frozen=True, slots=True)
class Division:
    """A read that is divided.

    Since version 1.0.0.
    """

    parts: _abc.Sequence[bytes]
    """The parts, at least one, no two of them the same. Each is bytes that only the
    source understands.
    """
    rest: bytes | None = None
    """The state from which a read without a part continues when all parts have ended,
    such as the position of the change log before the first row was read. `none` if
    such a read can only begin again.
    """

    if _t.TYPE_CHECKING:

        def __init__(
            self,
            parts: _abc.Sequence[_df.BytesLike],
            rest: _df.BytesLike | None = None,
        ) -> None: ...


@_dataclasses.dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of one dataset.

    Since version 1.0.0.
    """

    selection: int
    """The selection that the rows belong to: its position in the list that `open` was
    given, from 0.
    """
    rows: _batches.Batch
    """The rows; may be empty. Their columns have the names and types of the schema that
    `open` or the last `new-schema` gave, in its order; a column that is not nullable
    there has no nulls. The host takes the metadata from that schema.
    """
    state: bytes | None = None
    """Where to continue after these rows. `none` within a transaction: the rows count
    only together with the next chunk that has a state. That chunk may be of another
    selection, and may have no rows.
    """

    if _t.TYPE_CHECKING:

        def __init__(
            self,
            selection: int,
            rows: _batches.Batch,
            state: _df.BytesLike | None = None,
        ) -> None: ...


@_dataclasses.dataclass(frozen=True, slots=True)
class SchemaChange:
    """The columns of a dataset changed.

    Since version 1.0.0.
    """

    selection: int
    """The selection."""
    schema: _schemas.Schema
    """The schema of its rows from here on. With selected columns, only they and what
    the mode adds.
    """


@_dataclasses.dataclass(frozen=True, slots=True)
class Pause:
    """Nothing to read for now.

    Since version 1.0.0.
    """

    state: bytes | None
    """Where to continue; covers all rows that were read before. `none` within a
    transaction, as for a chunk.
    """
    retry_after_ms: int
    """When to ask again, in milliseconds from now. The host may ask earlier."""

    if _t.TYPE_CHECKING:

        def __init__(self, state: _df.BytesLike | None, retry_after_ms: int) -> None: ...


Progress: _t.TypeAlias = _df.Variant
"""What `read` returns.

Since version 1.0.0.

- `rows` with a `chunk`: Rows.
- `new-schema` with a `schema-change`: The columns of a dataset changed. Counts with
  the next state, like rows: it comes again after an earlier state.
- `idle` with a `pause`: No rows for now; more may come.
- `ended`: No more rows. The last state covers all of them, so the last chunk has
  one; a read without rows may have none. Every further `read` returns this again.
"""
