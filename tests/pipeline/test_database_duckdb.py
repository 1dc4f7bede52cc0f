"""DuckDB: its types, what it refuses rows for, and what a file or a query must not do."""

from __future__ import annotations

import datetime as dt
import json
import random
import subprocess
import sys
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from database_kit import Database, read, rows, write
from dataflare.data.roles import with_roles
from dataflare.pipeline.databases import confined
from dataflare.pipeline.databases.connection import Connection
from dataflare.pipeline.databases.duckdb import DuckDB
from dataflare.pipeline.run_errors import DatabaseError, NodeFailed
from dataflare.pipeline.state_file import StateFile

pytest.importorskip("adbc_driver_manager")


@pytest.fixture
def duck(tmp_path: Path) -> Database:
    return Database("duckdb", f"duckdb:{tmp_path / 'test.duckdb'}")


def fill(database: Database, *statements: str) -> None:
    """Work on the file as any other program would."""
    with closing(duckdb.connect(database.grant.place)) as connection:
        for each in statements:
            connection.execute(each)


def content(database: Database, query: str) -> list[tuple[Any, ...]]:
    with closing(duckdb.connect(database.grant.place, read_only=True)) as connection:
        return connection.execute(query).fetchall()


# Values


def test_types_of_duckdb_are_read_without_loss(tmp_path: Path, duck: Database) -> None:
    fill(
        duck,
        "CREATE TABLE t (a HUGEINT, b UUID, c TIMETZ, d INTERVAL, e INTEGER[], f STRUCT(a INTEGER, b VARCHAR), g BIT, "
        "h ENUM('x', 'y'), i JSON, j TIMESTAMP_NS, k UBIGINT, l TIMESTAMP_S, m MAP(VARCHAR, INTEGER), n BIGNUM)",
        "INSERT INTO t VALUES (99999999999999999999999999999999999999, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', "
        "'01:02:03+02', '1 month 2 days', [1, NULL], {a: 1, b: 'x'}, '101', 'y', '{\"a\": 1}', "
        "'2024-01-01 00:00:00.000000001', 18446744073709551615, '2024-01-01', MAP {'k': 1}, 12345678901234567890)",
    )
    table = read(tmp_path, duck)
    assert table.column("j").cast(pa.int64()).to_pylist() == [1_704_067_200_000_000_001]
    assert table.drop_columns(["j"]).to_pylist() == [
        {
            "a": Decimal(10**38 - 1),
            "b": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "c": "01:02:03+02",
            "d": "1 month 2 days",
            "e": [1, None],
            "f": {"a": 1, "b": "x"},
            "g": "101",
            "h": "y",
            "i": '{"a": 1}',
            "k": 2**64 - 1,
            "l": dt.datetime(2024, 1, 1),
            "m": "{k=1}",
            "n": "12345678901234567890",
        }
    ]
    before = content(duck, "SELECT * FROM t")
    write(tmp_path, duck, table)
    assert content(duck, "SELECT * FROM t") == before * 2


def test_lists_structures_and_nanoseconds_are_kept(tmp_path: Path, duck: Database) -> None:
    inner = pa.struct([("a", pa.int64()), ("a b", pa.list_(pa.string()))])
    table = pa.table(
        {
            "nested": pa.array([[{"a": 1, "a b": ["x", None]}], None, []], pa.list_(inner)),
            "at": pa.array([1, None, -1], pa.timestamp("ns")),
        }
    )
    for mode in ("append", "replace"):
        write(tmp_path, duck, table, mode=mode)
        found = read(tmp_path, duck)
        assert found.column("nested").to_pylist() == table.column("nested").to_pylist()
        assert found.column("at").equals(table.column("at"))


@pytest.mark.parametrize(
    "value",
    [
        "DATE 'infinity'",
        "TIMESTAMP '-infinity'",
        "TIMESTAMPTZ 'infinity'",
        "{a: DATE 'infinity'}",
        "[DATE '-infinity']",
    ],
)
def test_infinite_date_is_an_error(tmp_path: Path, duck: Database, value: str) -> None:
    fill(duck, f"CREATE TABLE t AS SELECT {value} AS x")
    with pytest.raises(NodeFailed, match=r"column 'x', .*infinity"):
        read(tmp_path, duck)


