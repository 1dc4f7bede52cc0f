"""What the confined process of a database's file can still use: logs of SQLite, links, files of others."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from dataflare.permissions.database_keys import DatabaseGrant
from dataflare.pipeline.databases import connection
from dataflare.pipeline.databases.confined import ConfinedDatabase, Started
from dataflare.pipeline.databases.connection import Connection

pytest.importorskip("adbc_driver_sqlite")


def make(place: Path) -> Path:
    with closing(sqlite3.connect(place)) as made:
        made.executescript("PRAGMA journal_mode = WAL; CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1)")
    return place


def linked(folder: Path) -> Path:
    (folder / "elsewhere").mkdir()
    link = folder / "link.db"
    link.symlink_to(make(folder / "elsewhere" / "a.db"))
    return link


def of_another_user(folder: Path) -> Path:
    if os.geteuid() != 0:
        pytest.skip("only root can use a file of another user")
    own = folder / "own"
    own.mkdir()
    for each in (make(own / "a.db"), own):
        os.chown(each, 12345, 12345)
        each.chmod(0o700)
    return own / "a.db"


@pytest.mark.parametrize("find", [lambda folder: make(folder / "a.db"), linked, of_another_user])
def test_database_with_a_log_is_read_and_written(tmp_path: Path, find: Callable[[Path], Path]) -> None:
    place = find(tmp_path)
    for expected, access in ((1, "write"), (2, "read"), (2, "write")):
        grant = DatabaseGrant(kind="sqlite", place=str(place), access=access)  # type: ignore[arg-type]
        with closing(Connection("db", grant, None)) as used, closing(sqlite3.connect(place)) as other:
            assert used.one("SELECT count(*) FROM t", int) == expected
            assert other.execute("SELECT count(*) FROM t").fetchone() == (expected,)
            used.commit()
            if expected == 1:
                used.execute("INSERT INTO t VALUES (2)")
                used.commit()


def test_what_a_dead_process_left_is_taken_back_by_a_reader(tmp_path: Path) -> None:
    place = tmp_path / "a.db"
    child = os.fork()
    if child == 0:
        made = sqlite3.connect(place, isolation_level=None)
        made.executescript("CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(100000)); PRAGMA cache_size = 1; BEGIN")
        made.execute("UPDATE t SET x = zeroblob(200000)")
        os._exit(0)
    os.waitpid(child, 0)
    assert (tmp_path / "a.db-journal").exists()
    with closing(Connection("db", DatabaseGrant(kind="sqlite", place=str(place)), None)) as used:
        assert used.one("SELECT length(x) FROM t", int) == 100_000


def test_parts_that_the_kernel_does_not_have_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Weaker(ConfinedDatabase):
        def __init__(self, grant: DatabaseGrant, password: str | None, started: Started | None) -> None:
            super().__init__(grant, password, started)
            self.in_force = ("rlimits", "seccomp")

    monkeypatch.setattr(connection, "ConfinedDatabase", Weaker)
    grant = DatabaseGrant(kind="sqlite", place=str(make(tmp_path / "a.db")))
    with caplog.at_level(logging.WARNING), closing(Connection("db", grant, None)):
        assert "database 'db': this machine's kernel has no landlock-files" in caplog.text
