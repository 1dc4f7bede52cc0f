"""Runs with failure policies that are killed anywhere and repeated: each row is delivered, or in one letter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoint_kit import Clock, Crash, Numbers, Table, numbers_pipeline
from dataflare.errors import GuestPanic
from dataflare.pipeline import batching
from dataflare.pipeline.report import RunReport
from dataflare.pipeline.runner import run
from dataflare.pipeline.state_file import StateFile
from pipeline_fakes import FakeDestination, FakeHost, FakeProcessor, FakeSource, rows_of

ROWS = 40
POLICY = "on_error: {max_faults: 2, quarantine: true, reloads: 1}"
NODES = f"""\
  in: {{plugin: source.wasm, source: {{mode: incremental, cursor: x}}, on_error: {{reloads: 1}}}}
  change: {{plugin: change.wasm, input: in, workers: %d, dead_letters: dead.jsonl, {POLICY}}}
  out: {{plugin: first.wasm, input: change}}
"""


@pytest.fixture(autouse=True)
def small_batches_stay(monkeypatch):
    monkeypatch.setattr(batching, "SMALL_ROWS", 1)


class Frail(Numbers):
    """Faults at every third chunk, once."""

    def __init__(self, clock: Clock, **more: Any) -> None:
        super().__init__(clock, ROWS, chunk=3, modes="incremental", **more)
        self.calls_made = 0

    def read(self, max_rows: int = 2**20) -> Any:
        self.calls_made += 1
        if self.calls_made % 3 == 0:
            self.position = -1  # what was in its memory is gone
            raise GuestPanic("unreachable")
        assert self.position >= 0
        return super().read(max_rows)


def panicking(bad: set[int]) -> FakeProcessor:
    def change(rows: pa.RecordBatch) -> pa.RecordBatch:
        if bad & set(rows.column("x").to_pylist()):
            raise GuestPanic("unreachable")
        return rows

    return FakeProcessor(change)


def letters_of(folder: Path) -> list[tuple[int, str]]:
    path = folder / "dead.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(line["values"]["x"], line["error"]) for line in map(json.loads, lines)]


def run_once(folder: Path, table: Table, clock: Clock, bad: set[int], workers: int) -> RunReport:
    table.clock = clock
    host = FakeHost(source=Frail(clock, transaction=1), change=panicking(bad), first=table)
    with StateFile(folder / "state", pipeline="test") as state:
        return run(numbers_pipeline(folder, NODES % workers, rows=6), host=host, state=state)


@pytest.mark.parametrize("bad", [set(), {7}, {7, 8, 20, 30}])
def test_killed_runs_deliver_each_row_or_keep_its_letter(tmp_path_factory, bad):
    for dies_at in range(1, 70, 7):
        folder = tmp_path_factory.mktemp("run")
        table = Table(Clock(), keeps_token=True)
        try:
            run_once(folder, table, Clock(dies_at=dies_at), bad, workers=1)
        except Crash:
            table.staged = []
            run_once(folder, table, Clock(), bad, workers=1)
        letters = letters_of(folder)
        assert sorted([*table.kept, *(x for x, _ in letters)]) == list(range(ROWS)), dies_at
        assert all(x in bad for x, error in letters if error == "GuestPanic")


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.lists(st.integers(0, 30), max_size=9), min_size=1, max_size=6),
    bad=st.sets(st.integers(0, 30)),
    workers=st.integers(1, 3),
    max_faults=st.integers(0, 4),
)
def test_every_row_is_delivered_or_in_a_letter(values, bad, workers, max_faults, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    nodes = (
        "  in: {plugin: source.wasm}\n"
        f"  change: {{plugin: change.wasm, input: in, workers: {workers}, dead_letters: dead.jsonl, "
        f"on_error: {{max_faults: {max_faults}, quarantine: true}}}}\n"
        "  out: {plugin: first.wasm, input: change}\n"
    )
    target = FakeDestination()
    host = FakeHost(source=FakeSource([rows_of(*each) for each in values]), change=panicking(bad), first=target)
    report = run(numbers_pipeline(folder, nodes), host=host)
    node, letters = report.nodes[1], letters_of(folder)
    delivered = [row["x"] for row in target.rows]
    assert sorted([*delivered, *(x for x, _ in letters)]) == sorted(value for each in values for value in each)
    assert not bad & set(delivered)
    assert all(x in bad for x, error in letters if error == "GuestPanic")
    assert node.quarantined or all(error == "GuestPanic" for _, error in letters)
    assert (node.rows_out, node.failed, node.dropped) == (len(delivered), len(letters), 0)
