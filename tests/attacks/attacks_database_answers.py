"""Attacks by what an SQLite file or a database server answers, and by what writing to it computes."""

from __future__ import annotations

import base64
import json
import re
import signal
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa

from arena import ROWS, Arena, Mutation, answers, attack
from attacks_arrow import one, stream, survives
from attacks_database_files import Unconfined
from attacks_parquet import MOST_GROWN_BYTES, memory_bytes
from dataflare.conformance.host_service import HostService
from dataflare.conformance.steps import NotConformant
from dataflare.conformance.steps_host import HostBench, batch
from dataflare.errors import ConfigError
from dataflare.permissions.database_keys import DatabaseGrant
from dataflare.pipeline.checkpoints import _parse
from dataflare.pipeline.databases import confined
from dataflare.pipeline.databases.confined import ConfinedDatabase, ConfinedError
from dataflare.pipeline.databases.connection import Connection
from dataflare.pipeline.databases.destination import SqlDestination
from dataflare.pipeline.databases.duckdb import DuckDB
from dataflare.pipeline.databases.nodes import SqlRead, SqlWrite
from dataflare.pipeline.databases.open import open_database
from dataflare.pipeline.databases.source import SqlSource
from dataflare.pipeline.run_errors import DatabaseError, StateError
from dataflare.pipeline.schema_contracts import schema_from_text
from dataflare.pipeline.specification import build_specification
from dataflare.runtime.datasets import Target


def _fill(arena: Arena, *statements: str) -> Path:
    place = arena.folder / "a.db"
    place.unlink(missing_ok=True)
    with closing(sqlite3.connect(place, isolation_level=None)) as connection:
        for each in statements:
            connection.execute(each)
    return place


def _source(arena: Arena, *statements: str, read: Any = "t") -> SqlSource:
    node = SqlRead.model_validate({"connector": "sql", "database": "db", "read": read})
    grant = DatabaseGrant(kind="sqlite", place=str(_fill(arena, *statements)))
    made = open_database(node, grant, lambda _: None)
    assert isinstance(made, SqlSource)
    arena.at_close(made.close)
    return made


def _destination(arena: Arena, *statements: str) -> SqlDestination:
    node = SqlWrite.model_validate({"connector": "sql", "database": "db", "write": "t", "input": "in"})
    grant = DatabaseGrant(kind="sqlite", place=str(_fill(arena, *statements)), access="write")
    made = open_database(node, grant, lambda _: None)
    assert isinstance(made, SqlDestination)
    arena.at_close(made.close)
    return made.start()


def _open(destination: SqlDestination) -> bytes | None:
    return destination.open(Target("t", ROWS.schema), pipeline="p", run="r", generation=2)


@attack("memory")
def decimals_beyond_the_tables_in_a_database(arena: Arena) -> None:
    """Declare in an SQLite file a decimal of more places than digits, with which Arrow reads past its tables."""

    def run() -> None:
        for declared in ("DECIMAL_TEXT(38,99)", "DECIMAL_TEXT(76,99)", "DECIMAL_TEXT(0,0)", "DECIMAL_TEXT(99,0)"):
            source = _source(arena, f'CREATE TABLE t (n "{declared}")', "INSERT INTO t VALUES ('1')")
            try:
                source.start().open()
                read: Any = source.read()
            except ValueError as error:
                raise AssertionError(f"{declared}: {error}") from error
            assert read.rows.schema.field("n").type == pa.string(), read.rows.schema
            assert read.rows.to_pydict() == {"n": ["1"]}

    survives(run)


@attack("files-in")
def names_in_a_database_that_are_no_text(arena: Arena) -> None:
    """Give a table, or the rows of a query, a column whose name or type is not UTF-8."""
    for text in (b"CREATE TABLE t (\xffn INT)", b"CREATE TABLE t (n INT\xff)"):
        for read in ("t", {"query": "SELECT * FROM t"}):
            if read == "t" or b"\xffn" in text:
                source = _source(arena, "CREATE TABLE t (n INT)", read=read)
                with closing(sqlite3.connect(arena.folder / "a.db", isolation_level=None)) as connection:
                    connection.execute("PRAGMA writable_schema = 1")
                    connection.execute("UPDATE sqlite_schema SET sql = CAST(? AS TEXT)", (text,))
                arena.raises_any(DatabaseError, source.start)
    # The driver of PostgreSQL decodes them itself.
    made = Connection("db", DatabaseGrant(kind="sqlite", place=str(arena.folder / "a.db")), None)
    arena.at_close(made.close)

    def decode() -> None:
        with made.translated("read names"):
            b"\xff".decode()

    arena.raises(DatabaseError, decode, says="is not UTF-8")


