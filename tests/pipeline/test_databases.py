"""Tables of SQLite, DuckDB and PostgreSQL as sources and destinations."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from database_kit import Database, pipeline, read, rows, write
from dataflare.data.roles import with_roles
from dataflare.errors import ConfigError
from dataflare.pipeline.databases.destination import SqlDestination
from dataflare.pipeline.databases.nodes import SqlWrite
from dataflare.pipeline.databases.open import open_database
from dataflare.pipeline.run_errors import NodeFailed
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import build_specification
from dataflare.pipeline.state_file import StateFile
from dataflare.runtime.datasets import Target

pytest.importorskip("adbc_driver_sqlite")


# Values

EVERY = {
    "bool": pa.array([True, None], pa.bool_()),
    "int64": pa.array([-(2**63), 2**63 - 1], pa.int64()),
    "double": pa.array([0.1, -1e300], pa.float64()),
    "text": pa.array(["", 'it\'s "q" \\ ; é\U0001f600'], pa.string()),
    "bytes": pa.array([b"", b"\x00\xff'"], pa.binary()),
    "date": pa.array([dt.date(1, 1, 1), dt.date(9999, 12, 31)], pa.date32()),
    "time": pa.array([dt.time(0), dt.time(23, 59, 59, 999999)], pa.time64("us")),
    "stamp": pa.array([dt.datetime(1900, 1, 1, 0, 0, 0, 1), None], pa.timestamp("us")),
    "zoned": pa.array([dt.datetime(2024, 3, 31, 1, 30), None], pa.timestamp("us", "UTC")),
    "money": pa.array([Decimal("-12345678901234567890.12"), Decimal("0.01")], pa.decimal128(38, 2)),
}
NARROW = {
    "i8": (pa.array([-128, 127], pa.int8()), [-128, 127]),
    "u8": (pa.array([0, 255], pa.uint8()), [0, 255]),
    "i16": (pa.array([-32768, None], pa.int16()), [-32768, None]),
    "u32": (pa.array([0, 2**32 - 1], pa.uint32()), [0, 2**32 - 1]),
    "u64": (pa.array([0, 2**64 - 1], pa.uint64()), [Decimal(0), Decimal(2**64 - 1)]),
    "f32": (pa.array([0.1, None], pa.float32()), pa.array([0.1, None], pa.float32()).to_pylist()),
    "large": (pa.array(["a", None], pa.large_string()), ["a", None]),
    "millis": (pa.array([0, None], pa.timestamp("ms")), [dt.datetime(1970, 1, 1), None]),
    "words": (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
}


def test_every_value_comes_back(tmp_path, database):
    table = pa.table(EVERY)
    write(tmp_path, database, table)
    assert read(tmp_path, database).equals(table)


def test_narrow_values_come_back_in_wider_types(tmp_path, database):
    write(tmp_path, database, pa.table({name: array for name, (array, _) in NARROW.items()}))
    assert read(tmp_path, database).to_pydict() == {name: values for name, (_, values) in NARROW.items()}


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (pa.array([[{"a": 1}]]), "has no type"),
        (pa.array([1], pa.duration("s")), "has no type"),
        (pa.array([1], pa.timestamp("ns")), "would lose data|does not fit"),
    ],
)
def test_value_that_would_change_is_an_error(tmp_path, database, array, what):
    if database.kind == "duckdb" and not pa.types.is_duration(array.type):
        pytest.skip("DuckDB has a type for it")
    with pytest.raises(NodeFailed, match=what):
        write(tmp_path, database, pa.table({"x": array}))
    with pytest.raises(NodeFailed, match="no table 't'"):
        read(tmp_path, database)


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (pa.array([1.5, None, float("nan")]), "NaN, which SQLite stores as NULL"),
        (pa.array([1.5, None, -0.0]), "-0.0, which SQLite stores as 0"),
        (pa.array([0.0, -0.0], pa.float32()), "-0.0, which SQLite stores as 0"),
        (pa.array([253_402_300_800, None], pa.timestamp("s")), "a date outside the years 1 to 9999"),
        (pa.array([-719_529], pa.date32()), "a date outside the years 1 to 9999"),
    ],
)
def test_value_that_sqlite_does_not_have_is_an_error(tmp_path, array, what):
    database = Database("sqlite", f"sqlite:{tmp_path / 's.db'}")
    with pytest.raises(NodeFailed, match=what):
        write(tmp_path, database, pa.table({"x": array}))


def test_negative_zero_is_written_as_zero_where_the_pipeline_says_so(tmp_path):
    database = Database("sqlite", f"sqlite:{tmp_path / 's.db'}")
    write(tmp_path, database, pa.table({"x": [-0.0, None, -1.5, 0.0]}), negative_zero="zero")
    assert str(read(tmp_path, database)["x"].to_pylist()) == "[0.0, None, -1.5, 0.0]"


def test_infinite_numbers_come_back_from_sqlite(tmp_path):
    table = pa.table({"x": [float("inf"), -float("inf"), None, 5e-324]})
    write(tmp_path, Database("sqlite", f"sqlite:{tmp_path / 's.db'}"), table)
    assert read(tmp_path, Database("sqlite", f"sqlite:{tmp_path / 's.db'}")).equals(table)


def test_types_of_postgresql_are_read_without_loss(tmp_path, postgres):
    database = Database("postgresql", postgres.url)
    database.execute(
        "DROP TABLE IF EXISTS t",
        "CREATE TABLE t (a numeric, b numeric(10,2), c uuid, d jsonb, e interval, f int[], g inet, h money, i timetz)",
        "INSERT INTO t VALUES (123456789012345678901234567890.1234567890, 1.50, "
        "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{\"a\": 1}', '1 mon 2 days', '{1,2}', '10.0.0.1', 12.5, "
        "'01:02:03+02')",
    )
    assert read(tmp_path, database).to_pylist() == [
        {
            "a": "123456789012345678901234567890.1234567890",
            "b": Decimal("1.50"),
            "c": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "d": '{"a": 1}',
            "e": "1 mon 2 days",
            "f": [1, 2],
            "g": "10.0.0.1/32",
            "h": "$12.50",
            "i": "01:02:03+02",
        }
    ]
    # And back: texts are cast by the database.
    nodes = {
        "in": {"connector": "sql", "database": "db", "read": "t"},
        "out": {"connector": "sql", "database": "db", "write": "t", "input": "in"},
    }
    run(pipeline(tmp_path, database, **nodes))
    assert database.rows("SELECT count(*) AS rows, count(DISTINCT t::text) AS different FROM t") == [(2, 1)]


def test_values_of_sqlite_that_are_not_of_their_column_are_errors(tmp_path):
    path = tmp_path / "test.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a INTEGER, n NUMERIC)")
        connection.execute("INSERT INTO t VALUES (1, 0.1), ('x', 9007199254740993)")
    database = Database("sqlite", f"sqlite:{path}")
    with pytest.raises(NodeFailed, match="column 'a' is declared as INTEGER, and has values that are string"):
        read(tmp_path, database)
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM t WHERE a = 'x'")
        connection.execute("INSERT INTO t VALUES (2, 9007199254740993)")
    assert read(tmp_path, database).to_pydict() == {"a": [1, 2], "n": ["0.1", "9007199254740993"]}


def test_table_of_as_many_columns_as_sqlite_has_is_read(tmp_path):
    database = Database("sqlite", f"sqlite:{tmp_path}/a.db")
    names = [f"c{n}" for n in range(2000)]
    database.execute(
        f"CREATE TABLE t ({', '.join(f'{name} INTEGER' for name in names)})", "INSERT INTO t(c7) VALUES (1)"
    )
    for how in ("t", {"query": "SELECT * FROM t"}):
        found = read(tmp_path, database, read=how)
        assert found.column_names == names and found.column("c7").to_pylist() == [1]


def test_query_is_read(tmp_path, database):
    write(tmp_path, database, rows(1, 2, 3))
    table = read(tmp_path, database, read={"query": "SELECT id * 2 AS twice FROM t WHERE id > 1 -- a comment"})
    assert sorted(table.to_pydict()["twice"]) == [4, 6]


@pytest.mark.parametrize(
    "query", ["SELECT 1) AS a; DROP TABLE t; --", "DELETE FROM t RETURNING id", "SELECT 1; SELECT 2"]
)
def test_query_does_nothing_but_read(tmp_path, database, query):
    write(tmp_path, database, rows(1))
    with suppress(NodeFailed, ConfigError):
        read(tmp_path, database, read={"query": query})
    assert database.rows("SELECT count(*) FROM t") == [(1,)]


# Modes


def test_rows_are_appended(tmp_path, database):
    for _ in range(2):
        write(tmp_path, database, rows(1, 2))
    assert read(tmp_path, database).to_pydict() == {"id": [1, 2, 1, 2]}


def test_table_is_replaced_in_one_step(tmp_path, database):
    write(tmp_path, database, rows(1, 2), mode="replace")
    write(tmp_path, database, rows(3, x=["new"]), mode="replace")
    assert read(tmp_path, database).to_pylist() == [{"id": 3, "x": "new"}]


def test_rows_are_merged_by_key(tmp_path, database):
    write(tmp_path, database, rows(1, 2, x=["a", "b"]), mode="merge", key=["id"])
    report = write(tmp_path, database, rows(2, 3, 3, x=["B", "lost", "C"]), mode="merge", key=["id"])
    assert sorted(database.rows("SELECT id, x FROM t")) == [(1, "a"), (2, "B"), (3, "C")]
    assert report.nodes[1].guarantee == "exactly-once"


def test_rows_with_a_delete_remove_their_key(tmp_path, database):
    write(tmp_path, database, rows(1, 2, x=["a", "b"]), mode="merge", key=["id"])
    table = rows(1, 2, 3, 4, x=[None, "B", "C", None], op=pa.array([2, 1, 0, 2], pa.int8()))
    table = table.cast(with_roles(table.schema, key=["id"], operation="op"))
    write(tmp_path, database, table, mode="merge")
    assert sorted(database.rows("SELECT id, x FROM t")) == [(2, "B"), (3, "C")]
    assert "op" not in read(tmp_path, database).schema.names


def test_operation_that_does_not_exist_is_rejected_with_its_row(tmp_path, database):
    table = rows(1, 2, 2, x=["a", "b", "c"], op=pa.array([0, None, 3], pa.int8()))
    table = table.cast(with_roles(table.schema, key=["id"], operation="op"))
    write(tmp_path, database, table, mode="merge", dead_letters="dead.jsonl")
    assert sorted(database.rows("SELECT id, x FROM t")) == [(1, "a"), (2, "b")]
    (letter,) = [json.loads(line) for line in (tmp_path / "dead.jsonl").read_text().splitlines()]
    assert "an operation is 0 (insert), 1 (update) or 2 (delete)" in json.dumps(letter)


def test_keys_of_several_columns_are_compared_together(tmp_path, database):
    for x in ("a", "b"):
        write(tmp_path, database, pa.table({"k": [1, 1], "l": ["x", "y"], "v": [x, x]}), mode="merge", key=["k", "l"])
    assert sorted(database.rows("SELECT k, l, v FROM t")) == [(1, "x", "b"), (1, "y", "b")]


def test_rows_that_the_table_does_not_take_go_to_dead_letters(tmp_path, database):
    database.execute("CREATE TABLE t (id BIGINT NOT NULL PRIMARY KEY CHECK (id < 100), x TEXT)")
    table = pa.table({"id": [1, 100, 2, 1, 3], "x": list("abcde")})
    report = write(tmp_path, database, table, dead_letters="dead.jsonl")
    assert sorted(database.rows("SELECT id, x FROM t")) == [(1, "a"), (2, "c"), (3, "e")]
    letters = [json.loads(line) for line in (tmp_path / "dead.jsonl").read_text().splitlines()]
    assert [each["values"]["x"] for each in letters] == ["b", "d"]
    assert report.nodes[1].failed == 2
    with pytest.raises(NodeFailed, match="rejected"):
        write(tmp_path, database, table)
    assert len(database.rows("SELECT id FROM t")) == 3


# Schemas


def test_new_columns_are_added(tmp_path, database):
    write(tmp_path, database, rows(1))
    write(tmp_path, database, rows(2, x=["new"]))
    assert sorted(database.rows("SELECT id, x FROM t")) == [(1, None), (2, "new")]


def test_columns_of_postgresql_are_widened(tmp_path, postgres):
    database = Database("postgresql", postgres.url)
    database.execute("DROP TABLE IF EXISTS t")
    write(tmp_path, database, pa.table({"n": pa.array([1], pa.int16())}))
    write(tmp_path, database, pa.table({"n": pa.array([2**40], pa.int64())}))
    assert read(tmp_path, database).to_pydict() == {"n": [1, 2**40]}


def test_column_of_another_type_is_an_error_and_changes_nothing(tmp_path, database):
    write(tmp_path, database, rows(1))
    with pytest.raises(NodeFailed, match=r"column 'id' is string, and (INTEGER|BIGINT|bigint) in the table 't'"):
        write(tmp_path, database, pa.table({"id": ["x"], "new": [1]}))
    assert read(tmp_path, database).to_pydict() == {"id": [1]}


def test_table_that_somebody_changes_during_a_run_is_an_error(tmp_path, postgres):
    database = Database("postgresql", postgres.url)
    database.execute("DROP TABLE IF EXISTS t", "CREATE TABLE t (id bigint)")
    node = SqlWrite.model_validate({"connector": "sql", "database": "db", "write": "t", "input": "in"})
    destination = open_database(node, database.grant, lambda _: None)
    assert isinstance(destination, SqlDestination)
    destination.start()
    destination.open(Target("t", rows().schema), pipeline="p", run="r", generation=1)
    database.execute("ALTER TABLE t RENAME COLUMN id TO other")
    with pytest.raises(Exception, match=r'(?i)column "id" .*does not exist'):
        destination.write(rows(1).to_batches()[0])
    destination.abort()
    destination.close()


# Incremental reads


def test_incremental_read_goes_on_from_the_last_value(tmp_path, database):
    write(tmp_path, database, rows(1, 2, at=[10, 10]))
    options = {"mode": "incremental", "cursor": "at"}
    with StateFile(tmp_path / "state", pipeline="test") as state:
        assert read(tmp_path, database, state, **options).num_rows == 2
        assert read(tmp_path, database, state, **options).num_rows == 0
        # One has the value that the last run ended at: it is read, and the others are not read again.
        write(tmp_path, database, rows(3, 4, at=[10, 11]))
        assert sorted(read(tmp_path, database, state, **options).to_pydict()["id"]) == [3, 4]
        write(tmp_path, database, rows(5, 0, at=[12, 1]))
        assert read(tmp_path, database, state, **options).to_pydict()["id"] == [5]


@pytest.mark.parametrize(
    "values",
    [
        [dt.datetime(2024, 1, 1, 0, 0, 0, each) for each in (1, 2, 3)],
        [Decimal("1.10"), Decimal("1.2"), Decimal("10.5")],
        ["a", "it's", "z"],
        [dt.date(2024, 1, each) for each in (1, 2, 3)],
        [0.1, 0.25, 1e300],
    ],
)
def test_cursor_has_any_type_with_an_order(tmp_path, database, values):
    if database.kind == "sqlite" and isinstance(values[0], Decimal):
        pytest.skip("decimals are texts in SQLite")
    write(tmp_path, database, rows(1, 2, at=values[:2]))
    with StateFile(tmp_path / "state", pipeline="test") as state:
        first = read(tmp_path, database, state, mode="incremental", cursor="at")
        write(tmp_path, database, rows(3, at=values[2:]))
        second = read(tmp_path, database, state, mode="incremental", cursor="at")
    assert (first.to_pydict()["at"], second.to_pydict()["at"]) == (values[:2], values[2:])


def test_rows_without_a_cursor_value_are_an_error(tmp_path, database):
    write(tmp_path, database, rows(1, 2, at=[1, None]))
    with pytest.raises(NodeFailed, match="no value in the cursor column 'at'"):
        read(tmp_path, database, mode="incremental", cursor="at")


def test_table_is_copied_once_over_any_number_of_runs(tmp_path, database):
    """From table to table, with checkpoints in between, and duplicates that nothing tells apart."""
    write(tmp_path, database, rows(*range(500), at=[n // 7 for n in range(500)], x=["same"] * 500))
    database.execute("INSERT INTO t SELECT * FROM t WHERE id < 10")
    nodes = {
        "copy": {"connector": "sql", "database": "db", "read": "t", "mode": "incremental", "cursor": "at"},
        "out": {"connector": "sql", "database": "db", "write": "copied", "input": "copy"},
    }
    if database.grant.is_file:
        with pytest.raises(ConfigError, match=r"nodes 'copy' and 'out' both use .* which 'out' writes") as caught:
            pipeline(tmp_path, database, **nodes)
        assert "PostgreSQL" in caught.value.hint
        return
    made = pipeline(tmp_path, database, **nodes)
    for _ in range(3):
        with StateFile(tmp_path / "state", pipeline="test") as state:
            report = run(made, state=state)
    assert report.nodes[1].guarantee == "exactly-once"
    assert database.rows("SELECT count(*) AS rows, count(DISTINCT id) AS different FROM copied") == [(510, 500)]


def test_values_fit_columns_that_somebody_else_made(tmp_path, postgres):
    database = Database("postgresql", postgres.url)
    database.execute(
        "DROP TABLE IF EXISTS t",
        "CREATE TABLE t (a bigint, b numeric(12,2), c numeric, d varchar(3), e float8, f text)",
    )
    table = pa.table(
        {
            "a": pa.array([1], pa.int16()),
            "b": pa.array([Decimal("1.5")], pa.decimal128(5, 1)),
            "c": pa.array([Decimal("1.25")], pa.decimal128(5, 2)),
            "d": ["abc"],
            "e": pa.array([1.5], pa.float32()),
            "f": pa.array([None], pa.null()),
        }
    )
    write(tmp_path, database, table)
    write(tmp_path, database, pa.table({"c": pa.array([7], pa.int64())}))
    expected = [(1, "1.50", "1.25", "abc", 1.5, None), (None, None, "7", None, None, None)]
    assert database.rows("SELECT a, b::text, c::text, d, e, f FROM t ORDER BY a") == expected
    with pytest.raises(NodeFailed, match=r"too long for type character varying\(3\)"):
        write(tmp_path, database, pa.table({"d": ["abcd"]}))
    with pytest.raises(NodeFailed, match=r"column 'b' is double, and numeric\(12,2\)"):
        write(tmp_path, database, pa.table({"b": [1.005]}))


@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
def test_two_nodes_that_write_one_file_are_refused_before_a_row_moves(tmp_path, kind):
    (tmp_path / "in.csv").write_text("id\n1\n")
    (tmp_path / "link.db").symlink_to("test.db")
    databases = {name: {"url": f"{kind}:{name}.db", "access": "write"} for name in ("test", "link", "other")}
    nodes: dict[str, Any] = {"in": {"connector": "csv", "read": "in.csv"}}
    for number, name in enumerate(("test", "other", "link")):
        nodes[f"out{number}"] = {"connector": "sql", "database": name, "write": f"t{number}", "input": "in"}
    given = {"name": "test", "databases": databases, "nodes": nodes}
    with pytest.raises(ConfigError, match=r"nodes 'out0' and 'out2' both use .*link\.db, which 'out0' writes"):
        build_specification(given, folder=tmp_path)
    del nodes["out2"]
    assert len(build_specification(given, folder=tmp_path).pipeline.nodes) == 3
