"""A PostgreSQL server whose disk is full: the run ends with an error that says so, and the next one loses nothing."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from database_kit import Database
from dataflare.pipeline.pipeline_state import PipelineState
from dataflare.pipeline.run_errors import NodeFailed, StateError
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import build_specification
from dataflare.pipeline.state_database import StateDatabase
from dataflare.pipeline.state_file import StateFile
from postgres_kit import Server

pytest.importorskip("adbc_driver_sqlite")

ROOM = 20 * 2**20
"""More than a segment of the server's log, which has to fit."""
ROWS = 30_000


class SmallFileSystem:
    """A file system in memory, which has the tables that are made from here on."""

    def __init__(self, server: Server) -> None:
        self.place, self.database = server.folder / "small", Database("postgresql", server.url)

    def fill(self) -> None:
        if os.geteuid():
            pytest.skip("only root can mount a small file system; a limit of the server's files is tried in any case")
        self.place.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", self.place], check=False)
        if mounted.returncode:
            pytest.skip("this machine mounts no file systems; a limit of the server's files is tried in any case")
        shutil.chown(self.place, "postgres")
        self.database.execute(f"CREATE TABLESPACE small LOCATION '{self.place}'")
        self.database.execute("ALTER ROLE tester SET default_tablespace = small")

    def make_room(self) -> None:
        subprocess.run(["mount", "-o", f"remount,size={20 * ROOM}", self.place], check=True)

    def end(self) -> None:
        if os.path.ismount(self.place):
            self.database.execute("ALTER ROLE tester RESET default_tablespace", "DROP TABLESPACE IF EXISTS small")
            subprocess.run(["umount", self.place], check=True)
        if self.place.exists():
            self.place.rmdir()


class SmallFiles:
    """A server whose files cannot grow beyond a size, as with a quota."""

    def __init__(self, server: Server) -> None:
        self.process = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])

    def fill(self) -> None:
        self._limit(ROOM)

    def make_room(self) -> None:
        self._limit("unlimited")

    def end(self) -> None:
        self._limit("unlimited")

    def _limit(self, most: int | str) -> None:
        # Sessions that begin from here on have it. Only its own user may change a process's limits.
        user: dict[str, Any] = {} if os.geteuid() else {"user": "postgres", "group": "postgres"}
        subprocess.run(["prlimit", f"--pid={self.process}", f"--fsize={most}:unlimited"], check=True, **user)


@pytest.fixture(params=[SmallFileSystem, SmallFiles])
def disk(request: pytest.FixtureRequest, postgres: Server) -> Iterator[Any]:
    database = Database("postgresql", postgres.url)
    again = ("DROP SCHEMA IF EXISTS dataflare_full CASCADE", "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    database.execute(*again)
    made = request.param(postgres)
    try:
        yield made
    finally:
        database.execute(*again)
        made.end()


@contextmanager
def state_of(folder: Path, server: Server, where: str) -> Iterator[PipelineState]:
    made = (
        StateDatabase(server.url, pipeline="full") if where == "there" else StateFile(folder / "state", pipeline="full")
    )
    with made as state:
        yield state


@pytest.mark.parametrize(("mode", "where"), [("append", "here"), ("append", "there"), ("merge", "there")])
def test_rows_before_the_last_checkpoint_stay_and_the_next_run_adds_the_rest(tmp_path, postgres, disk, mode, where):
    with sqlite3.connect(tmp_path / "in.db") as source:
        source.execute("CREATE TABLE t (n INTEGER, x TEXT)")
        source.executemany("INSERT INTO t VALUES (?, ?)", ((n, f"{n}" * 300) for n in range(10_000, 10_000 + ROWS)))
    source.close()
    output = {"connector": "sql", "database": "out", "write": "t", "input": "in", "mode": mode}
    nodes = {
        "in": {"connector": "sql", "database": "in", "read": "t", "mode": "incremental", "cursor": "n"},
        "out": output if mode == "append" else output | {"key": ["n"]},
    }
    databases = {
        "in": {"url": f"sqlite:{tmp_path / 'in.db'}"},
        "out": {"url": postgres.url, "access": "write"},
    }
    made = build_specification(
        {"name": "full", "checkpoint": {"rows": 2_000}, "databases": databases, "nodes": nodes}, folder=tmp_path
    )
    disk.fill()
    table = Database("postgresql", postgres.url)
    with state_of(tmp_path, postgres, where) as state, pytest.raises((NodeFailed, StateError)) as caught:
        run(made, state=state)
    assert "No space left on device" in str(caught.value) or "File too large" in str(caught.value)
    assert "the server's disk is full" in caught.value.hint
    assert "make room, and run again" in caught.value.hint
    kept = [n for (n,) in table.rows("SELECT n FROM t ORDER BY n")]
    assert kept == list(range(10_000, 10_000 + len(kept)))
    assert 0 < len(kept) < ROWS
    disk.make_room()
    with state_of(tmp_path, postgres, where) as state:
        report = run(made, state=state)
    assert report.nodes[0].rows_out <= ROWS - len(kept) + 2_000
    assert table.rows("SELECT count(*) AS rows, count(DISTINCT n) AS different FROM t") == [(ROWS, ROWS)]


def test_table_that_would_be_replaced_stays_as_it_was(tmp_path, postgres, disk):
    table = Database("postgresql", postgres.url)
    table.execute("CREATE TABLE t (n bigint, x text)", "INSERT INTO t VALUES (1, 'old')")
    text = "x" * 1_500  # longer ones are compressed
    (tmp_path / "in.csv").write_text("n,x\n" + "".join(f"{n},{n}{text}\n" for n in range(ROWS)))
    nodes = {
        "in": {"connector": "csv", "read": "in.csv"},
        "out": {"connector": "sql", "database": "out", "write": "t", "input": "in", "mode": "replace"},
    }
    databases = {"out": {"url": postgres.url, "access": "write"}}
    made = build_specification({"name": "full", "databases": databases, "nodes": nodes}, folder=tmp_path)
    disk.fill()
    with pytest.raises(NodeFailed) as caught:
        run(made)
    assert "the server's disk is full" in caught.value.hint
    assert table.rows("SELECT n, x FROM t") == [(1, "old")]
    assert table.rows("SELECT relname FROM pg_class WHERE relname LIKE '%stage%'") == []
    disk.make_room()
    run(made)
    assert table.rows("SELECT count(*) FROM t") == [(ROWS,)]