@attack("memory")
def stream_of_a_database_that_took_over(arena: Arena) -> None:
    """Take over the process that uses an SQLite file, by a fault of SQLite's, and answer with what Arrow trips over."""

    def run() -> None:
        connection = ConfinedDatabase(DatabaseGrant(kind="sqlite", place=str(_fill(arena)), access="write"))
        with mock.patch.object(connection, "_ask", answers(pa.py_buffer(_beyond_the_tables()))):
            arena.raises(ConfinedError, lambda: connection.execute("SELECT 1"), says="malformed")
            arena.raises(ConfinedError, lambda: connection.fetch_record_batch().read_next_batch(), says="malformed")
        connection.close()

    survives(run)


@attack("files-in")
def types_that_a_database_makes_up(arena: Arena) -> None:
    """Take over the process that uses a DuckDB file, and name types that nest without end or have endless numbers."""
    connection = mock.Mock(spec=Connection)
    wide = ", ".join(f"a{number} INTEGER" for number in range(20_000))
    for declared in (
        *("INTEGER" + "[]" * 5_000, "STRUCT(a " * 5_000 + "INTEGER" + ")" * 5_000, f"STRUCT({wide})"),
        *(f"DECIMAL({'9' * 5_000},0)", f"DECIMAL(1,{'9' * 5_000})", "STRUCT(a)", 'STRUCT("a" INTEGER, )'),
    ):
        connection.rows.return_value = [("n", declared)]
        try:
            (column,) = DuckDB().query(connection, "SELECT 1") or ()
        except (RecursionError, ValueError) as error:
            raise AssertionError(f"{declared[:40]}: {error}") from error
        assert column.type == pa.string(), declared[:40]


@attack("outputs")
def token_planted_in_a_database(arena: Arena) -> None:
    """Put a number or a text in place of a token, to allocate gigabytes of zeros or to raise a Python error."""
    tokens = "CREATE TABLE _dataflare_tokens (pipeline TEXT PRIMARY KEY, token, generation)"
    for token, generation in (
        *(("4", "1"), ("-1", "1"), ("9000000000000000000", "1"), ("'text'", "1"), ("1.5", "1")),
        *(("x'00'", "'x'"), ("x'00'", "NULL"), ("x'00'", "1.5"), ("x'00'", "x'00'")),
    ):
        row = f"""INSERT INTO _dataflare_tokens VALUES ('p "t"', {token}, {generation})"""
        destination = _destination(arena, "CREATE TABLE t (n INTEGER)", tokens, row)
        arena.raises(DatabaseError, lambda d=destination: _open(d), says="not one that it can have")
        destination.close()


@attack("outputs")
def table_of_the_program_as_an_output(arena: Arena) -> None:
    """Replace the table that holds the tokens of other pipelines, so that they write their rows twice."""
    for name in ("_dataflare_tokens", "_DATAFLARE_tokens", {"table": "_dataflare_tokens", "within": "main"}):
        nodes = {
            "in": {"connector": "csv", "read": "in.csv"},
            "out": {"connector": "sql", "database": "db", "write": name, "input": "in", "mode": "replace"},
        }
        pipeline = {"name": "p", "databases": {"db": {"url": "sqlite:a.db", "access": "write"}}, "nodes": nodes}
        arena.raises(ConfigError, lambda p=pipeline: build_specification(p, folder=arena.folder), says="the program's")


@attack("limits")
def trigger_of_gigabytes(arena: Arena) -> None:
    """Have a trigger of a table compute values of gigabytes for each row that is written."""
    before, confined._MOST_BYTES = confined._MOST_BYTES, 2**28  # type: ignore[misc]
    arena.at_close(lambda: setattr(confined, "_MOST_BYTES", before))
    computed = "INSERT INTO u SELECT length(hex(zeroblob(90000000)))"
    trigger = f"CREATE TRIGGER g AFTER INSERT ON t BEGIN {computed}; END"
    destination = _destination(arena, "CREATE TABLE t (n INTEGER)", "CREATE TABLE u (n)", trigger)
    _open(destination)

    def run() -> None:
        grown = memory_bytes("VmHWM")
        arena.raises(DatabaseError, lambda: destination.write(ROWS), says="MiB of memory")
        assert memory_bytes("VmHWM") - grown < MOST_GROWN_BYTES

    run()


@attack("files-in")
def texts_of_a_state_nested_without_end(arena: Arena) -> None:
    """Nest a token of a destination, or the known columns of a state, until Python's parser gives up."""
    deep = "[" * 100_000
    arena.raises(StateError, lambda: _parse(deep.encode()))
    arena.raises(StateError, lambda: schema_from_text(deep))


def _beyond_the_tables() -> bytes:
    array = pa.Array.from_buffers(pa.decimal128(38, -66), 1, [None, pa.py_buffer(b"\1" + bytes(15))])
    return stream(one(array))


