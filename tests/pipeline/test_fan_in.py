"""Nodes that take the rows of several others."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoint_kit import FIRST, Clock, Crash, Series, Table
from dataflare.errors import ConfigError
from dataflare.pipeline.check import check_pipeline
from dataflare.pipeline.fan_in import FanIn, agreed_schema
from dataflare.pipeline.pipeline_state import Checkpoint
from dataflare.pipeline.plan import plan_pipeline
from dataflare.pipeline.replay import replaying
from dataflare.pipeline.run_errors import DataError, NodeFailed
from dataflare.pipeline.runner import run
from dataflare.pipeline.several_datasets import by_dataset
from dataflare.pipeline.specification import Specification
from dataflare.pipeline.state_file import StateFile
from dataflare.pipeline.stop_limits import StopLimits
from dataflare.runtime.datasets import Chunk, DatasetName, Ended, Idle
from dataflare.runtime.host import Host
from fan_in_kit import SOURCES, A, B, pipeline, run_with_deaths
from pipeline_fakes import FakeHost, FakeSource, FakeTransformer, rows_of

OUT = "  out: {plugin: first.wasm, input: change}\n"
GRAPHS = {
    "meet": (A + B + "  out: {plugin: first.wasm, input: [a, b]}\n", {"first": "ab"}),
    "diamond": (
        A + "  change: {plugin: change.wasm, input: a, workers: 2}\n  out: {plugin: first.wasm, input: [a, change]}\n",
        {"first": "aa"},
    ),
    "beside": (
        A
        + B
        + "  change: {plugin: change.wasm, input: [b, a]}\n  out: {plugin: first.wasm, input: change}\n"
        + "  too: {plugin: second.wasm, input: a}\n",
        {"first": "ab", "second": "a"},
    ),
    "twice": (
        SOURCES
        + "  change: {plugin: change.wasm, input: [a, b], workers: 3}\n"
        + "  out: {plugin: first.wasm, input: [change, c]}\n  too: {plugin: second.wasm, input: [c, a, change]}\n",
        {"first": "abc", "second": "caab"},
    ),
}


@settings(max_examples=60, deadline=None)
@given(
    graph=st.sampled_from(list(GRAPHS)),
    counts=st.tuples(*[st.integers(0, 40)] * 3),
    chunks=st.tuples(*[st.integers(1, 20)] * 3),
    transactions=st.tuples(*[st.integers(1, 12)] * 3),
    rows=st.integers(1, 25),
    deaths=st.lists(st.integers(1, 80), max_size=4),
)
def test_runs_that_die_anywhere_write_each_row_once(
    graph, counts, chunks, transactions, rows, deaths, tmp_path_factory
):
    folder = tmp_path_factory.mktemp("run")
    nodes, wanted = GRAPHS[graph]
    made = pipeline(folder, nodes, rows=rows)
    tables = {name: Table(Clock(), keeps_token=True) for name in ("first", "second")}

    def plugins(clock: Clock) -> dict[str, Any]:
        for table in tables.values():
            table.clock, table.staged = clock, []
        sources = {
            name: Series(name, clock, count, chunk=chunk, transaction=transaction, modes="incremental")
            for name, count, chunk, transaction in zip("abc", counts, chunks, transactions, strict=True)
        }
        return {**sources, **tables, "change": FakeTransformer()}

    run_with_deaths(made, folder / "state", plugins, deaths)
    size = dict(zip("abc", counts, strict=True))
    for table, names in wanted.items():
        rows_of_all = [FIRST[name] + each for name in names for each in range(size[name])]
        assert Counter(tables[table].kept) == Counter(rows_of_all)


def read_file(name: str, text: str, folder: Path) -> str:
    (folder / f"{name}.csv").write_text(text)
    return f"  {name}: {{connector: csv, read: {name}.csv}}\n"


def of_files(folder: Path, one: str, two: str, output: str = "connector: jsonl, write: out.jsonl") -> Specification:
    nodes = read_file("one", one, folder) + read_file("two", two, folder)
    return pipeline(folder, f"{nodes}  out: {{{output}, input: [one, two]}}\n")


def test_columns_are_aligned_by_their_names(tmp_path):
    run(of_files(tmp_path, "id,name\n1,a\n2,b\n", "name,id\nc,3\n"))
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert sorted((row["id"], row["name"]) for row in map(json.loads, lines)) == [(1, "a"), (2, "b"), (3, "c")]


@pytest.mark.parametrize(
    ("one", "two", "message"),
    [
        ("id,x\n1,2\n", "id\n1\n", "input 'one' has a column 'x', and input 'two' has none"),
        ("id\n1\n", "id,x\n1,2\n", "input 'two' has a column 'x', and input 'one' has none"),
        ("id\n1\n", "id\na\n", "column 'id' is int64 in input 'one', and string in input 'two'"),
        ("id\n1\n", "id\n1.5\n", "column 'id' is int64 in input 'one', and double in input 'two'"),
    ],
)
def test_columns_that_differ_are_an_error_of_plan_and_run(one, two, message, tmp_path):
    made = of_files(tmp_path, one, two)
    with Host() as host:
        assert message in str(plan_pipeline(made, host).problems[0])
        checked = check_pipeline(made, host)
    assert not checked if "string" in message else message in str(checked[0])
    with pytest.raises(NodeFailed) as caught:
        run(made)
    # Which of them is first depends on which comes first.
    assert {"'one'", "'two'"} <= set(str(caught.value).split("hint")[0].replace(",", " ").split())
    assert "same names and types" in caught.value.hint
    # An error that was its own cause would have no end where it is shown.
    assert isinstance(caught.value.__cause__, DataError) and caught.value.__cause__.__cause__ is None
    assert not (tmp_path / "out.jsonl").exists()


def test_other_roles_are_an_error():
    one = pa.schema([pa.field("id", pa.int64(), metadata={"dataflare.key": "0"})])
    with pytest.raises(DataError, match="column 'id' has other roles"):
        agreed_schema([("one", one), ("two", pa.schema([("id", pa.int64())]))])


def test_columns_of_one_name_cannot_be_told_apart():
    twice = pa.schema([("id", pa.int64()), ("id", pa.int64())])
    with pytest.raises(DataError, match="input 'two' has several columns 'id'"):
        agreed_schema([("one", pa.schema([("id", pa.int64())])), ("two", twice)])


def test_agreed_columns_may_be_null_and_have_no_metadata_but_roles():
    field = pa.field("id", pa.int64(), False, metadata={"dataflare.key": "0", "PARQUET:field_id": "1"})
    (found,) = agreed_schema([("one", pa.schema([field], {"a": "b"})), ("two", pa.schema([field]))])
    assert found.nullable and found.metadata == {b"dataflare.key": b"0"}


@pytest.mark.parametrize("changing", ["one", "two"])
def test_columns_of_an_input_do_not_change_during_a_run(changing):
    both = FanIn(["one", "two"])
    for name in ("one", "two"):
        both.inlets[name].put(rows_of(1))
        both.get()
    both.inlets[changing].put(pa.record_batch({"x": [1], "y": [2]}))
    with pytest.raises(DataError, match=f"input '{changing}' changed during the run, from x: int64 to x: int64, y"):
        both.get()


def test_input_without_rows_and_columns_takes_part(tmp_path):
    (tmp_path / "two.jsonl").touch()
    nodes = read_file("one", "id\n1\n", tmp_path) + "  two: {connector: jsonl, read: two.jsonl}\n"
    run(pipeline(tmp_path, nodes + "  out: {connector: csv, write: out.csv, input: [two, one]}\n"))
    assert (tmp_path / "out.csv").read_text() == '"id"\n1\n'


def test_inputs_without_any_columns_make_an_empty_output(tmp_path):
    nodes = ""
    for name in ("one", "two"):
        (tmp_path / f"{name}.jsonl").touch()
        nodes += f"  {name}: {{connector: jsonl, read: {name}.jsonl}}\n"
    run(pipeline(tmp_path, nodes + "  out: {connector: jsonl, write: out.jsonl, input: [two, one]}\n"))
    assert (tmp_path / "out.jsonl").read_text() == ""


def test_barrier_waits_for_every_input():
    rows, point = rows_of(1), Checkpoint(1, b"1")
    both = FanIn(["one", "two"])
    one, two = both.inlets["one"], both.inlets["two"]
    one.put(rows)
    one.put(point)
    two.put(rows_of(2))
    assert [both.get().to_pydict(), both.get().to_pydict()] == [{"x": [1]}, {"x": [2]}]
    one.put(rows_of(3))
    two.put(rows_of(4))
    assert both.get().to_pydict() == {"x": [4]}
    two.put(point)
    assert both.get() is point
    assert both.get().to_pydict() == {"x": [3]}
    one.put(None)
    two.put(Checkpoint(2, b"2"))
    assert both.get() == Checkpoint(2, b"2")
    two.put(None)
    assert both.get() is None


def test_file_beside_a_table_is_written_at_least_once_and_saves_the_position_at_the_end(tmp_path):
    nodes = A + read_file("file", "x\n5000\n", tmp_path) + "  out: {plugin: first.wasm, input: [a, file]}\n"
    made, table = pipeline(tmp_path, nodes), Table(Clock(), keeps_token=True)
    with StateFile(tmp_path / "state", pipeline="test") as file:
        for count in (25, 30):
            source = Series("a", Clock(), count, chunk=5, transaction=1, modes="incremental")
            report = run(made, host=FakeHost(a=source, first=table), state=file)
        a, out = (next(each for each in report.nodes if each.name == name) for name in ("a", "out"))
        assert a.no_checkpoints == "node 'out' takes rows of 'file' too, which gives no position"
        assert (a.resumed, a.checkpoints, out.guarantee) == (True, 1, "at-least-once")
        kept = file.node("a")
    assert kept is not None and kept.checkpoint.state == b"30"
    assert Counter(table.kept) == Counter([*range(30), 5000, 5000])


def test_new_input_is_refused_where_its_rows_would_be_lost(tmp_path):
    alone = A + "  out: {plugin: first.wasm, input: a}\n"
    table = Table(Clock(), keeps_token=True)
    with StateFile(tmp_path / "state", pipeline="test") as file:

        def commit(*_: Any, **__: Any) -> None:
            raise Crash

        saved, file.commit = file.commit, commit  # type: ignore[method-assign]
        sources = {name: Series(name, Clock(), 30, chunk=5, transaction=1, modes="incremental") for name in "ab"}
        with pytest.raises(Crash):
            run(pipeline(tmp_path, alone), host=FakeHost(**sources, first=table), state=file)
        file.commit = saved  # type: ignore[method-assign]
        assert table.kept
        with pytest.raises(NodeFailed, match="the rows of node 'b' were not among them"):
            run(pipeline(tmp_path, GRAPHS["meet"][0]), host=FakeHost(**sources, first=table), state=file)
        run(pipeline(tmp_path, alone), host=FakeHost(**sources, first=table), state=file)
        run(pipeline(tmp_path, GRAPHS["meet"][0]), host=FakeHost(**sources, first=table), state=file)
    assert Counter(table.kept) == Counter([*range(30), *range(1000, 1030)])


class Pausing(Series):
    """Has no rows for a moment before each chunk."""

    pauses = 0

    def read(self, max_rows: int = 2**20) -> Chunk | Idle | Ended:
        self.pauses += 1
        return Idle(str(self.position).encode(), 0.002) if self.pauses % 2 else super().read(max_rows)


def test_checkpoints_are_made_while_one_of_the_sources_pauses(tmp_path):
    table = Table(Clock(), keeps_token=True)
    a = Series("a", Clock(), 60, chunk=5, transaction=5, modes="incremental")
    b = Pausing("b", Clock(), 8, chunk=1, transaction=1, modes="incremental")
    with StateFile(tmp_path / "state", pipeline="test") as file:
        report = run(pipeline(tmp_path, GRAPHS["meet"][0]), host=FakeHost(a=a, b=b, first=table), state=file)
        states = {name: file.node(name).checkpoint.state for name in "ab"}  # type: ignore[union-attr]
    assert Counter(table.kept) == Counter([*range(60), *range(1000, 1008)])
    assert states == {"a": b"60", "b": b"8"}
    of_a, of_b = (each.checkpoints for each in report.nodes if each.name in "ab")
    assert of_a == of_b >= 1


@pytest.mark.parametrize(
    "outputs",
    [
        "  out: {plugin: first.wasm, input: [a, b]}\n",
        "  out: {plugin: first.wasm, input: a}\n  too: {plugin: second.wasm, input: b}\n",
    ],
)
def test_full_read_that_ended_is_not_repeated_while_the_run_goes_on_with_others(outputs, tmp_path):
    full = (A + B).replace("incremental, cursor: x", "full")
    made, tables = pipeline(tmp_path, full + outputs), [Table(Clock(), keeps_token=True) for _ in range(2)]
    stopped = []
    with StateFile(tmp_path / "state", pipeline="test") as file:
        for _ in range(4):
            a, b = Series("a", Clock(), 25, chunk=5, transaction=1), Series("b", Clock(), 5, chunk=5, transaction=1)
            host, limits = FakeHost(a=a, b=b, first=tables[0], second=tables[1]), StopLimits(max_rows=10)
            stopped.append(run(made, host=host, state=file, limits=limits).stopped)
            if stopped[-1] is None:
                assert Counter(tables[0].kept + tables[1].kept) == Counter([*range(25), *range(1000, 1005)])
    assert stopped == ["max-rows", "max-rows", None, "max-rows"]
    # All had come to their end: both begin again.
    assert Counter(tables[0].kept + tables[1].kept)[1000] == 2


def test_rows_of_several_datasets_meet_no_others(specify):
    nodes = (
        "  all: {plugin: source.wasm, source: {datasets: all}}\n  in: {connector: csv, read: in.csv}\n"
        "  out: {connector: csv, write: 'out/{dataset}.csv', input: [all, in]}\n"
    )
    with pytest.raises(ConfigError, match="'out' would take the rows of 'in' with those of each dataset of 'all'"):
        specify(nodes)


def test_replay_takes_the_letters_alone(specify):
    made = specify(
        "  one: {connector: csv, read: a.csv}\n  two: {connector: csv, read: b.csv}\n"
        "  fix: {plugin: transformer.wasm, input: [one, two], dead_letters: dead.jsonl}\n"
        "  out: {connector: csv, write: out.csv, if_exists: append, input: [fix, two]}\n"
    )
    replayed = replaying(made)
    assert replayed.order == ("dead-letters", "fix", "out")
    assert [replayed.pipeline.nodes[name].inputs for name in ("fix", "out")] == [("dead-letters",), ("fix",)]


def test_differing_columns_end_a_node_with_workers(tmp_path):
    made = pipeline(tmp_path, A + B + "  change: {plugin: change.wasm, input: [a, b], workers: 2}\n" + OUT)
    table, source = Table(Clock(), keeps_token=True), Series("a", Clock(), 5, chunk=5, transaction=1)
    other = FakeSource([pa.record_batch({"y": [1]})])
    with pytest.raises(NodeFailed, match="input 'a' has a column 'x', and input 'b' has none") as caught:
        run(made, host=FakeHost(a=source, b=other, change=FakeTransformer(), first=table))
    assert caught.value.node == "change"


def test_datasets_of_one_source_meet_again(specify):
    made = specify(
        "  all: {plugin: source.wasm, source: {datasets: all}}\n"
        "  check: {plugin: validator.wasm, input: all, on_violation: drop}\n"
        "  out: {connector: csv, write: 'out/{dataset}.csv', input: [check.rejected, all]}\n"
    )
    first, second = by_dataset(made, lambda _: [DatasetName("a.rejected"), DatasetName("b", "c.d")])
    assert first.specification.pipeline.nodes["out[a.rejected]"].taken == (
        "check[a.rejected].rejected",
        "all[a.rejected]",
    )
    assert second.specification.pipeline.nodes["out[c.d.b]"].inputs == ("check[c.d.b]", "all[c.d.b]")


def test_report_and_plan_name_the_inputs(tmp_path):
    made = of_files(tmp_path, "id\n1\n", "id\n2\n")
    assert [list(node.inputs) for node in run(made).nodes] == [[], [], ["one", "two"]]
    with Host() as host:
        assert [node.to_json()["inputs"] for node in plan_pipeline(made, host).nodes] == [[], [], ["one", "two"]]
