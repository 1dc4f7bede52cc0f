"""Reads the datasets of sources, and writes those of destinations."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Iterator
from functools import partial

import pyarrow as pa

from dataflare.data.columns import no_rows
from dataflare.errors import PluginError, PluginFault
from dataflare.pipeline.checkpoints import Checkpoints, Position, dataset_is_gone
from dataflare.pipeline.dataset_models import ReadModel, WriteModel
from dataflare.pipeline.divided_source import DividedSource, is_divided
from dataflare.pipeline.guarantees import Promise, of_destination
from dataflare.pipeline.joint_checkpoints import JointCheckpoints
from dataflare.pipeline.pipeline_state import Checkpoint
from dataflare.pipeline.report import OutputReport
from dataflare.pipeline.retries import OutOfTime, Retries
from dataflare.pipeline.row_errors import RejectedRows
from dataflare.pipeline.run_errors import DataError, StateError
from dataflare.pipeline.stop_limits import SourceLimit
from dataflare.runtime.datasets import (
    Chunk,
    Dataset,
    DatasetName,
    Ended,
    Idle,
    NewSchema,
    PlannedChange,
    ReadingMode,
    ReadProgress,
    Selection,
    Target,
)
from dataflare.runtime.destination import Destination
from dataflare.runtime.source import MAX_ROWS, Source

_log = logging.getLogger("dataflare.pipeline")

__all__ = ["DatasetReader", "DatasetWriter"]


class DatasetReader:
    """Reads one dataset of a source; one thread at a time.

    Args:
        plugin: The source.
        options: What it reads.
        retries: Those of the node.
        checkpoints: Where it continues, and how often it says so; `None` begins at the beginning.
        columns_may_change: Whether the dataset's columns may change during the read.
        limits: When the read stops before its end; `None`: never.
        announces: Whether a batch without rows comes first, however long the source has none.
    """

    def __init__(
        self,
        plugin: Source | DividedSource,
        options: ReadModel,
        retries: Retries,
        checkpoints: Checkpoints | None = None,
        *,
        columns_may_change: bool = False,
        limits: SourceLimit | None = None,
        announces: bool = False,
    ) -> None:
        self._announces = announces
        self._limits = limits or SourceLimit()
        self._columns_may_change = columns_may_change
        self._plugin = plugin
        self._options = options
        self._retries = retries
        self._checkpoints = checkpoints
        self._state: bytes | None = None
        self._may_lack_states = True
        """Whether the source need not say where it is; any other is read until it does."""
        self._rows_after = 0
        """Rows that were given after the state: a new instance would give them again."""
        self._told: set[bytes] = set()
        """The states of barriers since the read was opened, which are the ones that can be acknowledged."""
        self.abilities: frozenset[str] = frozenset()
        """How the dataset can be read; after the read has begun."""

    def dataset(self) -> Dataset:
        """What is read.

        Raises:
            ConfigError: There is no such dataset.
        """
        return self._dataset(self._selection())

    def expected_rows(self) -> int | None:
        """How many rows there are; `None` where that is not known."""
        estimate = self._retries.call(self._plugin.estimate, self._selection())
        return None if estimate is None else estimate.rows

    def batches(self) -> Iterator[pa.RecordBatch | Checkpoint]:
        """Read to the end, or until a read without an end pauses.

        Yields at least one batch, and barriers when they are due.
        A source that is rate-limited or not available is asked again later (see `Retries`).

        Raises:
            ConfigError: The dataset does not exist, or cannot be read in this way.
            DataError: The dataset's columns changed during the read.
            PluginError: The source answered with an error.
            PluginFault: It trapped.
            StateError: The state that was kept does not fit.
        """
        selection = self._selection()
        self.abilities = self._dataset(selection).modes
        unbounded = "unbounded" in self.abilities
        points = self._checkpoints
        schema = self._open(selection)
        none, complete = True, True
        if self._announces:
            none = False
            yield no_rows(schema)
        if points is not None:
            yield from points.first_barriers()
        may_stop = points is None or points.rows_to_known is None
        faults = 0
        while True:
            try:
                progress = self._read(in_time=may_stop)
            except OutOfTime:
                complete = False
                self._limits.stop()
                break
            except PluginFault as fault:
                self._reload(fault, faults, selection, schema)
                faults += 1
                continue
            faults = 0
            if isinstance(progress, Ended):
                break
            if isinstance(progress, NewSchema):
                if progress.schema.equals(schema) or self._columns_may_change:
                    schema = progress.schema
                    continue
                raise DataError(
                    f"the columns of dataset {str(progress.dataset)!r} changed while it was read",
                    hint="run the pipeline again: it begins with the new columns; or let the node take them, with "
                    "`schema: evolve`",
                )
            rows = 0
            if isinstance(progress, Chunk):
                rows, none = progress.rows.num_rows, False
                yield progress.rows
            self._state = progress.state or self._state
            self._rows_after = 0 if progress.state else self._rows_after + rows
            for barrier in () if points is None else points.barriers(rows, progress.state):
                if progress.state:
                    self._told.add(progress.state)
                yield barrier
            self._limits.take(rows)
            # Within a transaction there is no state to continue from; a full read that never has one stops anywhere. If
            # a destination already has the rows up to a barrier of an earlier run, the run has to go on to it.
            may_stop = progress.state is not None or (self._state is None and self._may_lack_states)
            may_stop = may_stop and (points is None or points.rows_to_known is None)
            if self._limits.is_reached and may_stop:
                complete = False
                self._limits.stop()
                break
            if isinstance(progress, Idle):
                if unbounded:
                    break
                left_s = self._limits.seconds_left
                self._retries.wait(progress.retry_after_s if left_s is None else min(progress.retry_after_s, left_s))
        if none:
            # What follows learns the columns from the first batch.
            yield no_rows(schema)
        if points is not None:
            yield from points.last_barriers(self._state, complete=complete or self._state is None)

    def _reload(
        self, fault: PluginFault, before: int, selection: Selection | DatasetName | None, schema: pa.Schema
    ) -> None:
        """Go on with a new instance, from the last state.

        Raises:
            DataError: The columns are others now.
            PluginFault: That is not wanted, or would give rows twice.
        """
        if isinstance(self._plugin, DividedSource) or not self._retries.may_reload(fault, before):
            raise fault
        if self._rows_after:
            fault.hint = (
                f"run again: a new instance would give the last {self._rows_after} rows once more, since there was no "
                "state after them"
            )
            raise fault
        (found,) = self._retries.call(partial(self._plugin.open, selection, state=self._state))
        self._told.clear()
        if not found.equals(schema) and not self._columns_may_change:
            raise DataError("the columns changed while it was read", hint="run the pipeline again")

    def acknowledge(self) -> None:
        """Tell the source that all rows are safe."""
        if self._state is not None:
            self._plugin.acknowledge(self._state)

    def _open(self, selection: Selection | DatasetName | None) -> pa.Schema:
        state = None
        if self._checkpoints is not None:
            reading, mode = self._reading(selection)
            self._may_lack_states = mode == "full"
            state = self._state = self._checkpoints.begin(reading, mode)
            if is_divided(state) and not isinstance(self._plugin, DividedSource):
                raise StateError(
                    "the last run stopped within a read in parts, and now it is read as a whole",
                    hint="give the node `parallel` again until the read has ended, or start again with --full-refresh",
                )
        try:
            (schema,) = self._retries.call(partial(self._plugin.open, selection, state=state))
        except PluginError as error:
            if state is not None and error.error.case == "invalid-state":
                raise StateError(
                    f"the source does not go on from the state that was kept: {error.message}",
                    hint="start again with --full-refresh, or give the state back with `dataflare state import`",
                ) from error
            raise
        return schema

    def reading(self) -> str:
        """What is read, as JSON; a position belongs to it alone."""
        return self._reading(self._selection())[0]

    def _reading(self, selection: Selection | DatasetName | None) -> tuple[str, ReadingMode]:
        chosen = selection if isinstance(selection, Selection) else Selection(self._dataset(selection).name)
        reading = {
            "dataset": chosen.dataset.name,
            "namespace": chosen.dataset.namespace,
            "mode": chosen.mode,
            "cursor": chosen.cursor,
            "columns": list(chosen.columns),
        }
        return json.dumps(reading, sort_keys=True), chosen.mode

    def _dataset(self, selection: Selection | DatasetName | None) -> Dataset:
        return self._retries.call(self._plugin.dataset, selection)

    def _selection(self) -> Selection | DatasetName | None:
        selection = self._options.selection()
        if selection is None and self._options != ReadModel():
            name = self._dataset(None).name
            return self._options.model_copy(update={"dataset": name.name, "namespace": name.namespace}).selection()
        return selection

    def _read(self, *, in_time: bool) -> ReadProgress:
        most = MAX_ROWS
        if self._checkpoints is not None:
            most = min(most, self._checkpoints.wait_for_room())
        if left := self._limits.rows_left:
            most = min(most, left)
        if self._checkpoints is not None:
            while (safe := self._checkpoints.next_safe()) is not None:
                if safe not in self._told:
                    continue  # of an instance that is gone; one that comes later says the same
                self._told.discard(safe)
                try:
                    self._plugin.acknowledge(safe)
                except PluginError as error:
                    # All rows are safe: the source only keeps rows longer than necessary.
                    _log.warning("plugin %r: rows could not be acknowledged: %s", self._plugin.name, error)

        def left_s() -> float | None:
            return self._limits.seconds_left if in_time else None

        if isinstance(self._plugin, DividedSource):
            return self._plugin.read(most, left_s())  # its parts retry
        return self._retries.call(self._plugin.read, most, seconds_left=left_s, reloads=False)


class DatasetWriter:
    """One run of a destination, which learns its schema from the first batch; one thread at a time.

    Args:
        plugin: The destination.
        options: How it writes.
        retries: Those of the node.
        rejected: Takes the rows that the destination rejects.
        pipeline: The pipeline's name.
        node: The node's name.
        checkpoints: Those of the sources whose rows it writes; `None` where none are made.
        dataset: What it writes where the options do not say; `None`: the node's name.
    """

    def __init__(
        self,
        plugin: Destination,
        options: WriteModel,
        retries: Retries,
        rejected: RejectedRows,
        *,
        pipeline: str,
        node: str,
        checkpoints: Checkpoints | JointCheckpoints | None = None,
        dataset: DatasetName | None = None,
    ) -> None:
        self._dataset = dataset or DatasetName(node)
        self._plugin = plugin
        self._options = options
        self._roles = options.roles
        self._retries = retries
        self._rejected = rejected
        self._pipeline = pipeline
        self._node = node
        self._checkpoints = checkpoints
        self._open = False
        self._schema: pa.Schema | None = None
        self.abilities: frozenset[str] = frozenset()
        """What the destination can do; after the run has begun."""
        self._position = Position()
        self._token = b""
        self.changes: list[PlannedChange] = []
        """What the run changed in the destination, as far as that says so, and what others did to it."""

    @property
    def published(self) -> OutputReport | None:
        """The file of rejected rows, once it is in its place."""
        return self._rejected.published

    @property
    def _keeps_token(self) -> bool:
        return "keep-token" in self.abilities

    @property
    def promise(self) -> Promise:
        """How often the destination has each row, whatever stops the run."""
        return of_destination(
            self._options.mode, keeps_token=self._keeps_token, has_checkpoints=self._checkpoints is not None
        )

    def write(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Write a batch; one that the destination has already, from a run before, is left out.

        Returns:
            What was written.

        Raises:
            ConfigError: The destination cannot write in this way.
            DataError: The destination rejected a row.
            PluginError: It answered with an error.
            PluginFault: It trapped.
            StateError: It has other rows than the state that was kept says.
        """
        if self._roles is not None:
            rows = self._roles.apply(rows)
        if not self._open:
            self._begin(rows.schema)
        elif not rows.schema.equals(self._schema):
            self._plugin.change_schema(rows.schema)
            self._note_changes()
        self._schema = rows.schema
        if self._position.drop_until is not None:
            return rows.slice(0, 0)
        rejected = self._retries.call(self._plugin.write, rows) if rows.num_rows else []
        return self._rejected.leave_out(rows, rejected)

    def checkpoint(self, point: Checkpoint) -> None:
        """Make everything written before a barrier safe, together with the barrier.

        Raises:
            PluginError: The destination answered with an error.
            PluginFault: It trapped.
            StateError: The state cannot be kept, or the rows before the barrier are not those of the run before.
        """
        assert self._checkpoints is not None
        dropped = self._position.drop_until is not None
        if not self._position.passes(point) and point.last:
            raise StateError(
                f"destination {self._node!r} has rows up to a point that this read did not come to again: the source "
                "does not give the same rows as before",
                hint="start again with --full-refresh",
            )
        if dropped and self._position.drop_until is None:
            self._checkpoints.caught_up(self._node)
        self._token = self._checkpoints.token(point)
        if self._keeps_token and (point.last or not dropped):
            # Before the destination may have it: a run after a crash has to know it again.
            self._checkpoints.prepare(point)
        if not point.last:
            # Rejected rows are only safe at the end, so the accepted rows wait for them.
            durable = dropped or (not self._rejected.pending and self._flush())
            self._checkpoints.reach(self._node, point, durable=durable)

    def flush(self) -> None:
        """Make everything written safe, as far as the destination can, but rejected rows first."""
        if self._open and not self._rejected.pending:
            self._flush()

    def end(self) -> None:
        """Check the limits of rejected rows once more, after the last row.

        Raises:
            DataError: The share of them is too large.
        """
        self._rejected.end()

    def finish(self) -> None:
        """End the run: all is safe and visible, rejected rows first."""
        self._rejected.finish()
        if self._open:
            self._retries.call(self._plugin.finish, self._token)

    def abort(self) -> None:
        """Remove all rows that are not safe. A plugin that could not even begin need not be made again for it."""
        try:
            self._rejected.abort()
        finally:
            if self._open:
                self._plugin.abort()

    def close(self) -> None:
        """Release everything but the plugin; idempotent."""
        self._rejected.abort()

    def _flush(self) -> bool:
        return self._retries.call(self._plugin.flush, self._token)

    def _require_dataset(self, target: Target) -> None:
        """Refuse to go on where the destination would make the dataset anew.

        Raises:
            StateError: The dataset that had the rows before is gone.
        """
        points = self._checkpoints
        if points is None or not points.goes_on_after_rows or target.mode == "replace":
            return
        try:
            planned = self._retries.call(partial(self._plugin.plan, target))
        except PluginError:
            return  # what it would refuse, it refuses when it is opened
        if any(each.kind == "create" for each in planned):
            raise dataset_is_gone(points.node, points.start[1], self._node, str(target.dataset))

    def _note_changes(self) -> None:
        goes_on = self._checkpoints is not None and self._checkpoints.resumed
        # An empty table is worth a word only where not all rows come again.
        found = [each for each in self._plugin.changes if goes_on or each.kind != "other"]
        self.changes += found
        for each in found:
            level = logging.WARNING if each.kind == "other" else logging.INFO
            _log.log(level, "node %r, %s: %s", self._node, self._plugin.name, each.shown)

    def _begin(self, schema: pa.Schema) -> None:
        target = self._options.target(self._dataset, schema)
        pipeline = f"{self._pipeline}/{self._node}"
        self._require_dataset(target)
        begin = partial(self._plugin.open, target, pipeline=pipeline, run=uuid.uuid4().hex, generation=time.time_ns())
        token = self._retries.call(begin)
        self._open = True
        self.abilities = self._plugin.abilities()
        self._note_changes()
        if self._checkpoints is None and target.mode != "replace":
            # Rows that come in between, such as replayed letters, change nothing about where the pipeline continues.
            self._token = token or b""
        if self._checkpoints is not None:
            created = next((str(each.dataset) for each in self.changes if each.kind == "create"), "")
            self._position = self._checkpoints.position(
                self._node, token, mode=target.mode, keeps_token=self._keeps_token, created=created
            )
            if self._position.drop_until is not None:
                self._rejected.keep_before(self._position.drop_until)
