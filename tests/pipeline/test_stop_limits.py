"""Runs that stop before their sources' end, and go on."""

from __future__ import annotations

import itertools
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from checkpoint_kit import Clock, Crash, Numbers, Table, numbers_pipeline
from dataflare.errors import PluginError, UsageError
from dataflare.pipeline.report import RunReport
from dataflare.pipeline.run_errors import NodeFailed
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import build_specification
from dataflare.pipeline.state_file import StateFile
from dataflare.pipeline.stop_limits import StopLimits
from dataflare.runtime.datasets import Idle
from dataflare.values import Variant
from pipeline_fakes import FakeHost

FULL = "  in: {plugin: source.wasm}\n  out: {plugin: first.wasm, input: in}\n"
CHAIN = FULL.replace("source.wasm", "source.wasm, source: {dataset: rows, mode: incremental, cursor: x}")
REPLACED = FULL.replace("first.wasm,", "first.wasm, destination: {mode: replace},")


def run_once(folder: Path, nodes: str, table: Table, limits: StopLimits | None, source: Any = None) -> RunReport:
    source = source or Numbers(Clock(), 50, chunk=7, transaction=1, modes="incremental")
    with StateFile(folder / "state", pipeline="test") as file:
        return run(
            numbers_pipeline(folder, nodes), host=FakeHost(source=source, first=table), state=file, limits=limits
        )


@pytest.mark.parametrize("nodes", [CHAIN, FULL])
@pytest.mark.parametrize("keeps_token", [True, False])
def test_next_run_goes_on_where_the_last_one_stopped(tmp_path, nodes, keeps_token):
    table = Table(Clock(), keeps_token=keeps_token)
    stopped = []
    for _ in range(4):
        report = run_once(tmp_path, nodes, table, StopLimits(max_rows=20))
        stopped.append((report.status, report.stopped, report.rows_in))
    assert stopped[:3] == [
        ("completed", "max-rows", 20),
        ("completed", "max-rows", 20),
        ("completed", None, 10),
    ]
    # A full read that came to its end is followed by another one.
    assert table.kept == [*range(50), *(range(20) if nodes == FULL else ())]


@pytest.mark.parametrize(("most", "rows"), [(13, 24), (1, 12)])
def test_transaction_is_read_to_its_end(tmp_path, most, rows):
    table = Table(Clock(), keeps_token=True)
    source = Numbers(Clock(), 50, chunk=3, transaction=12, modes="incremental")
    report = run_once(tmp_path, CHAIN, table, StopLimits(max_rows=most), source)
    assert (report.rows_in, report.stopped) == (rows, "max-rows")
    assert table.kept == list(range(rows))
    run_once(tmp_path, CHAIN, table, None)
    assert table.kept == list(range(50))


def test_full_read_that_replaces_starts_over(tmp_path):
    table = Table(Clock(), keeps_token=False)
    for limits, rows in ((StopLimits(max_rows=20), 20), (None, 50)):
        table.kept = []
        run_once(tmp_path, REPLACED, table, limits)
        assert table.kept == list(range(rows))


