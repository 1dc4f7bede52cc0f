"""One node that reads several datasets, each of which is written to a target of its own."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from checkpoint_kit import Clock, Crash
from database_kit import Database
from dataflare.errors import ConfigError
from dataflare.pipeline.models import CheckpointModel
from dataflare.pipeline.plan import plan_pipeline
from dataflare.pipeline.replay import replaying
from dataflare.pipeline.run_errors import NodeFailed
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import Specification, build_specification, parse_specification
from dataflare.pipeline.state_file import StateFile
from dataflare.pipeline.stop_limits import StopLimits
from dataflare.runtime.datasets import Chunk, Dataset, DatasetName, Ended, Selection, Target
from pipeline_fakes import FakeDestination, FakeHost, FakePlugin, FakeProcessor, rows_of

ORDERS, PEOPLE, LOG = DatasetName("orders", "shop"), DatasetName("people", "shop"), DatasetName("log")
ALL = "  in: {plugin: source.wasm, source: {datasets: all}}\n  out: {plugin: destination.wasm, input: in}\n"


class Shop(FakePlugin):
    """Datasets with the numbers from 0 on; a state is the next number."""

    kind = "source"

    def __init__(self, counts: dict[DatasetName, int]) -> None:
        super().__init__()
        self.counts = counts
        self.reads: list[tuple[DatasetName, bytes | None]] = []
        self.acknowledged: list[tuple[DatasetName, bytes]] = []

    def discover(self) -> list[Dataset]:
        return [self.dataset(name) for name in self.counts]

    def dataset(self, selection: Any = None) -> Dataset:
        name = selection.dataset if isinstance(selection, Selection) else selection
        modes = frozenset({"full", "incremental"})
        return Dataset(name, "", pa.schema([("x", pa.int64())]), cursors=("x",), modes=modes)

    def estimate(self, selection: Any = None) -> None:
        return None

    def open(self, selection: Selection, state: bytes | None = None) -> list[pa.Schema]:
        self.now, self.at = selection, int(state or 0)
        self.reads.append((selection.dataset, state))
        return [pa.schema([("x", pa.int64())])]

    def read(self, max_rows: int) -> Chunk | Ended:
        end = min(self.counts[self.now.dataset], self.at + min(max_rows, 4))
        if self.at >= end:
            return Ended()
        rows, self.at = rows_of(*range(self.at, end)), end
        return Chunk(self.now.dataset, rows, str(end).encode())

    def acknowledge(self, state: bytes) -> None:
        self.acknowledged.append((self.now.dataset, state))


class Tables(FakeDestination):
    """Has the rows of each target, once they are finished; `dies_in` ends the process in a target's `finish`."""

    def __init__(self, dies_in: str = "") -> None:
        super().__init__()
        self.kept: dict[str, list[int]] = {}
        self.dies_in = dies_in
        self.names: list[str] = []

    def open(self, target: Target, *, pipeline: str, run: str, generation: int) -> None:
        super().open(target, pipeline=pipeline, run=run, generation=generation)
        self.names.append(pipeline)
        self.written = []

    def plan(self, target: Target) -> list[Any]:
        return []

    def finish(self, token: bytes = b"") -> None:
        name = str(self.target.dataset)
        if name == self.dies_in:
            raise Crash
        before = [] if self.target.mode == "replace" else self.kept.get(name, [])
        self.kept[name] = [*before, *(row["x"] for row in self.rows)]


Specify = Callable[[str], Specification]


def test_every_dataset_has_a_target_of_its_own(specify: Specify) -> None:
    source, target = Shop({ORDERS: 5, PEOPLE: 3, LOG: 0}), Tables()
    report = run(specify(ALL), host=FakeHost(source=source, destination=target))
    assert target.kept == {"shop.orders": [0, 1, 2, 3, 4], "shop.people": [0, 1, 2], "log": []}
    assert target.names == ["test/out[shop.orders]", "test/out[shop.people]", "test/out[log]"]
    assert [(each.name, each.rows_out) for each in report.nodes] == [
        *[("in[shop.orders]", 5), ("out[shop.orders]", 5)],
        *[("in[shop.people]", 3), ("out[shop.people]", 3)],
        *[("in[log]", 0), ("out[log]", 0)],
    ]


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        ("datasets: [orders, log]", ["shop.orders", "log"]),
        ('datasets: ["shop.*"]', ["shop.orders", "shop.people"]),
        ('datasets: all, exclude: ["*.people"]', ["shop.orders", "log"]),
        ("datasets: [{dataset: people, mode: incremental, cursor: x}, log]", ["shop.people", "log"]),
    ],
)
def test_datasets_are_chosen_by_names_and_patterns(specify: Specify, chosen: str, names: list[str]) -> None:
    source, target = Shop({ORDERS: 1, PEOPLE: 1, LOG: 1}), Tables()
    run(specify(ALL.replace("datasets: all", chosen)), host=FakeHost(source=source, destination=target))
    assert list(target.kept) == names


