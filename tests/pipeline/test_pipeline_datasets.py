from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from dataflare.errors import ConfigError, GuestPanic, PluginError
from dataflare.pipeline import batching, retries
from dataflare.pipeline.run_errors import NodeFailed
from dataflare.pipeline.runner import run
from dataflare.runtime.datasets import Chunk, Dataset, DatasetName, Ended, Idle, NewSchema, Selection
from dataflare.runtime.plugin_errors import plugin_error
from dataflare.values import Variant
from dataflare.wit_types.destination import RejectedRow
from pipeline_fakes import FakeDestination, FakeHost, FakeProcessor, FakeSource, rows_of

CHAIN = "  in: {plugin: source.wasm}\n  out: {plugin: destination.wasm, input: in}\n"
NAME = DatasetName("rows")


@pytest.fixture(autouse=True)
def batches_stay_as_they_come(monkeypatch):
    monkeypatch.setattr(batching, "SMALL_ROWS", 1)
    monkeypatch.setattr(retries, "_FIRST_WAIT_S", 0.001)


class Script(FakeSource):
    """A source whose reads are what a test says: values, or errors to raise."""

    def __init__(self, *steps: Any, modes: frozenset[str] = frozenset({"full"})) -> None:
        super().__init__([rows_of(1)])
        self._steps: Iterator[Any] = iter(steps)
        self._modes = modes
        self.selected: Any = None

    def dataset(self, selection: Any = None) -> Dataset:
        self.selected = selection
        return Dataset(NAME, "", self._schema, modes=self._modes)

    def read(self, max_rows: int = 0) -> Any:
        step = next(self._steps, Ended())
        if isinstance(step, BaseException):
            raise step
        return step


def error(case: str, value: Any) -> PluginError:
    return plugin_error(Variant(case, value), plugin="in", export="read")


def chunk(state: bytes | None, *values: int) -> Chunk:
    return Chunk(NAME, rows_of(*values), state)


def test_source_that_asks_for_time_gets_it(specify):
    steps = [chunk(b"1", 1), error("rate-limited", 50), error("unavailable", "soon"), chunk(b"2", 2)]
    target = FakeDestination()
    begin = time.monotonic()
    run(specify(CHAIN), host=FakeHost(source=Script(*steps), destination=target))
    assert target.rows == [{"x": 1}, {"x": 2}]
    assert time.monotonic() - begin > 0.05


