"""Reads of logs of changes: what `Source.changes` yields, in chunks whose rows have their operation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dataflare_plugin.batch import Batch
from dataflare_plugin.datasets import Commit, Dataset, Delete, Field, Idle, Insert, NewSchema, Request, Update
from dataflare_plugin.errors import InvalidInput, InvalidState
from dataflare_plugin.source import Columns, Pause, Rows, Source, encoded_changes

__all__ = ["ChangeReading"]

_INSERT, _UPDATE, _DELETE = range(3)
# A quiet dataset in a busy log: without rows, the host keeps the position after so many events all the same.
_MOST_PASSED = 65_536


class _Table:
    """A dataset that is read, and the columns that its rows have now."""

    def __init__(self, source: Source, request: Request) -> None:
        self.request = request
        self.name = str(request.dataset)
        self.begin(source.schema_at(request))

    def begin(self, schema: Mapping[str, str] | Sequence[Field]) -> None:
        request, key = self.request, self.request.dataset.key
        request.fields = request.dataset.fields(schema)
        self._known = {each.name for each in request.fields}
        wanted = {*request.columns, *key} if request.columns else self._known
        # Rows that are deleted have the key alone.
        chosen = [
            replace(each, nullable=each.nullable or each.name not in key)
            for each in request.fields
            if each.name in wanted
        ]
        self._operation = "_operation"
        while self._operation in self._known:
            self._operation += "_"
        self.fields = [*chosen, Field(self._operation, "int8", False, {"dataflare.role": "operation"})]
        self._values = [each.name for each in chosen]

    def rows(self, event: Insert | Update | Delete) -> list[dict[str, Any]]:
        """The rows that say it, with their operation."""
        match event:
            case Insert():
                return [self._whole(event.row, _INSERT)]
            case Delete():
                return [self._key(event.key, _DELETE)]
        row = self._whole(event.row, _UPDATE)
        if missing := [name for name in self._values if name not in event.row]:
            raise self._wrong(f"an update lacks the column {missing[0]!r}: it has the values of all columns")
        if event.old_key is None:
            return [row]
        before = self._key(event.old_key, _DELETE)
        if all(before[name] == row[name] for name in self.request.dataset.key):
            return [row]
        return [before, {**row, self._operation: _INSERT}]

    def _whole(self, row: Mapping[str, Any], operation: int) -> dict[str, Any]:
        if unknown := row.keys() - self._known:
            raise self._wrong(
                f"the rows have a column {min(unknown)!r}, which its schema lacks: name it there, leave it out, or"
                " yield a NewSchema first"
            )
        self._key(row, operation)
        return {**row, self._operation: operation}

    def _key(self, row: Mapping[str, Any], operation: int) -> dict[str, Any]:
        key = self.request.dataset.key
        if missing := [name for name in key if row.get(name) is None]:
            raise self._wrong(f"a change lacks the key column {missing[0]!r}")
        return {**{name: row[name] for name in key}, self._operation: operation}

    def _wrong(self, what: str) -> InvalidInput:
        return InvalidInput(f"dataset {self.name!r}: {what}")


class ChangeReading:
    """A read of one log that is under way, of some of its datasets."""

    def __init__(self, source: Source, requests: Sequence[Request]) -> None:
        self._source = source
        self._tables = [_Table(source, each) for each in requests]
        datasets = [each.dataset for each in requests]
        self._places: dict[tuple[str, str], int | None] = {
            (each.namespace, each.name): place for place, each in enumerate(datasets)
        }
        self._position = requests[0].state
        self._events: Iterator[Any] | None = iter(source.changes(self._position, datasets))
        # Events after the last commit: how many were taken, and how many of them come again.
        self._since = self._again = 0
        # Rows of one table that were not given yet, and how many of them the position covers.
        self._place = self._safe = 0
        self._rows: list[dict[str, Any]] = []
        # What waits until these rows are given.
        self._held: Any = None
        self._given_since_state = False
        self._passed = 0

    def schemas(self) -> list[list[Field]]:
        """The columns of the rows that follow, of each selection."""
        return [each.fields for each in self._tables]

    def next(self, max_rows: int) -> Rows | Columns | Pause:
        """What comes next: the log has no end."""
        while True:
            is_full = len(self._rows) >= max_rows
            event = self._held or self._pull()
            place = None if isinstance(event, Commit | Idle) else self._place_of(event.dataset)
            # The commit of the last row that fits belongs to the chunk.
            is_over = is_full and not isinstance(event, Commit)
            ends_chunk = (
                is_over
                or isinstance(event, Idle)
                or (place is not None and (isinstance(event, NewSchema) or place != self._place))
            )
            self._held = event if ends_chunk and self._rows else None
            if self._held:
                break
            match event:
                case Idle():
                    state = None if self._given_since_state or self._position is None else self._state()
                    return Pause(state, event.retry_after_ms)
                case Commit():
                    self._position, self._safe = event.position, len(self._rows)
                    if is_full or (not self._rows and (self._given_since_state or self._passed >= _MOST_PASSED)):
                        break
                case _ if place is None:
                    self._passed += 1
                case NewSchema():
                    table = self._tables[place]
                    before = table.fields
                    table.begin(event.schema)
                    if table.fields != before:  # otherwise it is about columns that are not read
                        self._given_since_state = True
                        return Columns(place, table.fields)
                case _:
                    self._rows += self._tables[place].rows(event)
                    self._place = place
        return self._give(max_rows)

    def _give(self, max_rows: int) -> Rows:
        """Rows, up to the last commit if there is one among them."""
        count = min(self._safe or len(self._rows), max_rows)
        is_safe = count == self._safe
        given, self._rows = self._rows[:count], self._rows[count:]
        self._safe = max(self._safe - count, 0)
        self._given_since_state, self._passed = not is_safe, 0
        batch = Batch.from_records(given, self._tables[self._place].fields)
        return Rows(self._place, batch, self._state() if is_safe else None)

    def _pull(self) -> Any:
        """The next event that was not taken yet. After an error or an end, the log begins anew from its last commit."""
        if self._events is None:
            self._again = self._since
            self._events = iter(self._source.changes(self._position, [each.request.dataset for each in self._tables]))
        try:
            while (event := next(self._events, None)) is not None:
                if isinstance(event, Idle):
                    return event
                if self._again:
                    self._again -= 1
                    continue
                self._since = 0 if isinstance(event, Commit) else self._since + 1
                return event
        except Exception:
            self._events = None
            raise
        self._events = None
        if self._again:
            raise InvalidState("the changes after the last commit are not those that were read before")
        return Idle()

    def _place_of(self, dataset: str | Dataset) -> int | None:
        """Which selection a dataset is; `None` if it is not read."""
        name = ("", dataset) if isinstance(dataset, str) else (dataset.namespace, dataset.name)
        if name not in self._places:
            known = self._source.datasets()
            if all((each.namespace, each.name) != name for each in known):
                raise InvalidInput(f"there is no dataset {str(dataset)!r}, only {', '.join(map(str, known)) or 'none'}")
            self._places[name] = None
        return self._places[name]

    def _state(self) -> bytes:
        return encoded_changes([each.request for each in self._tables], self._position)
