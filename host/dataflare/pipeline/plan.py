"""What a run would do, before any row moves: datasets, columns, positions, changes and guarantees."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from dataflare.data.roles import roles_of
from dataflare.errors import ConfigError, DataflareError
from dataflare.pipeline.branches import node_of
from dataflare.pipeline.checkpoint_groups import obstacle_of
from dataflare.pipeline.checkpoints import NO_POSITION, NO_STATE, check_reading, dataset_is_gone
from dataflare.pipeline.column_roles import ColumnRoles, RolesModel
from dataflare.pipeline.databases.destination import EMPTIED, SqlDestination
from dataflare.pipeline.databases.nodes import SqlRead, SqlWrite
from dataflare.pipeline.databases.open import open_database
from dataflare.pipeline.dataset_models import ReadModel, WriteModel
from dataflare.pipeline.datasets import DatasetReader
from dataflare.pipeline.fan_in import agreed_schema
from dataflare.pipeline.guarantees import Promise, of_destination, of_file
from dataflare.pipeline.joint_checkpoints import positions_of
from dataflare.pipeline.loading import database_of, datasets_of, inspected, kind_of, load_node
from dataflare.pipeline.models import PluginNode
from dataflare.pipeline.node_capabilities import capabilities_of, capability_changes, known_capabilities
from dataflare.pipeline.nodes import ReadNode, WriteNode
from dataflare.pipeline.pipeline_state import Checkpoint, NodeState, PipelineState
from dataflare.pipeline.readers import open_source
from dataflare.pipeline.reading.inputs import find_files
from dataflare.pipeline.report import NodeReport, RunReport, SchemaChange
from dataflare.pipeline.retries import Retries
from dataflare.pipeline.run_errors import NodeFailed
from dataflare.pipeline.schema_contracts import SchemaContract, schema_from_text
from dataflare.pipeline.several_datasets import by_dataset
from dataflare.pipeline.specification import Specification
from dataflare.runtime.datasets import DatasetName, PlannedChange, Target
from dataflare.runtime.host import Host
from dataflare.security.admission import AdmittedPipeline

__all__ = ["NodePlan", "PipelinePlan", "plan_pipeline"]


_BEGINNING: Final = "the beginning"
_NO_NAME: Final = DatasetName("")


@dataclass(slots=True)
class NodePlan:
    """What one node would do.

    Args:
        name: The node.
        kind: `source`, `destination`, `processor`, `transformer` or `validator`.
        uses: The plugin's file, the connector or the table.
        dataset: What is read or written.
        mode: How it is read or written.
        key: The columns that identify a row.
        cursor: The cursor column; `None` for none.
        schema: The columns of its rows: those it gives, or for a destination those it takes; `None` where only the
            rows tell.
        position: For a source, where it begins.
        no_checkpoints: For a source, why the run would make none before its end; empty where only the run can tell.
        rows: How many rows it would give, if that is known.
        bytes: For a connector that reads, the size of its files.
        schema_changes: For what reads, how the columns differ from the last run's.
        changes: For a destination, what beginning the run would change.
        promise: For a destination, how often it has each row, whatever stops the run.
        capability_changes: What its plugin can do, or asks for, that differs from the last run.
        inputs: What it takes: nodes, or `NAME.rejected`; empty for a source.
        on_error: What becomes of failures, where that is not as usual.
    """

    name: str
    kind: str
    uses: str
    dataset: str = ""
    mode: str = ""
    key: tuple[str, ...] = ()
    cursor: str | None = None
    schema: pa.Schema | None = None
    position: str = ""
    no_checkpoints: str = ""
    rows: int | None = None
    bytes: int | None = None
    schema_changes: list[SchemaChange] = field(default_factory=list)
    changes: list[PlannedChange] = field(default_factory=list)
    promise: Promise | None = None
    capability_changes: list[str] = field(default_factory=list)
    on_error: str = ""
    inputs: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Write it as what JSON can hold."""
        columns = None if self.schema is None else [{"name": each.name, "type": str(each.type)} for each in self.schema]
        return {
            "name": self.name,
            "kind": self.kind,
            "uses": self.uses,
            "inputs": list(self.inputs),
            "dataset": self.dataset,
            "mode": self.mode,
            "key": list(self.key),
            "cursor": self.cursor,
            "columns": columns,
            "position": self.position,
            "no_checkpoints": self.no_checkpoints,
            "rows": self.rows,
            "bytes": self.bytes,
            "schema_changes": [each.to_json() for each in self.schema_changes],
            "changes": [{"kind": each.kind, "detail": each.detail} for each in self.changes],
            "guarantee": None if self.promise is None else self.promise.guarantee,
            "why": None if self.promise is None else self.promise.why,
            "capability_changes": list(self.capability_changes),
            "on_error": self.on_error,
        }