class _Lying:
    """A host behind an adapter, which answers with a stream of its own making."""

    def ask(self, request: Any, *, within_s: float) -> dict[str, Any]:
        return {"ok": {"rows": base64.b64encode(_beyond_the_tables()).decode()}}

    def close(self) -> None:
        """Nothing is open."""


@attack("memory")
def batch_of_an_adapter_that_lies(arena: Arena) -> None:
    """Answer the suite's request for a batch with a stream that crashes Arrow, or send one to a host under test."""

    def run() -> None:
        bench = HostBench(_Lying(), arena.folder)
        bench.plugins["probe"] = 1
        arena.raises(NotConformant, lambda: batch(bench, {"rows": [{"n": 1}]}), says="what came back is not a batch")
        encoded = base64.b64encode(_beyond_the_tables()).decode()
        service = HostService()
        service.plugins[1] = mock.Mock()
        answer = service.answer({"do": "process-batch", "plugin": 1, "rows": encoded})
        assert answer["error"]["kind"] == "config", answer

    survives(run)


class _Interrupted(BaseException):
    """What the handler of a signal raises."""


class _Slow:
    """A cursor whose statements take long, and which must not be used by two threads at once."""

    def __init__(self) -> None:
        self.users = self.most_users = 0
        self._cancelled = threading.Event()

    def execute(self, _: str) -> None:
        self.users += 1
        self.most_users = max(self.users, self.most_users)
        self._cancelled.wait(2)
        self.users -= 1

    def rollback(self) -> None:
        self.execute("")

    def adbc_cancel(self) -> None:
        self._cancelled.set()

    def close(self) -> None:
        """Nothing is open."""


@attack("memory")
def statement_that_an_interrupt_leaves(arena: Arena) -> None:
    """Interrupt a statement that takes long, so that what undoes it uses the driver's connection at the same time."""

    def interrupt(*_: object) -> None:
        raise _Interrupted

    def run() -> None:
        grant = DatabaseGrant(kind="sqlite", place=str(_fill(arena)), access="write")
        connection = Connection("db", grant, None)
        connection._cursor.close()
        connection._cursor = cursor = _Slow()
        signal.signal(signal.SIGUSR1, interrupt)
        threading.Timer(0.2, signal.pthread_kill, [threading.get_ident(), signal.SIGUSR1]).start()
        try:
            connection.execute("SELECT sleep()")
        except _Interrupted:
            connection.rollback()
        assert cursor.most_users == 1, "two threads use one connection"

    survives(run)


_ROWS = Connection.rows


def _by_arrow(encoded: bytes, _: int) -> pa.RecordBatch:
    (found,) = pa.ipc.open_stream(encoded).read_all().combine_chunks().to_batches()
    return found


def _unchecked(precision: int, scale: int) -> pa.DataType:
    return (pa.decimal128 if precision <= 38 else pa.decimal256)(precision, scale)


DATABASES = "dataflare.pipeline.databases"
MUTATIONS = [
    Mutation(f"{DATABASES}.duckdb:MAX_DEPTH", 2**62, ("types_that_a_database_makes_up",)),
    Mutation(f"{DATABASES}.duckdb:MAX_COLUMNS", 2**62, ("types_that_a_database_makes_up",)),
    Mutation(
        f"{DATABASES}.duckdb:_DECIMAL",
        re.compile(r"DECIMAL\((\d+),(\d+)\)"),
        ("types_that_a_database_makes_up",),
    ),
    Mutation(f"{DATABASES}.sqlite:decimal_type", _unchecked, ("decimals_beyond_the_tables_in_a_database",)),
    Mutation(f"{DATABASES}.connection:STRANGE", (pa.ArrowException,), ("names_in_a_database_that_are_no_text",)),
    Mutation(
        f"{DATABASES}.connection:Connection.rows",
        lambda self, query, *_: _ROWS(self, query),
        ("token_planted_in_a_database",),
    ),
    Mutation(f"{DATABASES}.connection:Connection._settle", answers(None), ("statement_that_an_interrupt_leaves",)),
    Mutation(f"{DATABASES}.nodes:OWN_TABLES", "\0", ("table_of_the_program_as_an_output",)),
    Mutation(f"{DATABASES}.connection:ConfinedDatabase", Unconfined, ("trigger_of_gigabytes",)),
    Mutation(f"{DATABASES}.confined:decode_stream", _by_arrow, ("stream_of_a_database_that_took_over",)),
    Mutation("dataflare.pipeline.checkpoints:parse_json", json.loads, ("texts_of_a_state_nested_without_end",)),
    Mutation("dataflare.pipeline.schema_contracts:parse_json", json.loads, ("texts_of_a_state_nested_without_end",)),
    Mutation("dataflare.conformance.host_calls:decode_stream", _by_arrow, ("batch_of_an_adapter_that_lies",)),
]
