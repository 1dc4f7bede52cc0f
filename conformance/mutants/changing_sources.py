"""Sources whose columns change within a read, with one fault each.

They stand where the host's `Source` does: see `SourceStandIn`.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from dataflare import Chunk, Dataset, Ended, NewSchema, PluginError, Selection, Variant
from source_stand_in import SourceStandIn

KIND = "source"
_OLD = pa.schema([pa.field("id", pa.int64(), metadata={"dataflare.key": "0"}), ("name", pa.string())])
_NEW = _OLD.append(pa.field("more", pa.bool_()))
_CHANGE = 6
"""Rows from here on have a column more."""
_ROWS = 11


class Good(SourceStandIn):
    """Eleven rows; after six of them there is a column more."""

    def discover(self) -> list[Dataset]:
        return [Dataset(Selection("rows").dataset, "", _NEW, ("id",), (), frozenset({"full"}))]

    def open(
        self,
        selection: Selection,
        *,
        state: bytes | None = None,
        part: bytes | None = None,
        any_selection: bool = False,
    ) -> list[pa.Schema]:
        self.require_known([selection])
        if part is not None:
            raise PluginError("no part", error=Variant("unsupported", "no parts"))
        self.columns = [*selection.columns, "id"] if selection.columns else []
        self.at, schema = self.begin(state)
        self.schema = self.selected(schema)
        return [self.schema]

    def begin(self, state: bytes | None) -> tuple[int, pa.Schema]:
        """Where a read begins, and with which columns: those of the row before, so that the change comes again."""
        try:
            said = {"after": 0, "columns": self.columns} if state is None else json.loads(state)
            at = int(said["after"])
            if said["columns"] != self.columns:
                raise ValueError(said)
        except (ValueError, KeyError, TypeError):
            raise PluginError("no state", error=Variant("invalid-state", "no state")) from None
        return at, _NEW if at > _CHANGE else _OLD

    def selected(self, schema: pa.Schema) -> pa.Schema:
        """Those of the columns that are read."""
        return pa.schema([field for field in schema if not self.columns or field.name in self.columns])

    def read(self, most: int, *, ended_too: bool = False) -> Chunk | NewSchema | Ended:
        if self.at == _ROWS:
            return Ended()
        schema = self.selected(_NEW if self.at >= _CHANGE else _OLD)
        if schema != self.schema:
            self.schema = schema
            return NewSchema(self.dataset, schema)
        upto = min(self.at + most, _CHANGE if self.at < _CHANGE else _ROWS)
        rows = [{"id": n, "name": f"name {n}", "more": self.value(n)} for n in range(self.at, upto)]
        self.at = upto
        return Chunk(self.dataset, pa.RecordBatch.from_pylist(rows, schema=schema), self.state(upto))

    @property
    def dataset(self) -> Any:
        """The name of the dataset."""
        return Selection("rows").dataset

    def value(self, row: int) -> bool:
        """The new column's value in a row."""
        return row % 2 == 0

    def state(self, at: int) -> bytes:
        """The state after this many rows."""
        return json.dumps({"after": at, "columns": self.columns}).encode()


class ForgetsTheChange(Good):
    """Goes on from a state after the change without the new column."""

    caught_by = "source/resume"

    def begin(self, state: bytes | None) -> tuple[int, pa.Schema]:
        at, _ = super().begin(state)
        self.resumed = at > _CHANGE
        return at, _OLD

    def read(self, most: int, *, ended_too: bool = False) -> Chunk | NewSchema | Ended:
        if not self.resumed or self.at == _ROWS:
            return super().read(most)
        rows = [{"id": n, "name": f"name {n}"} for n in range(self.at, _ROWS)]
        self.at = _ROWS
        return Chunk(self.dataset, pa.RecordBatch.from_pylist(rows, schema=self.schema), self.state(_ROWS))


class LosesARowAtTheChange(Good):
    """Leaves out the first row of the new columns where it goes on from the state before."""

    caught_by = "source/resume"

    def begin(self, state: bytes | None) -> tuple[int, pa.Schema]:
        at, schema = super().begin(state)
        return (at + 1 if state is not None and at == _CHANGE else at), schema


class ChangesUnannounced(Good):
    """Gives the new column without a word."""

    caught_by = "source/read"

    def read(self, most: int, *, ended_too: bool = False) -> Chunk | NewSchema | Ended:
        found = super().read(most)
        return super().read(most) if isinstance(found, NewSchema) else found


class OtherValuesAfterTheChange(Good):
    """Gives other values of the new column from a state."""

    caught_by = "source/resume"
    resumed = False

    def begin(self, state: bytes | None) -> tuple[int, pa.Schema]:
        self.resumed = state is not None
        return super().begin(state)

    def value(self, row: int) -> bool:
        return super().value(row) is not self.resumed


class GoesOnAfterTheEnd(Good):
    """Begins anew when it is asked after the end."""

    caught_by = "source/ended"

    def read(self, most: int, *, ended_too: bool = False) -> Chunk | NewSchema | Ended:
        found = super().read(most)
        if isinstance(found, Ended):
            self.at = 0
        return found


class FailsAfterTheEnd(Good):
    """Has nothing to say after the end."""

    caught_by = "source/ended"

    def read(self, most: int, *, ended_too: bool = False) -> Chunk | NewSchema | Ended:
        if ended_too:
            raise PluginError("no read", error=Variant("unsupported", "no read is under way"))
        return super().read(most)
