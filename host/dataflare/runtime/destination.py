"""Destinations: plugins that take rows out."""

from __future__ import annotations

import itertools
import time
import uuid
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, TypeAlias

import pyarrow as pa

from dataflare.data.roles import roles_of
from dataflare.data.schemas import SchemaError
from dataflare.errors import ConfigError, UsageError
from dataflare.runtime.dataset_grants import DatasetRules
from dataflare.runtime.datasets import DatasetName, PlannedChange, Target, target_to_wit
from dataflare.runtime.launch import Worker
from dataflare.runtime.plugin import Plugin, PluginParts
from dataflare.runtime.row_schemas import columns_text, same_columns
from dataflare.runtime.runs import KeepsRun, RunLost, loses_run
from dataflare.runtime.tables import batches_of
from dataflare.texts import cut, cut_name, first_repeated
from dataflare.wit_types.destination import RejectedRow, RunName

__all__ = ["Destination"]

_State: TypeAlias = Literal["none", "writing", "finished", "lost"]
_TOKEN: Final = b"dataflare:1\0"
"""The beginning of tokens that a destination keeps; the pipeline's name and the caller's token follow."""


@dataclass(slots=True)
class _Run:
    """The current run, or the last one; `worker` has its instance, since `open` was called."""

    worker: weakref.ref[Worker] | None = None
    state: _State = "none"
    pipeline: str = ""
    targets: tuple[Target, ...] = ()
    schemas: tuple[pa.Schema, ...] = ()
    rows: int = 0


