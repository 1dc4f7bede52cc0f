"""Why a run makes no checkpoints before its end, and what plans say of the last run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from checkpoint_kit import Clock, Numbers, Table, numbers_pipeline
from dataflare.pipeline.plan import plan_pipeline
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import build_specification
from dataflare.pipeline.state_file import StateFile
from dataflare.runtime.datasets import Chunk, PlannedChange, Target
from pipeline_fakes import FakeHost

FULL = "  in: {plugin: source.wasm}\n  out: {plugin: first.wasm, input: in}\n"


class Kept(Table):
    """A table that says whether its rows are safe after a flush."""

    safe = True

    def abilities(self) -> frozenset[str]:
        return super().abilities() | {"replace"}

    def flush(self, token: bytes = b"") -> bool:
        return super().flush(token) and self.safe

    def plan(self, target: Target) -> list[PlannedChange]:
        return []


class Silent(Numbers):
    """A source that has no states."""

    def read(self, max_rows: int = 2**20) -> Any:
        found = super().read(max_rows)
        return dataclasses.replace(found, state=None) if isinstance(found, Chunk) else found


def in_report(folder: Path, nodes: str, source: Numbers, table: Kept, *, state: bool = True) -> tuple[int, str]:
    made, host = numbers_pipeline(folder, nodes), FakeHost(source=source, first=table)
    if not state:
        report = run(made, host=host)
    else:
        with StateFile(folder / "state", pipeline="test") as file:
            report = run(made, host=host, state=file)
    return report.nodes[0].checkpoints, report.nodes[0].no_checkpoints


def numbers(kind: type[Numbers] = Numbers) -> Numbers:
    return kind(Clock(), 50, chunk=7, transaction=1)


def test_full_read_makes_checkpoints(tmp_path):
    made, why = in_report(tmp_path, FULL, numbers(), Kept(Clock(), keeps_token=False))
    assert made > 2 and why == ""


def test_report_says_why_there_are_none(tmp_path):
    unsafe = Kept(Clock(), keeps_token=False)
    unsafe.safe = False
    table = Kept(Clock(), keeps_token=False)
    file = FULL + "  file: {connector: csv, write: out.csv, input: in}\n"
    replaced = FULL.replace("input: in", "input: in, destination: {mode: replace}")
    said = [
        in_report(tmp_path / name, nodes, source, into, state=name != "e")
        for name, nodes, source, into in (
            ("a", FULL, numbers(), unsafe),
            ("b", file, numbers(), table),
            ("c", replaced, numbers(), table),
            ("d", FULL, numbers(Silent), table),
            ("e", FULL, numbers(), table),
        )
        if (tmp_path / name).mkdir() is None
    ]
    assert said == [
        (1, "node 'out' makes rows safe at the end of the run alone"),
        (1, "node 'file' writes a file, which is there at the end of the run"),
        (1, "node 'out' replaces what is there at the end of the run"),
        (1, "the source gives no position: a run that stops is repeated from the start"),
        (0, "the run keeps no state: one that stops is repeated from the start"),
    ]


@pytest.mark.parametrize(("keeps", "says"), [(True, "node 'file' writes a file"), (False, "the run keeps no state")])
def test_plan_says_why_there_would_be_none(tmp_path, keeps, says):
    host: Any = FakeHost(source=numbers(), first=Kept(Clock(), keeps_token=False))
    made = numbers_pipeline(tmp_path, FULL + "  file: {connector: csv, write: out.csv, input: in}\n")
    assert says in plan_pipeline(made, host, keeps_state=keeps).nodes[0].no_checkpoints


def test_files_have_no_position(tmp_path):
    (tmp_path / "in.csv").write_text("x\n1\n")
    nodes = {
        "in": {"connector": "csv", "read": "in.csv"},
        "out": {"connector": "csv", "write": "out.csv", "input": "in"},
    }
    made = build_specification({"name": "test", "nodes": nodes}, folder=tmp_path)
    host: Any = FakeHost()
    assert "gives no position" in plan_pipeline(made, host).nodes[0].no_checkpoints
    assert "gives no position" in run(made).nodes[0].no_checkpoints


def test_plan_says_what_plugins_can_do_that_they_could_not(tmp_path):
    made, table = numbers_pipeline(tmp_path, FULL), Kept(Clock(), keeps_token=False)
    host: Any = FakeHost(source=numbers(), first=table)
    with StateFile(tmp_path / "state", pipeline="test") as file:
        assert [each.capability_changes for each in plan_pipeline(made, host, file).nodes] == [[], []]
        run(made, host=host, state=file)
        assert [each.capability_changes for each in plan_pipeline(made, host, file).nodes] == [[], []]
        table.keeps_token = True
        inspect = host.inspect
        host.inspect = lambda component: SimpleNamespace(**{**vars(inspect(component)), "capabilities": ("http",)})
        assert [each.capability_changes for each in plan_pipeline(made, host, file).nodes] == [
            ["asks for: + http"],
            ["asks for: + http", "can: + keep-token"],
        ]
