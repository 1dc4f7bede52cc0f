"""Runs pipelines: one thread for each node, batches in between, and all outputs or none at the end."""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from contextvars import copy_context
from functools import partial
from time import perf_counter
from typing import IO, Any, TypeAlias

import pyarrow as pa

from dataflare import cancellation
from dataflare.errors import ConfigError, DataflareError, PluginError
from dataflare.locks import Lock
from dataflare.pipeline.batching import resized
from dataflare.pipeline.branches import Outlets, Rejected
from dataflare.pipeline.channel import Stopped
from dataflare.pipeline.check import config_error
from dataflare.pipeline.checkpoint_groups import checkpoints_of
from dataflare.pipeline.checkpoints import Checkpoints
from dataflare.pipeline.fan_in import FanIn
from dataflare.pipeline.finished_parts import finished_parts, forget_finished_parts
from dataflare.pipeline.flow import note_moment, note_queues
from dataflare.pipeline.joint_checkpoints import JointCheckpoints
from dataflare.pipeline.loading import datasets_of, inspected, kind_of, load_node
from dataflare.pipeline.models import Node, Pipeline, PluginNode
from dataflare.pipeline.node_capabilities import capabilities_of, keep_capabilities
from dataflare.pipeline.nodes import ReadNode
from dataflare.pipeline.observed import observed_node, observed_run, working_on
from dataflare.pipeline.parallel_map import map_in_order
from dataflare.pipeline.pending_appends import PendingAppends
from dataflare.pipeline.pipeline_state import Checkpoint, PipelineState
from dataflare.pipeline.replay import LetterFile
from dataflare.pipeline.report import Progress, RunReport
from dataflare.pipeline.run_errors import NodeFailed, RunInterrupted
from dataflare.pipeline.run_history import noted
from dataflare.pipeline.schema_contracts import schema_from_text
from dataflare.pipeline.several_datasets import Slice, by_dataset
from dataflare.pipeline.specification import Specification, build_specification, load_specification
from dataflare.pipeline.stage import Stage
from dataflare.pipeline.stage_builder import make_stage, workers_of
from dataflare.pipeline.stop_limits import StopLimits
from dataflare.runtime.host import Host
from dataflare.runtime.inspection import Inspection
from dataflare.runtime.options import Services
from dataflare.runtime.pool import PoolSettings
from dataflare.security.admission import AdmittedPipeline
from dataflare.shortages import told_shortages

__all__ = ["run"]

_log = logging.getLogger("dataflare.pipeline")

_PROGRESS_INTERVAL_S = 0.1
_INTERRUPT_AGAIN_S = 0.02
_SHUTDOWN_S = 0.5
"""How long plugins may take for `shutdown` after an interrupt."""

_Item: TypeAlias = pa.RecordBatch | Rejected | Checkpoint


def run(
    pipeline: Specification | Pipeline | Mapping[str, Any] | str | os.PathLike[str],
    *,
    host: Host | None = None,
    progress: Callable[[Progress], object] | None = None,
    state: PipelineState | None = None,
    full_refresh: bool = False,
    limits: StopLimits | None = None,
) -> RunReport:
    """Run a pipeline to its end, or to a limit.

    Rows move batch by batch; at most two batches wait between two nodes, of 64 MiB together. Nodes run at the same
    time, each in its own thread. Destinations finish after all nodes have ended; after any failure, including an
    interrupt, they are aborted instead. At the end all loaded plugins are closed.

    Args:
        pipeline: The result of `load_specification` or `build_specification`, or what they take: the YAML file's name,
            or the pipeline as a mapping or model.
        host: Loads the plugins; the caller closes it. `None` makes one for the run.
        progress: Called about ten times a second, in the caller's thread.
        state: The saved positions of sources; the caller closes it. `None` saves nothing: each run starts from the
            beginning.
        full_refresh: Whether sources start from the beginning, even if a position is saved.
        limits: When sources stop before their end; the run then ends as usual, and the next one goes on from there.

    Returns:
        The report of the run.

    Raises:
        ConfigError: The pipeline is wrong, or does not fit its plugins.
        PermissionDenied: The host's policy or roles do not let it run.
        NodeFailed: A node failed; it names the node, and has the report up to then.
        RunInterrupted: A `KeyboardInterrupt` was raised in this thread; has the report too.
        StateError: The state belongs to another pipeline.
    """
    if isinstance(pipeline, str | os.PathLike):
        pipeline = load_specification(pipeline)
    elif not isinstance(pipeline, Specification):
        pipeline = build_specification(pipeline)
    if host is not None:
        return _run_all(pipeline, host, progress, state, full_refresh=full_refresh, limits=limits)
    services = Services() if state is None else Services(state_store=state.plugins)
    with Host(services=services) as own:
        return _run_all(pipeline, own, progress, state, full_refresh=full_refresh, limits=limits)


