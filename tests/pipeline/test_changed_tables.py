"""Tables that somebody drops, empties or changes between two runs that continue each other."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from database_kit import Database, pipeline
from dataflare.pipeline.plan import PipelinePlan, plan_pipeline
from dataflare.pipeline.report import RunReport
from dataflare.pipeline.run_errors import NodeFailed
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import Specification, build_specification
from dataflare.pipeline.state_file import StateFile
from dataflare.runtime.host import Host

pytest.importorskip("adbc_driver_sqlite")

MODES = pytest.mark.parametrize("options", [{}, {"mode": "merge", "key": ["id"]}], ids=["append", "merge"])


class Copying:
    """Copies the new rows of a table of SQLite into the table `t`."""

    def __init__(self, folder: Path, database: Database, options: dict[str, Any]) -> None:
        self.folder, self.database = folder, database
        self.source = Database("sqlite", f"sqlite:{folder / 'source.db'}")
        self.source.execute("CREATE TABLE s (id INTEGER, x INTEGER)", "INSERT INTO s VALUES (1, 10), (2, 20)")
        self.specification = self.writing_to(database.url, options)

    def writing_to(self, url: str, options: dict[str, Any], **reading: Any) -> Specification:
        databases = {"from": {"url": self.source.url, "access": "write"}, "db": {"url": url, "access": "write"}}
        nodes = {
            "in": {
                "connector": "sql",
                "database": "from",
                "read": "s",
                "mode": "incremental",
                "cursor": "id",
                **reading,
            },
            "out": {"connector": "sql", "database": "db", "write": "t", "input": "in", **options},
        }
        return build_specification({"name": "test", "databases": databases, "nodes": nodes}, folder=self.folder)

    def run(self, **more: Any) -> RunReport:
        with StateFile(self.folder / "state", pipeline="test") as file:
            return run(self.specification, state=file, **more)

    def plan(self) -> PipelinePlan:
        with Host() as host, StateFile(self.folder / "state", pipeline="test") as file:
            return plan_pipeline(self.specification, host, file)

    def tables(self) -> set[str]:
        query = {
            "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
            "duckdb": "SELECT table_name FROM information_schema.tables",
            "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
        }[self.database.kind]
        return {row[0] for row in self.database.rows(query)}


@pytest.fixture
def copying(tmp_path: Path, database: Database) -> Callable[[dict[str, Any]], Copying]:
    def make(options: dict[str, Any]) -> Copying:
        made = Copying(tmp_path, database, options)
        made.run()
        made.source.execute("INSERT INTO s VALUES (3, 30)")
        return made

    return make


@MODES
@pytest.mark.parametrize("how", ["DROP TABLE t", "ALTER TABLE t RENAME TO u"])
def test_a_run_that_goes_on_after_rows_of_a_dropped_table_is_refused(copying, options, how):
    made = copying(options)
    made.database.execute(how)
    before = made.tables()
    (problem,) = made.plan().problems
    for _ in range(2):  # the run that is refused changes nothing, so the next one is too
        with pytest.raises(NodeFailed) as caught:
            made.run()
        for error in (problem, caught.value):
            assert "destination 'out' lacks the rows before it: the dataset 't' was dropped or renamed" in str(error)
            assert "--full-refresh" in error.hint
        assert made.tables() == before
    made.run(full_refresh=True)
    assert sorted(made.database.rows("SELECT id, x FROM t")) == [(1, 10), (2, 20), (3, 30)]
    assert made.plan().problems == []


@pytest.mark.parametrize(
    ("older", "says"),
    [
        ("state", "has rows of runs that the state file does not know"),
        ("no state", "has rows of runs that the state file does not know"),
        ("table", "and lacks the rows from there on"),
    ],
)
def test_plan_and_run_refuse_a_state_and_a_table_of_which_one_was_restored(copying, tmp_path, older, says):
    made = copying({})
    before = (tmp_path / "state").read_bytes()
    tokens = made.database.rows("SELECT generation FROM _dataflare_tokens")
    made.database.execute("CREATE TABLE kept AS SELECT * FROM _dataflare_tokens")
    made.run()
    assert made.plan().problems == [] and tokens
    if older == "table":
        made.database.execute("DELETE FROM _dataflare_tokens", "INSERT INTO _dataflare_tokens SELECT * FROM kept")
    elif older == "state":
        (tmp_path / "state").write_bytes(before)
    else:
        (tmp_path / "state").unlink()
    (problem,) = made.plan().problems
    with pytest.raises(NodeFailed, match=says) as caught:
        made.run()
    assert says in str(problem) and "--full-refresh" in problem.hint
    assert caught.value.message == problem.message.replace(problem.where, caught.value.where)


def test_plan_and_run_refuse_a_position_in_something_else(copying):
    made = copying({})
    made.specification = made.writing_to(made.database.url, {}, columns=["id"])
    (problem,) = made.plan().problems
    with pytest.raises(NodeFailed, match="is of something else"):
        made.run()
    assert "is of something else" in str(problem) and "--full-refresh" in problem.hint


def test_replaced_table_may_have_been_dropped(copying):
    made = copying({"mode": "replace"})
    made.database.execute("DROP TABLE t")
    assert made.plan().problems == []
    made.run()
    assert made.database.rows("SELECT id FROM t") == [(3,)]


def test_table_that_a_whole_read_fills_may_have_been_dropped(tmp_path, database):
    (tmp_path / "in.csv").write_text("id\n1\n")
    nodes: dict[str, dict[str, Any]] = {
        "in": {"connector": "csv", "read": "in.csv"},
        "out": {"connector": "sql", "database": "db", "write": "t", "input": "in"},
    }
    made = pipeline(tmp_path, database, **nodes)
    for _ in range(2):
        with StateFile(tmp_path / "state", pipeline="test") as file:
            report = run(made, state=file)
        assert database.rows("SELECT id FROM t") == [(1,)]
        assert [each.kind for each in report.nodes[1].changes] == ["create"]
        database.execute("DROP TABLE t")


@MODES
def test_empty_table_is_in_the_log_the_plan_and_the_report(copying, options, caplog):
    made = copying(options)
    made.database.execute("DELETE FROM t")
    (planned,) = made.plan().nodes[1].changes
    with caplog.at_level(logging.WARNING, "dataflare.pipeline"):
        report = made.run()
    (change,) = report.nodes[1].changes
    assert change == planned
    assert "the table is empty, and the run adds only new rows" in change.detail
    assert report.to_json()["nodes"][1]["changes"] == [{"kind": "other", "detail": change.detail}]
    assert any("the table is empty" in each.getMessage() for each in caplog.records)
    assert made.run().nodes[1].changes == []
    assert made.database.rows("SELECT id FROM t") == [(3,)]


@MODES
def test_column_that_somebody_renamed_comes_back_with_a_word(copying, options, caplog):
    made = copying(options)
    made.database.execute("ALTER TABLE t RENAME COLUMN x TO y")
    planned = made.plan().nodes[1].changes
    with caplog.at_level(logging.INFO, "dataflare.pipeline"):
        report = made.run()
    (change,) = report.nodes[1].changes
    assert planned == [change]
    assert change.kind == "add-column"
    assert change.detail.startswith("x ")
    assert change.detail.endswith("(the table has 'y', which the rows lack)")
    assert any("node 'out'" in each.getMessage() and change.detail in each.getMessage() for each in caplog.records)


def test_table_that_the_user_may_not_read_is_not_taken_for_an_empty_one(tmp_path, postgres):
    owner = Database("postgresql", postgres.url)
    owner.execute("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    made = Copying(tmp_path, owner, {})
    made.run()
    made.source.execute("INSERT INTO s VALUES (3, 30)")
    owner.execute(
        "DROP ROLE IF EXISTS adder",
        "CREATE ROLE adder LOGIN",
        "GRANT ALL ON SCHEMA public TO adder",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO adder",
        "REVOKE SELECT ON t FROM adder",
    )
    try:
        made.specification = made.writing_to(owner.url.replace("://tester", "://adder"), {})
        report = made.run()
        assert report.nodes[1].changes == []
    finally:
        owner.execute("DROP OWNED BY adder", "DROP ROLE adder")
    assert owner.rows("SELECT count(*) FROM t") == [(3,)]
