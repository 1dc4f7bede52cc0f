"""The nodes of a run: each reads, changes or writes batches, and keeps its own account."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import pyarrow as pa

from dataflare.data.columns import no_rows
from dataflare.errors import PluginError
from dataflare.locks import Lock
from dataflare.pipeline.checkpoints import Checkpoints
from dataflare.pipeline.datasets import DatasetReader, DatasetWriter, ReadModel, WriteModel
from dataflare.pipeline.dead_letters import DeadLetters
from dataflare.pipeline.models import PluginNode
from dataflare.pipeline.nodes import ReadNode
from dataflare.pipeline.outputs import IfExists, Place
from dataflare.pipeline.readers import open_source
from dataflare.pipeline.reading.inputs import find_files
from dataflare.pipeline.replay import LetterFile
from dataflare.pipeline.report import NodeReport, OutputReport
from dataflare.pipeline.retries import Retries
from dataflare.pipeline.row_errors import RejectedRows, RowErrors
from dataflare.pipeline.specification import Specification
from dataflare.pipeline.state_file import Checkpoint
from dataflare.pipeline.validation import Finding, Validation
from dataflare.pipeline.workers import default_workers
from dataflare.pipeline.writers import FileDestination, open_destination, open_listing
from dataflare.runtime.plugin import Plugin
from dataflare.runtime.transformer import Transformer
from dataflare.runtime.validator import Validator
from dataflare.security.connectors import ConnectorFiles

__all__ = ["Processed", "Stage", "make_stage", "workers_of"]


@dataclass(frozen=True, slots=True)
class Processed:
    """What `Stage.process` made of a batch, and the seconds that it took."""

    rows_in: int
    result: Any
    seconds: float


class Stage:
    """One node of a run. All but `process` is for one thread at a time.

    Args:
        report: Its account.
        plugin: Its plugin; `None` for a connector.
        source: Makes its batches, for a source.
        process: Does what there is to do with a batch, for the others; any number of threads may call it at a time.
        apply: Makes the batches that go on of what `process` returned, in the order of the batches; `None` where it is
            that.
        end: What is to be done after the last batch.
        workers: How many batches are processed at a time.
        begin: What is to be done before the first batch.
        outputs: What has to be finished, or else aborted, when all nodes are through.
        expected_rows: Asks how many rows a source will give.
        acknowledge: Tells a source that all of its rows are safe.
        checkpoints: Those of the source whose rows it takes; `None` where none are made.
        retries: Those of its calls; `None` where there are none.
        letters: Where rows go on which it fails; `None` for nowhere.
    """

    def __init__(
        self,
        report: NodeReport,
        *,
        plugin: Plugin | None = None,
        source: Callable[[], Iterator[pa.RecordBatch | Checkpoint]] | None = None,
        process: Callable[[pa.RecordBatch], Any] | None = None,
        apply: Callable[[Any], Iterable[pa.RecordBatch]] | None = None,
        end: Callable[[], object] = lambda: None,
        workers: int = 1,
        begin: Callable[[], object] = lambda: None,
        outputs: tuple[_FileWriter | DatasetWriter | FileDestination | DeadLetters, ...] = (),
        expected_rows: Callable[[], int | None] = lambda: None,
        acknowledge: Callable[[], object] = lambda: None,
        close: Callable[[], object] = lambda: None,
        checkpoints: Checkpoints | None = None,
        retries: Retries | None = None,
        letters: DeadLetters | None = None,
    ) -> None:
        self.report = report
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
        if self._retries is not None:
            self._retries.stop()

    def begin(self) -> None:
        """Get ready: start the plugin, so that a wrong configuration is found before any row moves."""
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
        """Read a source to its end: at least one batch, though it may have no rows, and barriers in between."""
        assert self._source is not None
        source = self._source()
        while True:
            start = perf_counter()
            rows = next(source, None)
            self.report.seconds += perf_counter() - start
            if rows is None:
                return
            if not isinstance(rows, Checkpoint):
                self._count_out(rows)
            yield rows

    def process(self, item: pa.RecordBatch | Checkpoint) -> Processed | Checkpoint:
        """Map, check or write a batch. Where there are several workers, they call this at the same time."""
        if isinstance(item, Checkpoint):
            return item
        assert self._process is not None
        start = perf_counter()
        result = self._process(item)
        return Processed(item.num_rows, result, perf_counter() - start)

    def apply(self, done: Processed | Checkpoint) -> Iterator[pa.RecordBatch | Checkpoint]:
        """Account for what `process` did, batch after batch, and give what goes on.

        At a barrier, what was written before it is made safe.
        """
        start = perf_counter()
        if isinstance(done, Checkpoint):
            self._reach(done)
            self.report.seconds += perf_counter() - start
            yield done
            return
        self.report.rows_in += done.rows_in
        batches = (done.result,) if self._apply is None else tuple(self._apply(done.result))
        self.report.seconds += done.seconds + perf_counter() - start
        for rows in batches:
            self._count_out(rows)
            yield rows

    def end(self) -> None:
        """Look at what is only known when all batches are through.

        Raises:
            DataError: More rows failed than the pipeline allows.
        """
        self._end()

    def flush(self) -> None:
        """Make what was written safe."""
        start = perf_counter()
        for output in self.outputs:
            output.flush()
        self.report.seconds += perf_counter() - start

    def finish(self) -> None:
        """Make what was written safe and visible."""
        start = perf_counter()
        for output in self.outputs:
            output.finish()
            if self.report.kind == "destination":
                repeats = isinstance(output, DatasetWriter) and output.repeats
                self.report.guarantee = "at-least-once" if repeats else "exactly-once"
            if output.published is not None:
                self.report.outputs.append(output.published)
        self.report.seconds += perf_counter() - start

    def acknowledge(self) -> None:
        """Tell a source that all of its rows are safe."""
        self._acknowledge()

    def abort(self) -> None:
        """Remove everything that is not visible yet."""
        for output in self.outputs:
            output.abort()

    def close(self) -> None:
        """Let everything go, and complete the account; idempotent."""
        if self._retries is not None:
            self.report.retries = self._retries.count
        if self.is_source and self._checkpoints is not None:
            self.report.resumed, self.report.checkpoints = self._checkpoints.resumed, self._checkpoints.reached
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

    def _count_out(self, rows: pa.RecordBatch) -> None:
        self.report.rows_out += rows.num_rows
        self.report.batches += rows.num_rows > 0
        self.report.bytes += rows.nbytes


def make_stage(
    specification: Specification,
    name: str,
    plugin: Any,
    files: ConnectorFiles,
    checkpoints: Checkpoints | None = None,
    replayed: LetterFile | None = None,
) -> Stage:
    """Make the stage of a node.

    Args:
        specification: The pipeline.
        name: The node.
        plugin: The loaded plugin; `None` for a connector.
        files: Opens what the run reads and writes on the pipeline's behalf.
        checkpoints: Those of the source that the node is, or whose rows it takes; `None` where none are made.
        replayed: The dead letters that the node gives, or is given; `None` for a node with nothing to do with them.

    Raises:
        DataError: A file that is to be read cannot be.
        PermissionDenied: A file may not be read or written.
    """
    node = specification.pipeline.nodes[name]
    if isinstance(node, PluginNode):
        return _plugin_stage(
            specification, node, NodeReport(name, plugin.kind, node.plugin), plugin, files, checkpoints, replayed
        )
    if replayed is not None:
        return Stage(NodeReport(name, "source", "dead letters"), source=replayed.batches)
    if isinstance(node, ReadNode):
        # Each file that is read has to be one that a policy grants: the opener asks for each.
        allow = functools.partial(files.check_input, connector=node.connector)
        paths = find_files(specification.folder, node.read, allow=allow)
        source = open_source(node, paths, lambda path: files.open_input(path, connector=node.connector))
        shown = node.read if isinstance(node.read, str) else ", ".join(node.read)
        report = NodeReport(name, "source", f"{node.connector} {shown}", inferred=source.found.inferred)
        return Stage(report, source=lambda: _or_empty(source.batches(), source.schema), close=source.close)
    target = specification.path(node.write)
    destination = open_destination(node, target, _placing(files, target, node.connector))
    writing = _FileWriter(destination)
    report = NodeReport(name, "destination", f"{node.connector} {node.write}")
    return Stage(report, process=writing.write, outputs=(writing,), close=destination.close, checkpoints=checkpoints)


def _placing(files: ConnectorFiles, path: Path, connector: str) -> Place:
    """Refuse an output at once where it may not be written; its place is found when there is something to write."""
    files.check_output(path, connector=connector)
    return functools.partial(files.place_output, connector=connector)


def _plugin_stage(
    specification: Specification,
    node: PluginNode,
    report: NodeReport,
    plugin: Any,
    files: ConnectorFiles,
    checkpoints: Checkpoints | None,
    replayed: LetterFile | None,
) -> Stage:
    errors, path = node.errors, node.dead_letters
    retries = Retries(errors.retries)
    letters = None
    report.dead_letters = path
    replaced = specification.is_replaced(report.name)
    if path is not None:
        target = specification.path(path)
        letters = DeadLetters(
            target,
            _placing(files, target, "jsonl"),
            node=report.name,
            plugin=node.plugin,
            checkpoints=checkpoints,
            replayed=None if replayed is None else replayed.was_read,
            replaces=lambda: replaced and (checkpoints is None or not checkpoints.resumed),
        )
    match plugin.kind:
        case "source":
            reader = DatasetReader(plugin, node.source or ReadModel(), retries, checkpoints)
            return Stage(
                report,
                plugin=plugin,
                source=reader.batches,
                expected_rows=reader.expected_rows,
                acknowledge=reader.acknowledge,
                checkpoints=checkpoints,
                retries=retries,
            )
        case "destination":
            writing = DatasetWriter(
                plugin,
                node.destination or WriteModel(),
                retries,
                RejectedRows(errors, report, letters),
                pipeline=specification.pipeline.name,
                node=report.name,
                checkpoints=checkpoints,
            )
            return Stage(
                report,
                plugin=plugin,
                process=writing.write,
                end=writing.end,
                outputs=(writing,),
                close=writing.close,
                retries=retries,
                letters=letters,
            )
        case "processor" | "transformer":
            work = plugin.process_batch if plugin.kind == "processor" else _transform_with(plugin)
            tolerant = RowErrors[pa.RecordBatch](work, errors, retries, report, letters)
            return Stage(
                report,
                plugin=plugin,
                process=tolerant.work,
                apply=lambda attempt: [rows for _, rows in tolerant.results(attempt)],
                end=tolerant.end,
                workers=workers_of(node),
                outputs=() if letters is None else (letters,),
                close=lambda: _close_all(() if letters is None else (letters,)),
                checkpoints=checkpoints,
                retries=retries,
                letters=letters,
            )
        case _:
            return _validator_stage(specification, node, report, plugin, files, checkpoints, retries, letters)


def _validator_stage(
    specification: Specification,
    node: PluginNode,
    report: NodeReport,
    plugin: Validator,
    files: ConnectorFiles,
    checkpoints: Checkpoints | None,
    retries: Retries,
    letters: DeadLetters | None,
) -> Stage:
    violations, rejects = (_listing(specification, each, files) for each in (node.violations, node.rejects))
    validation = Validation(plugin, node.actions, report.violations, violations=violations, rejects=rejects)
    tolerant = RowErrors[Finding](validation.examine, node.errors, retries, report, letters)
    outputs = tuple(each for each in (violations, rejects, letters) if each is not None)
    return Stage(
        report,
        plugin=plugin,
        process=tolerant.work,
        apply=lambda attempt: [validation.apply(found, first) for first, found in tolerant.results(attempt)],
        end=tolerant.end,
        workers=workers_of(node),
        begin=validation.begin,
        outputs=outputs,
        close=lambda: _close_all(outputs),
        checkpoints=checkpoints,
        retries=retries,
        letters=letters,
    )


def _listing(specification: Specification, text: str | None, files: ConnectorFiles) -> FileDestination | None:
    if text is None:
        return None
    path = specification.path(text)
    # What the letters come from is in the list of the run before.
    if_exists: IfExists = "replace" if specification.replays is None else "append"
    return open_listing(path, _placing(files, path, "jsonl"), if_exists=if_exists)


def _close_all(outputs: tuple[FileDestination | DeadLetters, ...]) -> None:
    for output in outputs:
        output.close()


def _or_empty(batches: Iterator[pa.RecordBatch], schema: Callable[[], pa.Schema]) -> Iterator[pa.RecordBatch]:
    """Give one batch without rows where there are none at all: what follows learns the schema from the first."""
    promised = schema()
    none = True
    for rows in batches:
        none = False
        yield rows
    if none:
        yield no_rows(promised)


class _FileWriter:
    """Writes a file, which learns its schema from the first batch."""

    def __init__(self, destination: FileDestination) -> None:
        self._destination = destination
        self._prepared = False

    def write(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        if not self._prepared:
            self._destination.prepare(rows.schema)
            self._prepared = True
        if rows.num_rows:
            self._destination.write(rows)
        return rows

    @property
    def published(self) -> OutputReport | None:
        return self._destination.published

    def flush(self) -> None:
        self._destination.flush()

    def finish(self) -> None:
        self._destination.finish()

    def abort(self) -> None:
        self._destination.abort()


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