@pytest.mark.parametrize(
    ("chosen", "says", "hint"),
    [
        ("datasets: [ordres]", "no dataset 'ordres'", "did you mean 'orders'"),
        ('datasets: all, exclude: ["*"]', "no dataset is left", "exclude"),
    ],
)
def test_choice_of_what_there_is_not_is_refused(specify: Specify, chosen: str, says: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        run(
            specify(ALL.replace("datasets: all", chosen)),
            host=FakeHost(source=Shop({ORDERS: 1}), destination=Tables()),
        )
    assert hint in caught.value.hint
    assert caught.value.where.endswith(":3")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("datasets: all, dataset: orders", "source.dataset: is of one dataset"),
        ("dataset: orders, exclude: [log]", "source.exclude: goes with `datasets` alone"),
        ("datasets: []", "datasets"),
        ("datasets: some", "datasets"),
    ],
)
def test_keys_that_contradict_are_refused(specify: Specify, source: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        specify(ALL.replace("datasets: all", source))


def test_each_dataset_continues_where_it_was(specify: Specify, tmp_path: Path) -> None:
    made = specify(ALL.replace("datasets: all", "datasets: all, mode: incremental"))
    source, target = Shop({ORDERS: 5, PEOPLE: 3}), Tables()
    for orders, people in ((5, 3), (7, 4)):
        source.counts = {ORDERS: orders, PEOPLE: people}
        with StateFile(tmp_path / "state", pipeline="test") as file:
            run(made, host=FakeHost(source=source, destination=target), state=file)
            assert {each.node: each.rows for each in file.nodes()} == {
                "in[shop.orders]": orders,
                "in[shop.people]": people,
            }
    assert target.kept == {"shop.orders": list(range(7)), "shop.people": list(range(4))}
    assert source.reads[2:] == [(ORDERS, b"5"), (PEOPLE, b"3")]
    assert source.acknowledged[-2:] == [(ORDERS, b"7"), (PEOPLE, b"4")]


def test_run_that_dies_goes_on_with_the_dataset_that_it_was_at(specify: Specify, tmp_path: Path) -> None:
    made, source = specify(ALL), Shop({ORDERS: 5, PEOPLE: 3, LOG: 2})
    target = Tables(dies_in="shop.people")
    with StateFile(tmp_path / "state", pipeline="test") as file, pytest.raises(Crash):
        run(made, host=FakeHost(source=source, destination=target), state=file)
    assert target.kept == {"shop.orders": [0, 1, 2, 3, 4]}
    target.dies_in = ""
    for times in (1, 2):
        with StateFile(tmp_path / "state", pipeline="test") as file:
            report = run(made, host=FakeHost(source=source, destination=target), state=file)
        assert report.done_before == (["in[shop.orders]"] if times == 1 else [])
        assert target.kept == {
            "shop.orders": [0, 1, 2, 3, 4] * times,
            "shop.people": [0, 1, 2] * times,
            "log": [0, 1] * times,
        }


def test_full_refresh_begins_with_the_first_dataset(specify: Specify, tmp_path: Path) -> None:
    nodes = ALL.replace("input: in", "input: in, destination: {mode: replace}")
    made, target = specify(nodes), Tables(dies_in="log")
    host = FakeHost(source=Shop({ORDERS: 2, LOG: 2}), destination=target)
    with StateFile(tmp_path / "state", pipeline="test") as file, pytest.raises(Crash):
        run(made, host=host, state=file)
    target.dies_in = ""
    with StateFile(tmp_path / "state", pipeline="test") as file:
        report = run(made, host=host, state=file, full_refresh=True)
    assert report.done_before == [] and target.names.count("test/out[shop.orders]") == 2


def test_dataset_whose_position_is_forgotten_is_read_again(specify: Specify, tmp_path: Path) -> None:
    made, target = specify(ALL), Tables(dies_in="log")
    host = FakeHost(source=Shop({ORDERS: 2, PEOPLE: 1, LOG: 2}), destination=target)
    with StateFile(tmp_path / "state", pipeline="test") as file, pytest.raises(Crash):
        run(made, host=host, state=file)
    target.dies_in = ""
    with StateFile(tmp_path / "state", pipeline="test") as file:
        file.reset(["in[shop.orders]"])
        assert run(made, host=host, state=file).done_before == ["in[shop.people]"]


def test_limit_of_rows_is_one_for_each_dataset(specify: Specify, tmp_path: Path) -> None:
    made, source, target = specify(ALL), Shop({ORDERS: 5, PEOPLE: 2}), Tables()
    for stopped, kept in (("max-rows", [0, 1, 2]), (None, [0, 1, 2, 3, 4])):
        with StateFile(tmp_path / "state", pipeline="test") as file:
            report = run(
                made, host=FakeHost(source=source, destination=target), state=file, limits=StopLimits(max_rows=3)
            )
        assert report.stopped == stopped
        assert target.kept == {"shop.orders": kept, "shop.people": [0, 1]}
    assert report.done_before == ["in[shop.people]"]


def test_plan_shows_each_dataset(specify: Specify, tmp_path: Path) -> None:
    made = specify(ALL.replace("input: in", 'input: in, destination: {dataset: "raw_{dataset}"}'))
    host: Any = FakeHost(source=Shop({ORDERS: 5, LOG: 3}), destination=Tables())
    plan = plan_pipeline(made, host)
    assert plan.problems == []
    assert [(each.name, each.dataset) for each in plan.nodes] == [
        *[("in[shop.orders]", "shop.orders"), ("out[shop.orders]", "raw_orders")],
        *[("in[log]", "log"), ("out[log]", "raw_log")],
    ]
    made = specify(ALL.replace("all", "[nothing]"))
    (problem,) = plan_pipeline(made, host).problems
    assert "no dataset 'nothing'" in str(problem)


def test_error_names_the_node_and_the_dataset(specify: Specify) -> None:
    def fail(rows: pa.RecordBatch) -> pa.RecordBatch:
        raise ConfigError("not today")

    nodes = ALL.replace("input: in", "input: middle") + "  middle: {plugin: processor.wasm, input: in}\n"
    host = FakeHost(source=Shop({LOG: 1}), processor=FakeProcessor(fail), destination=Tables())
    with pytest.raises(NodeFailed) as caught:
        run(specify(nodes), host=host)
    assert caught.value.node == "middle[log]"
    assert caught.value.where.endswith("pipeline.yaml:5")


FILES = (
    "  in: {plugin: source.wasm, source: {datasets: all}}\n"
    '  out: {connector: csv, write: "out/{namespace}-{dataset}.csv", input: in}\n'
)


def test_files_are_named_by_their_dataset_and_stay_in_their_folder(specify: Specify, tmp_path: Path) -> None:
    names = [
        ORDERS,
        DatasetName("../../etc/x"),
        DatasetName("..", ".."),
        DatasetName("Größe 2"),
        DatasetName("é" * 300),
    ]
    report = run(specify(FILES), host=FakeHost(source=Shop(dict.fromkeys(names, 1))))
    written = [path.name for path in (tmp_path / "out").iterdir()]
    assert {"shop-orders.csv", "-Größe 2.csv", "-%2E.%2F..%2Fetc%2Fx.csv", "%2E.-%2E..csv"} < set(written)
    assert len(written) == 5 == len(report.nodes) / 2
    assert all(each.outputs[0].path.startswith(str(tmp_path / "out")) for each in report.nodes[1::2])


def test_two_datasets_of_one_file_are_refused(specify: Specify) -> None:
    made = specify(FILES.replace("{namespace}-", ""))
    source = Shop({ORDERS: 1, DatasetName("orders", "old"): 1})
    with pytest.raises(ConfigError, match=r"'shop\.orders' and 'old\.orders' to 'out/orders\.csv'"):
        run(made, host=FakeHost(source=source))
    assert source.reads == []


@pytest.mark.parametrize(
    ("node", "where"),
    [
        ("{connector: csv, write: out.csv, input: in}", "out.csv"),
        ("{connector: sql, database: db, write: t, input: in}", "'t'"),
        ("{plugin: destination.wasm, input: in, destination: {dataset: t}}", "'t'"),
        ("{plugin: destination.wasm, input: in, dead_letters: dead.jsonl}", "dead.jsonl"),
    ],
)
def test_target_without_the_name_of_the_dataset_is_refused(specify: Specify, node: str, where: str) -> None:
    with pytest.raises(ConfigError, match=rf"would write all datasets of node 'in' to .*{where}") as caught:
        specify(f"  in: {{plugin: source.wasm, source: {{datasets: all}}}}\n  out: {node}\n")
    assert "{dataset}" in caught.value.hint
    assert caught.value.where.endswith(":4")


def test_tables_of_a_database_are_read_and_written(database: Database, tmp_path: Path) -> None:
    for table in ("a_one", "a_two", "b"):
        database.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY)", f"INSERT INTO {table} VALUES (1), (2)")
    # One run cannot read from a file and write to it.
    is_file = database.kind != "postgresql"
    to = Database(database.kind, f"{database.kind}:{tmp_path / 'to.db'}") if is_file else database
    nodes: dict[str, Any] = {
        "in": {"connector": "sql", "database": "db", "read": {"tables": ["a_*", "b"], "exclude": ["a_two"]}},
        "out": {"connector": "sql", "database": "to", "write": "copy_{dataset}", "input": "in", "mode": "replace"},
    }
    databases = {"db": {"url": database.url}, "to": {"url": to.url, "access": "write"}}

    def copied() -> list[str]:
        made = build_specification({"name": "test", "databases": databases, "nodes": nodes}, folder=tmp_path)
        with StateFile(tmp_path / "state", pipeline="test") as file:
            return [each.name for each in run(made, state=file).nodes]

    assert copied() == copied() == ["in[a_one]", "out[a_one]", "in[b]", "out[b]"]
    for table in ("copy_a_one", "copy_b"):
        assert to.rows(f"SELECT id FROM {table} ORDER BY id") == [(1,), (2,)]
    nodes["in"]["read"] = {"tables": "all", "exclude": ["copy_*"]}
    assert len(copied()) == 6, "tables that runs keep for themselves are not read"


