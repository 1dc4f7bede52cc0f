"""Sources: plugins that bring rows in."""

from __future__ import annotations

import hashlib
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, TypeAlias

import pyarrow as pa

from dataflare.data.roles import roles_of
from dataflare.data.schemas import SchemaError
from dataflare.errors import ConfigError, PermissionDenied, PluginError, UsageError
from dataflare.runtime.dataset_grants import DatasetRules
from dataflare.runtime.datasets import (
    Chunk,
    Dataset,
    DatasetName,
    Ended,
    Estimate,
    Idle,
    NewSchema,
    ReadProgress,
    Selection,
    selection_to_wit,
    wrong_in,
)
from dataflare.runtime.launch import Worker
from dataflare.runtime.plugin import Plugin, PluginParts
from dataflare.runtime.row_schemas import as_schema, columns_text, fits_schema
from dataflare.runtime.runs import KeepsRun, RunLost, loses_run
from dataflare.suggestions import close_matches
from dataflare.texts import cut, cut_name
from dataflare.wit_types import source as wit
from dataflare.wit_types.source import Division

__all__ = ["MAX_ROWS", "Selections", "Source"]

MAX_ROWS: Final = 65_536
"""Default maximum number of rows of one `read`."""
_STATES: Final = 65_536
"""How many of the last states can be acknowledged."""
_COMPARED: Final = 1_000
"""Maximum number of a plugin's names with which a wrong name is compared for a suggestion."""

Selections: TypeAlias = Selection | DatasetName | str | Sequence[Selection | DatasetName | str] | None
"""What to read: selections, or names of datasets (all rows and columns). `None` means the only dataset."""


@dataclass(slots=True)
class _Reading:
    """The current read, in the instance of `worker`."""

    worker: weakref.ref[Worker]
    selections: list[Selection]
    schemas: list[pa.Schema]
    part: bytes | None
    states: deque[bytes]
    ended: bool = False
    failed: bool = False


