"""Sources with one fault each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from counted_configurations import CountedConfigurations
from dataflare_plugin import Chunk, Dataset, Field, RateLimited, Request, Source, option

_ROWS = 20
# Equal cursors, and two nulls: what a source has to keep apart.
_NULLS = 2
_TIMES = [*[None] * _NULLS, *(value // 3 for value in range(_ROWS - _NULLS))]


@dataclass(frozen=True)
class Settings:
    """The configuration."""

    rows: int = option("How many rows there are.", default=_ROWS, at_least=0)


class Good(Source):
    """Two datasets of numbers, which can be divided and read by a cursor."""

    config: Settings

    def datasets(self) -> Sequence[Dataset]:
        columns = {"id": "int64", "at": "int64", "name": "string"}
        return [Dataset(name, columns, ("id",), "at", splittable=True) for name in ("one", "two")]

    def rows(self, request: Request) -> list[dict[str, Any]]:
        """All rows, in order."""
        return [{"id": n, "at": _TIMES[n], "name": f"{request.dataset.name} {n}"} for n in range(self.config.rows)]

    def begin(self, request: Request) -> int:
        """Where the read begins."""
        if request.state is not None:
            return int(request.state)
        return int(request.part[0]) if request.part else 0

    def end(self, request: Request) -> int:
        """Where it ends."""
        return int(request.part[1]) if request.part else self.config.rows

    def read(self, request: Request) -> Iterator[Chunk]:
        rows = self.rows(request)
        end = self.end(request)
        begin = self.begin(request)
        return self.chunks(request, rows, begin, end)

    def chunks(self, request: Request, rows: list[dict[str, Any]], begin: int, end: int) -> Iterator[Chunk]:
        """The chunks from a row on."""
        while begin < end:
            upto = min(begin + request.max_rows, end)
            yield Chunk(rows[begin:upto], self.state(request, upto))
            begin = upto

    def state(self, request: Request, at: int) -> Any:
        """The state after this many rows."""
        return at

    def split(self, request: Request, at_most: int) -> list[Any]:
        begin = self.begin(request)
        step = -(-(self.config.rows - begin) // at_most)
        return [[n, min(n + step, self.config.rows)] for n in range(begin, self.config.rows, step)]

    def estimate(self, request: Request) -> int | None:
        return self.end(request) - self.begin(request)


class LosesState(Good):
    """Begins at the beginning whatever the state says."""

    caught_by = "source/resume"

    def begin(self, request: Request) -> int:
        return 0 if request.part is None else int(request.part[0])


class OneRowLate(Good):
    """Its states are a row late: a row comes twice."""

    caught_by = "source/resume"

    def state(self, request: Request, at: int) -> Any:
        return super().state(request, max(0, at - 1))


class OneRowEarly(Good):
    """Its states are a row early: a row is lost."""

    caught_by = "source/resume"

    def state(self, request: Request, at: int) -> Any:
        return super().state(request, min(at + 1, self.config.rows))


class NoLastState(Good):
    """Gives no state for the last rows."""

    caught_by = "source/read"

    def chunks(self, request: Request, rows: list[dict[str, Any]], begin: int, end: int) -> Iterator[Chunk]:
        for chunk in super().chunks(request, rows, begin, end):
            yield Chunk(chunk.rows, None if len(rows) in [each["id"] + 1 for each in chunk.rows] else chunk.state)


class LosesARowOfAPart(Good):
    """The parts of a divided read lack a row."""

    caught_by = "source/split"

    def split(self, request: Request, at_most: int) -> list[Any]:
        parts = super().split(request, at_most)
        return parts if len(parts) == 1 else [*parts[:-1], [parts[-1][0] + 1, parts[-1][1]]]


class PartsOverlap(Good):
    """The parts of a divided read have a row twice."""

    caught_by = "source/split"

    def split(self, request: Request, at_most: int) -> list[Any]:
        parts = super().split(request, at_most)
        return [[max(0, begin - 1), end] for begin, end in parts]


class PartsForget(Good):
    """A part begins at its beginning, whatever the state says."""

    caught_by = "source/resume-part"

    def begin(self, request: Request) -> int:
        begin = super().begin(request)
        return begin if request.part is None else int(request.part[0])


class Random(Good):
    """Gives other rows the second time."""

    caught_by = "source/again"
    reads = 0

    def rows(self, request: Request) -> list[dict[str, Any]]:
        type(self).reads += 1
        return [{**row, "name": f"{type(self).reads}"} for row in super().rows(request)]


class WrongEstimate(Good):
    """Promises a row more than there is."""

    caught_by = "source/estimate"

    def estimate(self, request: Request) -> int | None:
        return self.config.rows + 1


class OutOfOrder(Good):
    """Does not follow its cursor."""

    caught_by = "source/cursor-order"

    def rows(self, request: Request) -> list[dict[str, Any]]:
        rows = super().rows(request)
        return [*rows[:5], *reversed(rows[5:])]


class NullsLast(Good):
    """Gives rows whose cursor is null at the end."""

    caught_by = "source/cursor-order"

    def rows(self, request: Request) -> list[dict[str, Any]]:
        rows = super().rows(request)
        return [*rows[2:], *rows[:2]]


class ComesAgain(Good):
    """An incremental read gives its last row once more."""

    caught_by = "source/incremental"

    def begin(self, request: Request) -> int:
        begin = super().begin(request)
        return begin - 1 if request.incremental and begin == self.config.rows else begin


class DependsOnColumns(Good):
    """Gives other values where columns are selected."""

    caught_by = "source/columns"

    def rows(self, request: Request) -> list[dict[str, Any]]:
        rows = super().rows(request)
        return [{**row, "name": "x"} for row in rows] if request.columns else rows


class DiscoverChanges(Good):
    """Knows another key every time."""

    caught_by = "source/discover"
    asked = 0

    def datasets(self) -> Sequence[Dataset]:
        type(self).asked += 1
        key = ("id",) if type(self).asked % 2 else ("id", "at")
        return [dataclasses.replace(each, key=key) for each in super().datasets()]


class AcknowledgesAway(Good):
    """Leaves out rows after an acknowledgement."""

    caught_by = "source/acknowledge"
    lost = False

    def acknowledge(self, state: Any) -> None:
        self.lost = True

    def chunks(self, request: Request, rows: list[dict[str, Any]], begin: int, end: int) -> Iterator[Chunk]:
        for chunk in super().chunks(request, rows, begin, end):
            yield Chunk([] if self.lost else chunk.rows, chunk.state)


class OftenBusy(Good):
    """Asks for a retry of some reads, which is allowed."""

    caught_by = ""
    begun = 0

    def read(self, request: Request) -> Iterator[Chunk]:
        self.begun += 1
        if self.begun % 3 == 0:
            raise RateLimited(1)
        return super().read(request)


class AlwaysBusy(Good):
    """Asks for a retry of every read."""

    caught_by = "source/read"

    def read(self, request: Request) -> Iterator[Chunk]:
        raise RateLimited(1)


class LosesARowWhenBusy(OftenBusy):
    """Leaves out a row when it is asked again."""

    caught_by = "source/again"

    def begin(self, request: Request) -> int:
        return super().begin(request) + (self.begun % 3 == 1 and self.begun > 1)


class EstimatesTheWhole(Good):
    """Promises all rows, wherever a read goes on."""

    caught_by = "source/estimate"

    def estimate(self, request: Request) -> int | None:
        return self.config.rows


class SplitsTheWhole(Good):
    """Divides all of a dataset, wherever the read goes on."""

    caught_by = "source/split"

    def split(self, request: Request, at_most: int) -> list[Any]:
        return super().split(dataclasses.replace(request, state=None), at_most)


class OneKeyForTwo(Good):
    """Has a key that two rows share."""

    caught_by = "source/described"

    def rows(self, request: Request) -> list[dict[str, Any]]:
        return [{**row, "id": row["id"] // 2} for row in super().rows(request)]


class NoKey(Good):
    """Has a null in its key."""

    caught_by = "source/described"

    def rows(self, request: Request) -> list[dict[str, Any]]:
        return [{**row, "id": row["id"] or None} for row in super().rows(request)]


class DescribesOther(Good):
    """Describes other columns once a read has begun."""

    caught_by = "source/described"
    asked = 0

    def datasets(self) -> Sequence[Dataset]:
        self.asked += 1
        found = super().datasets()
        more = {"id": "int64", "at": "int64", "name": "string", "more": "bool"}
        return found if self.asked > 1 else [dataclasses.replace(each, schema=more) for each in found]


class StaysOpen(Good):
    """Goes on where the last read was, wherever the next one begins."""

    caught_by = "source/reopen"
    at = 0

    def chunks(self, request: Request, rows: list[dict[str, Any]], begin: int, end: int) -> Iterator[Chunk]:
        for chunk in super().chunks(request, rows, max(begin, self.at), end):
            self.at = chunk.state
            yield chunk
        self.at = 0


class StaysClosed(StaysOpen):
    """The same: after `close`, the rest comes alone."""

    caught_by = "source/close"


class LosesARowWhenAsked(Good):
    """Loses a row if it is asked for an estimate in the middle of a read."""

    caught_by = "source/discover-within"
    asked = False

    def estimate(self, request: Request) -> int | None:
        self.asked = True
        return super().estimate(request)

    def chunks(self, request: Request, rows: list[dict[str, Any]], begin: int, end: int) -> Iterator[Chunk]:
        self.asked = False
        for chunk in super().chunks(request, rows, begin, end):
            yield Chunk(chunk.rows[1:], chunk.state) if self.asked else chunk


class NoStateOfARow(Good):
    """Gives no state where rows come one by one."""

    caught_by = "source/read-single"

    def chunks(self, request: Request, rows: list[dict[str, Any]], begin: int, end: int) -> Iterator[Chunk]:
        for chunk in super().chunks(request, rows, begin, end):
            yield Chunk(chunk.rows) if len(chunk.rows) == 1 else chunk


class EvenStates(Good):
    """Has a state for every second row alone, and rounds the others up."""

    caught_by = "source/resume-each-row"

    def state(self, request: Request, at: int) -> Any:
        return super().state(request, min(at + at % 2, self.config.rows))


class CountsFromTheState(Good):
    """Its states count the rows since the state that the read began at."""

    caught_by = "source/resume-again"

    def chunks(self, request: Request, rows: list[dict[str, Any]], begin: int, end: int) -> Iterator[Chunk]:
        since = begin if request.state is not None else 0
        for chunk in super().chunks(request, rows, begin, end):
            yield Chunk(chunk.rows, chunk.state - since)


class OtherTypesElsewhere(Good):
    """Describes a column in another way in every instance."""

    caught_by = "source/discover"
    made = 0

    def initialize(self) -> None:
        type(self).made += 1
        self.number = type(self).made

    def datasets(self) -> Sequence[Dataset]:
        columns = {"id": "int64", "at": "int64", "name": "string" if self.number % 2 else "large_string"}
        return [dataclasses.replace(each, schema=columns) for each in super().datasets()]


class OneRowMoreOfAPart(Good):
    """Promises a row more than a part has."""

    caught_by = "source/estimate"

    def estimate(self, request: Request) -> int | None:
        return self.end(request) - self.begin(request) + (request.part is not None)


class OtherValuesByTheCursor(Good):
    """Gives other values where columns are selected, if it is read by a cursor."""

    caught_by = "source/columns"

    def rows(self, request: Request) -> list[dict[str, Any]]:
        rows = super().rows(request)
        return [{**row, "name": "x"} for row in rows] if request.columns and request.incremental else rows


class NullsComeAgain(Good):
    """Gives rows whose cursor is null before the others, wherever an incremental read goes on."""

    caught_by = "source/null-cursors"

    def read(self, request: Request) -> Iterator[Chunk]:
        if request.incremental and request.state is not None and request.state > _NULLS:
            yield Chunk(self.rows(request)[:_NULLS], request.state)
        yield from super().read(request)


class NoRoles(Good):
    """Does not say which columns are its key and its cursor."""

    caught_by = "source/roles"
    kept: frozenset[str] = frozenset()

    def datasets(self) -> Sequence[Dataset]:
        found = super().datasets()
        return [dataclasses.replace(each, schema=self.without(each.fields())) for each in found]

    def without(self, fields: Sequence[Field]) -> list[Field]:
        """The columns without the roles that it leaves out."""
        return [
            dataclasses.replace(each, metadata={k: v for k, v in each.metadata.items() if k in self.kept})
            for each in fields
        ]


class NoRoleOfTheCursor(NoRoles):
    """Does not say which column is its cursor."""

    kept = frozenset({"dataflare.key"})


class NoRoleOfTheKey(NoRoles):
    """Does not say which columns are its key."""

    kept = frozenset({"dataflare.role"})


class TwoCursors(NoRoles):
    """Says of two columns that rows come in their order."""

    def without(self, fields: Sequence[Field]) -> list[Field]:
        return [
            dataclasses.replace(each, metadata={**each.metadata, "dataflare.role": "cursor"})
            if each.name == "id"
            else each
            for each in fields
        ]


class AddsUpRows(Good):
    """Has the rows of each configuration that it was ever given."""

    caught_by = "source/configured-again"
    times = 1
    Lifecycle = CountedConfigurations

    def rows(self, request: Request) -> list[dict[str, Any]]:
        return [{**row, "name": f"{row['name']} {self.times}"} for row in super().rows(request)]
