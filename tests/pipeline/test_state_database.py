"""The state of pipelines in PostgreSQL."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from checkpoint_kit import Clock, Crash, Numbers, Table, numbers_pipeline
from database_kit import Database
from dataflare.capabilities.state import imports
from dataflare.cli.state_files import find_state, open_state
from dataflare.errors import ConfigError
from dataflare.pipeline import state_database
from dataflare.pipeline.pipeline_state import Checkpoint
from dataflare.pipeline.run_errors import NodeFailed, StateError
from dataflare.pipeline.run_history import recorded_runs
from dataflare.pipeline.runner import run
from dataflare.pipeline.state_database import StateDatabase
from dataflare.values import Err, Ok
from pipeline_fakes import FakeHost
from postgres_kit import Server

CHAIN = (
    "  in: {plugin: source.wasm, source: {dataset: rows, mode: incremental, cursor: x}}\n"
    "  out: {plugin: first.wasm, input: in}\n"
)


@pytest.fixture
def url(postgres: Server) -> Iterator[str]:
    yield postgres.url
    Database("postgresql", postgres.url).execute("DROP SCHEMA IF EXISTS dataflare_test CASCADE")


def once(folder: Path, url: str, table: Table, clock: Clock, *, count: int = 200) -> Any:
    source = Numbers(clock, count, chunk=7, transaction=1, modes="incremental")
    table.clock, table.staged = clock, []
    with StateDatabase(url, pipeline="test") as state:
        return run(numbers_pipeline(folder, CHAIN), host=FakeHost(source=source, first=table), state=state)


def dataflare(folder: Path, *line: str) -> subprocess.CompletedProcess[str]:
    program = "from dataflare.cli.main import main; main()"
    return subprocess.run([sys.executable, "-c", program, *line], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("dies_at", [20, 45])
def test_run_that_dies_is_continued(tmp_path, url, dies_at):
    table = Table(Clock(), keeps_token=True)
    with pytest.raises(Crash):
        once(tmp_path, url, table, Clock(dies_at=dies_at))
    once(tmp_path, url, table, Clock())
    once(tmp_path, url, table, Clock(), count=230)
    assert table.kept == list(range(230))
    with StateDatabase(url, pipeline="test") as state:
        assert [each.status for each in recorded_runs(state)] == ["completed", "completed", "failed"]
        assert state.nodes()[0].rows == 230


def test_second_run_at_once_is_refused_and_another_pipeline_is_not(url):
    with StateDatabase(url, pipeline="test"):
        with pytest.raises(StateError, match="another run of this pipeline is under way"):
            StateDatabase(url, pipeline="test")
        StateDatabase(url, pipeline="other" * 12).close()
    StateDatabase(url, pipeline="test").close()


def test_state_is_looked_for_and_opened_in_one_session(tmp_path, url, monkeypatch):
    sessions = []
    connect = state_database._Session.__init__

    def count(self: Any, *arguments: Any) -> None:
        sessions.append(self)
        connect(self, *arguments)

    monkeypatch.setattr(state_database._Session, "__init__", count)
    made = numbers_pipeline(tmp_path, CHAIN)
    assert find_state(made, url) is None
    with pytest.raises(StateError, match="there is no state of pipeline 'test'"):
        open_state(made, url, create=False)
    open_state(made, url).close()
    for find in (find_state, partial(open_state, create=False)):
        found = find(made, url)
        assert found is not None
        found.close()
    assert len(sessions) == 5


def test_server_that_crashes_ends_the_run_and_the_next_one_continues(tmp_path, url, postgres):
    table = Table(Clock(), keeps_token=True)

    class Crashing(Clock):
        def step(self) -> None:
            super().step()
            if self.steps == 30:
                postgres.stop()
                postgres.start()

    with pytest.raises((NodeFailed, StateError), match="connection") as caught:
        once(tmp_path, url, table, Crashing())
    assert "run again" in caught.value.hint
    once(tmp_path, url, table, Clock())
    assert table.kept == list(range(200))


def test_what_is_kept_comes_back(url):
    with StateDatabase(url, pipeline="test") as state:
        begun = state.begin("in", "{}")
        state.prepare("in", Checkpoint(begun.checkpoint.sequence + 1, b"\0\xff", rows=3))
        state.intend("file", "mark")
        state.commit([], [("in", "[]", ["{}", "[]"])], done="part")
        assert state.intent("file") == "mark" and state.kept() == ["in"]
    with StateDatabase(url, pipeline="test") as state:
        (kept,) = state.nodes()
        assert kept.lineage == begun.lineage and kept.pending == (Checkpoint(1, b"\0\xff", rows=3),)
        assert [each[1] for each in state.schema_changes()] == ["{}", "[]"]
        state.put([kept])
        assert state.node("in") is not None and state.reset() == ["in"]
        assert state.nodes() == [] and state.known_schemas() == {}


def test_plugins_keep_their_state_there(url):
    with StateDatabase(url, pipeline="test") as state:
        plugin = imports(state.plugins, "pipeline/plugin")
        assert plugin["get"]("a") == Ok(None)
        for key, value in (("a", b"\0\xff"), ("ab", b""), ("b", b"1"), ("a", b"2")):
            assert plugin["set"](key, value) == Ok(None)
        assert plugin["get"]("a") == Ok(b"2")
        assert plugin["list-keys"]("a", None, 1).value.keys == ["a"]
        assert plugin["list-keys"]("a", "a", 0).value.keys == ["ab"]
        assert plugin["compare-and-swap"]("a", b"1", b"3") == Ok(False)
        assert plugin["compare-and-swap"]("a", b"2", None) == Ok(True)
        assert plugin["delete"]("b") == Ok(None)
        assert imports(state.plugins, "pipeline/other")["get"]("ab") == Ok(None)
        assert plugin["set"]("x", b"1" * (2**20 + 1)).error.case == "value-too-large"
    assert isinstance(plugin["get"]("ab"), Err)
    with StateDatabase(url, pipeline="test") as state:
        assert imports(state.plugins, "pipeline/plugin")["get"]("ab") == Ok(b"")


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE dataflare_test.pipeline SET version = 99", "version 99, not"),
        ("UPDATE dataflare_test.pipeline SET name = 'x'", "state of pipeline 'x'"),
        ("DELETE FROM dataflare_test.pipeline", "version 0"),
        ("DROP TABLE dataflare_test.node", "does not exist"),
        ("UPDATE dataflare_test.node SET rows = -1", "count"),
        ("UPDATE dataflare_test.node SET saved_at = 'NaN'", "time"),
        ("ALTER TABLE dataflare_test.node ALTER state TYPE text USING 'x'", "not bytes"),
    ],
)
def test_state_that_somebody_changed_is_an_error(url, statement, says):
    with StateDatabase(url, pipeline="test") as state:
        state.begin("in", "{}")
    Database("postgresql", url).execute(statement)

    def look() -> None:
        with StateDatabase(url, pipeline="test") as state:
            state.nodes()

    with pytest.raises(StateError, match=says) as caught:
        look()
    assert caught.value.hint


@pytest.mark.parametrize("url", ["postgresql://me:secret@host/db", "postgresql:///", "postgresql://a,b/db"])
def test_wrong_url_is_an_error(url):
    with pytest.raises(ConfigError, match="state"):
        StateDatabase(url, pipeline="test")


def test_server_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(StateError, match="connect"):
        StateDatabase(f"postgresql://me@/db?host={tmp_path}", pipeline="test")


def test_commands_work_on_it(tmp_path, url):
    pytest.importorskip("adbc_driver_sqlite")
    db = Database("sqlite", f"sqlite:{tmp_path / 'db'}")
    db.execute("CREATE TABLE t (n INTEGER)", "INSERT INTO t VALUES (1), (2)")
    (tmp_path / "pipeline.yaml").write_text(
        'name: test\ndatabases: {db: {url: "sqlite:db"}}\nnodes:\n'
        "  in: {connector: sql, database: db, read: t, mode: incremental, cursor: n}\n"
        "  out: {connector: csv, write: out.csv, input: in, if_exists: append}\n"
    )

    def done(*line: str) -> str:
        result = dataflare(tmp_path, *line, "--state", url)
        assert result.returncode == 0, result.stderr
        return result.stdout

    missing = dataflare(tmp_path, "state", "list", "pipeline.yaml", "--state", url)
    assert missing.returncode == 1 and "there is no state of pipeline 'test'" in missing.stderr
    done("plan", "pipeline.yaml")
    for rows in (2, 3):
        done("run", "pipeline.yaml", "--quiet")
        (kept,) = json.loads(done("state", "list", "pipeline.yaml", "--json"))["sources"]
        assert kept["rows"] == rows
        db.execute("INSERT INTO t VALUES (3)") if rows == 2 else None
    assert (tmp_path / "out.csv").read_text() == '"n"\n1\n2\n3\n'
    assert [each["run"] for each in json.loads(done("runs", "list", "pipeline.yaml", "--json"))] == [2, 1]
    (tmp_path / "state.json").write_text(done("state", "export", "pipeline.yaml"))
    done("state", "reset", "pipeline.yaml")
    done("state", "import", "pipeline.yaml", "state.json")
    assert '"rows": 3' in done("state", "show", "pipeline.yaml", "--json")
    done("plan", "pipeline.yaml")
    assert not (tmp_path / ".dataflare").exists()
    with closing(StateDatabase(url, pipeline="test")):
        refused = dataflare(tmp_path, "run", "pipeline.yaml", "--state", url)
    assert refused.returncode == 1 and "another run" in refused.stderr