def test_date_that_would_become_infinite_is_an_error(tmp_path: Path, duck: Database) -> None:
    with pytest.raises(NodeFailed, match="stores as infinity"):
        write(tmp_path, duck, pa.table({"x": pa.array([2**31 - 1], pa.int32()).cast(pa.date32())}))


def test_number_that_no_decimal_holds_is_an_error(tmp_path: Path, duck: Database) -> None:
    fill(duck, "CREATE TABLE t AS SELECT 170141183460469231731687303715884105727::HUGEINT AS x")
    with pytest.raises(NodeFailed, match=r"DECIMAL\(38,0\)"):
        read(tmp_path, duck)


def test_columns_are_widened(tmp_path: Path, duck: Database) -> None:
    write(tmp_path, duck, pa.table({"n": pa.array([1], pa.int16())}))
    write(tmp_path, duck, pa.table({"n": pa.array([2**40], pa.int64())}))
    assert read(tmp_path, duck).to_pydict() == {"n": [1, 2**40]}


def test_collation_does_not_change_the_order(tmp_path: Path, duck: Database) -> None:
    fill(duck, "CREATE TABLE t (id VARCHAR COLLATE NOCASE)", "INSERT INTO t VALUES ('b'), ('A'), ('a'), ('B')")
    options = {"mode": "incremental", "cursor": "id"}
    with StateFile(tmp_path / "state", pipeline="test") as state:
        assert read(tmp_path, duck, state, **options)["id"].to_pylist() == ["A", "B", "a", "b"]
        fill(duck, "INSERT INTO t VALUES ('C')", "INSERT INTO t VALUES ('b')")
        assert read(tmp_path, duck, state, **options)["id"].to_pylist() == ["b"]


@pytest.mark.parametrize(("declared", "value"), [("DOUBLE", "'NaN'"), ("FLOAT", "'inf'"), ("DATE", "'infinity'")])
def test_cursor_values_without_a_place_are_refused(tmp_path: Path, duck: Database, declared: str, value: str) -> None:
    fill(duck, f"CREATE TABLE t (id {declared})", f"INSERT INTO t VALUES ({value})")
    with pytest.raises(NodeFailed, match="cursor column 'id' that have no place in its order"):
        read(tmp_path, duck, mode="incremental", cursor="id")


@pytest.mark.parametrize("declared", ["UUID", "INTERVAL", "BLOB", "BOOLEAN", "INTEGER[]"])
def test_types_that_are_no_cursors_are_refused(tmp_path: Path, duck: Database, declared: str) -> None:
    fill(duck, f"CREATE TABLE t (id {declared})")
    with pytest.raises(NodeFailed, match="cannot be a cursor"):
        read(tmp_path, duck, mode="incremental", cursor="id")


# Rows that the table refuses

PARENT = "CREATE TABLE p (id BIGINT PRIMARY KEY)"
REFUSED = [
    ("id BIGINT, x BIGINT NOT NULL", [None]),
    ("id BIGINT, x BIGINT, y INTEGER NOT NULL", [1, 2, 3, 4]),
    ("id BIGINT, x BIGINT CHECK (x < 3)", [3, 4]),
    ("id BIGINT, x BIGINT, y INTEGER DEFAULT 2, CHECK (x * y < 6)", [3, 4]),
    ("id BIGINT, x BIGINT CHECK (12 // (x - 2) > 0 AND x <> 1)", [1, 2]),
    ("id BIGINT, x BIGINT CHECK (CAST(repeat('9', x * 10) AS INTEGER) < 0)", [1, 2, 3, 4]),
    ("id BIGINT, x BIGINT CHECK (t.x <> 2)", [2]),
    ("id BIGINT, x BIGINT REFERENCES p (id)", [2, 4]),
]


