"""Runs with sources whose rows meet, killed and repeated: what they wrote is what one run would have written."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dataflare.pipeline.state_file import StateFile
from killed_kit import Runner

pytest.importorskip("adbc_driver_sqlite")
pytestmark = pytest.mark.timeout(900)

SOURCES = """
  one: {connector: sql, database: one, read: events, mode: incremental, cursor: at}
  two: {connector: sql, database: two, read: events, mode: incremental, cursor: at}
"""
TABLES = f"""name: chaos
checkpoint: {{rows: 200, every: 1h}}
databases:
  one: {{url: "sqlite:one.db"}}
  two: {{url: "sqlite:two.db"}}
  log: {{url: "sqlite:log.db", access: write}}
  latest: {{url: "sqlite:latest.db", access: write}}
  alone: {{url: "sqlite:alone.db", access: write}}
nodes: {SOURCES}
  log: {{connector: sql, database: log, write: log, input: [one, two]}}
  latest: {{connector: sql, database: latest, write: latest, input: [two, one], mode: merge, key: [id]}}
  alone: {{connector: sql, database: alone, write: alone, input: two}}
"""
FILES = f"""name: chaos
databases:
  one: {{url: "sqlite:one.db"}}
  two: {{url: "sqlite:two.db"}}
nodes: {SOURCES}
  lines: {{connector: jsonl, write: out/lines.jsonl, input: [one, two], if_exists: append}}
  whole: {{connector: csv, write: out/whole.csv, input: [two, one]}}
"""
ROWS = {"one": 900, "two": 400}


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    made = Runner()
    yield made
    made.close()


class Case:
    """A pipeline in a folder, from two tables of different sizes."""

    def __init__(self, folder: Path, text: str) -> None:
        self.folder = folder
        (folder / "pipeline.yaml").write_text(text)
        for start, (name, count) in enumerate(ROWS.items()):
            # The columns stand in another order in each, and ids of one table come again in it.
            columns = (
                "n INTEGER, id INTEGER, at INTEGER, x TEXT" if start else "x TEXT, at INTEGER, id INTEGER, n INTEGER"
            )
            with sqlite3.connect(folder / f"{name}.db") as connection:
                connection.execute(f"CREATE TABLE events ({columns})")
                rows = [(n, 10_000 * start + n % 300, n // 9, f"{name}{n}" * 20) for n in range(count)]
                connection.executemany("INSERT INTO events (n, id, at, x) VALUES (?, ?, ?, ?)", rows)
            connection.close()

    def reset(self) -> None:
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        for path in self.folder.iterdir():
            if path.name.startswith(("state", "log.db", "latest.db", "alone.db")):
                path.unlink()

    def content(self) -> Any:
        found: dict[str, list[Any]] = {}
        for name in ("log", "latest", "alone"):
            if (self.folder / f"{name}.db").exists():
                connection = sqlite3.connect(self.folder / f"{name}.db")
                found[name] = sorted(connection.execute(f'SELECT x, id, "at" FROM {name}').fetchall())
                connection.close()
        for path in (self.folder / "out").glob("*"):
            found[path.name] = sorted(path.read_text().splitlines())
        return found

    @property
    def is_whole(self) -> bool:
        """Whether a killed run had saved its end: the next one would be a new run."""
        with StateFile(self.folder / "state", pipeline="chaos") as state:
            return any(each.checkpoint.last for each in state.nodes())


@pytest.fixture(params=[TABLES, FILES], ids=["tables", "files"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return Case(tmp_path, request.param)


def test_killed_runs_write_what_one_run_does(case, runner):
    passed = runner.passed(case.folder)
    expected = case.content()
    count = sum(ROWS.values())
    assert [len(expected[name]) for name in ("log", "alone") if name in expected] in ([], [count, ROWS["two"]])
    chosen = random.Random("points")
    commits = [
        point for point in passed if point.partition("-")[2] in ("flush", "transaction", "prepare", "checkpoint")
    ]
    points = chosen.sample(commits, min(5, len(commits)))
    points += chosen.sample([point for point in passed if point not in commits], 2)
    died = 0
    for point in points:
        case.reset()
        # How many barriers there are depends on how far the sources are apart: there may be fewer than before.
        died += runner.killed_at(case.folder, point, chosen.randint(1, max(1, passed[point] // 2)))
        if not case.is_whole:
            runner.killed_at(case.folder, point, 1)
        if not case.is_whole:
            runner.run(case.folder)
        assert case.content() == expected, point
    assert died > len(points) // 2