class Destination(KeepsRun, Plugin):
    """A plugin that takes rows out.

    A run is `open`, any number of `write`, `change_schema` and `flush`, then `finish` or `abort`. The plugin has one
    instance, which holds the run. If it is lost within a run, every call except `open` and `abort` raises `RunLost`.
    """

    kind: ClassVar[str] = "destination"
    changes: ClassVar[Sequence[PlannedChange]] = ()
    """What `open` changed: a plugin only says what it would (`plan`)."""

    def __init__(self, parts: PluginParts) -> None:
        super().__init__(parts)
        self._rules = DatasetRules(parts.datasets, plugin=parts.name, refused=parts.capabilities.refused_dataset)
        # Touched only by the thread that has the instance.
        self._run = _Run()

    @property
    def rows_written(self) -> int:
        """The number of rows of this run, or of the last one, that were written and not rejected."""
        return self._run.rows

    def abilities(self) -> frozenset[str]:
        """Ask for its abilities.

        Returns:
            Some of `append`, `replace`, `merge`, `delete`, `add-columns`, `widen-columns`, `keep-token` and `shut-out`.

        Raises:
            PluginError: The plugin answered with an error.
            PluginFault: It trapped.
            UsageError: The plugin is closed.
        """
        return frozenset(self._call("abilities"))

    def plan(self, targets: Target | Sequence[Target]) -> list[PlannedChange]:
        """Ask what `open` with these targets would change; nothing is changed.

        Raises:
            ConfigError: A target is not valid.
            PluginError: The plugin answered with an error: it would refuse the targets.
            PluginFault: It trapped, or its answer is not valid.
            UsageError: The plugin is closed.
        """
        with self._lease() as worker:
            checked = self._checked(worker, targets)
            changes = []
            for each in worker.call(self._interface, "plan", [target_to_wit(target) for target in checked]):
                if each.target >= len(checked):
                    raise self._broken_promise(worker, "plan", f"a change of target {each.target}, of {len(checked)}")
                changes.append(PlannedChange(checked[each.target].dataset, each.kind, cut(each.detail)))
            return changes

    @loses_run
    def open(
        self,
        targets: Target | Sequence[Target],
        *,
        pipeline: str = "default",
        run: str | None = None,
        generation: int | None = None,
        any_mode: bool = False,
    ) -> bytes | None:
        """Begin a run.

        Args:
            targets: What to write.
            pipeline: The destination keeps one token for each pipeline.
            run: The run's name, for logs; `None` makes one.
            generation: Rises with every run of the pipeline; `None` takes the time.
            any_mode: Leave it to the plugin to refuse a mode that is not among its abilities, as a test of it does.

        Returns:
            The last token that was kept for the pipeline; `None` if none was kept.

        Raises:
            ConfigError: A target is not valid, or its mode is not among the destination's abilities.
            PermissionDenied: A dataset or a column is not granted.
            PluginError: The plugin answered with an error: `superseded` if a newer run has begun.
            PluginFault: It trapped, or its token is of another pipeline.
            UsageError: A run is under way, or the plugin is closed.
        """
        if not pipeline or "\0" in pipeline:
            raise UsageError("the name of a pipeline is not empty, and has no null character")
        name = RunName(pipeline, run or uuid.uuid4().hex, time.time_ns() if generation is None else generation)
        with self._lease() as worker:
            if self._run.state == "writing" and not self._interrupted:
                raise self._out_of_order("open", "a run is under way", "`finish` or `abort` it first")
            checked = self._checked(worker, targets, any_mode=any_mode)
            self._abort_interrupted(worker)
            self._run = _Run(weakref.ref(worker))
            found = worker.call(self._interface, "open", name, [target_to_wit(each) for each in checked])
            token = None if found is None else self._token_of(worker, pipeline, bytes(found))
            schemas = tuple(each.schema for each in checked)
            self._run = _Run(weakref.ref(worker), "writing", pipeline, checked, schemas)
            return token

    @loses_run
    def write(
        self,
        rows: pa.RecordBatch | pa.Table | Iterable[pa.RecordBatch],
        dataset: DatasetName | str | None = None,
    ) -> list[RejectedRow]:
        """Write rows. They survive a crash only once `flush` has returned `True`, or after `finish`.

        Args:
            rows: A batch. A table, or an iterable of batches, is written batch by batch.
            dataset: The target; `None` is the only one.

        Returns:
            The rejected rows; all others count as written.

        Raises:
            PluginError: The plugin answered with an error: none of the batch's rows counts as written.
            PluginFault: It trapped, or rejected rows that do not exist; the run is lost.
            RunLost: The run was lost before.
            UsageError: No run is under way, the target does not exist, the batch has another schema than the target, or
                the plugin is closed.
        """
        if not isinstance(rows, pa.RecordBatch):
            rejected, before = [], 0
            for each in batches_of(rows):
                found = self.write(each, dataset)
                rejected += [RejectedRow(row.row + before, row.column, row.reason) for row in found]
                before += each.num_rows
            return rejected
        batch = self._wit_batch(rows)
        with self._data_lease(rows.num_rows) as worker:
            run = self._require_run("write", worker, finished_too=False)
            target = self._target(dataset)
            expected = run.schemas[target]
            if not same_columns(expected, rows.schema):
                raise UsageError(
                    f"plugin {self.name!r}: the batch has the columns {columns_text(rows.schema)}, where the target "
                    f"has {columns_text(expected)}",
                    hint="`change_schema` comes first",
                )
            found = worker.call(self._interface, "write", target, batch)
            rejected = self._rejected(worker, found, rows.num_rows, run.targets[target].dataset) if found else []
            run.rows += rows.num_rows - len(rejected)
            return rejected

    @loses_run
    def change_schema(
        self, schema: pa.Schema, dataset: DatasetName | str | None = None, *, any_change: bool = False
    ) -> None:
        """Tell the destination that rows of a target have this schema from here on.

        Args:
            schema: The columns of the rows that follow.
            dataset: The target's dataset; `None` where there is one target.
            any_change: Leave it to the plugin to refuse a change that is not among its abilities, as a test of it does.

        Raises:
            ConfigError: The schema lacks a column of the target's key, its roles are not valid, or it has a new column
                or type, and the destination cannot take one.
            PermissionDenied: A column is not granted.
            PluginError: The plugin answered with an error: `unsupported` for a change that it cannot make.
            PluginFault: It trapped; the run is lost.
            RunLost: The run was lost before.
            UsageError: No run is under way, the target does not exist, or the plugin is closed.
        """
        wit_schema = self._wit_schema(schema)
        with self._lease() as worker:
            run = self._require_run("change_schema", worker, finished_too=False)
            target = self._target(dataset)
            old = run.targets[target]
            self._check_columns("change-schema", Target(old.dataset, schema, key=old.key, mode=old.mode))
            if not any_change:
                self._require_change(worker, old.dataset, run.schemas[target], schema)
            worker.call(self._interface, "change-schema", target, wit_schema)
            run.schemas = (*run.schemas[:target], schema, *run.schemas[target + 1 :])

    @loses_run
    def flush(self, token: bytes = b"") -> bool:
        """Make all written rows safe, together with the token. Idempotent.

        Args:
            token: Where to continue after these rows, for `open` to return.

        Returns:
            Whether the rows now survive a crash; `False` if only `finish` makes them safe.

        Raises:
            PluginError: The plugin answered with an error.
            PluginFault: It trapped; the run is lost.
            RunLost: The run was lost before.
            UsageError: No run was begun, or the plugin is closed.
        """
        with self._lease() as worker:
            run = self._require_run("flush", worker, finished_too=True)
            return bool(worker.call(self._interface, "flush", _kept(run.pipeline, token)))

    @loses_run
    def finish(self, token: bytes = b"") -> None:
        """End the run: all rows and the token are safe and visible. Idempotent.

        Raises:
            PluginError: The plugin answered with an error; the run is still under way.
            PluginFault: It trapped: whether the rows are visible is not known.
            RunLost: The run was lost before.
            UsageError: No run was begun, or the plugin is closed.
        """
        with self._lease() as worker:
            run = self._require_run("finish", worker, finished_too=True)
            worker.call(self._interface, "finish", _kept(run.pipeline, token))
            run.state = "finished"

    def abort(self) -> None:
        """End the run and leave no trace of rows that are not safe. Idempotent; does nothing after `finish`.

        If the run's instance was lost, this only allows `open` to begin another run.

        Raises:
            PluginError: The plugin answered with an error; the run is still under way.
            PluginFault: It trapped; the run is lost.
            UsageError: The plugin is closed.
        """
        self._require_open()
        if not self._pool.size or (self._run.state == "lost" and not self._interrupted):
            # No instance has the run; making a new one would not help and might fail.
            self._interrupted = False
            self._run.state = "none"
            return
        with self._lease() as worker:
            self._abort_interrupted(worker)
            worker.call(self._interface, "abort")
            if self._run.state != "finished":
                self._run.state = "none"

    def _abort_interrupted(self, worker: Worker) -> None:
        """Let the plugin end a run after an interrupt."""
        if self._interrupted:
            if self._run.worker is not None and self._run.worker() is worker:
                worker.call(self._interface, "abort")
            self._interrupted = False

    def _checked(
        self, worker: Worker, targets: Target | Sequence[Target], *, any_mode: bool = False
    ) -> tuple[Target, ...]:
        checked = (targets,) if isinstance(targets, Target) else tuple(targets)
        if not checked or len({each.dataset for each in checked}) < len(checked):
            raise ConfigError(f"plugin {self.name!r}: give at least one target, and no dataset twice")
        abilities = worker.call(self._interface, "abilities")
        for each in checked:
            if each.mode not in abilities and not any_mode:
                known = [mode for mode in ("append", "replace", "merge") if mode in abilities]
                raise ConfigError(
                    f"plugin {self.name!r}: dataset {cut_name(str(each.dataset))!r} cannot be written in the mode "
                    f"{each.mode!r}",
                    hint=f"it has {', '.join(known)}",
                )
            self._check_columns("open", each)
            if each.mode == "merge" and "delete" not in abilities and roles_of(each.schema).operation is not None:
                raise ConfigError(
                    f"plugin {self.name!r}: dataset {cut_name(str(each.dataset))!r} has an operation column, and the "
                    "destination cannot remove rows"
                )
        return checked

    def _check_columns(self, function: str, target: Target) -> None:
        where = f"plugin {self.name!r}: dataset {cut_name(str(target.dataset))!r}"
        self._wit_schema(target.schema)
        if not target.dataset.name:
            raise ConfigError(f"plugin {self.name!r}: the name of a dataset is empty")
        if target.mode == "merge" and not target.key:
            raise ConfigError(f"{where}: to merge, name the columns of its key")
        for column in target.key:
            if column not in target.schema.names:
                raise ConfigError(f"{where}: the key's column {cut_name(column)!r} is not among the columns")
        if (twice := first_repeated(target.key)) is not None:
            raise ConfigError(f"{where}: column {cut_name(twice)!r} is in the key twice")
        try:
            roles = roles_of(target.schema)
        except SchemaError as error:
            raise ConfigError(f"{where}: {error.message}") from error
        self._rules.require_columns(function, target.dataset, target.schema)
        if target.mode == "replace" and roles.operation is not None:
            raise ConfigError(
                f"{where}: rows with an operation (column {cut_name(roles.operation)!r}) cannot replace others",
                hint="use the mode merge, or append",
            )

    def _require_change(self, worker: Worker, dataset: DatasetName, old: pa.Schema, new: pa.Schema) -> None:
        """Check that a change of schema is among the destination's abilities; it decides itself which types are
        wider."""
        abilities = worker.call(self._interface, "abilities")
        for field in new:
            known = field.name in old.names
            if known and old.field(field.name).type == field.type:
                continue
            if ("widen-columns" if known else "add-columns") not in abilities:
                name = cut_name(field.name)
                what = f"column {name!r} cannot be {field.type}" if known else f"column {name!r} cannot be added"
                raise ConfigError(
                    f"plugin {self.name!r}: dataset {cut_name(str(dataset))!r}: {what}",
                    hint="the destination cannot change columns: begin a run with this schema, or leave the column out",
                )

    def _target(self, dataset: DatasetName | str | None) -> int:
        names = [each.dataset for each in self._run.targets]
        if dataset is None and len(names) == 1:
            return 0
        wanted = DatasetName(dataset) if isinstance(dataset, str) else dataset
        if wanted not in names:
            hint = f"there is {', '.join(cut_name(str(name)) for name in names[:20])}"
            raise UsageError(f"plugin {self.name!r}: {str(wanted)!r} is not a target of this run", hint=hint)
        return names.index(wanted)

    def _rejected(self, worker: Worker, found: list[Any], rows: int, dataset: DatasetName) -> list[RejectedRow]:
        rejected = [
            RejectedRow(each.row, None if each.column is None else cut_name(each.column), cut(each.reason))
            for each in found
        ]
        numbers = [each.row for each in rejected]
        if any(a >= b for a, b in itertools.pairwise(numbers)) or numbers[-1] >= rows:
            name = cut_name(str(dataset))
            why = f"it rejected rows that do not ascend, or that there are not: the batch of {name!r} has {rows}"
            raise self._broken_promise(worker, "write", why)
        return rejected

    def _token_of(self, worker: Worker, pipeline: str, kept: bytes) -> bytes:
        if not kept.startswith(_TOKEN):
            raise self._broken_promise(worker, "open", "it returned a token that it was never given")
        owner, _, token = kept.removeprefix(_TOKEN).partition(b"\0")
        if owner != pipeline.encode():
            other = cut_name(owner.decode("utf-8", "replace"))
            why = f"it returned a token of the pipeline {other!r}, not of {pipeline!r}"
            raise self._broken_promise(worker, "open", why)
        return token

    def _instance_lost(self) -> None:
        # A finished run has nothing to lose.
        self._run.state = "lost" if self._run.state in ("writing", "lost") else "none"

    def _require_run(self, function: str, worker: Worker, *, finished_too: bool) -> _Run:
        run, state = self._run, self._run.state
        gone = state == "writing" and (run.worker is None or run.worker() is not worker)
        if state == "lost" or gone or self._interrupted:
            why = "that was interrupted" if self._interrupted else "whose instance is lost"
            raise RunLost(
                f"plugin {self.name!r}: `{function}` in a run {why}",
                hint="begin again with `open`, from the last token that it returns",
            )
        if state == "none":
            raise self._out_of_order(function, "no run is under way", "`open` comes first")
        if state == "finished" and not finished_too:
            raise self._out_of_order(function, "the run is finished", "`open` begins another")
        return run

    def _out_of_order(self, function: str, why: str, hint: str) -> UsageError:
        return UsageError(f"plugin {self.name!r}: `{function}` out of order: {why}", hint=hint)


def _kept(pipeline: str, token: bytes) -> bytes:
    return _TOKEN + pipeline.encode() + b"\0" + token