@dataclass(frozen=True, slots=True)
class PipelinePlan:
    """What a run would do: its nodes in their order, and what would make it fail."""

    pipeline: str
    nodes: list[NodePlan]
    problems: list[DataflareError]


def plan_pipeline(
    specification: Specification, host: Host, state: PipelineState | None = None, *, keeps_state: bool | None = None
) -> PipelinePlan:
    """Find out what a run would do. Plugins are started and asked, but no row is read or written.

    Args:
        specification: The pipeline.
        host: Would run it.
        state: The state that the run would continue from; `None` for none.
        keeps_state: Whether the run keeps a state, even if none exists yet; `None`: only if one exists.

    Returns:
        The plan; a node that cannot be planned is among the problems, and those below it lack its columns.

    Raises:
        PermissionDenied: The pipeline may not run at all.
        StateError: The state cannot be read.
    """
    admitted = host.admit_pipeline(specification.pipeline.name, specification.identity)
    try:
        keeps = state is not None if keeps_state is None else keeps_state
        return _Planning(specification, host, state, admitted, keeps_state=keeps).plan()
    finally:
        admitted.close()


class _Planning:
    def __init__(
        self,
        specification: Specification,
        host: Host,
        state: PipelineState | None,
        admitted: AdmittedPipeline,
        *,
        keeps_state: bool,
    ) -> None:
        self._keeps_state = keeps_state
        self._specification = specification
        self._host = host
        self._state = state
        self._admitted = admitted
        self._nodes: dict[str, NodePlan] = {}
        self._continues: set[str] = set()
        """Nodes whose rows come from a source that continues from a position."""

    def plan(self) -> PipelinePlan:
        problems: list[DataflareError] = []
        try:
            report = RunReport(self._specification.pipeline.name)
            asked = functools.partial(datasets_of, self._host, self._specification, self._admitted, report)
            parts = by_dataset(self._specification, asked)
        except DataflareError as error:
            return PipelinePlan(self._specification.pipeline.name, [], [error])
        for part in parts:
            self._specification = part.specification
            problems += self._plan_part()
        return PipelinePlan(self._specification.pipeline.name, list(self._nodes.values()), problems)

    def _plan_part(self) -> list[DataflareError]:
        problems: list[DataflareError] = []
        kinds: dict[str, str] = {}
        for name in self._specification.order:
            try:
                kind = kind_of(self._host, self._specification, name)
                if kind is not None:
                    kinds[name] = kind
                self._nodes[name] = made = self._planned(name, kind)
                made.inputs = self._specification.pipeline.nodes[name].taken
                if not isinstance(node := self._specification.pipeline.nodes[name], ReadNode | WriteNode):
                    made.on_error = node.errors.shown(node.dead_letters)
            except DataflareError as error:
                problems.append(self._blamed(name, error))
        for name in self._specification.order:
            if name in self._nodes and self._nodes[name].kind == "source":
                made = self._nodes[name]
                obstacle = obstacle_of(self._specification, kinds, name)
                made.no_checkpoints = obstacle if self._keeps_state or obstacle == NO_POSITION else NO_STATE
        if not problems:
            try:
                self._specification.check_kinds(kinds)
            except ConfigError as error:
                problems.append(error)
        return problems

    def _blamed(self, name: str, error: DataflareError) -> NodeFailed:
        report = RunReport(self._specification.pipeline.name)
        failed = NodeFailed(name, error, report, where=self._specification.where("nodes", name))
        failed.__cause__ = error
        return failed

    def _planned(self, name: str, kind: str | None) -> NodePlan:
        node = self._specification.pipeline.nodes[name]
        if kind == "source" or (node.inputs and self._continues.issuperset(node.inputs)):
            self._continues.add(name)
        given = [
            (each, self._nodes[node_of(each)].schema if node_of(each) in self._nodes else None) for each in node.taken
        ]
        known = [(each, schema) for each, schema in given if schema is not None]
        schema = known[0][1] if len(known) == len(given) == 1 else None
        if len(given) > 1 and known:
            agreed = agreed_schema(known)
            schema = agreed if len(known) == len(given) else None
        if isinstance(node, ReadNode):
            return self._file_read(name, node)
        if isinstance(node, WriteNode):
            return self._file_written(name, node, schema)
        if isinstance(node, SqlWrite):
            return self._table_written(name, node, schema)
        assert isinstance(node, PluginNode | SqlRead) and kind is not None
        plugin = load_node(self._host, self._specification, name, self._admitted)
        try:
            plugin.start()
            made, abilities = self._asked(name, node, kind, plugin, schema)
            if isinstance(node, PluginNode) and self._state is not None:
                found = inspected(self._host, self._specification, node)
                before = known_capabilities(self._state, name)
                made.capability_changes = capability_changes(before, capabilities_of(found, abilities))
            return made
        finally:
            plugin.close()

    def _asked(
        self, name: str, node: PluginNode | SqlRead, kind: str, plugin: Any, schema: pa.Schema | None
    ) -> tuple[NodePlan, frozenset[str]]:
        """Ask a plugin, or what works like one; return its abilities too."""
        if kind == "source":
            return self._source(name, node, plugin)
        assert isinstance(node, PluginNode)
        if kind == "destination":
            return self._destination(name, node, plugin, schema)
        made = NodePlan(name, kind, node.plugin)
        if kind == "transformer" and schema is not None:
            made.schema = plugin.output_schema(schema)
        elif kind == "validator":
            made.schema = schema
        return made, frozenset()

    def _source(self, name: str, node: PluginNode | SqlRead, plugin: Any) -> tuple[NodePlan, frozenset[str]]:
        options = node.source or ReadModel()
        reader = DatasetReader(plugin, options, Retries(0))
        dataset = reader.dataset()
        uses = node.plugin if isinstance(node, PluginNode) else node.shown
        made = NodePlan(name, "source", uses, str(dataset.name), options.mode, dataset.key, options.cursor)
        wanted = {*options.columns, *dataset.key, *(() if options.cursor is None else (options.cursor,))}
        fields = [each for each in dataset.schema if not options.columns or each.name in wanted]
        made.position = self._position(name, options.mode)
        if made.position != _BEGINNING and (kept := self._kept(name)) is not None:
            check_reading(kept, reader.reading())
        made.rows = reader.expected_rows() if made.position == _BEGINNING else None
        self._hold(made, node, pa.schema(fields, dataset.schema.metadata))
        return made, dataset.modes

    def _file_read(self, name: str, node: ReadNode) -> NodePlan:
        files = self._admitted.files
        allow = functools.partial(files.check_input, connector=node.connector)
        paths = find_files(self._specification.folder, node.read, allow=allow)
        made = NodePlan(name, "source", node.shown, mode="full", position=_BEGINNING)
        if any(path.exists() and not path.is_file() for path in paths):
            return made  # a pipe can be read once
        report = NodeReport(name, "source", "")
        contract = SchemaContract(node.contract, report, known=self._known(name))
        opener = functools.partial(files.open_input, connector=node.connector)
        source = open_source(node, paths, opener, contract, folder=self._specification.folder)
        try:
            if node.contract is None:
                contract.admit(source.schema())
            _take_schema(made, contract, node.roles)
            made.bytes = sum(path.stat().st_size for path in paths)
        finally:
            source.close()
        made.schema_changes = report.schema_changes
        return made

    def _file_written(self, name: str, node: WriteNode, schema: pa.Schema | None) -> NodePlan:
        path = self._specification.path(node.write)
        self._admitted.files.check_output(path, connector=node.connector)
        made = NodePlan(name, "destination", f"{node.connector} {node.write}", str(path), node.if_exists, schema=schema)
        what = {"replace": "replace-rows", "append": "add-rows", "fail": "fail"}[node.if_exists]
        made.changes = [PlannedChange(_NO_NAME, what if path.exists() else "create", str(path))]
        made.promise = of_file(node.if_exists, has_state=self._keeps_state)
        return made

    def _table_written(self, name: str, node: SqlWrite, schema: pa.Schema | None) -> NodePlan:
        grant = database_of(self._specification, node, self._admitted)
        default = self._specification.dataset or DatasetName(name)
        made = NodePlan(name, "destination", node.shown, node.table.table, node.mode, schema=schema)
        made.promise = of_destination(
            node.mode, keeps_token=True, has_checkpoints=self._keeps_state and name in self._continues
        )
        goes_on = None if node.mode == "replace" else self._goes_on(node)
        if grant.is_file and not os.path.lexists(grant.place):
            made.changes = [PlannedChange(_NO_NAME, "create", str(Path(grant.place)))]
        elif schema is not None:
            target = _with_operation(node.destination.target(default, schema), node.destination)
            made.key = target.key
            plugin = open_database(node, replace(grant, access="read"), self._host.connector_secret)
            assert isinstance(plugin, SqlDestination)
            try:
                made.changes = plugin.start().plan(target)
                self._require_position(name, node, plugin)
                if goes_on is not None and plugin.is_empty():
                    made.changes.append(PlannedChange(target.dataset, "other", EMPTIED))
            finally:
                plugin.close()
        if goes_on is not None and any(each.kind == "create" for each in made.changes):
            raise dataset_is_gone(*goes_on, name, node.table.table)
        return made

    def _goes_on(self, node: PluginNode | SqlWrite) -> tuple[str, int] | None:
        """Find a source of a node's rows and the checkpoint that it goes on from; `None`: no rows were before."""
        for source in self._sources_of(node):
            kept = self._kept(source)
            begins = source not in self._nodes or self._nodes[source].position in ("", _BEGINNING)
            if kept is not None and kept.rows and not begins:
                return source, kept.checkpoint.sequence
        return None

    def _sources_of(self, node: PluginNode | SqlWrite) -> list[str]:
        nodes, found = self._specification.pipeline.nodes, set(node.inputs)
        for name in reversed(self._specification.order):
            if name in found:
                found.update(nodes[name].inputs)
        return [name for name in self._specification.order if name in found and not nodes[name].inputs]

    def _kept(self, source: str) -> NodeState | None:
        return None if self._state is None else self._state.node(source)

    def _require_position(self, name: str, node: SqlWrite, table: SqlDestination) -> None:
        """Refuse a table that has other rows than the state says, as a run does.

        Raises:
            StateError: It has.
        """
        if not self._keeps_state or name not in self._continues:
            return
        sources = []
        for source in self._sources_of(node):
            if source not in self._nodes:
                return
            kept = self._kept(source) or NodeState(source, "", "", Checkpoint(0, None), 0, 0.0)
            resumed = self._nodes[source].position != _BEGINNING
            if not resumed:
                kept = replace(kept, checkpoint=Checkpoint(kept.last_sequence, None), pending=())
            sources.append((kept, resumed))
        token = table.kept_token(f"{self._specification.pipeline.name}/{name}")
        positions_of(sources, name, token, mode=node.mode)

    def _destination(
        self, name: str, node: PluginNode, plugin: Any, schema: pa.Schema | None
    ) -> tuple[NodePlan, frozenset[str]]:
        options = node.destination or WriteModel()
        default = self._specification.dataset or DatasetName(name)
        shown = str(options.target(default, pa.schema([])).dataset)
        made = NodePlan(name, "destination", node.plugin, shown, options.mode, schema=schema)
        abilities = plugin.abilities()
        made.promise = of_destination(
            options.mode,
            keeps_token="keep-token" in abilities,
            has_checkpoints=self._keeps_state and name in self._continues,
        )
        if schema is not None:
            target = _with_operation(options.target(default, schema), options)
            made.key = target.key
            made.changes = plugin.plan(target)
            creates = any(each.kind == "create" for each in made.changes)
            if creates and target.mode != "replace" and (goes_on := self._goes_on(node)) is not None:
                raise dataset_is_gone(*goes_on, name, shown)
        return made, abilities

    def _hold(self, made: NodePlan, node: PluginNode | SqlRead, schema: pa.Schema) -> None:
        report = NodeReport(made.name, "source", "")
        contract = SchemaContract(node.contract, report, known=self._known(made.name))
        contract.admit(schema)
        _take_schema(made, contract, node.roles)
        made.schema_changes = report.schema_changes

    def _known(self, name: str) -> pa.Schema | None:
        text = None if self._state is None else self._state.known_schema(name)
        return None if text is None else schema_from_text(text)

    def _position(self, name: str, mode: str) -> str:
        kept = self._kept(name)
        if kept is None or kept.checkpoint.state is None or (kept.checkpoint.last and mode == "full"):
            return _BEGINNING
        return f"where the last run ended, after {kept.rows} rows"


def _take_schema(made: NodePlan, contract: SchemaContract, roles: RolesModel | None) -> None:
    """Take the columns that a node that reads gives, with the roles that the pipeline says."""
    made.schema = contract.known
    if made.schema is not None and (giver := ColumnRoles.of(roles)) is not None:
        made.schema = giver.schema(made.schema)
        made.key = roles_of(made.schema).key


def _with_operation(target: Target, options: WriteModel) -> Target:
    if options.roles is None:
        return target
    return Target(target.dataset, options.roles.schema(target.schema), key=target.key, mode=target.mode)