@pytest.mark.parametrize("mode", ["append", "merge"])
@pytest.mark.parametrize(("columns", "refused"), REFUSED)
def test_rows_that_a_constraint_refuses_are_rejected(
    tmp_path: Path, duck: Database, columns: str, refused: list[int | None], mode: str
) -> None:
    fill(duck, PARENT, "INSERT INTO p VALUES (1), (3)", f"CREATE TABLE t ({columns})")
    table = rows(1, 2, 3, 4, 5, x=pa.array([1, 2, 3, 4, None], pa.int64()))
    options = {"mode": mode} | ({"key": ["id"]} if mode == "merge" else {})
    for _ in range(2):
        report = write(tmp_path, duck, table, on_error="skip", **options)
    passes_null = refused != [None] and "NOT NULL" not in columns
    kept = [x for x in (1, 2, 3, 4, None) if x not in refused and (x is not None or passes_null)]
    expected = sorted(kept * (2 if mode == "append" else 1), key=str)
    assert sorted((x for (x,) in content(duck, "SELECT x FROM t")), key=str) == expected
    assert report.nodes[1].failed == 5 - len(kept)


@pytest.mark.parametrize("unique", ["UNIQUE (x)", "UNIQUE INDEX x", "UNIQUE INDEX x + 0, y"])
def test_rows_with_a_value_that_is_taken_are_rejected(tmp_path: Path, duck: Database, unique: str) -> None:
    is_index = "INDEX" in unique
    index = f"CREATE UNIQUE INDEX i ON t (({unique[13:].replace(', ', '), (')}))" if is_index else "SELECT 1"
    fill(duck, f"CREATE TABLE t (id BIGINT, x BIGINT, y BIGINT DEFAULT 7{'' if is_index else f', {unique}'})", index)
    table = rows(1, 2, 3, 4, 5, x=pa.array([1, 2, 1, None, None], pa.int64()))
    for _ in range(2):
        write(tmp_path, duck, table, on_error="skip")
    found = content(duck, "SELECT id, x FROM t ORDER BY id, x")
    assert found == [(1, 1), (2, 2), (4, None), (4, None), (5, None), (5, None)]


