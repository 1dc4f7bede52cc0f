"""Sources: datasets, and reads of them that can continue where they stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from dataflare_plugin.batch import Batch, as_batch
from dataflare_plugin.datasets import Chunk, Dataset, Field, Request
from dataflare_plugin.errors import InvalidConfig, InvalidState, Unsupported
from dataflare_plugin.plugin import Plugin

__all__ = ["Reading", "Source", "encoded", "request_of"]


class Source(Plugin):
    """Reads datasets. Override `read`, and `schema` for one dataset or `datasets` for several.

    `read` is a generator of `Chunk`s, of batches, of lists of records, or of columns by name. The host may stop it
    after any of them, and later begins it again with the state of the last chunk that it kept. When it raises, the
    host may ask again: it is begun anew with the last state that it gave.
    """

    kind: ClassVar[str] = "source"
    dataset: ClassVar[str] = "rows"
    schema: ClassVar[Mapping[str, str]] = {}
    key: ClassVar[Sequence[str]] = ()
    cursor: ClassVar[str] = ""

    def datasets(self) -> Sequence[Dataset]:
        """The datasets that can be read: by default one, which the class describes."""
        return [Dataset(self.dataset, self.schema, self.key, self.cursor)]

    def read(self, request: Request) -> Iterator[Any]:
        """Yield rows."""
        raise NotImplementedError

    def split(self, request: Request, at_most: int) -> list[Any]:
        """Divide the rest of a read into parts that can be read at the same time, each any JSON value."""
        raise Unsupported(f"dataset {request.dataset.name!r} cannot be split")

    def estimate(self, request: Request) -> int | None:
        """How many rows a read has, exactly; `None` where it is not known."""
        return None

    def acknowledge(self, state: Any) -> None:
        """Take note that all rows up to this state are safe."""


class Reading:
    """A read that is under way."""

    def __init__(self, source: Source, request: Request) -> None:
        self._source = source
        self._request = request
        self._chunks: Iterator[Any] | None = None
        self._rest: Chunk | None = None
        self._given_since_state = False
        fields = {each.name: each for each in request.dataset.fields()}
        wanted = {*request.columns, *request.dataset.key, request.dataset.cursor} if request.columns else {*fields}
        self.fields: list[Field] = [each for name, each in fields.items() if name in wanted]

    def next(self, max_rows: int) -> tuple[Batch, bytes | None] | None:
        """The next rows and the state after them; `None` at the end."""
        self._request.max_rows = max_rows
        chunk = self._rest or self._pull()
        self._rest = None
        if chunk is None:
            return None
        batch: Batch = chunk.rows
        if len(batch) > max_rows:
            # What is held back keeps the state: before it, there is no safe point.
            self._rest = Chunk(batch.slice(max_rows, len(batch) - max_rows), chunk.state)
            return batch.slice(0, max_rows), None
        return batch, None if chunk.state is None else encoded(self._request, after=chunk.state)

    def _pull(self) -> Chunk | None:
        if self._chunks is None:
            if self._given_since_state:
                raise Unsupported("the read failed between two states: open it again")
            self._chunks = iter(self._source.read(self._request))
        try:
            given = next(self._chunks, None)
            if given is None:
                return None
            chunk = given if isinstance(given, Chunk) else Chunk(given)
            batch = as_batch(chunk.rows, self.fields)
        except Exception:
            self._chunks = None
            raise
        names = [each.name for each in self.fields]
        if batch.columns != names:
            batch = batch.select(*names)
        self._given_since_state = chunk.state is None
        if chunk.state is not None:
            self._request.state = chunk.state
        return Chunk(batch, chunk.state)


def request_of(source: Source, selections: Sequence[Any], part: bytes | None, state: bytes | None) -> Request:
    """Check what the host selects, against what there is."""
    if len(selections) != 1:
        raise InvalidConfig("select one dataset: each has a state of its own")
    (selection,) = selections
    name = selection.dataset.name
    found = next((each for each in source.datasets() if each.name == name and not selection.dataset.namespace), None)
    if found is None:
        known = ", ".join(each.name for each in source.datasets())
        raise InvalidConfig(f"there is no dataset {name!r}, only {known or 'none'}")
    columns = {each.name for each in found.fields()}
    if unknown := set(selection.columns) - columns:
        raise InvalidConfig(f"dataset {name!r}: there is no column {min(unknown)!r}")
    mode = type(selection.mode).__name__.rpartition("_")[2].lower()
    if mode == "changes" or (mode == "incremental" and not found.cursor):
        raise InvalidConfig(f"dataset {name!r}: it cannot be read in the mode {mode}")
    if mode == "incremental" and selection.mode.value != found.cursor:
        raise InvalidConfig(f"dataset {name!r}: its cursor is {found.cursor!r}")
    request = Request(found, mode, list(selection.columns))
    if part is not None:
        request.part = _decoded(request, part, "part")
    if state is not None:
        request.state = _decoded(request, state, "after")
    return request


def encoded(request: Request, **said: Any) -> bytes:
    """Write a state (`after`) or a part (`part`), with the read that it belongs to."""
    of = {"dataset": request.dataset.name, "mode": request.mode}
    if request.part is not None:
        of["part"] = request.part
    return json.dumps({**of, **said}).encode()


def _decoded(request: Request, data: bytes, key: str) -> Any:
    what = "state" if key == "after" else "part"
    try:
        said = json.loads(data)
    except ValueError:
        said = None
    if not isinstance(said, dict) or key not in said:
        raise InvalidState(f"the {what} does not come from this source")
    found = said.pop(key)
    if said != json.loads(encoded(request)):
        raise InvalidState(f"the {what} is of another dataset, mode or part")
    return found