class Source(KeepsRun, Plugin):
    """A plugin that brings rows in.

    A read is `open`, any number of `read` and `acknowledge`, then `stop`. The plugin has one instance, which holds the
    read. If the instance is lost, `read` raises `RunLost`: open the read again, from the last state whose rows are
    safe.
    """

    kind: ClassVar[str] = "source"

    def __init__(self, parts: PluginParts) -> None:
        super().__init__(parts)
        self._rules = DatasetRules(parts.datasets, plugin=parts.name, refused=parts.capabilities.refused_dataset)
        # Touched only by the thread that has the instance.
        self._datasets: list[Dataset] | None = None
        self._reading: _Reading | Literal["lost"] | None = None
        self._read_parts: set[bytes] = set()

    def discover(self) -> list[Dataset]:
        """List the datasets that can be read.

        Raises:
            PluginError: The plugin answered with an error.
            PluginFault: It trapped, or described a dataset that is not valid.
            UsageError: The plugin is closed.
        """
        with self._lease() as worker:
            return list(self._discover(worker))

    def dataset(self, selection: Selection | DatasetName | str | None = None) -> Dataset:
        """Return the dataset that a selection names; `None` means the only one.

        Raises:
            ConfigError: The dataset does not exist, or several do and none is named.
            PluginError: As `discover`.
            PluginFault: As `discover`.
        """
        with self._lease() as worker:
            (selected,) = self._selected(worker, selection)
            return self._found(worker, selected.dataset)

    def split(self, selections: Selections = None, *, at_most: int, state: bytes | None = None) -> Division:
        """Divide a read into parts that can be read in parallel, each by its own source.

        Args:
            selections: What to read.
            at_most: The largest number of parts, at least 1.
            state: Where the read continues; `None` begins. The parts have the rows after it.

        Raises:
            ConfigError: A dataset, a mode or a column does not exist, or a dataset is not splittable.
            PluginError: The plugin answered with an error.
            PluginFault: It trapped, or returned no part or too many.
            UsageError: `at_most` is below 1, or the plugin is closed.
        """
        if at_most < 1:
            raise UsageError(f"plugin {self.name!r}: a read cannot be split into {at_most} parts")
        with self._lease() as worker:
            selected = self._selected(worker, selections)
            for each in selected:
                if "splittable" not in self._found(worker, each.dataset).modes:
                    raise ConfigError(f"plugin {self.name!r}: dataset {str(each.dataset)!r} cannot be split")
            found = worker.call(self._interface, "split", _wit(selected), state, at_most)
            parts = self._parts_of(worker, found.parts, at_most)
            self._read_parts.clear()
            return Division(parts, None if found.rest is None else bytes(found.rest))

    def estimate(
        self, selections: Selections = None, *, part: bytes | None = None, state: bytes | None = None
    ) -> Estimate | None:
        """Ask how many rows are left; `None` if unknown. Arguments and errors are those of `open`."""
        with self._lease() as worker:
            selected = self._selected(worker, selections)
            found = worker.call(self._interface, "estimate", _wit(selected), part, state)
        return None if found is None else Estimate(found.rows, found.exact)

    @loses_run
    def open(
        self,
        selections: Selections = None,
        *,
        part: bytes | None = None,
        state: bytes | None = None,
        any_selection: bool = False,
    ) -> list[pa.Schema]:
        """Begin a read, or continue an earlier one from a state; ends the current read.

        Args:
            selections: What to read.
            part: One of those that `split` returned for the same selections; `None` reads all of them.
            state: Where to continue: the `state` of a chunk of the same selections and part. `None` begins.
            any_selection: Leave it to the plugin to refuse a `Selection` of what it has not, as a test of it does.

        Returns:
            The schema of each selection's rows, with the roles of the columns.

        Raises:
            ConfigError: A dataset, a mode, a cursor or a column does not exist.
            PermissionDenied: A dataset or a column is not granted.
            PluginError: The plugin answered with an error: `invalid-state` for a state or a part that is not its own.
            PluginFault: It trapped, or returned schemas that are not valid.
            UsageError: The part has been read to its end already, or the plugin is closed.
        """
        with self._lease() as worker:
            if any_selection and isinstance(selections, Selection):
                selected = [selections]
            else:
                selected = self._selected(worker, selections)
            if part is not None and state is None and _digest(part) in self._read_parts:
                raise UsageError(
                    f"plugin {self.name!r}: {_named(selected)}: this part has been read to its end already",
                    hint="reading it again gives its rows twice: `split` again for a new read",
                )
            self._reading = None
            found = worker.call(self._interface, "open", _wit(selected), part, state)
            if len(found) != len(selected):
                why = f"it returned {len(found)} schemas for {len(selected)} selections"
                raise self._broken_promise(worker, "open", why)
            schemas = [self._read_schema(worker, "open", each, s) for each, s in zip(selected, found, strict=True)]
            for each, schema in zip(selected, schemas, strict=True):
                self._rules.require_columns("open", each.dataset, schema)
            states = deque([] if state is None else [_digest(state)], maxlen=_STATES)
            self._reading = _Reading(weakref.ref(worker), selected, schemas, part, states)
            self._interrupted = False
            return schemas

    @loses_run
    def read(self, max_rows: int = MAX_ROWS, *, ended_too: bool = False) -> ReadProgress:
        """Read the next chunk.

        Args:
            max_rows: The most rows to return, 1 to 2^32 - 1.
            ended_too: Ask the plugin again after its read has ended, as a test of it does.

        Raises:
            PluginError: The plugin answered with an error. After `unavailable` and `rate-limited` the same call can be
                made again; after any other, open the read again.
            PluginFault: It trapped, or returned something that does not belong to the read; the read is lost.
            RunLost: The read was lost before: with its instance, or to an interrupt of a call.
            UsageError: No read is under way, `max_rows` is out of range, or the plugin is closed.
        """
        if not 1 <= max_rows < 2**32:
            raise UsageError(f"plugin {self.name!r}: `max_rows` is {max_rows}, not 1 to 2^32 - 1")
        with self._data_lease(0) as worker:
            reading = self._require_reading("read", worker)
            if reading.ended and not ended_too:
                return Ended()
            if reading.failed:
                raise UsageError(
                    f"plugin {self.name!r}: `read` in a read of {_named(reading.selections)} that ended with an error",
                    hint="`open` it again, from the last state whose rows are safe",
                )
            try:
                found = worker.call(self._interface, "read", max_rows)
            except PluginError as error:
                reading.failed = not error.retryable
                raise
            match found.case:
                case "rows":
                    return self._chunk(worker, reading, found.value, max_rows)
                case "new-schema":
                    selection = self._selection(worker, reading, found.value.selection)
                    schema = self._read_schema(worker, "read", selection, found.value.schema)
                    self._require_new_columns(selection.dataset, schema)
                    reading.schemas[found.value.selection] = schema
                    return NewSchema(selection.dataset, schema)
                case "idle":
                    state = self._state(reading, found.value.state)
                    return Idle(state, found.value.retry_after_ms / 1000)
                case _:
                    reading.ended = True
                    if reading.part is not None:
                        self._read_parts.add(_digest(reading.part))
                    return Ended()

    def acknowledge(self, state: bytes) -> None:
        """Tell the source that all rows before a state are safe. Idempotent.

        Args:
            state: One that `read` returned since `open`, and not one before the last that was acknowledged.

        Raises:
            PluginError: The plugin answered with an error.
            PluginFault: It trapped; the read is lost.
            RunLost: The read was lost before.
            UsageError: The state was never returned, no read is under way, or the plugin is closed.
        """
        with self._lease() as worker:
            reading = self._require_reading("acknowledge", worker)
            states = reading.states
            digest = _digest(state)
            if digest not in states:
                raise UsageError(
                    f"plugin {self.name!r}: {_named(reading.selections)}: a state is acknowledged that this read never "
                    "returned, or that lies before one that was acknowledged",
                    hint=f"acknowledge a chunk's `state`, one of the last {_STATES}",
                )
            worker.call(self._interface, "acknowledge", state)
            while states[0] != digest:
                states.popleft()

    def stop(self) -> None:
        """End the read, at any point. Idempotent; the plugin stays loaded.

        Raises:
            PluginError: The plugin answered with an error.
            PluginFault: It trapped.
            UsageError: The plugin is closed.
        """
        self._require_open()
        reading, self._reading = self._reading, None
        if isinstance(reading, _Reading):
            with self._lease() as worker:
                worker.call(self._interface, "close")

    def chunks(
        self,
        selections: Selections = None,
        *,
        part: bytes | None = None,
        state: bytes | None = None,
        max_rows: int = MAX_ROWS,
    ) -> Iterator[Chunk]:
        """Open a read and read chunk by chunk, to its end or until it is idle. Arguments as `open` and `read`.

        Raises:
            ConfigError: As `open`.
            PluginError: As `open` and `read`. The iterator has ended then: continue with the state of the last chunk.
            PluginFault: As `open` and `read`.
            RunLost: As `read`; or the read was ended by another `open`, as by that of another iterator.
            UsageError: As `open` and `read`.
        """
        self.open(selections, part=part, state=state)
        reading = self._reading
        while not isinstance(progress := self.read(max_rows), Ended | Idle):
            if isinstance(progress, Chunk):
                yield progress
                if isinstance(self._reading, _Reading) and self._reading is not reading:
                    raise RunLost(
                        f"plugin {self.name!r}: `read` in a read that another `open` has ended",
                        hint="iterate over one read at a time, or load the plugin once more",
                    )

    def batches(
        self,
        selections: Selections = None,
        *,
        part: bytes | None = None,
        state: bytes | None = None,
        max_rows: int = MAX_ROWS,
    ) -> Iterator[pa.RecordBatch]:
        """Read batch by batch, like `chunks` but without the states; skips batches without rows."""
        chunks = self.chunks(selections, part=part, state=state, max_rows=max_rows)
        return (chunk.rows for chunk in chunks if chunk.rows.num_rows)

    def _discover(self, worker: Worker) -> list[Dataset]:
        datasets = []
        for each in worker.call(self._interface, "discover"):
            name = DatasetName(each.name.name, each.name.namespace)
            schema = self._dataset_schema(worker, "discover", name, each.schema)
            found = Dataset(name, cut(each.description), schema, tuple(each.key), tuple(each.cursors), each.modes)
            if wrong := wrong_in(found):
                raise self._broken_promise(worker, "discover", f"dataset {cut_name(str(name))!r}: {wrong}")
            datasets.append(found)
        if len({each.name for each in datasets}) < len(datasets):
            raise self._broken_promise(worker, "discover", "two datasets have the same name")
        self._datasets = self._rules.visible(datasets)
        return self._datasets

    def _found(self, worker: Worker, name: DatasetName) -> Dataset:
        self._rules.require_dataset("open", name)
        datasets = self._discover(worker) if self._datasets is None else self._datasets
        for each in datasets:
            if each.name == name:
                return each
        raise ConfigError(
            f"plugin {self.name!r} has no dataset {cut_name(str(name))!r}",
            hint=_nearest(str(name), [str(each.name) for each in datasets]),
        )

    def _selected(self, worker: Worker, selections: Selections) -> list[Selection]:
        """Return the selections, checked against the datasets, with their default cursors."""
        if selections is None:
            datasets = self._discover(worker) if self._datasets is None else self._datasets
            if len(datasets) != 1:
                listed = ", ".join(cut_name(str(each.name)) for each in datasets[:20])
                raise ConfigError(
                    f"plugin {self.name!r} has {len(datasets)} datasets, and none is selected",
                    hint=f"select from {listed}" if datasets else "see its configuration",
                )
            selections = datasets[0].name
        if isinstance(selections, Selection | DatasetName | str):
            selections = [selections]
        selected = [each if isinstance(each, Selection) else Selection(each) for each in selections]
        names = [each.dataset for each in selected]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"plugin {self.name!r}: select at least one dataset, and none of them twice")
        return [self._checked(each, self._found(worker, each.dataset)) for each in selected]

    def _checked(self, selection: Selection, dataset: Dataset) -> Selection:
        where = f"plugin {self.name!r}: dataset {cut_name(str(dataset.name))!r}"
        self._rules.require_selected(dataset.name, selection.columns)
        if selection.mode not in dataset.modes:
            known = [mode for mode in ("full", "incremental", "changes") if mode in dataset.modes]
            raise ConfigError(
                f"{where} cannot be read in the mode {selection.mode!r}", hint=f"it has {', '.join(known)}"
            )
        for column in selection.columns:
            if column not in dataset.schema.names:
                hint = _nearest(column, dataset.schema.names)
                raise ConfigError(f"{where} has no column {cut_name(column)!r}", hint=hint)
        if len(set(selection.columns)) < len(selection.columns):
            raise ConfigError(f"{where}: a column is selected twice")
        columns = self._rules.chosen(dataset, selection.columns)
        if selection.mode != "incremental":
            return Selection(selection.dataset, selection.mode, columns=columns)
        cursor = selection.cursor or next(iter(dataset.cursors), None)
        if cursor is None or cursor not in dataset.cursors:
            hint = _nearest(str(cursor), dataset.cursors)
            raise ConfigError(f"{where}: column {cut_name(str(cursor))!r} cannot be its cursor", hint=hint)
        return Selection(selection.dataset, selection.mode, cursor=cursor, columns=columns)

    def _parts_of(self, worker: Worker, found: Sequence[bytes], at_most: int) -> list[bytes]:
        if not 1 <= len(found) <= at_most:
            raise self._broken_promise(worker, "split", f"it made {len(found)} parts, of at most {at_most}")
        parts = [bytes(part) for part in found]
        if len(set(parts)) < len(parts):
            raise self._broken_promise(worker, "split", "two of its parts are the same")
        return parts

    def _chunk(self, worker: Worker, reading: _Reading, found: Any, max_rows: int) -> Chunk:
        selection = self._selection(worker, reading, found.selection)
        rows = self._within_limits(worker, "read", found.rows.arrow)
        name = cut_name(str(selection.dataset))
        if rows.num_rows > max_rows:
            raise self._broken_promise(worker, "read", f"dataset {name!r}: {rows.num_rows} rows, of at most {max_rows}")
        expected = reading.schemas[found.selection]
        if not fits_schema(rows, expected):
            raise self._broken_promise(
                worker,
                "read",
                f"dataset {name!r}: it returned the columns {columns_text(rows.schema)}, where `open` or the last "
                f"`new-schema` said {columns_text(expected)}",
            )
        return Chunk(selection.dataset, as_schema(rows, expected), self._state(reading, found.state))

    def _state(self, reading: _Reading, found: Any) -> bytes | None:
        if found is None:
            return None
        state = bytes(found)
        reading.states.append(_digest(state))
        return state

    def _require_new_columns(self, dataset: DatasetName, schema: pa.Schema) -> None:
        try:
            self._rules.require_columns("read", dataset, schema)
        except PermissionDenied:
            # The following rows would have these columns.
            self._reading = None
            raise

    def _selection(self, worker: Worker, reading: _Reading, index: int) -> Selection:
        if index >= len(reading.selections):
            why = f"it returned rows of selection {index}, of {len(reading.selections)} ({_named(reading.selections)})"
            raise self._broken_promise(worker, "read", why)
        return reading.selections[index]

    def _read_schema(self, worker: Worker, function: str, selection: Selection, schema: Any) -> pa.Schema:
        """Return the schema of a selection's rows, with the column that its mode needs."""
        found = self._dataset_schema(worker, function, selection.dataset, schema)
        lacks = ""
        if selection.mode == "changes" and roles_of(found).operation is None:
            lacks = "a column with the role operation"  # without it, deletes would be written as inserts
        elif selection.mode == "incremental" and selection.cursor not in found.names:
            lacks = f"the cursor {cut_name(str(selection.cursor))!r}"
        if lacks:
            name, mode = cut_name(str(selection.dataset)), selection.mode
            raise self._broken_promise(worker, function, f"dataset {name!r}: rows in the mode {mode!r} lack {lacks}")
        return found

    def _dataset_schema(self, worker: Worker, function: str, dataset: DatasetName, schema: Any) -> pa.Schema:
        found = self._arrow_schema(worker, function, schema)
        try:
            roles_of(found)
        except SchemaError as error:
            why = f"dataset {cut_name(str(dataset))!r}: {error.message}"
            raise self._broken_promise(worker, function, why) from error
        return found

    def _require_reading(self, function: str, worker: Worker) -> _Reading:
        reading = self._reading
        if reading is None and not self._interrupted:
            raise UsageError(
                f"plugin {self.name!r}: `{function}` out of order: no read is under way", hint="`open` comes first"
            )
        if self._interrupted or not isinstance(reading, _Reading) or reading.worker() is not worker:
            why = "that was interrupted" if self._interrupted else "whose instance is lost"
            raise RunLost(
                f"plugin {self.name!r}: `{function}` in a read {why}",
                hint="`open` it again, from the last state whose rows are safe",
            )
        return reading

    def _instance_lost(self) -> None:
        if self._reading is not None:
            self._reading = "lost"


def _named(selections: list[Selection]) -> str:
    """Name the datasets of a read, for an error."""
    names = ", ".join(repr(cut_name(str(each.dataset))) for each in selections[:20])
    return f"dataset{'s' if len(selections) > 1 else ''} {names}"


def _wit(selections: list[Selection]) -> list[wit.Selection]:
    return [selection_to_wit(each) for each in selections]


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _nearest(name: str, known: Sequence[str]) -> str:
    if found := close_matches(name, known[:_COMPARED]):
        return f"did you mean {cut_name(found[0])!r}?"
    return f"there is {', '.join(map(cut_name, known[:20]))}" if known else ""
