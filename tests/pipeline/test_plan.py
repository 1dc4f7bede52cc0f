"""What a run would do, before any row moves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from checkpoint_kit import Clock, Numbers, Table, numbers_pipeline
from dataflare.pipeline.plan import NodePlan, PipelinePlan, plan_pipeline
from dataflare.pipeline.run_errors import NodeFailed
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import build_specification
from dataflare.pipeline.state_file import StateFile
from dataflare.runtime.datasets import DatasetName, PlannedChange, Target
from dataflare.runtime.host import Host
from pipeline_fakes import FakeHost, FakeTransformer

CHAIN = (
    "  in: {plugin: source.wasm, source: {dataset: rows, mode: incremental, cursor: x}}\n"
    "  change: {plugin: change.wasm, input: in}\n"
    "  out: {plugin: first.wasm, input: change}\n"
    "  file: {connector: csv, write: out.csv, input: change}\n"
)


POLICY = "dead_letters: d.jsonl, on_error: {quarantine: true, reloads: 1, max_outage: 1h}"


class Planning(Table):
    def plan(self, target: Target) -> list[PlannedChange]:
        self.called("plan")
        return [PlannedChange(target.dataset, "create", f"{len(target.schema)} columns")]


class Dropped(Table):
    """A table that somebody may have dropped."""

    drops = False

    def plan(self, target: Target) -> list[PlannedChange]:
        return [PlannedChange(target.dataset, "create", "out")] if self.drops else []


class Counted(Numbers):
    def estimate(self, selections: Any = None) -> Any:
        return type("Estimate", (), {"rows": self.count})()


def planned(folder: Path, nodes: str, *, keeps_token: bool = True, state: bool = True) -> tuple[PipelinePlan, Any]:
    table = Planning(Clock(), keeps_token=keeps_token)
    host: Any = FakeHost(
        source=Counted(Clock(), 50, chunk=7, transaction=1, modes="incremental"), change=FakeTransformer(), first=table
    )
    made = numbers_pipeline(folder, nodes)
    if not state:
        return plan_pipeline(made, host), host
    with StateFile(folder / "state", pipeline="test") as file:
        return plan_pipeline(made, host, file), host


def by_name(plan: PipelinePlan) -> dict[str, NodePlan]:
    return {each.name: each for each in plan.nodes}


def test_plan_says_what_becomes_of_failures(tmp_path):
    plan, _ = planned(tmp_path, CHAIN.replace("change.wasm, input: in", f"change.wasm, input: in, {POLICY}"))
    assert plan.problems == []
    told = (
        "rows that fail go to d.jsonl; calls stop in an outage of up to 1h; a new instance takes over 1 times in a "
        "row; quarantine after more than 10 faults"
    )
    assert by_name(plan)["change"].on_error == by_name(plan)["change"].to_json()["on_error"] == told


def test_plan_says_what_is_read_and_written(tmp_path):
    plan, host = planned(tmp_path, CHAIN)
    nodes = by_name(plan)
    assert plan.problems == []
    assert nodes["in"].schema == pa.schema([("x", pa.int64())])
    assert (nodes["in"].mode, nodes["in"].cursor, nodes["in"].position, nodes["in"].rows) == (
        "incremental",
        "x",
        "the beginning",
        50,
    )
    assert nodes["out"].changes == [PlannedChange(DatasetName("out"), "create", "1 columns")]
    assert nodes["file"].changes[0].kind == "create"
    assert json.loads(json.dumps(nodes["in"].to_json()))["columns"] == [{"name": "x", "type": "int64"}]
    assert nodes["change"].on_error == ""
    # No row has moved.
    assert host.plugins["source"].opened == []
    assert "open" not in host.plugins["first"].calls
    assert not (tmp_path / "out.csv").exists()
    assert all(plugin.calls[-1] == "close" for plugin in host.plugins.values())


@pytest.mark.parametrize(
    ("mode", "keeps_token", "state", "guarantee"),
    [
        ("append", True, True, "exactly-once"),
        ("append", False, True, "at-least-once"),
        ("append", True, False, "at-least-once"),
        ("merge, key: [x]", False, False, "exactly-once"),
        ("replace", False, False, "exactly-once"),
    ],
)
def test_plan_and_report_give_the_same_guarantee(tmp_path, mode, keeps_token, state, guarantee):
    nodes = (
        "  in: {plugin: source.wasm, source: {dataset: rows, mode: incremental, cursor: x}}\n"
        f"  out: {{plugin: first.wasm, input: in, destination: {{mode: {mode}}}}}\n"
    )
    plan, _ = planned(tmp_path, nodes, keeps_token=keeps_token, state=state)
    promise = by_name(plan)["out"].promise
    assert promise is not None
    assert promise.guarantee == guarantee
    assert promise.why
    host = FakeHost(
        source=Numbers(Clock(), 5, chunk=7, transaction=1, modes="incremental"),
        first=Table(Clock(), keeps_token=keeps_token),
    )
    made = numbers_pipeline(tmp_path, nodes)
    if state:
        with StateFile(tmp_path / "state", pipeline="test") as file:
            report = run(made, host=host, state=file)
    else:
        report = run(made, host=host)
    assert report.nodes[1].guarantee == guarantee


def test_plan_says_where_a_source_continues(tmp_path):
    made = numbers_pipeline(tmp_path, CHAIN)
    source = Numbers(Clock(), 20, chunk=7, transaction=1, modes="incremental")
    host = FakeHost(source=source, change=FakeTransformer(), first=Table(Clock(), keeps_token=True))
    with StateFile(tmp_path / "state", pipeline="test") as file:
        run(made, host=host, state=file)
    plan, _ = planned(tmp_path, CHAIN)
    assert by_name(plan)["in"].position == "where the last run ended, after 20 rows"


def copy(folder: Path, contract: str = "evolve") -> Any:
    nodes = {
        "in": {"connector": "csv", "read": "in.csv", "schema": contract},
        "out": {"connector": "csv", "write": "out.csv", "input": "in"},
    }
    return build_specification({"name": "test", "nodes": nodes}, folder=folder)


def test_plan_and_run_refuse_to_go_on_where_a_plugin_would_make_its_dataset_anew(tmp_path):
    nodes = CHAIN.split("\n")[0] + "\n  out: {plugin: first.wasm, input: in, destination: {mode: %s}}\n"
    table = Dropped(Clock(), keeps_token=False)

    def host(count: int) -> Any:
        return FakeHost(source=Counted(Clock(), count, chunk=5, transaction=1, modes="incremental"), first=table)

    def once(count: int, mode: str = "append", **more: Any) -> Any:
        with StateFile(tmp_path / "state", pipeline="test") as file:
            return run(numbers_pipeline(tmp_path, nodes % mode), host=host(count), state=file, **more)

    once(20)
    once(25)
    table.drops, table.kept = True, []
    with StateFile(tmp_path / "state", pipeline="test") as file:
        (planned,) = plan_pipeline(numbers_pipeline(tmp_path, nodes % "append"), host(30), file).problems
    with pytest.raises(NodeFailed) as caught:
        once(30)
    for error in (planned, caught.value):
        assert "destination 'out' lacks the rows before it: the dataset 'out' was dropped or renamed" in str(error)
        assert "--full-refresh" in error.hint
    assert table.kept == []
    once(30, full_refresh=True)
    assert table.kept == list(range(30))
    once(31, "replace")


def test_plugin_may_make_its_dataset_late_while_there_were_no_rows(tmp_path):
    table = Dropped(Clock(), keeps_token=False)
    table.drops = True
    nodes = CHAIN.split("\n")[0] + "\n  out: {plugin: first.wasm, input: in}\n"
    for count in (0, 0, 5):
        source = Counted(Clock(), count, chunk=5, transaction=1, modes="incremental")
        with StateFile(tmp_path / "state", pipeline="test") as file:
            run(numbers_pipeline(tmp_path, nodes), host=FakeHost(source=source, first=table), state=file)
    assert table.kept == list(range(5))


def test_plan_compares_columns_with_those_of_the_last_run(tmp_path):
    (tmp_path / "in.csv").write_text("a\n1\n")
    with Host() as host, StateFile(tmp_path / "state", pipeline="test") as file:
        run(copy(tmp_path), host=host, state=file)
        (tmp_path / "in.csv").write_text("a,b\n1,2\n")
        plan = plan_pipeline(copy(tmp_path), host, file)
        (change,) = by_name(plan)["in"].schema_changes
        assert (change.change, change.column, change.result) == ("new-column", "b", "evolved")
        assert by_name(plan)["in"].bytes == 8
        frozen = plan_pipeline(copy(tmp_path, "freeze"), host, file)
        assert "column 'b' (int64) is new" in str(frozen.problems[0])
        assert file.known_schema("in") is not None
    assert (tmp_path / "out.csv").read_text() == '"a"\n1\n'


def test_node_that_cannot_be_planned_is_a_problem_of_its_own(tmp_path):
    plan = None
    with Host() as host:
        plan = plan_pipeline(copy(tmp_path), host)
    assert [getattr(each, "node", "") for each in plan.problems] == ["in"]
    assert by_name(plan)["out"].schema is None
