"""Runs that stop anywhere, and go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoint_kit import Clock, Crash, Numbers, Table, numbers_pipeline
from dataflare.errors import PluginError
from dataflare.pipeline.checkpoints import Checkpoints
from dataflare.pipeline.pipeline_state import Checkpoint
from dataflare.pipeline.run_errors import NodeFailed, StateError
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import Specification
from dataflare.pipeline.state_file import StateFile
from dataflare.values import Variant
from dataflare.wit_types.destination import RejectedRow
from pipeline_fakes import FakeHost, FakeTransformer, rows_of

ALL = "  in: {plugin: source.wasm}\n  out: {plugin: first.wasm, input: in}\n"
CHAIN = ALL.replace("source.wasm", "source.wasm, source: {dataset: rows, mode: incremental, cursor: x}")
FORK = CHAIN + "  too: {plugin: second.wasm, input: in}\n"
CHANGED = (
    CHAIN.split("\n")[0] + "\n  change: {plugin: change.wasm, input: in, workers: 2}\n"
    "  out: {plugin: first.wasm, input: change}\n  too: {plugin: second.wasm, input: in}\n"
)


def run_until_done(
    made: Specification, state: Path, plugins: Callable[[Clock], dict[str, Any]], deaths: list[int]
) -> dict[str, Any]:
    """Run again after each death, as a scheduler would; returns the plugins of the last run."""
    for dies_at in [*deaths, None]:
        clock = Clock(dies_at=dies_at)
        host = plugins(clock)
        with StateFile(state, pipeline="test") as file:
            dying = file.commit

            def commit(*given: Any, dying: Any = dying, clock: Clock = clock, **named: Any) -> None:
                clock.step()
                dying(*given, **named)
                clock.step()

            file.commit = commit  # type: ignore[method-assign]
            try:
                run(made, host=FakeHost(**host), state=file)
            except Crash:
                continue
            return host
    raise AssertionError("the last run does not die")


@settings(max_examples=60)
@given(
    count=st.integers(0, 60),
    chunk=st.integers(1, 20),
    transaction=st.integers(1, 12),
    rows=st.integers(1, 25),
    nodes=st.sampled_from([CHAIN, FORK, CHANGED]),
    deaths=st.lists(st.integers(1, 60), max_size=4),
)
def test_runs_that_die_anywhere_write_each_row_once(count, chunk, transaction, rows, nodes, deaths, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    made = numbers_pipeline(folder, nodes, rows=rows)
    tables = {name: Table(Clock(), keeps_token=True) for name in ("first", "second")}

    def plugins(clock: Clock) -> dict[str, Any]:
        for table in tables.values():
            table.clock, table.staged = clock, []
        source = Numbers(clock, count, chunk=chunk, transaction=transaction, modes="incremental")
        return {"source": source, "change": FakeTransformer(), **tables}

    run_until_done(made, folder / "state", plugins, deaths)
    for name in ("first", "second") if nodes != CHAIN else ("first",):
        assert tables[name].kept == list(range(count))


@settings(max_examples=40)
@given(
    dies_at=st.integers(1, 60),
    rows=st.integers(1, 25),
    chunk=st.integers(1, 20),
    nodes=st.sampled_from([FORK, CHANGED]),
)
def test_rows_that_are_read_again_are_at_most_one_interval(dies_at, rows, chunk, nodes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    source: list[Numbers] = []

    def plugins(clock: Clock) -> dict[str, Any]:
        source[:] = [Numbers(clock, 60, chunk=chunk, transaction=1, modes="incremental")]
        tables = {name: Table(clock, keeps_token=True) for name in ("first", "second")}
        return {"source": source[0], "change": FakeTransformer(), **tables}

    with StateFile(folder / "state", pipeline="test") as file:
        made = numbers_pipeline(folder, nodes, rows=rows)
        with suppress(Crash):
            run(made, host=FakeHost(**plugins(Clock(dies_at=dies_at))), state=file)
        kept = file.node("in")
    assert kept is not None and source[0].position - kept.rows <= rows


@settings(max_examples=25)
@given(deaths=st.lists(st.integers(1, 40), max_size=4), chunk=st.integers(1, 9))
def test_merged_rows_are_those_of_one_run(deaths, chunk, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    merging = (
        "  in: {plugin: source.wasm}\n  out: {plugin: first.wasm, input: in, destination: {mode: merge, key: [x]}}\n"
    )
    made = numbers_pipeline(folder, merging)
    table = Table(Clock(), keeps_token=False, key=True)

    def plugins(clock: Clock) -> dict[str, Any]:
        table.clock, table.staged = clock, []
        return {"source": Numbers(clock, 50, chunk=chunk, transaction=1), "first": table}

    run_until_done(made, folder / "state", plugins, deaths)
    assert table.kept == list(range(50))


@settings(max_examples=25)
@given(deaths=st.lists(st.integers(1, 40), max_size=4), chunk=st.integers(1, 9))
def test_destination_without_token_loses_nothing(deaths, chunk, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    table = Table(Clock(), keeps_token=False)

    def plugins(clock: Clock) -> dict[str, Any]:
        table.clock, table.staged = clock, []
        return {"source": Numbers(clock, 50, chunk=chunk, transaction=1), "first": table}

    run_until_done(numbers_pipeline(folder, ALL), folder / "state", plugins, deaths)
    assert sorted(set(table.kept)) == list(range(50))


@settings(max_examples=25)
@given(deaths=st.lists(st.integers(1, 40), max_size=3))
def test_file_is_that_of_one_run(deaths, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    made = numbers_pipeline(folder, ALL + "  file: {connector: csv, write: out.csv, input: in}\n")
    table = Table(Clock(), keeps_token=True)

    def plugins(clock: Clock) -> dict[str, Any]:
        table.clock, table.staged = clock, []
        return {"source": Numbers(clock, 50, chunk=7, transaction=1), "first": table}

    run_until_done(made, folder / "state", plugins, deaths)
    # A run that dies after its last checkpoint was whole: the next one reads all again.
    assert table.kept == list(range(50)) * (len(table.kept) // 50)
    assert (folder / "out.csv").read_text().split() == ['"x"', *map(str, range(50))]


def numbers(count: int, *, modes: str = "full", chunk: int = 5) -> Numbers:
    return Numbers(Clock(), count, chunk=chunk, transaction=1, modes=modes)


def test_incremental_read_goes_on_from_the_last_run(tmp_path):
    nodes = (
        "  in: {plugin: source.wasm, source: {dataset: rows, mode: incremental, cursor: x}}\n" + CHAIN.split("\n")[1]
    )
    made, table = numbers_pipeline(tmp_path, nodes + "\n"), Table(Clock(), keeps_token=True)
    for count, begins in ((20, None), (20, b"20"), (33, b"20")):
        source = numbers(count, modes="incremental")
        with StateFile(tmp_path / "state", pipeline="test") as file:
            run(made, host=FakeHost(source=source, first=table), state=file)
        assert source.opened == [begins]
    assert table.kept == list(range(33))


def test_full_read_begins_anew_after_one_that_came_to_its_end(tmp_path):
    made, table = numbers_pipeline(tmp_path, ALL), Table(Clock(), keeps_token=True)
    for _ in range(2):
        source = numbers(10)
        with StateFile(tmp_path / "state", pipeline="test") as file:
            run(made, host=FakeHost(source=source, first=table), state=file)
        assert source.opened == [None]
    assert table.kept == [*range(10), *range(10)]


def test_full_refresh_forgets_where_it_was(tmp_path):
    made, table = numbers_pipeline(tmp_path, CHAIN), Table(Clock(), keeps_token=True)
    opened = []
    for refresh in (False, True, False):
        source = numbers(10, modes="incremental")
        with StateFile(tmp_path / "state", pipeline="test") as file:
            run(made, host=FakeHost(source=source, first=table), state=file, full_refresh=refresh)
        opened += source.opened
    assert opened == [None, None, b"10"]


def test_source_is_told_what_is_safe_while_it_is_read(tmp_path):
    source, table = numbers(100), Table(Clock(), keeps_token=True)
    told = []
    source.acknowledge = lambda state: told.append((int(state), len(table.kept)))  # type: ignore[method-assign]
    with StateFile(tmp_path / "state", pipeline="test") as file:
        run(numbers_pipeline(tmp_path, ALL), host=FakeHost(source=source, first=table), state=file)
    assert len(told) > 2
    assert all(kept >= state for state, kept in told)
    assert told[-1] == (100, 100)


def test_state_of_another_selection_is_refused(tmp_path):
    table = Table(Clock(), keeps_token=True)
    for columns in ("[x]", "[]"):
        nodes = ALL.replace(
            "source.wasm", f"source.wasm, source: {{dataset: rows, mode: incremental, cursor: x, columns: {columns}}}"
        )
        with StateFile(tmp_path / "state", pipeline="test") as file:
            plugins = FakeHost(source=numbers(10, modes="incremental"), first=table)
            if columns == "[x]":
                run(numbers_pipeline(tmp_path, nodes), host=plugins, state=file)
                continue
            with pytest.raises(NodeFailed, match="is of something else") as caught:
                run(numbers_pipeline(tmp_path, nodes), host=plugins, state=file)
            assert "--full-refresh" in str(caught.value)
    assert table.kept == list(range(10))


def test_destination_that_was_emptied_is_noticed(tmp_path):
    made = numbers_pipeline(tmp_path, CHAIN)
    with StateFile(tmp_path / "state", pipeline="test") as file:
        run(
            made,
            host=FakeHost(source=numbers(10, modes="incremental"), first=Table(Clock(), keeps_token=True)),
            state=file,
        )
        with pytest.raises(NodeFailed, match="has none of the rows that were read before"):
            run(
                made,
                host=FakeHost(source=numbers(20, modes="incremental"), first=Table(Clock(), keeps_token=True)),
                state=file,
            )


def test_destination_that_is_ahead_of_a_lost_state_file_is_noticed(tmp_path):
    made, table = numbers_pipeline(tmp_path, ALL), Table(Clock(), keeps_token=True)
    for name in ("state", "another"):
        with StateFile(tmp_path / name, pipeline="test") as file:
            plugins = FakeHost(source=numbers(10), first=table)
            if name == "state":
                run(made, host=plugins, state=file)
                continue
            with pytest.raises(NodeFailed, match="has rows of runs that the state file does not know"):
                run(made, host=plugins, state=file)
    assert table.kept == list(range(10))


def test_source_that_does_not_repeat_itself_is_noticed(tmp_path):
    made = numbers_pipeline(tmp_path, ALL)
    table = Table(Clock(), keeps_token=True)
    with StateFile(tmp_path / "state", pipeline="test") as file:
        file.commit = lambda *_, **__: (_ for _ in ()).throw(Crash)  # type: ignore[method-assign]
        with pytest.raises(Crash):
            run(made, host=FakeHost(source=numbers(20), first=table), state=file)
    assert table.kept
    with (
        StateFile(tmp_path / "state", pipeline="test") as file,
        pytest.raises(NodeFailed, match="did not come to again"),
    ):
        run(made, host=FakeHost(source=numbers(3), first=table), state=file)


def test_state_that_the_source_refuses_says_what_to_do(tmp_path):
    made, table = numbers_pipeline(tmp_path, CHAIN), Table(Clock(), keeps_token=True)
    with StateFile(tmp_path / "state", pipeline="test") as file:
        run(made, host=FakeHost(source=numbers(10, modes="incremental"), first=table), state=file)
        source = numbers(10, modes="incremental")

        def refuse(*_: Any, **__: Any) -> Any:
            raise PluginError("no such offset", error=Variant("invalid-state", "gone"), retryable=False)

        source.open = refuse  # type: ignore[method-assign]
        with pytest.raises(NodeFailed, match="does not go on from the state") as caught:
            run(made, host=FakeHost(source=source, first=table), state=file)
        assert "--full-refresh" in str(caught.value)


def test_numbers_of_checkpoints_rise_where_a_run_makes_others_than_the_one_before(tmp_path):
    reading = json.dumps({"dataset": "rows"})
    with StateFile(tmp_path / "state", pipeline="test") as file:
        file.begin("in", reading)
        file.prepare("in", Checkpoint(1, b"20", rows=20))
        made = Checkpoints("in", frozenset({"out"}), frozenset({"out"}), file, every_rows=20, every_s=1e9, fresh=False)
        made.begin(reading, "incremental")
        made.position("out", None, mode="append", keeps_token=True)
        found = []
        for state in (b"10", b"20", b"30"):
            point = made.barrier(10, state)
            assert point is not None
            made.prepare(point)
            made.reach("out", point, durable=True)
            kept = file.node("in")
            assert kept is not None and kept.checkpoint.state == state
            found.append(point.sequence)
        assert found == sorted(set(found))


def test_second_run_at_once_is_refused(tmp_path):
    with (
        StateFile(tmp_path / "state", pipeline="test"),
        pytest.raises(StateError, match="another run of this pipeline is under way"),
    ):
        StateFile(tmp_path / "state", pipeline="test")
    StateFile(tmp_path / "state", pipeline="test").close()


def test_file_of_another_pipeline_is_refused(tmp_path):
    StateFile(tmp_path / "state", pipeline="test").close()
    with pytest.raises(StateError, match="it is the state of pipeline 'test', not of 'other'"):
        StateFile(tmp_path / "state", pipeline="other")


def test_file_of_a_newer_version_is_refused(tmp_path):
    with StateFile(tmp_path / "state", pipeline="test") as file:
        file._connection.execute("UPDATE pipeline SET version = 99")
    with pytest.raises(StateError, match="it has version 99, not 2") as caught:
        StateFile(tmp_path / "state", pipeline="test")
    assert "the version of this program that wrote it" in caught.value.hint


@pytest.mark.parametrize("statement", [
    "UPDATE node SET sequence = 'x'",
    "UPDATE node SET lineage = x'ff'",
    "UPDATE node SET state = 5",
    "DROP TABLE pending",
    "INSERT INTO pending VALUES ('in', 'x', 'y', 0, 0)",
    "DELETE FROM pipeline",
])  # fmt: skip
def test_damaged_tables_are_an_error(statement, tmp_path):
    with StateFile(tmp_path / "state", pipeline="test") as file:
        file.begin("in", "{}")
        file._connection.execute(statement)
    with pytest.raises(StateError), StateFile(tmp_path / "state", pipeline="test") as file:
        file.nodes()


def test_file_with_a_damaged_page_is_an_error_also_where_no_run_reads_it(tmp_path):
    path = tmp_path / "state"
    with StateFile(path, pipeline="test") as file:
        for number in range(200):
            file.plugins.set("plugin", f"key {number}", b"x" * 200)
            file.intend(f"file {number}", "mark" * 20)
    whole = path.read_bytes()
    size = int.from_bytes(whole[16:18], "big")
    assert len(whole) > 10 * size
    for page in range(1, len(whole) // size):
        path.write_bytes(whole[: page * size] + b"\xa5" * size + whole[(page + 1) * size :])
        with pytest.raises(StateError, match="damaged") as caught:
            StateFile(path, pipeline="test")
        assert "put a copy of it back" in caught.value.hint
    path.write_bytes(whole)
    StateFile(path, pipeline="test").close()


@pytest.mark.parametrize("mode", ["append", "merge, key: [x]"])
def test_rows_that_come_in_between_without_a_state_change_nothing_about_where_the_pipeline_continues(tmp_path, mode):
    nodes = CHAIN.replace("input: in}", f"input: in, destination: {{mode: {mode}}}}}")
    table = Table(Clock(), keeps_token=True)

    def once(count: int, **more: Any) -> None:
        source = numbers(count, modes="incremental")
        run(numbers_pipeline(tmp_path, nodes), host=FakeHost(source=source, first=table), **more)

    for count in (20, 30):
        with StateFile(tmp_path / "state", pipeline="test") as file:
            once(count, state=file)
        once(2)  # as replayed letters do
    assert table.kept == [*range(20), 0, 1, *range(20, 30), 0, 1]


def test_truncated_file_is_an_error_or_as_it_was(tmp_path):
    path = tmp_path / "state"
    with StateFile(path, pipeline="test") as file:
        kept = [file.begin("in", "{}")]
    whole = path.read_bytes()
    for size in range(0, len(whole), 997):
        path.write_bytes(whole[:size])
        try:
            with StateFile(path, pipeline="test") as file:
                found = file.nodes()
        except StateError:
            continue
        assert found == ([] if size == 0 else kept)


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_what_is_not_a_regular_file_is_refused(kind, tmp_path):
    import os

    path = tmp_path / "state"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match="is not a regular file"):
        StateFile(path, pipeline="test")
    assert not (tmp_path / "elsewhere").exists()


def test_state_survives_and_can_be_put_back(tmp_path):
    with StateFile(tmp_path / "state", pipeline="test") as file:
        file.begin("in", json.dumps({"mode": "full"}))
        file.commit([("in", Checkpoint(1, b"\x00state"), 7)])
        (kept,) = file.nodes()
        assert (kept.checkpoint, kept.rows) == (Checkpoint(1, b"\x00state"), 7)
        assert file.reset(["in", "unknown"]) == ["in"]
        assert file.node("in") is None
        file.put([kept])
    with StateFile(tmp_path / "state", pipeline="test") as file:
        assert file.nodes() == [kept]


@settings(max_examples=40)
@given(deaths=st.lists(st.integers(1, 60), max_size=4), chunk=st.integers(1, 9))
def test_rejected_rows_are_those_of_one_run(deaths, chunk, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    made = numbers_pipeline(folder, CHAIN.replace("input: in", "input: in, dead_letters: rejected.jsonl"))

    class Picky(Table):
        def write(self, rows: pa.RecordBatch) -> list[RejectedRow]:
            values = rows.column("x").to_pylist()
            super().write(rows_of(*(x for x in values if x % 3)))
            return [RejectedRow(row, "x", "a third") for row, x in enumerate(values) if x % 3 == 0]

    table = Picky(Clock(), keeps_token=True)

    def plugins(clock: Clock) -> dict[str, Any]:
        table.clock, table.staged = clock, []
        return {"source": Numbers(clock, 50, chunk=chunk, transaction=1, modes="incremental"), "first": table}

    last = run_until_done(made, folder / "state", plugins, deaths)
    assert table.kept == [n for n in range(50) if n % 3]
    if last["source"].opened == [None]:  # else an earlier run came to its end, and this one had no rows
        lines = (folder / "rejected.jsonl").read_text().splitlines()
        assert [json.loads(line)["values"]["x"] for line in lines] == list(range(0, 50, 3))


def test_letters_of_rows_that_the_destination_has_stay_when_others_come(tmp_path):
    """A run dies when its destination is through, and before its state is committed."""
    made = numbers_pipeline(tmp_path, CHAIN.replace("input: in", "input: in, dead_letters: rejected.jsonl"))

    class Picky(Table):
        def write(self, rows: pa.RecordBatch) -> list[RejectedRow]:
            values = rows.column("x").to_pylist()
            super().write(rows_of(*(x for x in values if x % 10)))
            return [RejectedRow(row, "x", "a tenth") for row, x in enumerate(values) if x % 10 == 0]

    table = Picky(Clock(), keeps_token=True)
    for count in (25, 45):
        with StateFile(tmp_path / "state", pipeline="test") as file:
            plugins = FakeHost(source=numbers(count, modes="incremental"), first=table)
            if count == 25:
                file.commit = lambda *_, **__: (_ for _ in ()).throw(Crash)  # type: ignore[method-assign]
                with pytest.raises(Crash):
                    run(made, host=plugins, state=file)
            else:
                run(made, host=plugins, state=file)
    lines = (tmp_path / "rejected.jsonl").read_text().splitlines()
    assert [json.loads(line)["values"]["x"] for line in lines] == [0, 10, 20, 30, 40]
    assert table.kept == [n for n in range(45) if n % 10]
