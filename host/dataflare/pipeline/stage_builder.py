"""Builds the stages of a run from a pipeline."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import pyarrow as pa

from dataflare.data.columns import no_rows
from dataflare.locks import Lock
from dataflare.pipeline.branches import REJECTED
from dataflare.pipeline.checkpoints import Checkpoints
from dataflare.pipeline.column_roles import ColumnRoles
from dataflare.pipeline.databases.nodes import SqlRead, SqlWrite
from dataflare.pipeline.dataset_models import ReadModel, WriteModel
from dataflare.pipeline.datasets import DatasetReader, DatasetWriter
from dataflare.pipeline.dead_letters import DeadLetters
from dataflare.pipeline.divided_source import DividedSource
from dataflare.pipeline.guarantees import of_file
from dataflare.pipeline.joint_checkpoints import JointCheckpoints
from dataflare.pipeline.models import PluginNode
from dataflare.pipeline.nodes import ReadNode, WriteNode
from dataflare.pipeline.outputs import IfExists, Place
from dataflare.pipeline.parallel_map import default_workers
from dataflare.pipeline.pending_appends import PendingAppends
from dataflare.pipeline.readers import FileSource, open_source
from dataflare.pipeline.reading.inputs import find_files
from dataflare.pipeline.replay import LetterFile
from dataflare.pipeline.report import NodeReport
from dataflare.pipeline.retries import Retries
from dataflare.pipeline.row_errors import RejectedRows, RowErrors
from dataflare.pipeline.schema_contracts import SchemaContract
from dataflare.pipeline.specification import Specification
from dataflare.pipeline.stage import Stage
from dataflare.pipeline.stop_limits import SourceLimit, StopLimits
from dataflare.pipeline.validation import Finding, Validation
from dataflare.pipeline.writers import FileDestination, FileWriter, open_destination, open_listing
from dataflare.runtime.source import MAX_ROWS, Source
from dataflare.runtime.transformer import Transformer
from dataflare.runtime.validator import Validator
from dataflare.security.connectors import ConnectorFiles
from dataflare.waiting_pipes import Pipe

__all__ = ["make_stage", "workers_of"]


def make_stage(
    specification: Specification,
    name: str,
    plugin: Any,
    files: ConnectorFiles,
    checkpoints: Checkpoints | JointCheckpoints | None = None,
    replayed: LetterFile | None = None,
    known: pa.Schema | None = None,
    limits: StopLimits | None = None,
    appends: PendingAppends | None = None,
    another: Callable[[], Any] | None = None,
) -> Stage:
    """Make the stage of a node.

    Args:
        specification: The pipeline.
        name: The node.
        plugin: The loaded plugin; `None` for a connector.
        files: Opens what the run reads and writes on the pipeline's behalf.
        checkpoints: Those of the source that the node is, or of those whose rows it takes; `None` where none are made.
        replayed: The dead letters that the node reads or gets; `None` for any other node.
        known: The columns that the node gave in the last run, for one that reads; `None` where they are not known.
        limits: When sources stop before their end; `None`: never.
        appends: Records what the run adds to files; `None`: it is not recorded.
        another: Loads the node's plugin once more, for a part of what it reads.

    Raises:
        DataError: A file that is to be read cannot be.
        PermissionDenied: A file may not be read or written.
    """
    builder = _StageBuilder(specification, name, files, checkpoints, replayed, known, limits, appends, another)
    match specification.pipeline.nodes[name]:
        case PluginNode() | SqlRead() | SqlWrite() as node:
            return builder.of_plugin(node, plugin)
        case ReadNode() as node if replayed is not None:
            return builder.of_letters(node, replayed)
        case ReadNode() as node:
            return builder.of_files(node)
        case node:
            assert isinstance(node, WriteNode)
            return builder.of_output(node)


@dataclass(frozen=True, slots=True)
class _StageBuilder:
    """Makes the stage of one node: a method for each kind. Its fields are the arguments of `make_stage`."""

    specification: Specification
    name: str
    files: ConnectorFiles
    checkpoints: Checkpoints | JointCheckpoints | None
    replayed: LetterFile | None
    known: pa.Schema | None
    limits: StopLimits | None
    appends: PendingAppends | None
    another: Callable[[], Any] | None

    def of_letters(self, node: ReadNode, replayed: LetterFile) -> Stage:
        report = NodeReport(self.name, "source", "dead letters")
        outputs = _present(self._letters(node, report, None))
        return Stage(report, source=replayed.batches, outputs=outputs, close=lambda: _close_all(outputs))

    def of_files(self, node: ReadNode) -> Stage:
        # Each file that is read has to be one that a policy grants: the opener asks for each.
        allow = functools.partial(self.files.check_input, connector=node.connector)
        paths = find_files(self.specification.folder, node.read, allow=allow)
        report = NodeReport(self.name, "source", node.shown)
        letters = self._letters(node, report, None)
        contract = SchemaContract(node.contract, report, known=self.known, letters=letters)
        limit = SourceLimit(self.limits)

        def opener(path: Path) -> IO[bytes]:
            file = self.files.open_input(path, connector=node.connector)
            if self.limits is not None and isinstance(pipe := getattr(file, "raw", None), Pipe):
                pipe.is_late = self.limits.wait()
            return file

        source = open_source(node, paths, opener, contract, folder=self.specification.folder)
        report.inferred = source.found.inferred
        outputs = _present(letters)

        def close() -> None:
            source.close()
            _close_all(outputs)

        return Stage(
            report,
            source=lambda: _or_empty(_limited(source, limit), source.schema),
            outputs=outputs,
            close=close,
            letters=letters,
            contract=contract,
            halt=source.stop,
            roles=ColumnRoles.of(node.roles),
        )

    def of_output(self, node: WriteNode) -> Stage:
        target = self.specification.path(node.write)
        destination = open_destination(node, target, self._place(target, node.connector), self.appends)
        writing = FileWriter(destination, of_file(node.if_exists, has_state=self.appends is not None))
        report = NodeReport(self.name, "destination", f"{node.connector} {node.write}")
        return Stage(
            report, process=writing.write, outputs=(writing,), close=destination.close, checkpoints=self.checkpoints
        )

    def of_plugin(self, node: PluginNode | SqlRead | SqlWrite, plugin: Any) -> Stage:
        report = NodeReport(self.name, plugin.kind, node.plugin if isinstance(node, PluginNode) else node.shown)
        # A read in parts looks at the time itself, while its parts wait.
        in_parts = isinstance(node, PluginNode) and node.source is not None and node.source.parallel > 1
        retries = Retries(
            node.errors.retries,
            max_outage_s=node.errors.max_outage_s,
            reloads=node.errors.reloads,
            run_seconds_left=lambda: None if in_parts or self.limits is None else self.limits.seconds_left,
        )
        letters = self._letters(node, report, self.checkpoints)
        if plugin.kind == "source":
            assert not isinstance(node, SqlWrite)
            return self._source(node, plugin, report, retries, letters)
        if plugin.kind == "destination":
            assert not isinstance(node, SqlRead)
            return self._destination(node, plugin, report, retries, letters)
        assert isinstance(node, PluginNode)
        if plugin.kind == "validator":
            return self._validator(node, plugin, report, retries, letters)
        return self._mapping(node, plugin, report, retries, letters)

    def _source(
        self,
        node: PluginNode | SqlRead,
        plugin: Any,
        report: NodeReport,
        retries: Retries,
        letters: DeadLetters | None,
    ) -> Stage:
        options = node.source or ReadModel()
        divided = self._divided(plugin, options, retries) if options.parallel > 1 else None
        reader = DatasetReader(
            divided or plugin,
            options,
            retries if divided is None else Retries(0),  # which its parts have
            self._own_checkpoints,
            columns_may_change=node.contract is not None,
            limits=SourceLimit(self.limits),
            announces=self.specification.has_fan_in,
        )
        outputs = _present(letters)
        return Stage(
            report,
            plugin=divided or plugin,
            source=reader.batches,
            expected_rows=reader.expected_rows,
            acknowledge=reader.acknowledge,
            outputs=outputs,
            close=lambda: _close_all(outputs),
            checkpoints=self.checkpoints,
            retries=retries,
            letters=letters,
            contract=SchemaContract(node.contract, report, known=self.known, letters=letters),
            halt=divided.halt if divided is not None else lambda: None,
            abilities=lambda: reader.abilities,
            roles=ColumnRoles.of(node.roles),
        )

    @property
    def _own_checkpoints(self) -> Checkpoints | None:
        """Those of a source."""
        assert not isinstance(self.checkpoints, JointCheckpoints)
        return self.checkpoints

    def _divided(self, plugin: Source, options: ReadModel, retries: Retries) -> DividedSource:
        assert self.another is not None
        points = self._own_checkpoints
        most = MAX_ROWS if points is None else min(MAX_ROWS, points.step_rows)
        if self.limits is not None and self.limits.max_rows is not None:
            most = min(most, self.limits.max_rows)
        return DividedSource(
            plugin,
            self.another,
            options.parallel,
            retries,
            expected=lambda: [] if points is None else points.known,
            most_rows=most,
            may_be_whole=self.specification.dataset is not None,
        )

    def _destination(
        self,
        node: PluginNode | SqlWrite,
        plugin: Any,
        report: NodeReport,
        retries: Retries,
        letters: DeadLetters | None,
    ) -> Stage:
        writing = DatasetWriter(
            plugin,
            node.destination or WriteModel(),
            retries,
            RejectedRows(node.errors, report, letters),
            pipeline=self.specification.pipeline.name,
            node=report.name,
            checkpoints=self.checkpoints,
            dataset=self.specification.dataset,
        )
        return Stage(
            report,
            plugin=plugin,
            process=writing.write,
            abilities=lambda: writing.abilities,
            end=writing.end,
            outputs=(writing,),
            close=writing.close,
            retries=retries,
            letters=letters,
        )

    def _mapping(
        self, node: PluginNode, plugin: Any, report: NodeReport, retries: Retries, letters: DeadLetters | None
    ) -> Stage:
        work = plugin.process_batch if plugin.kind == "processor" else _transform_with(plugin)
        tolerant = RowErrors[pa.RecordBatch](work, node.errors, retries, report, letters)
        outputs = _present(letters)
        return Stage(
            report,
            plugin=plugin,
            process=tolerant.work,
            apply=lambda attempt: [rows for _, rows in tolerant.results(attempt)],
            end=tolerant.end,
            workers=workers_of(node),
            outputs=outputs,
            close=lambda: _close_all(outputs),
            checkpoints=self.checkpoints,
            retries=retries,
            letters=letters,
        )

    def _validator(
        self, node: PluginNode, plugin: Validator, report: NodeReport, retries: Retries, letters: DeadLetters | None
    ) -> Stage:
        violations, rejects = self._listing(node.violations), self._listing(node.rejects)
        validation = Validation(
            plugin,
            node.actions,
            report.violations,
            violations=violations,
            rejects=rejects,
            gives_rejected=bool(self.specification.takers(f"{self.name}{REJECTED}")),
        )
        tolerant = RowErrors[Finding](validation.examine, node.errors, retries, report, letters)
        outputs = _present(violations, rejects, letters)
        return Stage(
            report,
            plugin=plugin,
            process=tolerant.work,
            apply=lambda attempt: [
                each for first, found in tolerant.results(attempt) for each in validation.apply(found, first)
            ],
            end=tolerant.end,
            workers=workers_of(node),
            begin=validation.begin,
            outputs=outputs,
            close=lambda: _close_all(outputs),
            checkpoints=self.checkpoints,
            retries=retries,
            letters=letters,
        )

    def _letters(
        self,
        node: PluginNode | ReadNode | SqlRead | SqlWrite,
        report: NodeReport,
        checkpoints: Checkpoints | JointCheckpoints | None,
    ) -> DeadLetters | None:
        """Make what takes the dead letters of a node; `None` if it has no file for them."""
        if node.dead_letters is None:
            return None
        report.dead_letters = node.dead_letters
        target, replaced = self.specification.path(node.dead_letters), self.specification.is_replaced(report.name)
        return DeadLetters(
            target,
            self._place(target, "jsonl"),
            node=report.name,
            plugin=report.uses,
            checkpoints=checkpoints,
            replayed=None if self.replayed is None else self.replayed.was_read,
            replaces=lambda: replaced and (checkpoints is None or not checkpoints.resumed),
        )

    def _listing(self, text: str | None) -> FileDestination | None:
        if text is None:
            return None
        path = self.specification.path(text)
        # What the letters come from is in the list of the run before.
        if_exists: IfExists = "replace" if self.specification.replays is None else "append"
        return open_listing(path, self._place(path, "jsonl"), if_exists=if_exists)

    def _place(self, path: Path, connector: str) -> Place:
        """Refuse an output at once if it may not be written; its place is found when there is something to write."""
        self.files.check_output(path, connector=connector)
        return functools.partial(self.files.place_output, connector=connector)


_Output: TypeAlias = FileDestination | DeadLetters


def _present(*outputs: _Output | None) -> tuple[_Output, ...]:
    return tuple(each for each in outputs if each is not None)


def _close_all(outputs: tuple[_Output, ...]) -> None:
    for output in outputs:
        output.close()


def _limited(source: FileSource, limits: SourceLimit) -> Iterator[pa.RecordBatch]:
    """Give the rows up to a limit. There may be one more row: only then was something left out."""
    for rows in source.batches():
        if limits.is_reached and rows.num_rows:
            limits.stop()
            return
        left = limits.rows_left
        given = rows if left is None else rows.slice(0, left)
        limits.take(given.num_rows)
        yield given
        if given.num_rows < rows.num_rows:
            limits.stop()
            return
    if source.was_late:
        limits.stop()


def _or_empty(batches: Iterator[pa.RecordBatch], schema: Callable[[], pa.Schema]) -> Iterator[pa.RecordBatch]:
    """Give one batch without rows where there are none at all: what follows learns the schema from the first."""
    promised = schema()
    none = True
    for rows in batches:
        none = False
        yield rows
    if none:
        yield no_rows(promised)


def _transform_with(plugin: Transformer) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    asked: pa.Schema | None = None
    asking = Lock()

    def transform(rows: pa.RecordBatch) -> pa.RecordBatch:
        nonlocal asked
        if asked is None or not asked.equals(rows.schema):
            with asking:
                if asked is None or not asked.equals(rows.schema):
                    # The plugin must keep to this promise.
                    plugin.output_schema(rows.schema)
                    asked = rows.schema
        return plugin.transform(rows)

    return transform


def workers_of(node: PluginNode) -> int:
    """How many batches a node of a stateless plugin works on at a time."""
    return default_workers() if node.workers is None else node.workers
