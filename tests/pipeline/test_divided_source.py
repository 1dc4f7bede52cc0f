"""Parts of a dataset that are read at the same time."""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from checkpoint_kit import Clock, Crash, Table, numbers_pipeline
from dataflare.errors import ConfigError, GuestPanic, PluginError
from dataflare.pipeline.run_errors import NodeFailed, StateError
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import build_specification
from dataflare.pipeline.state_file import StateFile
from dataflare.pipeline.stop_limits import StopLimits
from dataflare.runtime.datasets import Chunk, Dataset, DatasetName, Ended, Idle
from dataflare.values import Variant
from dataflare.wit_types.source import Division
from pipeline_fakes import FakeHost, FakePlugin, rows_of

COMPONENTS = Path(__file__).parents[2] / "guest-sdks" / "rust" / "components"
NAME = DatasetName("rows")
CHAIN = (
    "  in: {plugin: source.wasm, source: {mode: incremental, cursor: x, parallel: 3}}\n"
    "  out: {plugin: first.wasm, input: in}\n"
)


class Source:
    """What the instances of a source have in common: the numbers up to `count`, and who may die when."""

    def __init__(self, count: int, *, clock: Clock | None = None, seed: int = 0, rest: bool = True) -> None:
        self.count, self.clock, self.rest = count, clock or Clock(), rest
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.modes = {"full", "incremental", "splittable"}
        self.instances: list[Part] = []

    def load(self) -> Part:
        self.instances.append(Part(self))
        return self.instances[-1]


