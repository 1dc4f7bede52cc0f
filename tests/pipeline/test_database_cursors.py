"""Cursors of tables: their order, the values that they must not have, and what a state remembers."""

from __future__ import annotations

import sqlite3

import pytest

from database_kit import Database, read
from dataflare.errors import ConfigError
from dataflare.permissions.database_keys import DatabaseModel
from dataflare.pipeline.databases import source
from dataflare.pipeline.databases.connection import Connection
from dataflare.pipeline.databases.statements import check_one_statement
from dataflare.pipeline.run_errors import DatabaseError, NodeFailed
from dataflare.pipeline.state_file import StateFile

pytest.importorskip("adbc_driver_sqlite")

BY_ID = {"mode": "incremental", "cursor": "id"}


@pytest.fixture
def lite(tmp_path):
    return Database("sqlite", f"sqlite:{tmp_path / 's.db'}")


def fill(database, declared, *values):
    database.execute(
        "DROP TABLE IF EXISTS t",
        f"CREATE TABLE t (id {declared}, v TEXT)",
        *(f"INSERT INTO t VALUES ({value}, 'x')" for value in values),
    )


@pytest.mark.parametrize("declared", ["numeric", "numeric(10,2)", "bigint"])
def test_numbers_of_postgresql_are_in_their_order(tmp_path, postgres, declared):
    database = Database("postgresql", postgres.url)
    fill(database, declared, 100, 9, 10)
    with StateFile(tmp_path / "state", pipeline="test") as state:
        assert [int(float(each)) for each in read(tmp_path, database, state, **BY_ID)["id"].to_pylist()] == [9, 10, 100]
        assert read(tmp_path, database, state, **BY_ID).num_rows == 0
        database.execute("INSERT INTO t VALUES (101, 'new'), (100, 'tie')")
        assert sorted(read(tmp_path, database, state, **BY_ID)["v"].to_pylist()) == ["new", "tie"]


def test_equal_numbers_that_are_written_in_two_ways_are_read_once(tmp_path, postgres):
    database = Database("postgresql", postgres.url)
    fill(database, "numeric", "1.0", "1.00", "1")
    with StateFile(tmp_path / "state", pipeline="test") as state:
        assert [read(tmp_path, database, state, **BY_ID).num_rows for _ in range(3)] == [3, 0, 0]


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        ("float8", "'NaN'"),
        ("numeric", "'NaN'"),
        ("timestamptz", "'infinity'"),
        ("date", "'-infinity'"),
        ("timestamp", "'20000-01-01'"),
    ],
)
def test_values_of_postgresql_without_a_place_are_refused(tmp_path, postgres, declared, value):
    database = Database("postgresql", postgres.url)
    fill(database, declared, value)
    with pytest.raises(NodeFailed, match="cursor column 'id' that have no place in its order"):
        read(tmp_path, database, **BY_ID)


@pytest.mark.parametrize("declared", ["jsonb", "interval", "bytea", "boolean", "int[]"])
def test_types_of_postgresql_that_are_no_cursors_are_refused(tmp_path, postgres, declared):
    database = Database("postgresql", postgres.url)
    fill(database, declared)
    with pytest.raises(NodeFailed, match="cannot be a cursor"):
        read(tmp_path, database, **BY_ID)


@pytest.mark.parametrize("declared", ["DECIMAL_TEXT(10,2)", "NUMERIC", "BLOB", "BOOLEAN", ""])
def test_types_of_sqlite_that_are_no_cursors_are_refused(tmp_path, lite, declared):
    fill(lite, declared, 9, 10)
    with pytest.raises(NodeFailed, match=r"column 'id', .*, cannot be a cursor"):
        read(tmp_path, lite, **BY_ID)


@pytest.mark.parametrize(
    ("declared", "values"),
    [
        ("REAL", ["9e999"]),
        ("DATE", ["'2024-01-02'", "'2024-1-3'"]),
        ("TIMESTAMP", ["'2024-01-02 00:00:00'", "'2024-01-02T00:00:00'"]),
        ("TIMESTAMPTZ", ["'2024-01-02 00:00:00+02:00'", "'2024-01-02 00:00:00+01:00'"]),
    ],
)
def test_values_of_sqlite_without_a_place_are_refused(tmp_path, lite, declared, values):
    fill(lite, declared, *values)
    with pytest.raises(NodeFailed, match="cursor column 'id' that have no place in its order"):
        read(tmp_path, lite, **BY_ID)


def test_query_of_sqlite_with_bytes_in_its_cursor_is_refused(tmp_path, lite):
    fill(lite, "BLOB", "x'01'")
    with pytest.raises(NodeFailed, match="have no place in its order"):
        read(tmp_path, lite, read={"query": "SELECT * FROM t"}, **BY_ID)


def test_collation_does_not_change_the_order(tmp_path, lite):
    fill(lite, "TEXT COLLATE NOCASE", "'b'", "'A'", "'a'", "'B'")
    with StateFile(tmp_path / "state", pipeline="test") as state:
        assert read(tmp_path, lite, state, **BY_ID)["id"].to_pylist() == ["A", "B", "a", "b"]
        assert read(tmp_path, lite, state, **BY_ID).num_rows == 0