def test_dead_letters_of_several_datasets_are_not_replayed_together(specify: Specify) -> None:
    nodes = ALL.replace("input: in", 'input: in, dead_letters: "dead/{dataset}.jsonl"')
    with pytest.raises(ConfigError, match="node 'out' has dead letters of several datasets") as caught:
        replaying(specify(nodes), "out")
    assert "one of the datasets" in caught.value.hint


def test_plugin_that_is_no_source_has_no_datasets(specify: Specify) -> None:
    with pytest.raises(NodeFailed, match="is a processor, which has no datasets") as caught:
        run(specify(ALL), host=FakeHost(source=FakeProcessor(), destination=Tables()))
    assert caught.value.node == "in"


def test_nodes_of_other_sources_run_once(tmp_path: Path) -> None:
    for name in ("source", "destination"):
        (tmp_path / f"{name}.wasm").touch()
    (tmp_path / "other.csv").write_text("y\n1\n")
    others = "  file: {connector: csv, read: other.csv}\n  copy: {connector: jsonl, write: copy.jsonl, input: file}\n"
    text = f"name: test\nnodes:\n{ALL}{others}"
    made = parse_specification(text, file=tmp_path / "pipeline.yaml")
    target = Tables(dies_in="log")
    host = FakeHost(source=Shop({ORDERS: 1, LOG: 1}), destination=target)
    with StateFile(tmp_path / "state", pipeline="test") as file, pytest.raises(Crash):
        run(made, host=host, state=file)
    target.dies_in = ""
    with StateFile(tmp_path / "state", pipeline="test") as file:
        report = run(made, host=host, state=file)
    assert (tmp_path / "copy.jsonl").read_text() == '{"y":1}\n'
    assert report.done_before == ["other nodes", "in[shop.orders]"]


