"""Fan-in: the queues of a node that takes the rows of several others.

Rows come in the order in which they arrive; those of one input keep theirs. A barrier names a point in the rows of each
source, so it may not overtake rows: an input that has brought one waits until every other input has brought it too, and
then one barrier goes on. Queues stay bounded meanwhile: who writes to an input that waits, waits as well.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from time import perf_counter
from typing import Final, TypeAlias

import pyarrow as pa

from dataflare.data.roles import written_roles
from dataflare.pipeline.batching import MOST_BYTES, bytes_of
from dataflare.pipeline.channel import Channel, Stopped
from dataflare.pipeline.pipeline_state import Checkpoint
from dataflare.pipeline.run_errors import DataError

__all__ = ["FanIn", "agreed_schema"]

_Item: TypeAlias = pa.RecordBatch | Checkpoint

_QUEUED_BATCHES: Final = 2
_REMEDY: Final = "give the columns the same names and types where the rows are read, or let a plugin do so in between"


class FanIn:
    """The queues before a node, one for each input; `get` is for one thread at a time.

    Args:
        inputs: The nodes whose rows it takes.
        passes_barriers: Whether barriers go on: not where a source of the rows has no position.

    Attributes:
        inlets: The queues, by the node that writes to each.
        taken: How many items were asked for and came.
        found: How many waited when one was asked for, added up over all times.
        empty_s: The seconds that `get` waited.
    """

    def __init__(self, inputs: Sequence[str], *, passes_barriers: bool = True) -> None:
        self._changed = threading.Condition()
        self.inlets: dict[str, Channel[_Item | None]] = {
            name: Channel(_QUEUED_BATCHES, most_bytes=MOST_BYTES, size=bytes_of, changed=self._changed)
            for name in inputs
        }
        self._open = dict(self.inlets)
        """Those that have not ended, the one first whose turn is next."""
        self._held: dict[str, Checkpoint] = {}
        self._passes_barriers = passes_barriers
        self._schemas: dict[str, pa.Schema] = {}
        self._agreed: tuple[str, pa.Schema] | None = None
        self._nameless: pa.RecordBatch | None = None
        self._stopped = self._has_begun = False
        self.taken = self.found = 0
        self.empty_s = 0.0

    def __len__(self) -> int:
        return sum(map(len, self.inlets.values()))

    @property
    def capacity(self) -> int:
        """The most items that wait before the node."""
        return sum(each.capacity for each in self.inlets.values())

    @property
    def most(self) -> int:
        """The most items that waited at a time, added up over the inputs."""
        return sum(each.most for each in self.inlets.values())

    def get(self) -> _Item | None:
        """Take the next item; waits while there is none. `None`: all inputs have ended.

        Raises:
            DataError: The columns of two inputs differ.
            Stopped: The queues are stopped, before or while waiting.
        """
        with self._changed:
            self.found += len(self)
            began = perf_counter()
            while not self._stopped:
                found, item = self._next()
                if found:
                    self.taken += 1
                    return item
                self._changed.wait()
                self.empty_s += perf_counter() - began
                began = perf_counter()
            raise Stopped

    def stop(self) -> None:
        """Let every call from now on, and those that wait, raise `Stopped`."""
        with self._changed:
            self._stopped = True
            for each in self.inlets.values():
                each.stop()

    def _next(self) -> tuple[bool, _Item | None]:
        """Take what is there: whether there is something, and what."""
        if not self._may_begin():
            return False, None
        while self._open:
            name = next((each for each, queue in self._open.items() if len(queue) and each not in self._held), None)
            if name is None:
                return False, None
            queue = self._open.pop(name)
            item = queue.get()
            if item is not None:
                self._open[name] = queue
            if isinstance(item, pa.RecordBatch):
                rows = self._aligned(name, item)
                if rows is not None:
                    return True, rows
            elif item is not None and self._passes_barriers:
                self._held[name] = item
            if self._held and len(self._held) == len(self._open):
                point = next(iter(self._held.values()))
                self._held.clear()
                return True, point
        rows, self._nameless = (None, None) if self._agreed else (self._nameless, None)
        return True, rows

    def _may_begin(self) -> bool:
        """Whether the first input, which orders the columns, has brought its first batch; each node gives one soon."""
        self._has_begun = self._has_begun or len(next(iter(self.inlets.values()))) > 0
        return self._has_begun

    def _aligned(self, name: str, rows: pa.RecordBatch) -> pa.RecordBatch | None:
        """Give rows the columns of the node in their order; `None` for no rows of which no column is known."""
        if len(self.inlets) == 1:
            return rows
        if not rows.num_columns and not rows.num_rows:
            self._nameless = rows
            return None
        if self._agreed is None:
            self._agreed = name, agreed_schema([(name, rows.schema)])
        first, schema = self._agreed
        known = self._schemas.get(name)
        if known is None or not rows.schema.equals(known, check_metadata=True):
            try:
                agreed_schema([(first, schema), (name, rows.schema)])
            except DataError as error:
                if known is None:
                    raise
                raise _changed(name, known, rows.schema) from error
            self._schemas[name] = rows.schema
        return pa.RecordBatch.from_arrays([rows.column(each) for each in schema.names], schema=schema)


def agreed_schema(inputs: Sequence[tuple[str, pa.Schema]]) -> pa.Schema:
    """Return the columns of rows that come from several inputs: those of the first one, of which each may be null.

    Raises:
        DataError: The columns of two inputs differ; names both of them, and the column.
    """
    (first, schema), *others = inputs
    for name, other in inputs:
        if len(set(other.names)) < len(other.names):
            twice = next(each for each in other.names if other.names.count(each) > 1)
            raise _differing(f"input {name!r} has several columns {twice!r}, which cannot be told apart")
    for name, other in others:
        for column in schema.names:
            if column not in other.names:
                raise _differing(f"input {first!r} has a column {column!r}, and input {name!r} has none")
        for column in other.names:
            if column not in schema.names:
                raise _differing(f"input {name!r} has a column {column!r}, and input {first!r} has none")
            one, two = schema.field(column), other.field(column)
            if one.type != two.type:
                what = f"column {column!r} is {one.type} in input {first!r}, and {two.type} in input {name!r}"
                raise _differing(what)
            if written_roles(one) != written_roles(two):
                raise DataError(
                    f"column {column!r} has other roles (`key`, `operation`) in input {first!r} than in {name!r}",
                    hint="give the nodes that read the rows the same `roles`",
                )
    return pa.schema([pa.field(each.name, each.type, metadata=written_roles(each) or None) for each in schema])


def _changed(name: str, before: pa.Schema, now: pa.Schema) -> DataError:
    old, new = (", ".join(f"{each.name}: {each.type}" for each in columns) for columns in (before, now))
    return DataError(
        f"the columns of input {name!r} changed during the run, from {old} to {new}",
        hint="keep the columns with `schema: discard-column`, or run again when all inputs have the new ones",
    )


def _differing(what: str) -> DataError:
    return DataError(what, hint=_REMEDY)
