"""Sources: datasets, and reads of them that can continue where they stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dataflare_plugin.batch import Batch, as_batch
from dataflare_plugin.datasets import Chunk, Dataset, Field, Idle, NewSchema, Request, shown_name
from dataflare_plugin.errors import InvalidConfig, InvalidInput, InvalidState, Unsupported
from dataflare_plugin.plugin import Plugin

__all__ = [
    "Columns",
    "Pause",
    "Reading",
    "Rows",
    "Source",
    "acknowledged",
    "encoded",
    "encoded_changes",
    "requests_of",
]


class Source(Plugin):
    """Reads datasets. Override `read`, and `schema` for one dataset or `datasets` for several.

    `read` is a generator of `Chunk`s, of batches, of lists of records, or of columns by name. Their columns are those
    of the dataset: a record may lack some, which are null then, but has no others. Where the columns change, it yields
    a `NewSchema` first. The host may stop it after any of them, and later begins it again with the state of the last
    chunk that it kept. When it raises, the host may ask again: it is begun anew with the last state that it gave.

    Attributes:
        dataset: The name of the only dataset.
        schema: Its columns: Arrow types by name.
        key: The columns that identify a row.
        cursor: The column that rows are ordered by; with one, the dataset can be read incrementally.
        modes: How it can be read, as for a `Dataset`; with `changes`, override `changes`.
    """

    kind: ClassVar[str] = "source"
    dataset: ClassVar[str] = "rows"
    schema: ClassVar[Mapping[str, str]] = {}
    key: ClassVar[Sequence[str]] = ()
    cursor: ClassVar[str] = ""
    modes: ClassVar[Sequence[str]] = ()

    def datasets(self) -> Sequence[Dataset]:
        """The datasets that can be read: by default one, which the class describes."""
        return [Dataset(self.dataset, self.schema, self.key, self.cursor, modes=self.modes)]

    def schema_at(self, request: Request) -> Mapping[str, str] | Sequence[Field]:
        """The columns of the rows after `request.state`.

        By default those of the last `NewSchema` before it, or else the dataset's. A source whose older rows had other
        columns than the dataset has now overrides it.
        """
        return request.fields

    def read(self, request: Request) -> Iterator[Any]:
        """Yield rows."""
        raise NotImplementedError

    def changes(self, position: Any, datasets: Sequence[Dataset]) -> Iterator[Any]:
        """Yield what happened after a position, in order: `Insert`, `Update`, `Delete`, `NewSchema`, `Commit`.

        It is for datasets with the mode `changes`. `position` is that of a `Commit`; `None` stands for the beginning:
        the rows that exist come first, as inserts. Every transaction ends with a `Commit`, and so do rows and new
        schemas outside of one. Of a log of several datasets, `datasets` are those that are read; events of others may
        be left out. Where nothing more is there for now, it ends, or yields `Idle` to go on from where it is. After an
        end and after an error it is begun anew, from the last commit; the events since then that were taken before
        have to come again, and do not count twice.

        Raises:
            InvalidState: The changes after the position are gone.
        """
        raise NotImplementedError

    def split(self, request: Request, at_most: int) -> list[Any]:
        """Divide the rest of a read into parts that can be read at the same time, each any JSON value."""
        raise Unsupported(f"dataset {str(request.dataset)!r} cannot be split")

    def estimate(self, request: Request) -> int | None:
        """How many rows a read has, exactly; `None` where it is not known."""
        return None

    def acknowledge(self, state: Any) -> None:
        """Take note that all rows up to this state are safe."""


@dataclass(frozen=True)
class Rows:
    """Rows of a selection, and the state after them; `None` where there is no safe point."""

    selection: int
    batch: Batch
    state: bytes | None


@dataclass(frozen=True)
class Columns:
    """The columns that the next rows of a selection have."""

    selection: int
    fields: list[Field]


@dataclass(frozen=True)
class Pause:
    """No rows for now, and the state after those before."""

    state: bytes | None
    retry_after_ms: int


class Reading:
    """A read that is under way."""

    def __init__(self, source: Source, request: Request) -> None:
        self._source = source
        self._request = request
        self._chunks: Iterator[Any] | None = None
        self._rest: Chunk | None = None
        self._given_since_state = False
        self._begin(source.schema_at(request))

    def schemas(self) -> list[list[Field]]:
        """The columns of the rows that follow, of the only selection."""
        return [self.fields]

    def next(self, max_rows: int) -> Rows | Columns | Pause | None:
        """What comes next; `None` at the end."""
        self._request.max_rows = max_rows
        chunk = self._rest or self._pull()
        self._rest = None
        if chunk is None and self._request.incremental and "changes" in self._request.dataset.reading_modes:
            # Of a dataset that is unbounded, this mode has no end either.
            self._chunks, state = None, self._request.state
            known = state is not None and not self._given_since_state
            return Pause(encoded(self._request, after=state, **self._said) if known else None, Idle().retry_after_ms)
        if not isinstance(chunk, Chunk):
            return None if chunk is None else Columns(0, chunk)
        batch: Batch = chunk.rows
        if len(batch) > max_rows:
            # What is held back keeps the state: before it, there is no safe point.
            self._rest = Chunk(batch.slice(max_rows, len(batch) - max_rows), chunk.state)
            return Rows(0, batch.slice(0, max_rows), None)
        return Rows(0, batch, None if chunk.state is None else encoded(self._request, after=chunk.state, **self._said))

    def _pull(self) -> Chunk | list[Field] | None:
        if self._chunks is None:
            if self._given_since_state:
                name = str(self._request.dataset)
                raise Unsupported(f"dataset {name!r}: the read failed between two states: open it again")
            self._chunks = iter(self._source.read(self._request))
        try:
            given = next(self._chunks, None)
            while isinstance(given, NewSchema):
                before = self.fields
                self._begin(given.schema)
                if self.fields != before:
                    return self.fields
                given = next(self._chunks, None)  # it is about columns that are not read
            if given is None:
                return None
            chunk = given if isinstance(given, Chunk) else Chunk(given)
            batch = self._batch(chunk.rows)
        except Exception:
            self._chunks = None
            raise
        self._given_since_state = chunk.state is None
        if chunk.state is not None:
            self._request.state = chunk.state
        return Chunk(batch, chunk.state)

    def _begin(self, schema: Mapping[str, str] | Sequence[Field]) -> None:
        """Take these columns for the rows that follow."""
        request = self._request
        request.fields = request.dataset.fields(schema)
        wanted = {*request.columns, *request.dataset.key, request.dataset.cursor}
        self.fields = [each for each in request.fields if not request.columns or each.name in wanted]
        changed = request.fields != request.dataset.fields()
        # A read from a state begins with the columns that rows have there.
        self._said = {"schema": _saved(request.fields)} if changed else {}

    def _batch(self, rows: Any) -> Batch:
        """Rows as a batch of the columns that are read."""
        known = {each.name for each in self._request.fields}
        if not isinstance(rows, Batch | Mapping):
            rows = list(rows)
            # The host would drop what the schema does not name, and say nothing.
            if not all(known.issuperset(record) for record in rows):
                raise self._unknown({name for record in rows for name in record} - known)
        batch = as_batch(rows, self.fields)
        names, columns = [each.name for each in self.fields], batch.columns
        if unknown := set(columns) - known:
            raise self._unknown(unknown)
        if missing := set(names).difference(columns):
            raise InvalidInput(f"dataset {str(self._request.dataset)!r}: the rows have no column {min(missing)!r}")
        return batch if columns == names else batch.select(*names)

    def _unknown(self, columns: set[str]) -> InvalidInput:
        return InvalidInput(
            f"dataset {str(self._request.dataset)!r}: the rows have a column {min(columns)!r}, which its schema lacks:"
            " name it there, leave it out, or yield a NewSchema first"
        )


def requests_of(source: Source, selections: Sequence[Any], part: bytes | None, state: bytes | None) -> list[Request]:
    """Check what the host selects, against what there is: one dataset, or several of one log of changes."""
    datasets = source.datasets()
    requests = [_request_of(datasets, each) for each in selections]
    of_log = [each.mode == "changes" for each in requests]
    if not requests or (len(requests) > 1 and not all(of_log)):
        raise InvalidConfig("select one dataset: each has a state of its own, apart from those of a log of changes")
    (first, *_) = requests
    if all(of_log):
        if part is not None:
            raise InvalidState(f"dataset {str(first.dataset)!r}: changes have no parts")
        if state is not None:
            _decode_changes(requests, state)
        return requests
    if part is not None:
        first.part = _decoded(first, part, "part")
    if state is not None:
        first.state = _decoded(first, state, "after")
    return requests


def _request_of(datasets: Sequence[Dataset], selection: Any) -> Request:
    wanted = selection.dataset.namespace, selection.dataset.name
    found = next((each for each in datasets if (each.namespace, each.name) == wanted), None)
    name = shown_name(*wanted)
    if found is None:
        raise InvalidConfig(f"there is no dataset {name!r}, only {', '.join(map(str, datasets)) or 'none'}")
    columns = {each.name for each in found.fields()}
    if unknown := set(selection.columns) - columns:
        raise InvalidConfig(f"dataset {name!r}: there is no column {min(unknown)!r}")
    mode = type(selection.mode).__name__.rpartition("_")[2].lower()
    if mode not in found.reading_modes:
        raise InvalidConfig(f"dataset {name!r}: it cannot be read in the mode {mode}")
    if mode == "incremental" and selection.mode.value != found.cursor:
        raise InvalidConfig(f"dataset {name!r}: its cursor is {found.cursor!r}")
    return Request(found, mode, list(selection.columns))


def encoded(request: Request, **said: Any) -> bytes:
    """Write a state (`after`, and the `schema` of its rows) or a part (`part`), with the read that it belongs to."""
    of = {**_belonging(request), "mode": request.mode}
    if request.part is not None:
        of["part"] = request.part
    return _written({**of, **said})


def encoded_changes(requests: Sequence[Request], position: Any) -> bytes:
    """Write a state of a log of changes, with the datasets that are read and the columns of their next rows.

    What the datasets have now can come later in the log.
    """
    datasets = [{**_belonging(each), "schema": _saved(each.fields)} for each in requests]
    return _written({"after": position, "datasets": datasets, "mode": "changes"})


def _written(said: Mapping[str, Any]) -> bytes:
    """As the SDKs of all languages write it: without white space, and with keys in the order of the alphabet."""
    return json.dumps(dict(sorted(said.items())), separators=(",", ":")).encode()


def _saved(fields: Sequence[Field]) -> list[dict[str, Any]]:
    return [
        {"metadata": dict(each.metadata), "name": each.name, "nullable": each.nullable, "type": each.type}
        for each in fields
    ]


def acknowledged(data: bytes) -> Any:
    """The state within what was written."""
    try:
        return json.loads(data)["after"]
    except (ValueError, TypeError, KeyError):
        raise InvalidState("the acknowledged state does not come from this source") from None


def _belonging(request: Request) -> dict[str, Any]:
    of: dict[str, Any] = {"columns": sorted(request.columns)} if request.columns else {}
    of["dataset"] = request.dataset.name
    if request.dataset.namespace:
        of["namespace"] = request.dataset.namespace
    return of


def _decoded(request: Request, data: bytes, key: str) -> Any:
    name, what = str(request.dataset), "state" if key == "after" else "part"
    try:
        said = json.loads(data)
        if fields := said.pop("schema", None):
            request.fields = [_field(each) for each in fields]
        found = said.pop(key)
    except (ValueError, TypeError, AttributeError, KeyError):
        raise InvalidState(f"dataset {name!r}: the {what} does not come from this source") from None
    if said != json.loads(encoded(request)):
        others = "of other columns, or of another dataset, mode or part"
        raise InvalidState(f"dataset {name!r}: the {what} is {others}")
    return found


def _decode_changes(requests: Sequence[Request], data: bytes) -> None:
    names = ", ".join(repr(str(each.dataset)) for each in requests)
    try:
        said = json.loads(data)
        datasets, position = said["datasets"], said["after"]
        fields = [each.pop("schema", None) for each in datasets]
    except (ValueError, TypeError, AttributeError, KeyError):
        raise InvalidState(f"dataset {names}: the state does not come from this source") from None
    if said.get("mode") != "changes" or datasets != [_belonging(each) for each in requests]:
        raise InvalidState(f"dataset {names}: the state is of other columns, or of other datasets or another mode")
    for request, each in zip(requests, fields, strict=True):
        request.state = position
        try:
            request.fields = request.fields if each is None else [_field(one) for one in each]
        except TypeError:
            raise InvalidState(f"dataset {names}: the state does not come from this source") from None


def _field(said: Mapping[str, Any]) -> Field:
    made = Field(**said)
    texts = made.name, made.type, *made.metadata.keys(), *made.metadata.values()
    if not isinstance(made.nullable, bool) or not all(isinstance(each, str) for each in texts):
        raise TypeError(made)
    return made