class Part(FakePlugin):
    kind = "source"
    name = "in"

    def __init__(self, whole: Source) -> None:
        super().__init__()
        self.whole = whole
        self.acknowledged: list[int] = []
        self.given: list[int] = []

    def dataset(self, selection: Any = None) -> Dataset:
        return Dataset(NAME, "", pa.schema([("x", pa.int64())]), cursors=("x",), modes=frozenset(self.whole.modes))

    def split(self, selection: Any, *, at_most: int, state: bytes | None) -> Division:
        if "splittable" not in self.whole.modes:
            raise ConfigError("it cannot be split")
        begin, end = int(state or 0), self.whole.count
        bounds = [begin + (end - begin) * at // at_most for at in range(at_most + 1)]
        parts = [f"{a}-{b}".encode() for a, b in pairwise(bounds)]
        return Division(parts, str(end).encode() if self.whole.rest else None)

    def open(self, selection: Any, *, part: bytes | None, state: bytes | None) -> list[pa.Schema]:
        self.at, self.end = map(int, (part or f"0-{self.whole.count}".encode()).split(b"-"))
        if state is not None:
            assert self.at <= int(state) <= self.end
            self.at = int(state)
        return [pa.schema([("x", pa.int64())])]

    def read(self, max_rows: int) -> Any:
        with self.whole.lock:
            self.whole.clock.step()
            size = self.whole.random.randint(1, 7)
        if self.at >= self.end:
            return Ended()
        begin, self.at = self.at, min(self.end, self.at + min(size, max_rows))
        self.given += range(begin, self.at)
        return Chunk(NAME, rows_of(*range(begin, self.at)), str(self.at).encode())

    def acknowledge(self, state: bytes) -> None:
        self.acknowledged.append(int(state))


class Host(FakeHost):
    """Loads a source again for each part."""

    def __init__(self, source: Source, **plugins: FakePlugin) -> None:
        super().__init__(source=Part(source), **plugins)
        self.source = source

    def load(self, component: Path, *, name: str, **arguments: Any) -> FakePlugin:
        plugin = super().load(component, name=name, **arguments)
        return self.source.load() if isinstance(plugin, Part) else plugin


def run_once(folder: Path, source: Source, table: Table, nodes: str = CHAIN, limits: StopLimits | None = None) -> Any:
    with StateFile(folder / "state", pipeline="test") as file:
        return run(numbers_pipeline(folder, nodes), host=Host(source, first=table), state=file, limits=limits)


def test_parts_are_read_at_the_same_time_and_keep_their_order(tmp_path):
    source, table = Source(90), Table(Clock(), keeps_token=True)
    all_there = threading.Barrier(3, timeout=20)
    read = Part.read

    def together(self: Part, max_rows: int) -> Any:
        if not self.given:
            all_there.wait()
        return read(self, max_rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Part, "read", together)
        report = run_once(tmp_path, source, table)
    assert sorted(table.kept) == list(range(90))
    for instance, begin in zip(source.instances, (0, 30, 60), strict=True):
        part = range(begin, begin + 30)
        assert [x for x in table.kept if x in part] == list(part)
        assert instance.acknowledged[-1] == begin + 30
        assert instance.calls[-1] == "close"
    assert report.nodes[0].checkpoints > 2


def test_next_run_reads_what_is_new_in_parts(tmp_path):
    table = Table(Clock(), keeps_token=True)
    for count in (50, 50, 80):
        run_once(tmp_path, Source(count), table)
        assert sorted(table.kept) == list(range(count))


def test_source_without_a_rest_begins_again(tmp_path):
    table = Table(Clock(), keeps_token=True)
    for times in (1, 2):
        run_once(tmp_path, Source(20, rest=False), table)
        assert sorted(table.kept) == sorted([*range(20)] * times)


@pytest.mark.parametrize("seed", range(10))
def test_runs_that_die_anywhere_write_each_row_once(tmp_path, seed):
    """Chunks have other sizes in each run, and the parts other speeds."""
    dice, table = random.Random(seed), Table(Clock(), keeps_token=True)
    deaths = 0
    while deaths < 40:
        clock = Clock(dies_at=dice.randint(1, 30))
        table.clock = clock
        try:
            run_once(tmp_path, Source(100, clock=clock, seed=dice.random()), table)  # type: ignore[arg-type]
            break
        except Crash:
            deaths += 1
    assert 0 < deaths < 40
    assert sorted(table.kept) == list(range(100))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("interval", [1, 10, 40])
def test_parts_that_are_read_again_have_at_most_one_interval_of_rows(tmp_path, seed, interval):
    dice, table = random.Random(seed), Table(Clock(), keeps_token=True)
    for _ in range(6):
        clock = Clock(dies_at=dice.randint(1, 60))
        table.clock, source = clock, Source(300, clock=clock, seed=dice.random())  # type: ignore[arg-type]
        with StateFile(tmp_path / "state", pipeline="test") as file:
            before = 0 if (kept := file.node("in")) is None else kept.rows
            with suppress(Crash):
                run(numbers_pipeline(tmp_path, CHAIN, rows=interval), host=Host(source, first=table), state=file)
            kept = file.node("in")
        assert kept is not None
        given = sum(len(each.given) for each in source.instances)
        assert given - (kept.rows - before) <= interval


def test_parts_read_no_more_rows_than_the_limit_of_a_run(tmp_path):
    source = Source(3_000)
    run_once(tmp_path, source, Table(Clock(), keeps_token=True), limits=StopLimits(max_rows=4))
    assert sum(len(each.given) for each in source.instances) == 4


def test_run_that_stops_at_a_limit_goes_on(tmp_path):
    table, counts = Table(Clock(), keeps_token=True), []
    while not counts or counts[-1] < 60:
        report = run_once(tmp_path, Source(60, seed=len(counts)), table, limits=StopLimits(max_rows=20))
        counts.append(len(table.kept))
        assert report.stopped == ("max-rows" if counts[-1] < 60 else report.stopped)
    assert sorted(table.kept) == list(range(60))
    assert counts[0] < 30


def test_error_in_a_part_fails_the_run(tmp_path):
    def fail(self: Part, max_rows: int) -> Any:
        if self.at >= 60:
            raise GuestPanic("unreachable")
        return Idle(b"0", 3600)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Part, "read", fail)
        with pytest.raises(NodeFailed) as caught:
            run_once(tmp_path, Source(90), Table(Clock(), keeps_token=True))
    assert caught.value.node == "in"
    assert not [each for each in threading.enumerate() if each.name.startswith("dataflare-in")]


