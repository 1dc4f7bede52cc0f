"""Attacks by what a database has in it, and by interrupts while one is read or written."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import adbc_driver_sqlite.dbapi
import duckdb
import pyarrow as pa

from arena import Arena, Mutation, answers, attack
from dataflare.permissions.database_keys import DatabaseGrant
from dataflare.pipeline.databases import confined
from dataflare.pipeline.databases.connection import Connection
from dataflare.pipeline.databases.nodes import SqlRead
from dataflare.pipeline.databases.open import open_database
from dataflare.pipeline.databases.source import SqlSource
from dataflare.pipeline.run_errors import DatabaseError, NodeFailed
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import Specification, build_specification
from dataflare.pipeline.state_file import StateFile

COUNTING = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 40000000)"


def _fill(arena: Arena, script: str) -> Path:
    place = arena.folder / "a.db"
    with closing(sqlite3.connect(place)) as connection:
        connection.executescript(script)
    return place


def _source(arena: Arena, script: str) -> SqlSource:
    node = SqlRead.model_validate({"connector": "sql", "database": "db", "read": "t"})
    grant = DatabaseGrant(kind="sqlite", place=str(_fill(arena, script)))
    made = open_database(node, grant, lambda _: None)
    assert isinstance(made, SqlSource)
    arena.at_close(made.close)
    return made.start()


@attack("limits")
def view_of_gigabytes(arena: Arena) -> None:
    """Have a view of a database give values, or rows, that take gigabytes and have no bytes in the file."""
    before, confined._MOST_BYTES = confined._MOST_BYTES, 2**28  # type: ignore[misc]
    arena.at_close(lambda: setattr(confined, "_MOST_BYTES", before))
    for view in (
        "SELECT zeroblob(90000000) AS a, zeroblob(90000000) AS b",
        f"{COUNTING} SELECT zeroblob(3000000) FROM c LIMIT 200",
    ):
        source = _source(arena, f"DROP VIEW IF EXISTS t; CREATE VIEW t AS {view}")
        source.open()
        arena.raises(DatabaseError, source.read, says="MiB of memory")


@attack("files")
def view_that_reads_other_files(arena: Arena) -> None:
    """Have a view of a DuckDB file read any file of the machine, or a query give itself the right to do so."""
    place, secret = arena.folder / "a.duckdb", arena.folder / "secret"
    secret.write_text("hunter2")
    with closing(duckdb.connect(place)) as connection:
        connection.execute("CREATE MACRO m(name) AS TABLE SELECT content FROM read_text(name)")
        connection.execute(f"CREATE VIEW t AS SELECT * FROM m('{secret}')")
    made = Connection("db", DatabaseGrant(kind="duckdb", place=str(place), access="write"), None)
    arena.at_close(made.close)
    for statement in ("SET enable_external_access = true", "SELECT 1"):
        with suppress(DatabaseError):
            made.execute(statement)
        made.rollback()
        arena.raises(DatabaseError, lambda: made.rows("SELECT content FROM t"), says="disabled by configuration")


@attack("limits")
def query_that_never_ends(arena: Arena) -> None:
    """Have a view compute forever, so that neither Ctrl-C nor the end of the run ends it."""
    source = _source(arena, f"CREATE VIEW t AS {COUNTING} SELECT x FROM c WHERE x < 0")
    source.open()
    ended: list[BaseException] = []

    def read() -> None:
        try:
            source.read()
        except DatabaseError as error:
            ended.append(error)

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    time.sleep(0.2)
    source.interrupt()
    reading.join(1.5)
    assert ended, "it goes on"


@attack("secrets")
def password_in_an_error_of_a_database(arena: Arena) -> None:
    """Have a server or the driver repeat the password, as it is or as it is in a URL, in an error."""
    grant = DatabaseGrant(kind="sqlite", place=str(_fill(arena, "CREATE TABLE t (n)")), access="write")
    connection = Connection("db", grant, "hunter2 p@ss/w")
    arena.at_close(connection.close)
    kinds: tuple[Callable[[str], Exception], ...] = (
        *(confined.ConfinedError, OSError),
        *(pa.ArrowInvalid, pa.ArrowKeyError),
    )
    for kind in kinds:
        for written in ("hunter2 p@ss/w", "hunter2%20p%40ss%2Fw", "hunter2%20p%40ss/w", "hunter2+p%40ss%2Fw"):

            def fail(kind: Callable[[str], Exception] = kind, written: str = written) -> None:
                with connection.translated("connect"):
                    raise kind(f"no connection to postgresql://etl:{written}@db/shop")

            error = arena.raises(DatabaseError, fail)
            assert "***" in str(error) and "hunter2" not in str(error), error
            assert error.__cause__ is None and error.__suppress_context__


def _copying(arena: Arena, **nodes: Any) -> Specification:
    databases = {"db": {"url": "sqlite:a.db", "access": "write"}}
    return build_specification({"name": "p", "databases": databases, "nodes": nodes}, folder=arena.folder)


def _incremental(arena: Arena) -> Specification:
    reading = {"connector": "sql", "database": "db", "read": "t", "mode": "incremental", "cursor": "n"}
    writing = {"connector": "jsonl", "write": "out.jsonl", "input": "read", "if_exists": "append"}
    return _copying(arena, read=reading, write=writing)


def _written(arena: Arena) -> list[Any]:
    return [json.loads(line)["n"] for line in (arena.folder / "out.jsonl").read_text().splitlines()]


@attack("outputs")
def rows_that_a_collation_hides(arena: Arena) -> None:
    """Use a text cursor that ignores case, so that a new row sorts before the last one read."""
    place = _fill(arena, "CREATE TABLE t (n TEXT COLLATE NOCASE); INSERT INTO t VALUES ('B')")
    with StateFile(arena.folder / "state", pipeline="p") as state:
        run(_incremental(arena), state=state)
        with closing(sqlite3.connect(place, isolation_level=None)) as connection:
            connection.execute("INSERT INTO t VALUES ('a')")
        run(_incremental(arena), state=state)
    assert _written(arena) == ["B", "a"]


@attack("outputs")
def values_without_a_place_in_an_order(arena: Arena) -> None:
    """Put a text, bytes or infinity among the numbers of a cursor column, so that later rows count as already read."""
    for value in ("9e999", "-9e999", "x'00'", "'text'"):
        _fill(arena, f"DROP TABLE IF EXISTS t; CREATE TABLE t (n REAL); INSERT INTO t VALUES (1.5), ({value})")
        error = arena.raises(NodeFailed, lambda: run(_incremental(arena)))
        assert "no place in its order" in str(error) or "values that" in str(error), error
    assert not (arena.folder / "out.jsonl").exists()


class Unconfined:
    """SQLite in the process of the host."""

    in_force = ("landlock-files", "seccomp")

    def __init__(self, grant: DatabaseGrant, password: str | None = None, started: Any = None) -> None:
        self._connection = adbc_driver_sqlite.dbapi.connect(grant.uri(None))
        self._cursor = self._connection.cursor()
        self.adbc_ingest = self._cursor.adbc_ingest
        self.fetch_record_batch, self.fetchall = self._cursor.fetch_record_batch, self._cursor.fetchall
        self.commit, self.rollback = self._connection.commit, self._connection.rollback

    def execute(self, statement: str, batch_rows: int = 1024) -> None:
        self._cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": batch_rows})
        self._cursor.execute(statement)

    def adbc_cancel(self) -> None:
        """SQLite's driver cannot."""

    def close(self) -> None:
        """What is under way keeps it open."""


_OPTIONS = confined._duckdb_options


def _with_files(grant: DatabaseGrant, spilled: str) -> dict[str, str]:
    return _OPTIONS(grant, spilled) | {"enable_external_access": "true"}


MUTATIONS = [
    Mutation("dataflare.pipeline.databases.confined:_duckdb_options", _with_files, ("view_that_reads_other_files",)),
    Mutation(
        "dataflare.pipeline.databases.connection:ConfinedDatabase",
        Unconfined,
        ("view_of_gigabytes", "query_that_never_ends"),
    ),
    Mutation(
        "dataflare.pipeline.databases.connection:quote_plus", lambda text: text, ("password_in_an_error_of_a_database",)
    ),
    Mutation(
        "dataflare.pipeline.databases.sqlite:SQLite.ordered",
        lambda _, name, column: f'asked."{name}"',
        ("rows_that_a_collation_hides",),
    ),
    Mutation("dataflare.pipeline.databases.sqlite:SQLite.unfit", answers(""), ("values_without_a_place_in_an_order",)),
]