@pytest.mark.parametrize("name", ["dataset", "open"])
def test_source_that_cannot_begin_yet_is_asked_again(specify, monkeypatch, name):
    source, target = Script(chunk(b"1", 1)), FakeDestination()
    failures, begin = [error("unavailable", "soon"), error("rate-limited", 1)], getattr(source, name)

    def fails_first(*arguments: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return begin(*arguments, **options)

    monkeypatch.setattr(source, name, fails_first)
    run(specify(CHAIN), host=FakeHost(source=source, destination=target))
    assert target.rows == [{"x": 1}] and not failures


def test_destination_that_cannot_begin_yet_is_asked_again(specify, monkeypatch):
    target = FakeDestination()
    failures, begin, runs = [error("unavailable", "locked"), error("rate-limited", 1)], target.open, []

    def fails_first(*arguments: Any, **options: Any) -> Any:
        runs.append(options)
        if failures:
            raise failures.pop()
        return begin(*arguments, **options)

    monkeypatch.setattr(target, "open", fails_first)
    run(specify(CHAIN), host=FakeHost(source=Script(chunk(b"1", 1)), destination=target))
    assert target.rows == [{"x": 1}] and len(runs) == 3
    assert runs[0] == runs[1] == runs[2], "a retry is not another run"


def test_source_that_asks_again_and_again_fails_the_run(specify):
    steps = [error("rate-limited", 1)] * 6
    with pytest.raises(NodeFailed) as caught:
        run(specify(CHAIN), host=FakeHost(source=Script(*steps), destination=FakeDestination()))
    assert caught.value.__cause__ is steps[0]


def test_idle_source_is_asked_again(specify):
    target = FakeDestination()
    steps = [chunk(b"1", 1), Idle(b"1", 0.001), chunk(b"2", 2)]
    run(specify(CHAIN), host=FakeHost(source=Script(*steps), destination=target))
    assert target.rows == [{"x": 1}, {"x": 2}]


def test_run_of_a_dataset_without_an_end_ends_when_it_is_idle(specify):
    target = FakeDestination()
    source = Script(chunk(b"1", 1), Idle(b"3", 60.0), chunk(b"4", 4), modes=frozenset({"changes", "unbounded"}))
    run(specify(CHAIN), host=FakeHost(source=source, destination=target))
    assert target.rows == [{"x": 1}]
    assert source.acknowledged == [b"3"]


def test_last_state_is_acknowledged_when_all_rows_are_safe(specify):
    target = FakeDestination()
    source = Script(chunk(b"1", 1), chunk(b"2", 2), chunk(None, 3))
    source.acknowledge = lambda state: source.acknowledged.append((state, "finish" in target.calls))  # type: ignore[method-assign]
    run(specify(CHAIN), host=FakeHost(source=source, destination=target))
    assert source.acknowledged == [(b"2", True)]


def test_failed_run_acknowledges_nothing(specify):
    source = Script(chunk(b"1", 1))
    target = FakeDestination(fail_in="finish", error=GuestPanic("unreachable"))
    with pytest.raises(NodeFailed):
        run(specify(CHAIN), host=FakeHost(source=source, destination=target))
    assert source.acknowledged == []


def test_new_columns_within_a_run_fail_it(specify):
    source = Script(chunk(b"1", 1), NewSchema(NAME, pa.schema([("y", pa.int64())])))
    with pytest.raises(NodeFailed, match="the columns of dataset 'rows' changed while it was read"):
        run(specify(CHAIN), host=FakeHost(source=source, destination=FakeDestination()))


def test_rejected_row_fails_the_run(specify):
    target = FakeDestination()
    target.rejects = [RejectedRow(1, "x", "too large")]
    with pytest.raises(NodeFailed, match="1 of 2 rows were rejected: row 1, column 'x': too large"):
        run(specify(CHAIN), host=FakeHost(source=Script(chunk(b"1", 1, 2)), destination=target))
    assert "abort" in target.calls


def test_failure_elsewhere_ends_the_wait_for_a_source(specify):
    def fail(rows: pa.RecordBatch) -> pa.RecordBatch:
        raise GuestPanic("unreachable")

    host = FakeHost(
        source=Script(chunk(b"1", 1), error("rate-limited", 60_000)),
        processor=FakeProcessor(fail),
        destination=FakeDestination(),
    )
    middle = "  middle: {plugin: processor.wasm, input: in}\n"
    begin = time.monotonic()
    with pytest.raises(NodeFailed) as caught:
        run(specify(CHAIN.replace("input: in", "input: middle") + middle), host=host)
    assert caught.value.node == "middle"
    assert time.monotonic() - begin < 30
    assert not [each for each in threading.enumerate() if each.name == "dataflare-in"]


def test_options_of_the_nodes_reach_the_plugins(specify):
    source, target = Script(chunk(b"1", 1)), FakeDestination()
    text = CHAIN.replace(
        "source.wasm}", "source.wasm, source: {dataset: a, namespace: n, mode: incremental, cursor: x, columns: [x]}}"
    ).replace("input: in}", "input: in, destination: {dataset: b, mode: merge, key: [x]}}")
    run(specify(text), host=FakeHost(source=source, destination=target))
    assert source.selected == Selection(DatasetName("a", "n"), "incremental", cursor="x", columns=["x"])
    assert (target.target.dataset, target.target.mode, target.target.key) == (DatasetName("b"), "merge", ("x",))


def test_options_without_a_dataset_are_for_the_only_one(specify):
    source = Script(chunk(b"1", 1))
    text = CHAIN.replace("source.wasm}", "source.wasm, source: {columns: [x]}}")
    run(specify(text), host=FakeHost(source=source, destination=FakeDestination()))
    assert source.selected == Selection(NAME, columns=["x"])


def test_rejected_rows_go_to_a_file_with_their_reasons(specify, tmp_path):
    target = FakeDestination()
    target.rejects = [RejectedRow(1, "x", "too large"), RejectedRow(2, None, "odd")]
    nodes = CHAIN.replace("input: in", "input: in, dead_letters: rejected.jsonl")
    report = run(
        specify(nodes), host=FakeHost(source=Script(chunk(b"1", 1, 2, 3), chunk(b"2", 4, 5, 6)), destination=target)
    )
    lines = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text().splitlines()]
    assert [(each["row"], each["column"], each["message"], each["values"]) for each in lines] == [
        (1, "x", "too large", {"x": 2}),
        (2, None, "odd", {"x": 3}),
        (4, "x", "too large", {"x": 5}),
        (5, None, "odd", {"x": 6}),
    ]
    assert {(each["node"], each["plugin"], each["error"]) for each in lines} == {
        ("out", "destination.wasm", "rejected")
    }
    assert {each["types"]["x"] for each in lines} == {"int64"}
    out = report.nodes[1]
    assert (out.rows_in, out.rows_out, out.failed, out.dropped) == (6, 2, 4, 0)
    assert [(each.path.endswith("rejected.jsonl"), each.action) for each in out.outputs] == [(True, "created")]


def test_failed_run_leaves_no_file_of_rejected_rows(specify, tmp_path):
    target = FakeDestination(fail_in="finish", error=GuestPanic("unreachable"))
    target.rejects = [RejectedRow(0, "x", "no")]
    (tmp_path / "rejected.jsonl").write_text("before")
    nodes = CHAIN.replace("input: in", "input: in, dead_letters: rejected.jsonl")
    source = Script(error("invalid-input", "broken"))
    with pytest.raises(NodeFailed):
        run(specify(nodes), host=FakeHost(source=source, destination=target))
    assert (tmp_path / "rejected.jsonl").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


@pytest.mark.parametrize("kind", ["source", "processor", "destination"])
def test_rejects_are_for_validators(specify, kind):
    nodes = {
        "source": "  a: {plugin: source.wasm, rejects: r.jsonl}\n  out: {plugin: destination.wasm, input: a}\n",
        "processor": "  s: {plugin: source.wasm}\n  a: {plugin: processor.wasm, input: s, rejects: r.jsonl}\n"
        "  out: {plugin: destination.wasm, input: a}\n",
        "destination": "  s: {plugin: source.wasm}\n  a: {plugin: destination.wasm, input: s, rejects: r.jsonl}\n",
    }
    plugins = FakeHost(source=Script(), destination=FakeDestination(), processor=FakeProcessor())
    with pytest.raises(ConfigError, match="`rejects` is only for validators") as caught:
        run(specify(nodes[kind]), host=plugins)
    assert "dead_letters" in caught.value.hint
