"""What a table would not take as it is, and what writing it would do to others: refused before a row is written."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest

from database_kit import Database, rows, write
from dataflare.pipeline.databases.destination import SqlDestination
from dataflare.pipeline.databases.nodes import SqlWrite
from dataflare.pipeline.databases.open import open_database
from dataflare.pipeline.run_errors import NodeFailed
from dataflare.runtime.datasets import Target

pytest.importorskip("adbc_driver_sqlite")


@pytest.fixture
def server(postgres):
    database = Database("postgresql", postgres.url)
    database.execute("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    return database


def opened(database: Database, table: str | dict[str, str], generation: int) -> SqlDestination:
    node = SqlWrite.model_validate({"connector": "sql", "database": "db", "write": table, "input": "in"})
    made = open_database(node, database.grant, lambda _: None)
    assert isinstance(made, SqlDestination)
    made.start().open(Target("t", rows().schema), pipeline="p", run="r", generation=generation)
    return made


# Names


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_names_that_postgresql_would_cut_are_refused(tmp_path, server, mode):
    other = "é" * 31 + "x"
    server.execute(f'CREATE TABLE "{other}" (id bigint)', f'INSERT INTO "{other}" VALUES (7)')
    with pytest.raises(NodeFailed, match="has 64 bytes, and the database keeps 63 of them"):
        write(tmp_path, server, rows(1), mode=mode, write=other + "y")
    with pytest.raises(NodeFailed, match="has 64 bytes"):
        write(tmp_path, server, rows(1, **{"c" * 64: [1]}), mode=mode)
    assert server.rows(f'SELECT id FROM "{other}"') == [(7,)]


def test_tables_with_long_names_are_replaced(tmp_path, server):
    name = "t" * 63
    for number in (1, 2):
        write(tmp_path, server, rows(number), mode="replace", write=name)
    assert server.rows(f'SELECT id FROM "{name}"') == [(2,)]


def test_key_that_is_a_list_is_refused(tmp_path, database):
    if database.kind != "sqlite":  # it has no lists
        database.execute("CREATE TABLE t (id BIGINT[], x BIGINT)")
    with pytest.raises(NodeFailed, match="the key's column 'id' is list<item: int64>, and a key consists of single"):
        write(tmp_path, database, pa.table({"id": [[1], [1]], "x": [1, 2]}), mode="merge", key=["id"])


# Values

ROUNDED = [
    ("bit(3)", "101", "1010101"),
    ("interval year", "3 years", "3 years 11 months 2 days"),
    ("interval(0)", "1 second", "1.4 seconds"),
    ("numeric(100,2)", "1.25", "1.239"),
    ("timetz(0)", "01:02:03+00", "01:02:03.4+00"),
    ("short", "1.5", "1.239"),
    ("varchar(3)", "abc", "abc "),
    ("varchar(3)", "abc", "abcd"),
    ("timestamp(0)", dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, 0, 0, 0, 400_000)),
    ("timestamptz(3)", dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.datetime(2024, 1, 1, 0, 0, 0, 1, dt.UTC)),
    ("time(0)", dt.time(1), dt.time(1, 0, 0, 1)),
]


@pytest.mark.parametrize("mode", ["append", "merge"])
@pytest.mark.parametrize(("declared", "kept", "changed"), ROUNDED)
def test_value_that_a_column_would_round_or_cut_is_refused(tmp_path, server, declared, kept, changed, mode):
    server.execute(
        "CREATE DOMAIN inner_short AS numeric(3,1)",
        "CREATE DOMAIN short AS inner_short",
        f"CREATE TABLE t (id bigint PRIMARY KEY, v {declared})",
    )
    options = {"mode": mode} | ({"key": ["id"]} if mode == "merge" else {})
    write(tmp_path, server, rows(1, 2, v=[kept, None]), **options)
    before = server.rows("SELECT id, v::text FROM t ORDER BY id")
    with pytest.raises(NodeFailed, match=r"would be (rounded|cut off)|column 'v'|too long"):
        write(tmp_path, server, rows(3, 4, v=[kept, changed]), **options)
    assert server.rows("SELECT id, v::text FROM t ORDER BY id") == before
    assert len(before) == 2


def test_rows_with_values_that_would_be_rounded_can_be_skipped(tmp_path, server):
    server.execute("CREATE TABLE t (id bigint, v timestamp(0))")
    values = pa.array([0, 400, 2000], pa.timestamp("ms"))
    write(tmp_path, server, rows(1, 2, 3, v=values), on_error="skip")
    assert server.rows("SELECT id FROM t ORDER BY id") == [(1,), (3,)]


# Tables that others need


def test_table_of_sqlite_is_replaced_under_its_view(tmp_path):
    database = Database("sqlite", f"sqlite:{tmp_path / 'test.db'}")
    database.execute("CREATE TABLE t (id INTEGER)", "INSERT INTO t VALUES (1)", "CREATE VIEW w AS SELECT id FROM t")
    write(tmp_path, database, rows(2), mode="replace")
    assert database.rows("SELECT id FROM w") == [(2,)]


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("CREATE VIEW w AS SELECT id FROM t", "rule _RETURN on view w needs it"),
        ("CREATE TABLE u (id bigint REFERENCES t (id))", "constraint .* on table u needs it"),
        ("CREATE TABLE u () INHERITS (t)", "table u needs it"),
        ("CREATE FUNCTION f(t) RETURNS int LANGUAGE sql AS 'SELECT 1'", "function f"),
    ],
)
def test_table_that_others_need_is_not_replaced(tmp_path, server, statement, what):
    server.execute("CREATE TABLE t (id bigint PRIMARY KEY)", "INSERT INTO t VALUES (1)", statement)
    with pytest.raises(NodeFailed, match=f"the table 't' cannot be replaced: the {what}"):
        write(tmp_path, server, rows(2), mode="replace")
    assert server.rows("SELECT id FROM t") == [(1,)]


def test_table_that_only_needs_itself_is_replaced(tmp_path, server):
    server.execute(
        "CREATE TABLE t (id serial PRIMARY KEY, up int REFERENCES t, x int GENERATED ALWAYS AS (id + 1) STORED)",
        "CREATE INDEX i ON t ((up + 1)) WHERE up > 1",
        "CREATE POLICY p ON t USING (id > 0)",
    )
    write(tmp_path, server, rows(2), mode="replace")
    assert server.rows("SELECT id FROM t") == [(2,)]


def test_view_is_not_replaced(tmp_path, database):
    database.execute("CREATE VIEW t AS SELECT 1 AS id")
    with pytest.raises(NodeFailed, match="the table 't' cannot be replaced: it is"):
        write(tmp_path, database, rows(2), mode="replace")


def test_partitioned_table_is_not_replaced(tmp_path, server):
    server.execute("CREATE TABLE t (id bigint) PARTITION BY HASH (id)")
    with pytest.raises(NodeFailed, match="has partitions"):
        write(tmp_path, server, rows(2), mode="replace")


# Writers of one name, and writers of one table


def test_pipelines_of_one_name_have_positions_of_their_own(database):
    for table, token in (("t", b"one"), ("u", b"two")):
        made = opened(database, table, 1)
        made.write(rows(1).to_batches()[0])
        made.finish(token)
        made.close()
    tokens = {bytes(token) for (token,) in database.rows("SELECT token FROM _dataflare_tokens")}
    assert tokens == {b"one", b"two"}


def test_attempt_that_does_not_begin_ends_no_other_run(tmp_path):
    database = Database("sqlite", f"sqlite:{tmp_path / 'test.db'}")
    database.execute("CREATE TABLE t (id INTEGER)")
    first = opened(database, "t", 1)
    first.write(rows(1).to_batches()[0])
    first.flush(b"one")
    second = opened(database, "t", 2)
    second.abort()
    second.close()
    first.write(rows(2).to_batches()[0])
    first.finish(b"two")
    first.close()
    assert database.rows("SELECT id FROM t") == [(1,), (2,)]


def test_position_that_another_run_moved_is_not_used(tmp_path):
    database = Database("sqlite", f"sqlite:{tmp_path / 'test.db'}")
    database.execute("CREATE TABLE t (id INTEGER)")
    first, second = opened(database, "t", 1), opened(database, "t", 2)
    second.abort()
    first.write(rows(1).to_batches()[0])
    first.finish(b"one")
    first.close()
    with pytest.raises(Exception, match="a later run of 'p' has begun"):
        second.write(rows(1).to_batches()[0])
    second.abort()
    second.close()
    assert database.rows("SELECT id FROM t") == [(1,)]


@pytest.mark.parametrize("exists", [True, False])
def test_one_table_has_one_writer(server, exists):
    if exists:
        server.execute("CREATE TABLE t (id bigint)")
    first = opened(server, "t", 1)
    with pytest.raises(Exception, match="another run writes the table 't'"):
        opened(server, {"table": "t", "within": "public"}, 2)
    first.close()


# Conflicts that end a transaction


def test_table_that_undoes_transactions_is_at_fault(tmp_path):
    database = Database("sqlite", f"sqlite:{tmp_path / 'test.db'}")
    database.execute("CREATE TABLE t (id INTEGER UNIQUE ON CONFLICT ROLLBACK)")
    with pytest.raises(NodeFailed, match="the table 't' undoes the whole transaction") as caught:
        write(tmp_path, database, rows(1, 2, 2), on_error="skip")
    assert "take ON CONFLICT ROLLBACK out" in caught.value.hint
    assert database.rows("SELECT id FROM t") == []


# Keys that only the database calls equal

OTHER_COMPARISONS = {
    "sqlite": ["TEXT COLLATE NOCASE", "TEXT COLLATE NOCASE PRIMARY KEY"],
    "duckdb": ["VARCHAR COLLATE NOCASE", "VARCHAR COLLATE NOCASE PRIMARY KEY"],
    "postgresql": ["text COLLATE nocase", "text COLLATE nocase PRIMARY KEY"],
}


@pytest.mark.parametrize("declared", [0, 1])
@pytest.mark.parametrize("there", [True, False])
def test_of_rows_with_keys_that_the_table_calls_equal_the_last_one_counts(tmp_path, database, declared, there):
    if database.kind == "postgresql":
        database.execute(
            "CREATE COLLATION IF NOT EXISTS nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
        )
    database.execute(f"CREATE TABLE t (id {OTHER_COMPARISONS[database.kind][declared]}, x BIGINT, y VARCHAR)")
    if there:
        database.execute("INSERT INTO t VALUES ('a', 0, '')")
    found = pa.table({"id": ["A", "b", "a", "c", "B"], "x": [1, 2, 3, 4, 5], "y": ["A", "b", "a", "c", "B"]})
    write(tmp_path, database, found, mode="merge", key=["id"])
    assert sorted(database.rows("SELECT x, y FROM t")) == [(3, "a"), (4, "c"), (5, "B")]


def test_any_number_of_keys_that_the_table_calls_equal_takes_a_few_statements(tmp_path, monkeypatch):
    made, real = [], SqlDestination._put

    def put(self: SqlDestination, layout: object, rows: pa.RecordBatch) -> None:
        made.append(rows.num_rows)
        real(self, layout, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(SqlDestination, "_put", put)
    database = Database("sqlite", f"sqlite:{tmp_path / 'test.db'}")
    database.execute("CREATE TABLE t (id TEXT COLLATE NOCASE PRIMARY KEY, x BIGINT)")
    found = pa.table({"id": [f"{'aA'[n % 2]}{n // 2}" for n in range(1000)], "x": list(range(1000))})
    write(tmp_path, database, found, mode="merge", key=["id"])
    assert made == [1000, 500, 500]
    assert database.rows("SELECT x FROM t ORDER BY x") == [(n,) for n in range(1, 1000, 2)]


def test_row_whose_key_the_table_calls_equal_to_that_of_an_earlier_one_is_deleted(tmp_path, database):
    if database.kind == "postgresql":
        database.execute("CREATE EXTENSION IF NOT EXISTS citext")
    kind = {"sqlite": "TEXT COLLATE NOCASE", "duckdb": "VARCHAR COLLATE NOCASE", "postgresql": "citext"}
    database.execute(f"CREATE TABLE t (id {kind[database.kind]} PRIMARY KEY, x BIGINT)")
    found = pa.table({"id": ["a", "b", "A", "B", "b"], "x": [1, 2, 3, 4, 5], "op": [0, 0, 2, 2, 0]})
    write(tmp_path, database, found, mode="merge", key=["id"], operation="op")
    assert database.rows("SELECT x FROM t") == [(5,)]


def test_padded_and_numeric_keys_that_the_table_calls_equal_are_one(tmp_path, server):
    server.execute("CREATE TABLE t (id char(3), n numeric, x bigint, PRIMARY KEY (id, n))")
    server.execute("INSERT INTO t VALUES ('a', 1, 0)")
    found = pa.table({"id": ["a", "a  ", "a"], "n": ["1", "1.0", "2"], "x": [1, 2, 3]})
    write(tmp_path, server, found, mode="merge", key=["id", "n"])
    assert sorted(server.rows("SELECT trim(id), n::text, x FROM t"), key=str) == [("a", "1", 2), ("a", "2", 3)]