class Ledger(Tables):
    """Tables that outlive runs: rows and the token are there after a flush, each in one step."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.tokens: dict[str, bytes] = {}

    def abilities(self) -> frozenset[str]:
        return frozenset({"append", "keep-token"})

    def open(self, target: Target, *, pipeline: str, run: str, generation: int) -> Any:
        super().open(target, pipeline=pipeline, run=run, generation=generation)
        self.pipeline = pipeline
        return self.tokens.get(pipeline)

    def write(self, rows: pa.RecordBatch) -> list[Any]:
        self.clock.step()
        return super().write(rows)

    def flush(self, token: bytes = b"") -> bool:
        self.clock.step()
        self.kept.setdefault(str(self.target.dataset), []).extend(row["x"] for row in self.rows)
        self.written, self.tokens[self.pipeline] = [], token
        self.clock.step()
        return True

    def finish(self, token: bytes = b"") -> None:
        self.flush(token)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("mode", ["full", "incremental"])
def test_runs_that_die_anywhere_write_each_row_of_each_dataset_once(
    specify: Specify, tmp_path: Path, seed: int, mode: str
) -> None:
    made = specify(ALL.replace("datasets: all", f"datasets: all, mode: {mode}"))
    made = dataclasses.replace(
        made, pipeline=made.pipeline.model_copy(update={"checkpoint": CheckpointModel(rows=5, every="1h")})
    )
    counts, dice, target = {ORDERS: 17, PEOPLE: 3, LOG: 30}, random.Random(seed), Ledger()
    deaths = 0
    while deaths < 60:
        target.clock = Clock(dies_at=dice.randint(1, 25))
        try:
            with StateFile(tmp_path / "state", pipeline="test") as file:
                run(made, host=FakeHost(source=Shop(counts), destination=target), state=file)
            break
        except Crash:
            deaths += 1
    assert 0 < deaths < 60
    assert target.kept == {str(name): list(range(count)) for name, count in counts.items()}
