"""A node of a run: it reads, changes or writes batches, and keeps its own part of the report."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import pyarrow as pa

from dataflare.errors import PluginError
from dataflare.pipeline.branches import Rejected
from dataflare.pipeline.checkpoints import NO_POSITION, NO_STATE, Checkpoints
from dataflare.pipeline.column_roles import ColumnRoles
from dataflare.pipeline.datasets import DatasetWriter
from dataflare.pipeline.dead_letters import FAILED, DeadLetters
from dataflare.pipeline.divided_source import DividedSource
from dataflare.pipeline.joint_checkpoints import JointCheckpoints
from dataflare.pipeline.observed import next_batch
from dataflare.pipeline.pipeline_state import Checkpoint
from dataflare.pipeline.report import NodeReport
from dataflare.pipeline.retries import Retries
from dataflare.pipeline.schema_contracts import SchemaContract, schema_to_text
from dataflare.pipeline.writers import FileDestination, FileWriter
from dataflare.runtime.plugin import Plugin

__all__ = ["Processed", "Stage"]


@dataclass(frozen=True, slots=True)
class Processed:
    """What `Stage.process` made of a batch, and the seconds that it took."""

    rows_in: int
    result: Any
    seconds: float


class Stage:
    """One node of a run. All but `process` is for one thread at a time.

    Args:
        report: Its part of the report.
        plugin: Its plugin; `None` for a connector.
        source: Makes its batches, for a source.
        process: Processes a batch, for nodes that are not sources; any number of threads may call it at a time.
        apply: Turns what `process` returned into the batches that go on, in the order of the batches; `None` if it is
            the batch.
        end: Called after the last batch.
        workers: How many batches are processed at a time.
        begin: Called before the first batch.
        outputs: Finished when all nodes have ended, or else aborted.
        expected_rows: Asks how many rows a source will give.
        acknowledge: Tells a source that all of its rows are safe.
        checkpoints: Those of the sources whose rows it takes; `None` where none are made.
        retries: Those of its calls; `None` where there are none.
        letters: Takes the rows on which it fails; `None`: nothing takes them.
        contract: For a source, compares its rows with the known columns; `None` for others.
        halt: Ends other waits than those of `retries`.
        roles: For a source, gives its columns the roles that the pipeline says.
        abilities: What the plugin can do, once it has begun.
    """

    def __init__(
        self,
        report: NodeReport,
        *,
        plugin: Plugin | DividedSource | None = None,
        source: Callable[[], Iterator[pa.RecordBatch | Checkpoint]] | None = None,
        process: Callable[[pa.RecordBatch], Any] | None = None,
        apply: Callable[[Any], Iterable[pa.RecordBatch | Rejected]] | None = None,
        end: Callable[[], object] = lambda: None,
        workers: int = 1,
        begin: Callable[[], object] = lambda: None,
        outputs: tuple[FileWriter | DatasetWriter | FileDestination | DeadLetters, ...] = (),
        expected_rows: Callable[[], int | None] = lambda: None,
        acknowledge: Callable[[], object] = lambda: None,
        close: Callable[[], object] = lambda: None,
        checkpoints: Checkpoints | JointCheckpoints | None = None,
        retries: Retries | None = None,
        letters: DeadLetters | None = None,
        contract: SchemaContract | None = None,
        halt: Callable[[], object] = lambda: None,
        roles: ColumnRoles | None = None,
        abilities: Callable[[], frozenset[str]] = frozenset,
    ) -> None:
        self.report = report
        self._halt = halt
        self._roles = roles
        self.abilities = abilities
        self._contract = contract
        self._retries = retries
        self._letters = letters
        self._end = end
        self._checkpoints = checkpoints
        self.outputs = outputs
        self.is_source = source is not None
        self._plugin = plugin
        self._source = source
        self.workers = workers
        self._process = process
        self._apply = apply
        self._begin = begin
        self._expected_rows = expected_rows
        self._acknowledge = acknowledge
        self._close = close
        self._numbers = itertools.count(1)

    @property
    def name(self) -> str:
        """The node's name."""
        return self.report.name

    def interrupt(self) -> None:
        """End the call that another thread is in."""
        if self._plugin is not None:
            self._plugin.interrupt()

    def stop(self) -> None:
        """End the wait that another thread is in."""
        self._halt()
        if self._retries is not None:
            self._retries.stop()
        if self._checkpoints is not None:
            self._checkpoints.stop()

    def begin(self) -> None:
        """Start the plugin, so that a wrong configuration is found before any row moves."""
        if self._plugin is not None:
            self._plugin.start()
        self._begin()

    def expected_rows(self) -> int | None:
        """How many rows a source will give; `None` where that is not known."""
        try:
            return self._expected_rows()
        except PluginError:
            return None  # an estimate is a service, not a duty

    def batches(self) -> Iterator[pa.RecordBatch | Checkpoint]:
        """Read a source to its end: yield at least one batch, perhaps without rows, and barriers in between."""
        assert self._source is not None
        source = self._source()
        for number in itertools.count(1):
            next_batch(number)
            start = perf_counter()
            rows = next(source, None)
            if isinstance(rows, Checkpoint):
                self._reach(rows)
            elif rows is not None:
                if self._contract is not None:
                    rows = self._contract.apply(rows)
                if self._roles is not None:
                    rows = self._roles.apply(rows)
                self._count_out(rows)
            took_s = perf_counter() - start
            self.report.seconds += took_s
            if rows is None:
                return
            if not isinstance(rows, Checkpoint):
                self.report.latencies.add(took_s)
            yield rows

    def known_schema(self) -> tuple[str, str, list[str]] | None:
        """For what reads, its columns for `PipelineState.commit`; `None` for others, and before any are known."""
        if self._contract is None or self._contract.known is None:
            return None
        changes = [json.dumps(each.to_json()) for each in self.report.schema_changes]
        return self.name, schema_to_text(self._contract.known), changes

    def process(self, item: pa.RecordBatch | Checkpoint) -> Processed | Checkpoint:
        """Map, check or write a batch. Where there are several workers, they call this at the same time."""
        if isinstance(item, Checkpoint):
            return item
        assert self._process is not None
        next_batch(next(self._numbers))
        start = perf_counter()
        result = self._process(item)
        return Processed(item.num_rows, result, perf_counter() - start)

    def apply(self, done: Processed | Checkpoint) -> Iterator[pa.RecordBatch | Rejected | Checkpoint]:
        """Add what `process` did to the report, batch after batch, and yield the batches that go on.

        At a barrier, everything written before it is made safe.
        """
        start = perf_counter()
        if isinstance(done, Checkpoint):
            self._reach(done)
            self.report.seconds += perf_counter() - start
            yield done
            return
        report, failed = self.report, self.report.failed
        report.rows_in += done.rows_in
        report.rows_under_way = done.rows_in
        try:
            batches = (done.result,) if self._apply is None else tuple(self._apply(done.result))
        finally:
            report.rows_under_way -= report.failed - failed
        took_s = done.seconds + perf_counter() - start
        report.seconds += took_s
        report.latencies.add(took_s)
        report.rows_under_way = sum(rows.num_rows for rows in batches)
        for rows in batches:
            report.rows_under_way -= rows.num_rows
            self._count_out(rows)
            yield rows

    def end(self) -> None:
        """Check what is only known after the last batch.

        Raises:
            DataError: More rows failed than the pipeline allows.
        """
        self._end()

    def flush(self) -> None:
        """Make everything written safe."""
        start = perf_counter()
        for output in self.outputs:
            output.flush()
        self.report.seconds += perf_counter() - start

    def finish(self) -> None:
        """Make everything written safe and visible."""
        start = perf_counter()
        for output in self.outputs:
            output.finish()
            if isinstance(output, DatasetWriter | FileWriter):
                self.report.guarantee = output.promise.guarantee
            if output.published is not None:
                self.report.outputs.append(output.published)
        self.report.seconds += perf_counter() - start

    def acknowledge(self) -> None:
        """Tell a source that all of its rows are safe."""
        self._acknowledge()

    def keep_letters(self) -> None:
        """When the run fails, keep the dead letters in another file, which the report then names.

        Raises:
            DataError: It cannot be written.
        """
        kept = None if self._letters is None else self._letters.keep_apart()
        if kept is not None:
            self.report.dead_letters = f"{self.report.dead_letters}{FAILED}"

    def abort(self) -> None:
        """Remove everything that is not visible yet."""
        for output in self.outputs:
            output.abort()

    def close(self) -> None:
        """Release everything, and complete the report; idempotent."""
        if self._retries is not None:
            self.report.retries, self.report.reloads = self._retries.count, self._retries.reloaded
            self.report.outage_seconds = self._retries.outage_s
        if self.is_source and isinstance(self._checkpoints, Checkpoints):
            self.report.resumed, self.report.checkpoints = self._checkpoints.resumed, self._checkpoints.reached
            self.report.no_checkpoints = self._checkpoints.obstacle
        elif self.is_source:
            self.report.no_checkpoints = NO_POSITION if self._plugin is None else NO_STATE
        for output in self.outputs:
            if isinstance(output, DatasetWriter):
                self.report.changes = output.changes
        try:
            self._close()
        finally:
            if self._plugin is not None:
                self._plugin.close()
                self.report.add_stats(self._plugin.stats)

    def _reach(self, point: Checkpoint) -> None:
        writers = [output for output in self.outputs if isinstance(output, DatasetWriter)]
        for writer in writers:
            writer.checkpoint(point)
        if self.outputs and not writers and self._checkpoints is not None:
            # Of a file, nothing is safe before its end.
            durable = all(isinstance(output, DeadLetters) and not output.pending for output in self.outputs)
            self._checkpoints.reach(self.name, point, durable=durable)
        if self._letters is not None:
            self._letters.passed(point)

    def _count_out(self, rows: pa.RecordBatch | Rejected) -> None:
        if isinstance(rows, Rejected):
            self.report.rejected += rows.rows.num_rows
            return
        self.report.rows_out += rows.num_rows
        self.report.batches += rows.num_rows > 0
        self.report.bytes += rows.nbytes
