"""Builds the stages of a run from a pipeline."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from dataflare.data.columns import no_rows
from dataflare.locks import Lock
from dataflare.pipeline.checkpoints import Checkpoints
from dataflare.pipeline.databases.nodes import SqlRead, SqlWrite
from dataflare.pipeline.datasets import DatasetReader, DatasetWriter, ReadModel, WriteModel
from dataflare.pipeline.dead_letters import DeadLetters
from dataflare.pipeline.guarantees import of_file
from dataflare.pipeline.models import PluginNode
from dataflare.pipeline.nodes import ReadNode, WriteNode
from dataflare.pipeline.outputs import IfExists, Place
from dataflare.pipeline.parallel_map import default_workers
from dataflare.pipeline.pending_appends import PendingAppends
from dataflare.pipeline.readers import open_source
from dataflare.pipeline.reading.inputs import find_files
from dataflare.pipeline.replay import LetterFile
from dataflare.pipeline.report import NodeReport
from dataflare.pipeline.retries import Retries
from dataflare.pipeline.row_errors import RejectedRows, RowErrors
from dataflare.pipeline.schema_contracts import SchemaContract
from dataflare.pipeline.specification import Specification
from dataflare.pipeline.stage import Stage
from dataflare.pipeline.stop_limits import StopLimits
from dataflare.pipeline.validation import Finding, Validation
from dataflare.pipeline.writers import FileDestination, FileWriter, open_destination, open_listing
from dataflare.runtime.transformer import Transformer
from dataflare.runtime.validator import Validator
from dataflare.security.connectors import ConnectorFiles

__all__ = ["make_stage", "workers_of"]


def make_stage(
    specification: Specification,
    name: str,
    plugin: Any,
    files: ConnectorFiles,
    checkpoints: Checkpoints | None = None,
    replayed: LetterFile | None = None,
    known: pa.Schema | None = None,
    limits: StopLimits | None = None,
    appends: PendingAppends | None = None,
) -> Stage:
    """Make the stage of a node.

    Args:
        specification: The pipeline.
        name: The node.
        plugin: The loaded plugin; `None` for a connector.
        files: Opens what the run reads and writes on the pipeline's behalf.
        checkpoints: Those of the source that the node is, or whose rows it takes; `None` where none are made.
        replayed: The dead letters that the node reads or gets; `None` for any other node.
        known: The columns that the node gave in the last run, for one that reads; `None` where they are not known.
        limits: When sources stop before their end; `None`: never.
        appends: Records what the run adds to files; `None`: it is not recorded.

    Raises:
        DataError: A file that is to be read cannot be.
        PermissionDenied: A file may not be read or written.
    """
    node = specification.pipeline.nodes[name]
    if isinstance(node, PluginNode | SqlRead | SqlWrite):
        uses = node.plugin if isinstance(node, PluginNode) else node.shown
        return _plugin_stage(
            specification,
            node,
            NodeReport(name, plugin.kind, uses),
            plugin,
            files,
            checkpoints,
            replayed,
            known,
            limits,
        )
    if isinstance(node, ReadNode) and replayed is not None:
        report = NodeReport(name, "source", "dead letters")
        letters = _letters(specification, node, report, files, None, replayed)
        outputs = () if letters is None else (letters,)
        return Stage(report, source=replayed.batches, outputs=outputs, close=lambda: _close_all(outputs))
    if isinstance(node, ReadNode):
        # Each file that is read has to be one that a policy grants: the opener asks for each.
        allow = functools.partial(files.check_input, connector=node.connector)
        paths = find_files(specification.folder, node.read, allow=allow)
        report = NodeReport(name, "source", node.shown)
        letters = _letters(specification, node, report, files, None, None)
        contract = SchemaContract(node.contract, report, known=known, letters=letters)
        source = open_source(
            node, paths, lambda path: files.open_input(path, connector=node.connector), contract=contract
        )
        report.inferred = source.found.inferred

        def close() -> None:
            source.close()
            if letters is not None:
                letters.close()

        return Stage(
            report,
            source=lambda: _or_empty(_limited(source.batches(), limits or StopLimits()), source.schema),
            outputs=() if letters is None else (letters,),
            close=close,
            letters=letters,
            contract=contract,
        )
    assert isinstance(node, WriteNode)
    target = specification.path(node.write)
    destination = open_destination(node, target, _placing(files, target, node.connector), appends)
    writing = FileWriter(destination, of_file(node.if_exists, has_state=appends is not None))
    report = NodeReport(name, "destination", f"{node.connector} {node.write}")
    return Stage(report, process=writing.write, outputs=(writing,), close=destination.close, checkpoints=checkpoints)


def _placing(files: ConnectorFiles, path: Path, connector: str) -> Place:
    """Refuse an output at once where it may not be written; its place is found when there is something to write."""
    files.check_output(path, connector=connector)
    return functools.partial(files.place_output, connector=connector)


def _plugin_stage(
    specification: Specification,
    node: PluginNode | SqlRead | SqlWrite,
    report: NodeReport,
    plugin: Any,
    files: ConnectorFiles,
    checkpoints: Checkpoints | None,
    replayed: LetterFile | None,
    known: pa.Schema | None,
    limits: StopLimits | None,
) -> Stage:
    errors = node.errors
    retries = Retries(errors.retries)
    letters = _letters(specification, node, report, files, checkpoints, replayed)
    match plugin.kind:
        case "source":
            assert not isinstance(node, SqlWrite)
            contract = node.contract
            reader = DatasetReader(
                plugin,
                node.source or ReadModel(),
                retries,
                checkpoints,
                columns_may_change=contract is not None,
                limits=limits,
            )
            return Stage(
                report,
                plugin=plugin,
                source=reader.batches,
                expected_rows=reader.expected_rows,
                acknowledge=reader.acknowledge,
                outputs=() if letters is None else (letters,),
                close=lambda: _close_all(() if letters is None else (letters,)),
                checkpoints=checkpoints,
                retries=retries,
                letters=letters,
                contract=SchemaContract(contract, report, known=known, letters=letters),
            )
        case "destination":
            assert not isinstance(node, SqlRead)
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
            assert isinstance(node, PluginNode)
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
            assert isinstance(node, PluginNode)
            return _validator_stage(specification, node, report, plugin, files, checkpoints, retries, letters)


def _letters(
    specification: Specification,
    node: PluginNode | ReadNode | SqlRead | SqlWrite,
    report: NodeReport,
    files: ConnectorFiles,
    checkpoints: Checkpoints | None,
    replayed: LetterFile | None,
) -> DeadLetters | None:
    """Make what takes the dead letters of a node; `None` where it has no file for them."""
    if node.dead_letters is None:
        return None
    report.dead_letters = node.dead_letters
    target, replaced = specification.path(node.dead_letters), specification.is_replaced(report.name)
    return DeadLetters(
        target,
        _placing(files, target, "jsonl"),
        node=report.name,
        plugin=report.uses,
        checkpoints=checkpoints,
        replayed=None if replayed is None else replayed.was_read,
        replaces=lambda: replaced and (checkpoints is None or not checkpoints.resumed),
    )


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


def _limited(batches: Iterator[pa.RecordBatch], limits: StopLimits) -> Iterator[pa.RecordBatch]:
    """Give the rows up to a limit. There may be one more row: only then was something left out."""
    for rows in batches:
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
