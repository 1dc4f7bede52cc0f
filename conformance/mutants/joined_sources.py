"""Sources of several datasets that are read together, with one fault each.

They stand where the host's `Source` does: see `SourceStandIn`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from dataflare import Chunk, Dataset, DatasetName, Division, Ended, PluginError, Selection, Variant
from source_stand_in import SourceStandIn

KIND = "source"
_SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string())])
_ROWS = 5


class Good(SourceStandIn):
    """Two datasets of five rows each, one after the other; a state has the datasets and the columns that it is of."""

    def discover(self) -> list[Dataset]:
        modes = frozenset({"full", "splittable"})
        return [Dataset(DatasetName(name), "", _SCHEMA, (), (), modes) for name in ("one", "two")]

    def split(self, selections: Any, *, at_most: int, state: bytes | None = None) -> Division:
        begin, end, _ = self.bounds(selections, state, None)
        step = max(1, -(-(end - begin) // at_most))
        bounds = [(at, min(at + step, end)) for at in range(begin, end, step)] or [(begin, end)]
        return Division([self.written(selections, "part", each) for each in bounds], None)

    def of(self, selections: Any) -> list[Any]:
        """What a state or a part belongs to."""
        return [[str(each.dataset), sorted(each.columns)] for each in self.several(selections)]

    def several(self, selections: Selection | Sequence[Selection]) -> Sequence[Selection]:
        """The selections of a read."""
        return [selections] if isinstance(selections, Selection) else selections

    def written(self, selections: Any, what: str, value: Any) -> bytes:
        """A state or a part."""
        return json.dumps({"of": self.of(selections), what: value}).encode()

    def taken(self, selections: Any, what: str, data: bytes) -> Any:
        """What was written, if it is of this read."""
        try:
            said = json.loads(data)
            if said["of"] != self.of(selections):
                raise ValueError(said)
            return said[what]
        except (ValueError, TypeError, KeyError):
            raise PluginError("no state", error=Variant("invalid-state", f"no {what}")) from None

    def bounds(self, selections: Any, state: bytes | None, part: bytes | None) -> tuple[int, int, Any]:
        """Where a read begins and ends, and its part."""
        begin, end = 0, _ROWS * len(self.several(selections))
        bounds = None
        if part is not None:
            begin, end = bounds = self.taken(selections, "part", part)
        if state is not None:
            begin, of = self.taken(selections, "state", state)
            if of != bounds:
                raise PluginError("no state", error=Variant("invalid-state", "of another part"))
        return begin, end, bounds

    def open(
        self,
        selections: Any,
        *,
        state: bytes | None = None,
        part: bytes | None = None,
        any_selection: bool = False,
    ) -> list[pa.Schema]:
        self.selections, self.selected = selections, self.several(selections)
        self.require_known(self.selected)
        self.at, self.end, self.part = self.bounds(selections, state, part)
        self.schemas = [
            pa.schema([field for field in _SCHEMA if not each.columns or field.name in each.columns])
            for each in self.selected
        ]
        return self.schemas

    def read(self, most: int, *, ended_too: bool = False) -> Chunk | Ended:
        if self.at == self.end:
            return Ended()
        place, begin = divmod(self.at, _ROWS)
        upto = min(begin + most, _ROWS, begin + self.end - self.at)
        self.at += upto - begin
        dataset = self.selected[place].dataset
        rows = [{"id": n, "name": f"{dataset} {n}"} for n in range(begin, upto)]
        state = self.written(self.selections, "state", [self.at, self.part])
        return Chunk(dataset, pa.RecordBatch.from_pylist(rows, schema=self.schemas[place]), state)


class AnyDatasets(Good):
    """Takes a state of other datasets: those that are new are not read from their beginning."""

    caught_by = "source/other-selections"

    def of(self, selections: Any) -> list[Any]:
        return super().of(selections)[:1]


class AnyDatasetsOfAPart(Good):
    """Takes a part of other datasets."""

    caught_by = "source/other-selections"

    def taken(self, selections: Any, what: str, data: bytes) -> Any:
        return super().taken(self.several(selections)[:1] if what == "part" else selections, what, data)

    def written(self, selections: Any, what: str, value: Any) -> bytes:
        return super().written(self.several(selections)[:1] if what == "part" else selections, what, value)


class DividesFromAnyState(Good):
    """Divides a read from a state that is none."""

    caught_by = "source/strange-state"

    def split(self, selections: Any, *, at_most: int, state: bytes | None = None) -> Division:
        try:
            return super().split(selections, at_most=at_most, state=state)
        except PluginError:
            return super().split(selections, at_most=at_most)


class AnyDataset(Good):
    """Has a dataset of every name, without a row."""

    caught_by = "source/unknown-selections"

    def require_known(self, selections: Sequence[Selection]) -> None:
        names = {each.name for each in self.discover()}
        super().require_known([each for each in selections if each.dataset in names])


class AnyMode(Good):
    """Reads all rows in every mode."""

    caught_by = "source/unknown-selections"

    def require_known(self, selections: Sequence[Selection]) -> None:
        super().require_known([Selection(each.dataset, columns=each.columns) for each in selections])


class AnyColumns(Good):
    """Leaves out columns that there are not."""

    caught_by = "source/unknown-selections"

    def require_known(self, selections: Sequence[Selection]) -> None:
        super().require_known([Selection(each.dataset, each.mode, cursor=each.cursor) for each in selections])


class UnknownIsAState(Good):
    """Refuses what there is not as if a state were wrong."""

    caught_by = "source/unknown-selections"

    def require_known(self, selections: Sequence[Selection]) -> None:
        try:
            super().require_known(selections)
        except PluginError:
            raise PluginError("no state", error=Variant("invalid-state", "no such dataset")) from None


class StatesOfPartsAreStates(Good):
    """Goes on from a state of a part to the end of all parts."""

    caught_by = "source/resume-part"

    def bounds(self, selections: Any, state: bytes | None, part: bytes | None) -> tuple[int, int, Any]:
        if state is None or part is not None:
            return super().bounds(selections, state, part)
        begin, _ = self.taken(selections, "state", state)
        return begin, _ROWS * len(self.several(selections)), None


class StatesAreStatesOfParts(Good):
    """Goes on with a part from a state of a whole read."""

    caught_by = "source/resume-part"

    def bounds(self, selections: Any, state: bytes | None, part: bytes | None) -> tuple[int, int, Any]:
        if state is not None and part is not None and self.taken(selections, "state", state)[1] is None:
            begin, end = self.taken(selections, "part", part)
            return max(begin, self.taken(selections, "state", state)[0]), end, [begin, end]
        return super().bounds(selections, state, part)