@pytest.mark.parametrize("key", ["", "PRIMARY KEY"])
def test_new_column_does_not_repeat_rows(tmp_path, database, key):
    database.execute("DROP TABLE IF EXISTS t", f"CREATE TABLE t (k BIGINT {key}, id BIGINT)")
    database.execute("INSERT INTO t VALUES (1, 5), (2, 5)")
    with StateFile(tmp_path / "state", pipeline="test") as state:
        assert read(tmp_path, database, state, **BY_ID).num_rows == 2
        database.execute("ALTER TABLE t ADD COLUMN more TEXT DEFAULT 'x'")
        assert read(tmp_path, database, state, **BY_ID).num_rows == 0


def test_too_many_rows_with_one_value_are_an_error(tmp_path, lite, monkeypatch):
    monkeypatch.setattr(source, "_MOST_TIES", 2)
    fill(lite, "INTEGER", 1, 1)
    assert read(tmp_path, lite, **BY_ID).num_rows == 2
    fill(lite, "INTEGER", 1, 1, 1)
    with pytest.raises(NodeFailed, match="more than 2 rows have one value in the cursor column 'id'"):
        read(tmp_path, lite, **BY_ID)


@pytest.mark.parametrize(
    "query",
    ["SELECT 1 AS id; SELECT 2", "SELECT 1 AS id) AS a; --", "SELECT 1) AS a, (SELECT 2", "SELECT 1 /* ", "SELECT 1;"],
)
@pytest.mark.parametrize("kind", ["sqlite", "duckdb", "postgresql"])
def test_query_that_is_not_one_statement_is_refused(query, kind):
    with pytest.raises(ConfigError, match="not one complete statement"):
        check_one_statement(query, kind)


@pytest.mark.parametrize("kind", ["sqlite", "duckdb", "postgresql"])
@pytest.mark.parametrize("query", ["SELECT ';)' -- ; '", 'SELECT ";" /* ( */', "SELECT (1), 'it''s'", "SELECT date'x'"])
def test_texts_and_comments_do_not_end_a_query(query, kind):
    check_one_statement(query, kind)


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        ("SELECT $a$;'$a$", {"duckdb", "postgresql"}),
        ("SELECT E'it\\'s)'", {"duckdb", "postgresql"}),
        ("SELECT [a'; )b], `c'(`", {"sqlite"}),
    ],
)
def test_texts_are_those_of_the_database(query, kinds):
    for kind in ("sqlite", "duckdb", "postgresql"):
        if kind in kinds:
            check_one_statement(query, kind)
        else:
            with pytest.raises(ConfigError):
                check_one_statement(query, kind)


def test_text_that_is_not_utf8_is_an_error(tmp_path, lite):
    with sqlite3.connect(tmp_path / "s.db") as connection:
        connection.execute("CREATE TABLE t (id INTEGER, v TEXT)")
        connection.execute("INSERT INTO t VALUES (1, CAST(x'ff41' AS TEXT))")
    with pytest.raises(NodeFailed, match=r"(?i)utf-?8"):
        read(tmp_path, lite)


def test_batches_of_long_rows_are_small(tmp_path, lite, monkeypatch):
    monkeypatch.setattr(source, "_BATCH_BYTES", 1024)
    monkeypatch.setattr(source, "_LONG_ROWS", 2)
    fill(lite, "INTEGER", *range(7))
    lite.execute("UPDATE t SET v = printf('%1000s', 'x')")
    assert read(tmp_path, lite)["id"].to_pylist() == list(range(7))


@pytest.mark.parametrize("place", ["h:1:secret", "a b", "u@h]x", "u:@@h"])
def test_address_that_is_not_one_host_is_refused(place):
    with pytest.raises(ValueError, match=r"does not name one host|URL|a control character or a space"):
        DatabaseModel.model_validate({"url": f"postgresql://{place}/db"})


@pytest.mark.parametrize("shown", ["p/w d@", "p%2Fw%20d%40", "p/w%20d%40"])
def test_password_is_in_no_error_however_it_is_written(shown):
    connection = Connection.__new__(Connection)
    connection.name, connection._shown, connection.kind = "db", "h", "postgresql"
    connection._password = "p/w d@"
    with pytest.raises(DatabaseError, match=r"bad \*\*\*\n"), connection.translated("connect"):
        raise OSError(f"bad {shown}")


def test_column_that_tells_rows_apart_is_missed(tmp_path, lite):
    fill(lite, "INTEGER", 1)
    with StateFile(tmp_path / "state", pipeline="test") as state:
        assert read(tmp_path, lite, state, **BY_ID).num_rows == 1
        lite.execute("ALTER TABLE t DROP COLUMN v")
        with pytest.raises(NodeFailed, match="tells rows apart by the column 'v'"):
            read(tmp_path, lite, state, **BY_ID)