def test_values_that_the_column_does_not_have_are_rejected(tmp_path: Path, duck: Database) -> None:
    fill(duck, "CREATE TABLE t (id BIGINT, x UUID)")
    table = rows(1, 2, 3, x=["no", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", None])
    write(tmp_path, duck, table, dead_letters="dead.jsonl")
    assert content(duck, "SELECT id FROM t ORDER BY id") == [(2,), (3,)]
    (letter,) = [json.loads(line) for line in (tmp_path / "dead.jsonl").read_text().splitlines()]
    assert "column 'x': a value is not a UUID" in json.dumps(letter)


def test_rows_to_which_others_refer_are_not_removed(tmp_path: Path, duck: Database) -> None:
    fill(duck, PARENT, "INSERT INTO p VALUES (1), (2)", "CREATE TABLE c (p BIGINT REFERENCES p (id))")
    fill(duck, "INSERT INTO c VALUES (1)")
    table = rows(1, 2, 3, op=pa.array([2, 2, 0], pa.int8()))
    table = table.cast(with_roles(table.schema, key=["id"], operation="op"))
    report = write(tmp_path, duck, table, mode="merge", write="p", on_error="skip")
    assert content(duck, "SELECT id FROM p ORDER BY id") == [(1,), (3,)]
    assert report.nodes[1].failed == 1


@pytest.mark.parametrize(
    ("columns", "index", "refused"),
    [("x BIGINT", "", 0), ("x BIGINT UNIQUE", "", 1), ("x BIGINT", "CREATE INDEX i ON p ((x + 1))", 1)],
)
def test_rows_to_which_others_refer_are_updated_where_duckdb_can(
    tmp_path: Path, duck: Database, columns: str, index: str, refused: int
) -> None:
    fill(duck, f"CREATE TABLE p (id BIGINT PRIMARY KEY, {columns})", index or "SELECT 1")
    fill(duck, "INSERT INTO p VALUES (1, 1), (2, 2)", "CREATE TABLE c (p BIGINT REFERENCES p (id))")
    fill(duck, "INSERT INTO c VALUES (1)")
    report = write(tmp_path, duck, rows(1, 2, x=[3, 4]), mode="merge", key=["id"], write="p", on_error="skip")
    assert content(duck, "SELECT x FROM p ORDER BY id") == [(1 if refused else 3,), (4,)]
    assert report.nodes[1].failed == refused


@pytest.mark.parametrize("mode", ["append", "merge"])
def test_what_is_refused_is_what_sqlite_refuses(tmp_path: Path, duck: Database, mode: str) -> None:
    """The same rows in several batches, into the same table: what is there in the end is the same."""
    lite = Database("sqlite", f"sqlite:{tmp_path / 'test.db'}")
    made = (
        "CREATE TABLE t (id BIGINT PRIMARY KEY, u BIGINT UNIQUE, v BIGINT NOT NULL DEFAULT 3, w BIGINT, "
        "CHECK (u <> v), CHECK (w < 8))"
    )
    for each in (lite, duck):
        each.execute(made)
    chosen = random.Random(mode)
    options = {"mode": mode} | ({"key": ["id"]} if mode == "merge" else {})
    used = 0
    for count in (1, 40, 200):
        numbers = [chosen.randrange(120) for _ in range(count)]
        # A value that a row gives up, and another takes, depends on which is written first: a new one is not taken.
        uniques = [chosen.choice((None, n // 2, used + at + 1000)) for at, n in enumerate(numbers)]
        used += count
        others = [chosen.choice((None, *range(10))) for _ in numbers]
        table = rows(*numbers, u=pa.array(uniques, pa.int64()), w=pa.array(others, pa.int64()))
        if chosen.random() < 0.5:
            table = table.append_column("v", pa.array([chosen.choice((None, *range(5))) for _ in numbers], pa.int64()))
        reports = [write(tmp_path, each, table, on_error="skip", **options) for each in (lite, duck)]
        assert reports[0].nodes[1].failed == reports[1].nodes[1].failed
        query = "SELECT id, u, v, w FROM t ORDER BY id"
        assert lite.rows(query) == duck.rows(query)


def test_refusal_that_nobody_foresees_undoes_the_whole_transaction(
    tmp_path: Path, duck: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DuckDB, "refusals", lambda *_: "")
    fill(duck, "CREATE TABLE t (id BIGINT CHECK (id < 2))")
    with pytest.raises(NodeFailed, match="the table 't' undoes the whole transaction") as caught:
        write(tmp_path, duck, rows(1, 2), on_error="skip")
    assert "leave out such rows" in caught.value.hint
    assert content(duck, "SELECT id FROM t") == []


def test_column_that_the_table_computes_is_an_error_at_the_beginning(tmp_path: Path, duck: Database) -> None:
    fill(duck, "CREATE TABLE t (id BIGINT, x BIGINT GENERATED ALWAYS AS (id + 1))")
    with pytest.raises(NodeFailed, match="generated column"):
        write(tmp_path, duck, rows(1, x=[2]))
    write(tmp_path, duck, rows(1))
    assert content(duck, "SELECT id, x FROM t") == [(1, 2)]


def test_table_to_which_others_refer_is_not_replaced(tmp_path: Path, duck: Database) -> None:
    fill(duck, PARENT, "CREATE TABLE c (p BIGINT REFERENCES p (id))")
    with pytest.raises(NodeFailed, match="cannot be replaced: a key of the table 'c' refers to it"):
        write(tmp_path, duck, rows(1), mode="replace", write="p")


# The file


@pytest.mark.parametrize("name", ["temp.db", "main.db", "system.db", "with 'quotes\" é.db"])
def test_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    database = Database("duckdb", f"duckdb:{tmp_path / name}")
    for _ in range(2):
        write(tmp_path, database, rows(1), mode="merge", key=["id"])
    assert read(tmp_path, database).to_pydict() == {"id": [1]}


def test_schema_is_named(tmp_path: Path, duck: Database) -> None:
    fill(duck, "CREATE SCHEMA sales")
    for mode in ("append", "merge", "replace", "append"):
        options = {"mode": mode} | ({"key": ["id"]} if mode == "merge" else {})
        write(tmp_path, duck, rows(1), write={"table": "t", "within": "sales"}, **options)
    assert content(duck, "SELECT id FROM sales.t") == [(1,), (1,)]
    assert read(tmp_path, duck, read={"table": "T", "within": "sales"}).num_rows == 2


def test_finished_run_leaves_all_in_the_file(tmp_path: Path, duck: Database) -> None:
    write(tmp_path, duck, rows(*range(1000)))
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("test.")) == ["test.duckdb"]


def test_file_that_another_process_writes_is_an_error_with_a_hint(
    tmp_path: Path, duck: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataflare.pipeline.retries.Retries.wait", lambda *_: None)
    fill(duck, "CREATE TABLE t (id BIGINT)")
    holding = f"import duckdb; c = duckdb.connect({duck.grant.place!r}); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", holding], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(NodeFailed, match="Could not set lock on file") as caught:
            write(tmp_path, duck, rows(1))
        other.communicate(b"\n")
    assert "one process at a time writes a DuckDB file" in caught.value.hint
    write(tmp_path, duck, rows(1))


def test_nothing_but_the_file_is_read(tmp_path: Path, duck: Database) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\nsecret\n")
    # The names of files in a view are those of tables until it is read.
    hidden = ("CREATE MACRO hidden(name) AS TABLE SELECT * FROM read_text(name)", f"SELECT * FROM hidden('{secret}')")
    fill(duck, hidden[0], f"CREATE VIEW v AS {hidden[1]}")
    for read_from in (
        "v",
        {"query": f"SELECT * FROM '{secret}'"},
        {"query": "SELECT * FROM read_csv('https://localhost:1/x.csv')"},
        {"query": f"SELECT * FROM glob('{tmp_path}/*')"},
        {"query": f"SELECT * FROM sqlite_scan('{secret}', 't')"},
    ):
        with pytest.raises(NodeFailed, match=r"disabled by configuration|does not exist|not in the catalog") as caught:
            read(tmp_path, duck, read=read_from)
        assert "secret\n" not in str(caught.value)


def test_nothing_else_is_opened_or_changed(tmp_path: Path, duck: Database) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    fill(duck, "CREATE TABLE t (id BIGINT)")
    with closing(Connection("db", duck.grant, None)) as connection:
        for statement in (
            "SET enable_external_access = true",
            "SET lock_configuration = false",
            "RESET memory_limit",
            f"ATTACH '{folder}/other.db'",
            f"COPY (SELECT 1) TO '{folder}/other.csv'",
            "INSTALL httpfs",
            f"LOAD '{folder}/x.duckdb_extension'",
            f"EXPORT DATABASE '{folder}/other'",
            "CREATE PERSISTENT SECRET s (TYPE http)",
        ):
            with pytest.raises(DatabaseError, match=r"disabled|locked|Permission Error|persistent secrets"):
                connection.execute(statement)
            connection.rollback()
    assert not list(folder.iterdir())


def test_file_that_is_read_cannot_be_written(tmp_path: Path, duck: Database) -> None:
    fill(duck, "CREATE TABLE t (id BIGINT)", "CREATE SEQUENCE s")
    before = Path(duck.grant.place).read_bytes()
    with pytest.raises(NodeFailed, match="read-only"):
        read(tmp_path, duck, read={"query": "SELECT nextval('s') AS n"})
    assert Path(duck.grant.place).read_bytes() == before


def test_large_sort_goes_to_a_folder_that_is_gone_at_the_end(
    tmp_path: Path, duck: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    spilled: list[str] = []
    options = confined._duckdb_options

    def note(grant: Any, folder: str) -> dict[str, str]:
        spilled.append(folder)
        return options(grant, folder) | {"memory_limit": "32MB"}

    monkeypatch.setattr(confined, "_duckdb_options", note)
    fill(duck, "CREATE TABLE t AS SELECT hash(range) // 2 AS id, repeat('x', 100) AS v FROM range(400_000)")
    found = read(tmp_path, duck, mode="incremental", cursor="id")["id"]
    assert found.to_pylist() == sorted(found.to_pylist())
    assert len(found) == 400_000
    assert spilled and not any(Path(each).exists() for each in spilled)


def test_values_that_take_too_much_memory_are_an_error(tmp_path: Path, duck: Database) -> None:
    fill(duck, "CREATE VIEW t AS SELECT repeat('x', 30_000_000) || range AS v FROM range(2_000)")
    with pytest.raises(NodeFailed, match="MiB of memory"):
        read(tmp_path, duck)


def test_file_of_another_kind_is_an_error(tmp_path: Path, duck: Database) -> None:
    for made in (b"", b"DUCK" * 1000, b"SQLite format 3\0" + bytes(4096)):
        Path(duck.grant.place).write_bytes(made)
        with pytest.raises(NodeFailed):
            read(tmp_path, duck)