def _run_all(
    specification: Specification,
    host: Host,
    progress: Callable[[Progress], object] | None,
    state: PipelineState | None,
    *,
    full_refresh: bool,
    limits: StopLimits | None,
) -> RunReport:
    """Run each part of a pipeline, one after the other: most have one part."""
    report = RunReport(specification.pipeline.name)
    limits = limits or StopLimits()
    with noted(state, report), observed_run(report, host.metrics):
        try:
            # Before anything of it is looked at.
            admitted = host.admit_pipeline(specification.pipeline.name, specification.identity)
            try:
                parts = by_dataset(specification, partial(datasets_of, host, specification, admitted, report))
                several = state if len(parts) > 1 else None
                if several is not None and full_refresh:
                    forget_finished_parts(several)
                # Where the last run stopped in between, what it has finished is not repeated.
                done = set() if several is None else finished_parts(several)
                report.done_before = [each.name for each in parts if each.name in done]
                limits.reset()
                for part in parts:
                    if limits.seconds_left == 0:
                        report.stopped = "max-time"
                    elif part.name not in done:
                        _Run(part, host, admitted, progress, state, report, full_refresh, limits).run()
                        report.stopped = report.stopped or limits.reason
                if several is not None and report.stopped is None:
                    forget_finished_parts(several)
            finally:
                admitted.close()
            report.status = "completed"
        except KeyboardInterrupt as error:
            report.status = "interrupted"
            raise RunInterrupted(report, getattr(error, "signal", signal.SIGINT)) from error
        except BaseException:
            report.status = "failed"
            raise
    return report


