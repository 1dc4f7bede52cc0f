"""Sources of a log of changes, with one fault each.

They stand where the host's `Source` does: see `SourceStandIn`.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from dataflare import Chunk, Dataset, Division, Idle, PluginError, Selection, Variant
from source_stand_in import SourceStandIn

KIND = "source"
_SCHEMA = pa.schema([pa.field("id", pa.int64(), metadata={"dataflare.key": "0"}), ("name", pa.string())])
_INSERT, _UPDATE, _DELETE = range(3)


class Good(SourceStandIn):
    """Six changes; of the fourth, a row gets another key."""

    operation = pa.field("operation", pa.int8(), metadata={"dataflare.role": "operation"})
    log: tuple[tuple[int | None, int | None, str | None], ...] = (
        (None, 1, "a"),
        (_INSERT, 2, "b"),
        (_UPDATE, 1, "c"),
        (_DELETE, 2, None),
        (_INSERT, 3, "b"),
        (_DELETE, 1, None),
    )

    def discover(self) -> list[Dataset]:
        modes = frozenset({"changes", "unbounded", "splittable"})
        return [Dataset(Selection("rows").dataset, "", _SCHEMA, ("id",), (), modes)]

    def split(self, selection: Selection, *, at_most: int, state: bytes | None = None) -> Division:
        begin, _ = self.bounds(selection, state, None)
        step = -(-(len(self.log) - begin) // at_most)
        bounds = [(at, min(at + step, len(self.log))) for at in range(begin, len(self.log), step)]
        return Division([json.dumps(each).encode() for each in bounds], self.rest(selection))

    def rest(self, selection: Selection) -> bytes:
        """The state after all parts."""
        return self.state(selection, None, len(self.log))

    def open(
        self,
        selection: Selection,
        *,
        state: bytes | None = None,
        part: bytes | None = None,
        any_selection: bool = False,
    ) -> list[pa.Schema]:
        self.require_known([selection])
        self.selection, self.part = selection, part
        self.at, self.end = self.bounds(selection, state, part)
        wanted = {*selection.columns, "id"} if selection.columns else set(_SCHEMA.names)
        self.schema = pa.schema([*(field for field in _SCHEMA if field.name in wanted), self.operation])
        return [self.schema]

    def bounds(self, selection: Selection, state: bytes | None, part: bytes | None) -> tuple[int, int]:
        """Where a read begins and ends."""
        try:
            begin, end = (0, len(self.log)) if part is None else json.loads(part)
            if state is not None:
                begin, *of = json.loads(state)
                if of != self.of(selection, part):
                    raise ValueError(of)
        except (ValueError, TypeError):
            raise PluginError("no state", error=Variant("invalid-state", "no state")) from None
        return begin, end

    def of(self, selection: Selection, part: bytes | None) -> list[Any]:
        """What a state belongs to."""
        return [sorted(selection.columns), part and part.decode()]

    def state(self, selection: Selection, part: bytes | None, at: int) -> bytes:
        """The state after this many changes."""
        return json.dumps([at, *self.of(selection, part)]).encode()

    def read(self, most: int, *, ended_too: bool = False) -> Chunk | Idle:
        state = self.state(self.selection, self.part, min(self.at + most, self.end))
        changes, self.at = self.log[self.at : min(self.at + most, self.end)], min(self.at + most, self.end)
        if not changes:
            return Idle(state, 1.0)
        rows = [{"operation": operation, "id": key, "name": name} for operation, key, name in changes]
        return Chunk(self.selection.dataset, pa.RecordBatch.from_pylist(rows, schema=self.schema), state)


class UpdatesTheKey(Good):
    """Says that a row was updated where its key changed."""

    caught_by = "source/operations"
    log = (*Good.log[:3], (_UPDATE, 4, "b"), *Good.log[4:])


class DeletesWithValues(Good):
    """Gives the values of a row that is gone."""

    caught_by = "source/operations"
    log = (*Good.log[:3], (_DELETE, 2, "b"), *Good.log[4:])


class OtherOperation(Good):
    """Has an operation that there is not."""

    caught_by = "source/operations"
    log = ((3, 1, "a"), *Good.log[1:])


class NoKey(Good):
    """Has a change without a key."""

    caught_by = "source/operations"
    log = (*Good.log, (_INSERT, None, "d"))


class OperationInWords(Good):
    """Has an operation of another type."""

    caught_by = "source/operations"
    operation = pa.field("operation", pa.int16(), metadata={"dataflare.role": "operation"})


class AnyColumns(Good):
    """Takes a state of other columns."""

    caught_by = "source/other-columns"

    def of(self, selection: Selection, part: bytes | None) -> list[Any]:
        return [[], part and part.decode()]


class RestIsNoState(Good):
    """Refuses the rest of a division."""

    caught_by = "source/rest"

    def rest(self, selection: Selection) -> bytes:
        return b"after all parts"


class RestBeginsAgain(Good):
    """Gives rows of the parts again after them."""

    caught_by = "source/rest"

    def rest(self, selection: Selection) -> bytes:
        return self.state(selection, None, len(self.log) - 1)