def test_time_stops_a_run_between_chunks(tmp_path, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr("dataflare.pipeline.stop_limits.time.monotonic", lambda: next(clock))
    table = Table(Clock(), keeps_token=True)
    report = run_once(tmp_path, CHAIN, table, StopLimits(max_time_s=8))
    assert report.stopped == "max-time"
    assert 0 < len(table.kept) < 50
    run_once(tmp_path, CHAIN, table, None)
    assert table.kept == list(range(50))


def test_time_ends_the_wait_of_a_source_that_has_nothing_new(tmp_path):
    class Waiting(Numbers):
        def read(self, max_rows: int = 2**20) -> Any:
            return super().read(max_rows) if self.position < 7 else Idle(b"7", 3600)

    table = Table(Clock(), keeps_token=True)
    source = Waiting(Clock(), 50, chunk=7, transaction=1, modes="incremental")
    report = run_once(tmp_path, CHAIN, table, StopLimits(max_time_s=0.3), source)
    assert (report.stopped, table.kept) == ("max-time", list(range(7)))


def test_time_ends_the_wait_that_a_source_asks_for(tmp_path, caplog):
    class Limited(Numbers):
        def read(self, max_rows: int = 2**20) -> Any:
            if self.position < 7:
                return super().read(max_rows)
            error = Variant("rate-limited", 3_600_000)
            raise PluginError("later", error=error, retryable=True, retry_after_ms=error.value)

    table = Table(Clock(), keeps_token=True)
    source = Limited(Clock(), 50, chunk=7, transaction=1, modes="incremental")
    report = run_once(tmp_path, CHAIN, table, StopLimits(max_time_s=0.3), source)
    assert (report.stopped, table.kept) == ("max-time", list(range(7)))
    assert "later; retry 1 of 5 in " in caplog.text
    run_once(tmp_path, CHAIN, table, None)
    assert table.kept == list(range(50))


def test_files_are_read_up_to_the_limit(tmp_path):
    (tmp_path / "in.csv").write_text("x\n" + "".join(f"{n}\n" for n in range(100)))
    nodes = {
        "in": {"connector": "csv", "read": "in.csv", "options": {"batch_rows": 8}},
        "out": {"connector": "csv", "write": "out.csv", "input": "in"},
    }
    made = build_specification({"name": "test", "nodes": nodes}, folder=tmp_path)
    for most, stopped in ((17, "max-rows"), (100, None), (101, None)):
        report = run(made, limits=StopLimits(max_rows=most))
        assert (report.rows_out, report.stopped) == (min(most, 100), stopped)


@pytest.fixture
def pipe(tmp_path):
    """A pipe that somebody has opened to write to it, and does not close."""
    os.mkfifo(tmp_path / "in")
    writer = os.open(tmp_path / "in", os.O_RDWR)
    yield writer
    os.close(writer)


def read_pipe(folder: Path, connector: str, **options: Any) -> RunReport:
    nodes = {
        "in": {"connector": connector, "read": "in", "options": options},
        "out": {"connector": "jsonl", "write": "out.jsonl", "input": "in"},
    }
    made = build_specification({"name": "test", "nodes": nodes}, folder=folder)
    return run(made, limits=StopLimits(max_time_s=0.3))


@pytest.mark.parametrize("connector", ["csv", "jsonl"])
def test_time_ends_the_wait_for_a_pipe(tmp_path, pipe, connector):
    count = 1_000_000
    lines = [f"{n}" if connector == "csv" else f'{{"x":{n}}}' for n in range(count)]
    data = "\n".join((["x"] if connector == "csv" else []) + lines).encode()
    begun = threading.Event()

    def write() -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(pipe, left) :]
        begun.wait()  # for a line that never ends

    writing = threading.Thread(target=write)
    writing.start()
    try:
        options = {"max_record": "64KiB"} if connector == "csv" else {}
        report = read_pipe(tmp_path, connector, sample="1KiB", **options)
    finally:
        begun.set()
        with open(tmp_path / "in", "rb", buffering=0) as rest:
            os.set_blocking(rest.fileno(), False)
            while writing.is_alive():
                rest.read(2**20)
    assert (report.status, report.stopped) == ("completed", "max-time")
    written = (tmp_path / "out.jsonl").read_text().splitlines()
    assert written == [f'{{"x":{n}}}' for n in range(len(written))]
    assert len(written) < count, "the last line is not whole"


def test_time_ends_the_search_for_columns_in_a_pipe(tmp_path, pipe):
    os.write(pipe, b"x\n1\n")
    with pytest.raises(NodeFailed, match="did not end in time") as caught:
        read_pipe(tmp_path, "csv")
    assert "sample" in str(caught.value)


@pytest.mark.parametrize("wrong", [{"max_rows": 0}, {"max_time_s": -1.0}])
def test_limit_that_allows_nothing_is_refused(wrong):
    with pytest.raises(UsageError, match="not greater than 0"):
        StopLimits(**wrong)


@pytest.mark.parametrize(("most", "again", "kept"), [(3, 3, 3), (13, 3, 13), (20, 1, 21), (29, 4, 29)])
def test_run_that_dies_at_its_limit_goes_on_with_another(tmp_path, most, again, kept):
    """The destination has what the limit let through, and the state file does not know that."""
    table = Table(Clock(), keeps_token=True)
    made = numbers_pipeline(tmp_path, CHAIN)
    with StateFile(tmp_path / "state", pipeline="test") as file:

        def commit(*given: Any, ended: bool = False, done: str = "") -> None:
            if ended:
                raise Crash
            real(*given)

        real, file.commit = file.commit, commit  # type: ignore[method-assign]
        source = Numbers(Clock(), 50, chunk=7, transaction=1, modes="incremental")
        with pytest.raises(Crash):
            run(made, host=FakeHost(source=source, first=table), state=file, limits=StopLimits(max_rows=most))
    assert table.kept == list(range(most))
    # A limit before the row that the destination came to: the source is read up to there, so that the runs come on.
    report = run_once(tmp_path, CHAIN, table, StopLimits(max_rows=1))
    assert (report.rows_in, report.stopped) == (again, "max-rows")
    assert table.kept == list(range(kept))
    run_once(tmp_path, CHAIN, table, None)
    assert table.kept == list(range(50))


def test_each_source_gives_as_many_rows(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text("x\n" + "1\n" * 100)
    nodes = {
        name: node
        for each in "ab"
        for name, node in {
            each: {"connector": "csv", "read": f"{each}.csv", "options": {"batch_rows": 8}},
            f"{each}-out": {"connector": "csv", "write": f"out/{each}.csv", "input": each},
        }.items()
    }
    made = build_specification({"name": "test", "nodes": nodes}, folder=tmp_path)
    report = run(made, limits=StopLimits(max_rows=17))
    assert [each.rows_out for each in report.nodes if each.kind == "source"] == [17, 17]
    assert report.stopped == "max-rows"
