"""Runs that are killed anywhere and repeated: what they wrote is what one run would have written.

`make chaos` tries every point that a run comes by, the first and the second time, and 30 random times, also while a run
is repeated; `make test` tries a part. A server is stopped and started after each kill.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from database_kit import Database
from dataflare.pipeline.pipeline_state import PipelineState
from dataflare.pipeline.state_database import StateDatabase
from dataflare.pipeline.state_file import StateFile
from killed_kit import Runner
from postgres_kit import Server

pytest.importorskip("adbc_driver_sqlite")

ALL = "DATAFLARE_CHAOS" in os.environ
ROWS = 2_000
RANDOM = 30 if ALL else 2
MOST_TRIES = 20 * RANDOM
pytestmark = pytest.mark.timeout(6 * 3600 if ALL else 900)  # all points are hundreds of runs
SOURCE = """
  in: {connector: sql, database: events, read: events, mode: incremental, cursor: at}
"""
TABLES = """name: chaos
checkpoint: {rows: 300, every: 1h}
databases:
  events: {url: "sqlite:events.db"}
  log: {url: "%s", access: write}
  latest: {url: "sqlite:latest.db", access: write}
nodes: %s
  log: {connector: sql, database: log, write: log, input: in}
  latest: {connector: sql, database: latest, write: latest, input: in, mode: merge, key: [id]}
"""
FILES = """name: chaos
databases:
  events: {url: "sqlite:events.db"}
nodes: %s
  lines: {connector: jsonl, write: out/lines.jsonl, input: in, if_exists: append}
  text: {connector: csv, write: out/text.csv, input: in, if_exists: append}
  whole: {connector: csv, write: out/whole.csv, input: in}
"""


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    made = Runner()
    yield made
    made.close()


class Tables:
    """A pipeline from a table to a log, which keeps each row once, and a table of the latest by key."""

    def __init__(self, folder: Path, log: Database, server: Server | None = None, *, state_there: bool = False) -> None:
        self.folder, self._log, self._server = folder, log, server
        if state_there:
            (folder / "state.url").write_text(log.url)
        (folder / "pipeline.yaml").write_text(TABLES % (log.url, SOURCE))

    def reset(self) -> None:
        for path in self.folder.iterdir():
            if path.name.startswith(("state", "latest.db", "log.db")) and path.name != "state.url":
                path.unlink()
        if self._log.kind == "postgresql":
            again = (
                "DROP SCHEMA IF EXISTS dataflare_chaos CASCADE",
                "DROP SCHEMA public CASCADE",
                "CREATE SCHEMA public",
            )
            self._log.execute(*again)

    def crash(self) -> None:
        """Let the server crash and come again, if there is one."""
        if self._server is not None:
            self._server.stop()
            self._server.start()

    def content(self) -> Any:
        latest = Database("sqlite", f"sqlite:{self.folder / 'latest.db'}")
        return self._log.rows('SELECT id, "at", x FROM log ORDER BY n'), latest.rows(
            "SELECT id, x FROM latest ORDER BY id"
        )


class Files:
    """A pipeline from a table to files that are added to, and one that is replaced."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "pipeline.yaml").write_text(FILES % SOURCE)

    def reset(self) -> None:
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        for path in self.folder.glob("state*"):
            path.unlink()

    def crash(self) -> None:
        """Do nothing: there is no server."""

    def content(self) -> Any:
        return {path.name: path.read_bytes() for path in sorted((self.folder / "out").iterdir())}


def make_events(folder: Path) -> None:
    """Rows with ties of the cursor, and ids that come again."""
    with sqlite3.connect(folder / "events.db") as connection:
        connection.execute("CREATE TABLE events (n INTEGER, id INTEGER, at INTEGER, x TEXT)")
        rows = [(n, n % 700, n // 9, f"x{n}" * 20) for n in range(ROWS)]
        connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", rows)
    connection.close()


def add_events(folder: Path) -> None:
    with sqlite3.connect(folder / "events.db") as connection:
        connection.execute("INSERT INTO events SELECT n + 10000, id, at, x FROM events WHERE at > 200 AND n < 10000")
    connection.close()


@pytest.fixture(params=["sqlite", "duckdb", "postgresql", "postgresql with the state", "files"])
def pipeline(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    make_events(tmp_path)
    if request.param == "files":
        return Files(tmp_path)
    if not request.param.startswith("postgresql"):
        return Tables(tmp_path, Database(request.param, f"{request.param}:{tmp_path / 'log.db'}"))
    server: Server = request.getfixturevalue("postgres")
    return Tables(tmp_path, Database("postgresql", server.url), server, state_there=request.param != "postgresql")


def is_whole(pipeline: Any) -> bool:
    """Whether a killed run had saved its end: the next one would be a new run, with a new file in place of the old."""
    url = pipeline.folder / "state.url"
    made: PipelineState = (
        StateDatabase(url.read_text(), pipeline="chaos")
        if url.exists()
        else StateFile(url.with_name("state"), pipeline="chaos")
    )
    with made as state:
        return any(each.checkpoint.last for each in state.nodes())


def test_runs_that_are_killed_at_named_points_write_what_one_run_does(pipeline, runner):
    pipeline.reset()
    passed = runner.passed(pipeline.folder)
    expected = pipeline.content()
    assert len(passed) >= 12, passed
    for point in list(passed) if ALL else list(passed)[2::6]:
        for at in range(1, min(passed[point], 2 if ALL else 1) + 1):
            pipeline.reset()
            assert runner.killed_at(pipeline.folder, point, at), (point, at)
            pipeline.crash()
            if not is_whole(pipeline):
                assert runner.killed_at(pipeline.folder, point, 1), f"{point} of the run that repeats the first"
                pipeline.crash()
            if not is_whole(pipeline):
                runner.run(pipeline.folder)
            assert pipeline.content() == expected, (point, at)


def test_runs_that_are_killed_at_any_time_write_what_one_run_does(pipeline, runner):
    pipeline.reset()
    seconds = runner.run(pipeline.folder)
    expected = pipeline.content()
    chosen = random.Random(f"{RANDOM} times")
    died = tries = 0
    while died < RANDOM:
        pipeline.reset()
        for _ in range(chosen.choice((1, 2, 3))):
            tries += 1
            assert tries < MOST_TRIES, f"of {tries} runs, {died} were killed"
            if not runner.killed_after(pipeline.folder, chosen.uniform(0, seconds)):
                break
            died += 1
            pipeline.crash()
            if is_whole(pipeline):
                break
        else:
            runner.run(pipeline.folder)
        assert pipeline.content() == expected, died


def test_rows_that_come_between_a_kill_and_its_repetition_are_written_once(pipeline, runner):
    point = "before-checkpoint"
    pipeline.reset()
    runner.killed_at(pipeline.folder, point, 2 if isinstance(pipeline, Tables) else 1)
    add_events(pipeline.folder)
    runner.run(pipeline.folder)
    if isinstance(pipeline, Files):
        numbers = [json.loads(line)["n"] for line in (pipeline.folder / "out/lines.jsonl").read_text().splitlines()]
    else:
        numbers = [row[0] for row in pipeline._log.rows("SELECT n FROM log")]
    with sqlite3.connect(pipeline.folder / "events.db") as connection:
        (count,) = connection.execute("SELECT count(*) FROM events").fetchone()
    connection.close()
    assert (len(numbers), len(set(numbers))) == (count, count)
