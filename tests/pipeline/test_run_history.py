"""The history of runs, and the dead letters of runs that fail."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from checkpoint_kit import Clock, Crash, Numbers, Table, numbers_pipeline
from dataflare.errors import ConfigError, PluginError
from dataflare.pipeline.run_errors import NodeFailed
from dataflare.pipeline.run_history import recorded_runs
from dataflare.pipeline.runner import run
from dataflare.pipeline.state_file import StateFile
from dataflare.values import Variant
from pipeline_fakes import FakeHost, FakeTransformer

NODES = (
    "  in: {plugin: source.wasm, source: {dataset: rows, mode: incremental, cursor: x}}\n"
    "  change: {plugin: change.wasm, input: in, dead_letters: dead.jsonl, on_error: {max_errors: 1}}\n"
    "  out: {plugin: first.wasm, input: change}\n"
)


def failing(*values: int) -> FakeTransformer:
    def change(rows: pa.RecordBatch) -> pa.RecordBatch:
        if set(values) & set(rows.column("x").to_pylist()):
            raise PluginError("it fails", error=Variant("invalid-input", "it fails"))
        return rows

    return FakeTransformer(change)


def once(folder: Path, *wrong: int, count: int = 20, table: Table | None = None) -> Any:
    source = Numbers(Clock(), count, chunk=5, transaction=1, modes="incremental")
    plugins = {"source": source, "change": failing(*wrong), "first": table or Table(Clock(), keeps_token=True)}
    with StateFile(folder / "state", pipeline="test") as file:
        return run(numbers_pipeline(folder, NODES), host=FakeHost(**plugins), state=file)


def letters(file: Path) -> list[int]:
    return [json.loads(line)["values"]["x"] for line in file.read_text().splitlines()]


def test_runs_are_kept_with_their_reports(tmp_path):
    table = Table(Clock(), keeps_token=True)
    once(tmp_path, table=table)
    with pytest.raises(NodeFailed):
        once(tmp_path, 21, 22, count=30, table=table)
    with StateFile(tmp_path / "state", pipeline="test") as file:
        failed, done = recorded_runs(file)
        assert (done.id, done.status, failed.id, failed.status) == (1, "completed", 2, "failed")
        assert done.ended_at is not None
        assert done.begun_at <= done.ended_at <= failed.begun_at
        assert json.loads(done.report or "")["rows_in"] == 20
        assert "max_errors: 1" in json.loads(failed.report or "")["error"]
        assert len(recorded_runs(file, 1)) == 1


def test_run_that_died_is_kept_as_it_was(tmp_path):
    with StateFile(tmp_path / "state", pipeline="test") as file:
        file.write(lambda connection: connection.execute("INSERT INTO run (begun_at, status) VALUES (1.0, 'running')"))
    once(tmp_path)
    with StateFile(tmp_path / "state", pipeline="test") as file:
        assert [(each.status, each.ended_at is None) for each in recorded_runs(file)] == [
            ("completed", False),
            ("running", True),
        ]


def test_last_thousand_runs_are_kept(tmp_path):
    with StateFile(tmp_path / "state", pipeline="test") as file:
        for _ in range(1005):
            file.write(lambda connection: connection.execute("INSERT INTO run (begun_at, status) VALUES (1, 'x')"))
    once(tmp_path)
    with StateFile(tmp_path / "state", pipeline="test") as file:
        kept = recorded_runs(file)
    assert (len(kept), kept[0].id, kept[-1].id) == (1000, 1006, 7)


def test_damaged_entry_hides_none_of_the_others(tmp_path):
    table = Table(Clock(), keeps_token=True)
    for _ in range(3):
        once(tmp_path, table=table)
    with sqlite3.connect(tmp_path / "state") as connection:
        connection.execute("UPDATE run SET begun_at = 'then' WHERE id = 2")
    connection.close()
    with StateFile(tmp_path / "state", pipeline="test") as file:
        found = [(each.id, each.status, each.begun_at is None) for each in recorded_runs(file)]
    assert found == [(3, "completed", False), (2, "damaged", True), (1, "completed", False)]


def test_letters_of_a_run_that_fails_are_kept_beside(tmp_path):
    table = Table(Clock(), keeps_token=True)
    once(tmp_path, 3, table=table)
    assert letters(tmp_path / "dead.jsonl") == [3]
    with pytest.raises(NodeFailed) as caught:
        once(tmp_path, 21, 22, 23, count=30, table=table)
    # Their rows are read again: they are not dead, and the file of those that are is as it was.
    assert letters(tmp_path / "dead.jsonl") == [3]
    assert letters(tmp_path / "dead.jsonl.failed") == [21, 22]
    assert caught.value.report.nodes[1].dead_letters == "dead.jsonl.failed"
    once(tmp_path, 21, count=30, table=table)
    assert letters(tmp_path / "dead.jsonl") == [3, 21]
    assert table.kept == [n for n in range(30) if n not in (3, 21)]


def test_letters_of_a_run_that_died_are_taken_out_by_one_that_has_none(tmp_path):
    table = Table(Clock(), keeps_token=True)
    with StateFile(tmp_path / "state", pipeline="test") as file:
        real = file.commit

        def commit(*given: Any, ended: bool = False, **named: Any) -> None:
            if ended:
                raise Crash
            real(*given)

        file.commit = commit  # type: ignore[method-assign]
        source = Numbers(Clock(), 20, chunk=5, transaction=1, modes="incremental")
        plugins = {"source": source, "change": failing(7), "first": table}
        with pytest.raises(Crash):
            run(numbers_pipeline(tmp_path, NODES), host=FakeHost(**plugins), state=file)
    assert letters(tmp_path / "dead.jsonl") == [7]
    once(tmp_path, table=table)
    assert letters(tmp_path / "dead.jsonl") == []


def test_commands_show_the_history(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from dataflare.cli.app import app

    (tmp_path / "in.csv").write_text("n\n1\n")
    (tmp_path / "p.yaml").write_text(
        "name: p\nnodes:\n  in: {connector: csv, read: in.csv, schema: evolve}\n"
        "  out: {connector: csv, write: out.csv, input: in}\n"
    )
    monkeypatch.chdir(tmp_path)

    def called(*line: str) -> Any:
        result = CliRunner().invoke(app, line)
        return result.exit_code, json.loads(result.output) if "--json" in line and not result.exit_code else result

    assert called("runs", "list", "p.yaml")[0] == 1  # there is no state yet
    for _ in range(2):
        assert called("run", "--quiet", "p.yaml")[0] == 0
    code, listed = called("runs", "list", "p.yaml", "--json")
    assert (code, [(each["run"], each["status"], each["rows_in"]) for each in listed]) == (
        0,
        [(2, "completed", 1), (1, "completed", 1)],
    )
    assert called("runs", "show", "p.yaml", "1", "--json")[1]["report"]["nodes"][0]["name"] == "in"
    assert "completed" in called("runs", "show", "p.yaml")[1].output
    assert called("runs", "show", "p.yaml", "7")[0] == 2


@pytest.mark.parametrize(
    "damage",
    [
        "report = '{\"nodes\": [{}]}'",
        'report = \'{"rows_in": "x"}\'',
        'report = replace(report, \'"rows_in": 20\', \'"rows_in": 1' + "0" * 400 + "')",
        "report = '{\"nodes\": 5}'",
        "report = '" + "[" * 100_000 + "'",
        "report = 'no JSON'",
        "begun_at = 1e300",
        "ended_at = -1",
    ],
    ids=lambda text: text[:30],
)
def test_entry_that_is_damaged_is_told_as_such(tmp_path, damage):
    once(tmp_path)
    with sqlite3.connect(tmp_path / "state") as connection:
        connection.execute(f"UPDATE run SET {damage}")
    connection.close()
    with StateFile(tmp_path / "state", pipeline="test") as file:
        (found,) = recorded_runs(file)
    assert (found.status, found.report) == ("damaged", None)


def test_letters_of_a_failed_run_replace_no_other_file(tmp_path):
    (tmp_path / "dead.jsonl.failed").write_text('{"precious": true}\n')
    with pytest.raises(NodeFailed) as caught:
        once(tmp_path, 1, 2)
    assert "not a file of dead letters" in caught.value.__notes__[0]
    assert (tmp_path / "dead.jsonl.failed").read_text() == '{"precious": true}\n'


def test_node_may_not_write_where_letters_of_a_failed_run_go(tmp_path):
    nodes = NODES + "  more: {connector: jsonl, write: dead.jsonl.failed, input: in}\n"
    with pytest.raises(ConfigError, match="both write"):
        numbers_pipeline(tmp_path, nodes)