def test_dataset_without_an_end_ends_when_all_parts_are_idle(tmp_path):
    def idle(self: Part, max_rows: int) -> Any:
        found = read(self, max_rows)
        return Idle(str(self.at).encode(), 3600) if isinstance(found, Ended) else found

    read, table, source = Part.read, Table(Clock(), keeps_token=True), Source(30)
    source.modes.add("unbounded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Part, "read", idle)
        run_once(tmp_path, source, table)
    assert sorted(table.kept) == list(range(30))


def test_dataset_that_cannot_be_divided_is_refused(tmp_path):
    source = Source(10)
    source.modes.remove("splittable")
    with pytest.raises(NodeFailed, match="cannot be split"):
        run_once(tmp_path, source, Table(Clock(), keeps_token=True))


def test_of_several_datasets_one_that_cannot_be_divided_is_read_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr(Part, "discover", lambda self: [self.dataset()], raising=False)
    nodes = CHAIN.replace("cursor: x", "cursor: x, datasets: all")
    source, table = Source(60), Table(Clock(), keeps_token=True)
    source.modes.remove("splittable")
    for count, limit in ((60, 20), (60, 20), (90, None)):
        source.count = count
        run_once(tmp_path, source, table, nodes, StopLimits(max_rows=limit))
    assert table.kept == list(range(90))


def test_read_in_parts_does_not_go_on_as_a_whole(tmp_path):
    table = Table(Clock(), keeps_token=True)
    run_once(tmp_path, Source(60), table, limits=StopLimits(max_rows=20))
    with pytest.raises(NodeFailed) as caught:
        run_once(tmp_path, Source(60), table, CHAIN.replace(", parallel: 3", ""))
    assert isinstance(caught.value.__cause__, StateError)
    assert "parallel" in caught.value.hint


@pytest.mark.parametrize(
    "planted",
    [
        b"",
        b"[" * 100_000,
        b'{"parts": [], "rest": null, "at": []}',
        b'{"parts": [null, null], "rest": null, "at": [[null, 0, false]]}',
        b'{"parts": ["!"], "rest": null, "at": [[null, 0, false]]}',
        b'{"parts": ['
        + b",".join([b"null"] * 65)
        + b'], "rest": null, "at": ['
        + b",".join([b"[null,0,0]"] * 65)
        + b"]}",
    ],
    ids=["empty", "nested", "no parts", "other counts", "no bytes", "too many"],
)
def test_damaged_state_is_an_error(tmp_path, planted):
    table, source = Table(Clock(), keeps_token=True), Source(60)
    run_once(tmp_path, Source(60), table, limits=StopLimits(max_rows=20))
    with StateFile(tmp_path / "state", pipeline="test") as file:
        state = b"dataflare:divided:1\n" + planted
        file.write(lambda connection: connection.execute("UPDATE node SET state = ?", (state,)))
    with pytest.raises(NodeFailed, match="the state of a divided read is damaged") as caught:
        run_once(tmp_path, source, table)
    assert "--full-refresh" in caught.value.hint
    assert len(source.instances) == 1


def test_plugin_reads_the_parts_of_a_file(tmp_path):
    numbers = range(20_000)
    (tmp_path / "in.csv").write_text("x\n" + "".join(f"{x}\n" for x in numbers))
    nodes = {
        "in": {
            "plugin": COMPONENTS / "csv-source.wasm",
            "config": {"path": "data/in.csv"},
            "grants": {"files": {"data": {"path": "."}}},
            "source": {"parallel": 2},
        },
        "out": {"connector": "csv", "write": "out.csv", "input": "in"},
    }
    report = run(build_specification({"name": "test", "nodes": nodes}, folder=tmp_path))
    assert sorted(map(int, (tmp_path / "out.csv").read_text().split()[1:])) == list(numbers)
    assert report.nodes[0].rows_out == len(numbers)


@pytest.mark.parametrize("waiting", ["idle", "rate-limited"])
def test_time_ends_a_read_in_parts_that_wait(tmp_path, waiting):
    whole, table = Source(20), Table(Clock(), keeps_token=True)

    class Waiting(Part):
        def read(self, max_rows: int) -> Any:
            if self.at < self.end - 3:
                return super().read(1)
            if waiting == "idle":
                return Idle(str(self.at).encode(), 3600.0)
            raise PluginError("later", error=Variant(waiting, 3_600_000), retryable=True, retry_after_ms=3_600_000)

    class Host(FakeHost):
        def load(self, component: Path, *, name: str, **arguments: Any) -> Any:
            return table if name == "out" else Waiting(whole)

    nodes = CHAIN.replace("parallel: 3", "parallel: 2")
    with StateFile(tmp_path / "state", pipeline="test") as state:
        made = numbers_pipeline(tmp_path, nodes)
        report = run(made, host=Host(source=Part(whole), first=table), state=state, limits=StopLimits(max_time_s=0.5))
    assert (report.status, report.stopped) == ("completed", "max-time")