class _Run:
    """A run of a part of a pipeline."""

    def __init__(
        self,
        part: Slice,
        host: Host,
        admitted: AdmittedPipeline,
        progress: Callable[[Progress], object] | None,
        state: PipelineState | None,
        report: RunReport,
        full_refresh: bool,
        limits: StopLimits,
    ) -> None:
        self._part = part.name
        self._specification = part.specification
        self._admitted = admitted
        self._limits = limits
        self._state = state
        self._appends = None if state is None else PendingAppends(state)
        self._full_refresh = full_refresh
        self._checkpoints: dict[str, Checkpoints | JointCheckpoints] = {}
        """By node: those of the source that it is, or of those whose rows it takes."""
        self._host = host
        self._progress = progress
        self._stages: list[Stage] = []
        self._inputs: dict[str, FanIn] = {}
        self._inspected: dict[str, Inspection] = {}
        self._report = report
        self._lock = Lock()
        # In C: no exception that comes from outside leaves it locked.
        self._ended: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._failure: tuple[Stage, BaseException] | None = None

    def run(self) -> None:
        """Run the part to its end, or undo what it did."""
        hurry = False
        try:
            start = perf_counter()
            self._load()
            self._report.load_seconds += perf_counter() - start
            start, before = perf_counter(), self._report.seconds
            try:
                self._limits.begin()
                self._move_rows(start - before)
                self._finish()
            finally:
                self._report.seconds = before + perf_counter() - start
                note_queues(self._report, self._inputs, self._specification.consumers)
        except BaseException as error:
            hurry = isinstance(error, KeyboardInterrupt)
            self._abort(error)
            raise
        finally:
            self._close(hurry=hurry)

    def _load(self) -> None:
        specification = self._specification
        nodes = specification.pipeline.nodes
        admitted, kinds = self._admitted, {}
        for name in nodes:
            with self._blamed(name, "plugin"):
                if isinstance(node := nodes[name], PluginNode):
                    self._inspected[name] = found = inspected(self._host, specification, node)
                    kinds[name] = str(found.kind)
                elif (kind := kind_of(self._host, specification, name)) is not None:
                    kinds[name] = kind
        specification.check_kinds(kinds)
        if self._state is not None:
            self._checkpoints = checkpoints_of(specification, kinds, self._state, fresh=self._full_refresh)
        reader, replayed = self._open_letters(admitted)
        for name in specification.order:
            with self._blamed(name):
                pool = _pool(nodes[name], kinds.get(name))
                plugin = load_node(self._host, specification, name, admitted, pool)
                try:
                    letters = replayed if name in (specification.replays, reader) else None
                    points = self._checkpoints.get(name)
                    stage = make_stage(
                        specification,
                        name,
                        plugin,
                        admitted.files,
                        points,
                        letters,
                        self._known_schema(name),
                        self._limits,
                        self._appends,
                        partial(load_node, self._host, specification, name, admitted, pool),
                    )
                except BaseException:
                    if plugin is not None:
                        plugin.close()
                    raise
                self._stages.append(stage)
                stage.report.inputs = nodes[name].taken
                self._report.nodes.append(stage.report)
                _log.debug("node %r: a %s, %s", name, stage.report.kind, stage.report.uses)
        for stage in self._stages:
            with self._blamed(stage.name):
                stage.begin()

    def _known_schema(self, name: str) -> pa.Schema | None:
        """The columns that a node gave in the last run; `None` where they are not known, or are forgotten."""
        text = None if self._state is None or self._full_refresh else self._state.known_schema(name)
        return None if text is None else schema_from_text(text)

    def _open_letters(self, admitted: AdmittedPipeline) -> tuple[str | None, LetterFile | None]:
        """Find the node that gives dead letters, and what it gives."""
        specification = self._specification
        if specification.replays is None:
            return None, None
        nodes = specification.pipeline.nodes
        reader = next(iter(nodes[specification.replays].inputs), specification.replays)
        node = nodes[reader]
        assert isinstance(node, ReadNode) and isinstance(node.read, str)
        path = specification.path(node.read)
        with self._blamed(specification.replays, "dead_letters"):
            admitted.files.check_input(path, connector=node.connector)

        def opened() -> IO[bytes]:
            return admitted.files.open_input(path, connector=node.connector)

        return reader, LetterFile(path, opened, specification.replays)

    def _move_rows(self, start: float) -> None:
        expected = self._expected_rows()
        moving = [stage for stage in self._stages if self._specification.moves_rows(stage.name)]
        self._inputs = {
            stage.name: FanIn(inputs, passes_barriers=stage.name in self._checkpoints)
            for stage in moving
            if (inputs := self._specification.pipeline.nodes[stage.name].taken)
        }
        threads = [
            threading.Thread(
                target=copy_context().run, args=(self._work, stage), name=f"dataflare-{stage.name}", daemon=True
            )
            for stage in moving
        ]
        try:
            for thread in threads:
                thread.start()
            running = len(threads)
            while running:
                with suppress(queue.Empty):
                    self._ended.get(timeout=_PROGRESS_INTERVAL_S)
                    running -= 1
                cancellation.check()
                note_moment(self._report, self._inputs, perf_counter() - start, last=not running)
                self._tell(expected, start)
            for thread in threads:
                thread.join()
        except BaseException:
            # Interrupted: nobody waits for the plugins' calls, but nothing may be closed while it is in use.
            while True:
                try:
                    alive = [thread for thread in threads if thread.is_alive()]
                    if not alive:
                        break
                    self._stop()
                    # Again and again: a thread may have been between two calls.
                    for stage in self._stages:
                        stage.interrupt()
                    alive[0].join(_INTERRUPT_AGAIN_S)
                except BaseException:  # another interrupt changes nothing about that
                    continue
            raise
        if self._failure is not None:
            stage, error = self._failure
            with self._blamed(stage.name):
                raise error

    def _finish(self) -> None:
        """Publish the outputs, one destination after the other."""
        done: list[str] = []
        for stage in self._stages:
            try:
                with self._blamed(stage.name):
                    stage.finish()
                    _log.debug("node %r: finished", stage.name)
            except BaseException as error:
                if done:
                    error.add_note(f"outputs that are finished and visible: {', '.join(done)}")
                raise
            if stage.outputs:
                done.append(stage.name)
        if self._state is not None:
            # In one step, after all is safe and visible: a run that dies before it is repeated.
            sources = [each for each in dict.fromkeys(self._checkpoints.values()) if isinstance(each, Checkpoints)]
            ended = [each.finish(stopped=self._limits.reason is not None) for each in sources]
            known = [stage.known_schema() for stage in self._stages]
            self._state.commit(
                [each for each in ended if each is not None],
                [each for each in known if each is not None],
                ended=True,
                done=self._part if self._limits.reason is None else "",
            )
            self._keep_capabilities(self._state)
        for stage in self._stages:
            try:
                stage.acknowledge()
            except DataflareError as error:
                # All rows are safe: if this fails, the source only keeps rows longer than necessary.
                _log.warning("node %r: its rows could not be acknowledged: %s", stage.name, error)

    def _keep_capabilities(self, state: PipelineState) -> None:
        abilities = {stage.name: stage.abilities() for stage in self._stages}
        keep_capabilities(
            state, {name: capabilities_of(each, abilities[name]) for name, each in self._inspected.items()}
        )

    def _work(self, stage: Stage) -> None:
        """Run a stage; the body of its thread."""
        outlets = Outlets(stage.name, [each.inlets for each in self._inputs.values()])
        try:
            with observed_node(stage.report):
                items = stage.batches() if stage.is_source else self._taken(stage)
                for item in resized(items, announces=self._specification.has_fan_in):
                    outlets.put(item)
                stage.end()
                stage.flush()
                outlets.put(None)
                done = stage.report
                text = "node %r: %d rows in, %d rows out in %.3f s"
                _log.debug(text, done.name, done.rows_in, done.rows_out, done.seconds)
        except Stopped:
            pass
        except BaseException as error:
            with self._lock:
                if self._failure is None:
                    self._failure = (stage, error)
            self._stop()
        finally:
            self._ended.put(None)

    def _taken(self, stage: Stage) -> Iterator[_Item]:
        items = self._inputs[stage.name]
        if stage.workers == 1:
            while (item := items.get()) is not None:
                yield from stage.apply(stage.process(item))
        else:
            name = f"dataflare-{stage.name}"
            for done in map_in_order(stage.process, items, workers=stage.workers, name=name):
                yield from stage.apply(done)

    def _stop(self) -> None:
        # Plugins that look for it need not bring long calls to their end.
        self._host.cancel(self._report.pipeline)
        for items in self._inputs.values():
            items.stop()
        for stage in self._stages:
            stage.stop()

    def _expected_rows(self) -> int | None:
        total = 0
        if self._part:
            return None  # how many the other datasets have is asked when it is their turn
        for stage in self._stages:
            if stage.is_source:
                rows = stage.expected_rows() if self._progress is not None else None
                if rows is None:
                    return None
                total += rows
        return total

    def _tell(self, expected: int | None, start: float) -> None:
        if self._progress is not None:
            sources = [node for node in self._report.nodes if node.kind == "source"]
            rows, size = sum(each.rows_out for each in sources), sum(each.bytes for each in sources)
            self._progress(Progress(rows, expected, size, perf_counter() - start, tuple(self._report.nodes)))

    def _abort(self, error: BaseException) -> None:
        _log.debug("the run failed: all outputs are taken back")
        for stage in self._stages:
            try:
                stage.keep_letters()
            except Exception as other:
                error.add_note(f"node {stage.name!r}: its dead letters could not be kept: {other}")
        for stage in self._stages:
            try:
                stage.abort()
            except BaseException as other:  # another interrupt too: the outputs of all other nodes are still there
                error.add_note(f"node {stage.name!r} could not be aborted: {other!r}")

    def _close(self, *, hurry: bool) -> None:
        with ExitStack() as stack:  # closes the others where one of them fails
            if hurry:
                closed = threading.Event()
                hurrying = threading.Thread(target=self._hurry, args=(closed,), name="dataflare-hurry", daemon=True)
                hurrying.start()
                stack.callback(hurrying.join)
                stack.callback(closed.set)
            for stage in self._stages:
                stack.callback(stage.close)

    def _hurry(self, closed: threading.Event) -> None:
        """End what plugins do for too long while they are closed; the body of a thread."""
        wait_s = _SHUTDOWN_S
        while not closed.wait(wait_s):
            for stage in self._stages:
                stage.interrupt()
            wait_s = _INTERRUPT_AGAIN_S

    def _misfit(self, name: str) -> ConfigError | None:
        """Say which key of a configuration that a plugin refused does not fit the plugin's own schema."""
        node = self._specification.pipeline.nodes[name]
        try:
            assert isinstance(node, PluginNode)
            schema = self._host.metadata(self._specification.plugin_path(node.plugin)).config_schema
        except DataflareError:
            return None  # its refusal is reported in any case
        return config_error(self._specification, name, schema) if schema else None

    @contextmanager
    def _blamed(self, name: str, *keys: str) -> Iterator[None]:
        """Name the node in what goes wrong; a fault of the host itself stays what it is."""
        try:
            with told_shortages(), working_on(name):
                yield
        except DataflareError as error:
            for node in self._report.nodes:
                node.errors += node.name == name
            wrong_config = isinstance(error, PluginError) and getattr(error.error, "case", "") == "invalid-config"
            if isinstance(error, ConfigError) and not keys:
                keys = tuple(error.where.split(".")[:1])
            where = self._specification.where("nodes", name, *(("config",) if wrong_config else keys))
            misfit = self._misfit(name) if wrong_config else None
            failed = NodeFailed(name, error, self._report, where=misfit.where if misfit else where)
            if misfit:
                failed.add_note(misfit.message.removeprefix(f"{misfit.where}: "))
            raise failed from error
        except Exception as error:
            error.add_note(f"in node {name!r} of pipeline {self._report.pipeline!r}")
            raise


def _pool(node: Node, kind: str | None) -> PoolSettings | None:
    """Give each worker an instance; plugins that other plugins call have some in any case."""
    if kind in ("source", "destination") or not isinstance(node, PluginNode):
        return None
    return PoolSettings(maximum=max(workers_of(node), PoolSettings().maximum))
