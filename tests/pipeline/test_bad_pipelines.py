"""Pipelines and states that cannot work: a clear error each, and nothing is lost."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from checkpoint_kit import Clock, Numbers, Table, numbers_pipeline
from dataflare.errors import ConfigError
from dataflare.pipeline.databases.destination import SqlDestination
from dataflare.pipeline.databases.nodes import SqlWrite
from dataflare.pipeline.databases.open import open_database
from dataflare.pipeline.run_errors import DatabaseError, NodeFailed
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import Specification, parse_specification
from dataflare.pipeline.state_file import StateFile
from dataflare.runtime.datasets import Chunk, Dataset, Target
from pipeline_fakes import FakeHost

CHAIN = "  in: {plugin: source.wasm}\n  out: {plugin: first.wasm, input: in}\n"

COPY = """name: test
databases: {db: {url: "sqlite:db"}}
nodes:
  in: {connector: sql, database: db, read: t, mode: incremental, cursor: n}
  out: {connector: csv, write: out.csv, input: in, if_exists: append}
"""


def parsed(folder: Path, text: str) -> Specification:
    return parse_specification(text, file=folder / "pipeline.yaml")


def execute(folder: Path, *statements: str) -> None:
    with sqlite3.connect(folder / "db") as connection:
        for each in statements:
            connection.execute(each)
    connection.close()


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder in which a table was copied once."""
    pytest.importorskip("adbc_driver_sqlite")
    execute(tmp_path, "CREATE TABLE t (n INTEGER)", "INSERT INTO t VALUES (1), (2)")
    with StateFile(tmp_path / "state", pipeline="test") as state:
        run(parsed(tmp_path, COPY), state=state)
    return tmp_path


@pytest.mark.parametrize(
    ("nodes", "what"),
    [
        ("  a: {plugin: p.wasm, input: b}\n  b: {plugin: p.wasm, input: a}\n", "nodes go in a circle: 'a' takes from"),
        ("  a: {connector: csv, read: x.csv}\n  a: {connector: csv, read: y.csv}\n", "line 3"),
        ("  a: {plugin: p.wasm, on_error: explode}\n", "'explode' is not one of"),
        ("  a: {connector: csv, read: x.csv, schema: thaw}\n", "'thaw' is not one of"),
        ("  a: {connector: sql, database: db, read: t, cursor: n}\n", "a cursor column goes with incremental reads"),
        ("  a: {connector: sql, database: db, read: t, input: b}\n", "what reads a table takes no input"),
        ("  a: {connector: sql, database: db, write: t, input: b, mode: upsert}\n", "'upsert' is not one of"),
    ],
)
def test_pipeline_that_cannot_work_is_an_error_with_its_line(tmp_path, nodes, what):
    (tmp_path / "p.wasm").touch()
    with pytest.raises(ConfigError, match=r"pipeline\.yaml:[0-9]+: ") as caught:
        parsed(tmp_path, f"name: test\nnodes:\n{nodes}")
    assert what in str(caught.value)


def test_database_that_nobody_names_is_an_error(tmp_path):
    with pytest.raises(NodeFailed, match="the pipeline grants no database 'db'"):
        run(parsed(tmp_path, COPY.replace("{db: ", "{other: ")))


def test_table_that_vanished_is_an_error_and_its_state_stays(copied):
    execute(copied, "ALTER TABLE t RENAME TO gone")
    with StateFile(copied / "state", pipeline="test") as state:
        with pytest.raises(NodeFailed, match="there is no table 't'"):
            run(parsed(copied, COPY), state=state)
        assert state.nodes()[0].rows == 2
        execute(copied, "ALTER TABLE gone RENAME TO t", "INSERT INTO t VALUES (3)")
        run(parsed(copied, COPY), state=state)
    assert (copied / "out.csv").read_text() == '"n"\n1\n2\n3\n'


def test_cursor_column_that_vanished_is_an_error(copied):
    execute(copied, "ALTER TABLE t RENAME COLUMN n TO m")
    with StateFile(copied / "state", pipeline="test") as state, pytest.raises(NodeFailed, match="no cursor column 'n'"):
        run(parsed(copied, COPY), state=state)


def test_state_of_another_database_is_refused(copied):
    other = COPY.replace("{db: ", "{other: ").replace("database: db", "database: other")
    with StateFile(copied / "state", pipeline="test") as state:
        with pytest.raises(NodeFailed, match="is of something else"):
            run(parsed(copied, other), state=state)
        assert state.nodes()[0].rows == 2


def test_state_that_is_not_of_a_table_is_refused(copied):
    with StateFile(copied / "state", pipeline="test") as state:
        state.write(lambda connection: connection.execute("UPDATE node SET state = x'7b7d'"))
        with pytest.raises(NodeFailed, match="not one that this program wrote") as caught:
            run(parsed(copied, COPY), state=state)
    assert "--full-refresh" in caught.value.hint
    assert (copied / "out.csv").read_text() == '"n"\n1\n2\n'


def test_output_whose_columns_were_changed_is_left_as_it_is(copied):
    (copied / "out.csv").write_text('"other"\n1\n')
    execute(copied, "INSERT INTO t VALUES (3)")
    with StateFile(copied / "state", pipeline="test") as state:
        with pytest.raises(NodeFailed, match="its header is 'other'"):
            run(parsed(copied, COPY), state=state)
        (copied / "out.csv").write_text('"n"\n1\n2\n')
        run(parsed(copied, COPY), state=state)
    assert (copied / "out.csv").read_text() == '"n"\n1\n2\n3\n'


# What somebody else changed, or filled


def test_dataset_that_vanished_is_an_error_and_its_state_stays(tmp_path):
    class Renamed(Numbers):
        def dataset(self, selection: Any = None) -> Dataset:
            raise ConfigError("plugin 'in' has no dataset 'rows'", hint="there is lines")

    table = Table(Clock(), keeps_token=True)
    made = numbers_pipeline(tmp_path, CHAIN)
    with StateFile(tmp_path / "state", pipeline="test") as file:
        run(made, host=FakeHost(source=Numbers(Clock(), 20, chunk=7, transaction=1), first=table), state=file)
        before = file.nodes()
        gone = Renamed(Clock(), 20, chunk=7, transaction=1)
        with pytest.raises(NodeFailed, match="has no dataset 'rows'") as caught:
            run(made, host=FakeHost(source=gone, first=table), state=file)
        assert caught.value.hint == "there is lines"
        assert file.nodes() == before
    assert table.kept == list(range(20))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("DROP TABLE t", "no such table|does not exist"),
        ("ALTER TABLE t RENAME COLUMN n TO m", "no column named|does not exist|has no column"),
        ("CREATE UNIQUE INDEX one ON t (x)", "UNIQUE|unique"),
    ],
)
def test_table_that_somebody_changes_during_a_run_fails_it_and_keeps_its_rows(database, change, says):
    node = SqlWrite.model_validate({"connector": "sql", "database": "db", "write": "t", "input": "in"})
    schema = pa.schema([("n", pa.int64()), ("x", pa.int64())])
    first = pa.record_batch([[1], [5]], schema=schema)

    def begun(generation: int) -> tuple[SqlDestination, bytes | None]:
        made = open_database(node, database.grant, lambda _: None)
        assert isinstance(made, SqlDestination)
        return made, made.start().open(Target("t", schema), pipeline="p", run="r", generation=generation)

    destination, _ = begun(1)
    destination.write(first)
    destination.flush(b"one")
    if database.kind == "duckdb":
        # One process at a time has such a file.
        with pytest.raises(DatabaseError, match="Could not set lock on file"):
            database.execute(change)
        assert destination.write(first) == []
        destination.flush(b"two")
        destination.close()
        assert database.rows("SELECT x FROM t") == [(5,), (5,)]
        return
    database.execute(change)
    try:
        rejected = destination.write(first)
        # A constraint is about rows: what does not keep it is rejected.
        assert [each.row for each in rejected] == [0] and re.search(says, rejected[0].reason)
        destination.flush(b"two")
    except DatabaseError as error:
        assert re.search(says, str(error))
        destination.abort()
    destination.close()
    if "INDEX" not in change:
        again, token = begun(2)
        again.close()
        assert token == b"one", "the next run continues from before what failed"
    if "DROP" not in change:
        assert database.rows("SELECT x FROM t") == [(5,)]


def test_state_on_a_full_disk_ends_the_run_and_the_next_one_continues(tmp_path):
    table = Table(Clock(), keeps_token=True)
    made = numbers_pipeline(tmp_path, CHAIN)
    source = Numbers(Clock(), 2000, chunk=7, transaction=1, modes="incremental")
    with StateFile(tmp_path / "state", pipeline="test") as file:
        file.begin("other", "x" * 10_000)  # makes a few pages
        pages = file.read(lambda connection: connection.execute("PRAGMA page_count").fetchone()[0])
        file.read(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}"))
        big = Numbers.read

        def read(self: Numbers, max_rows: int = 2**20) -> Any:
            found = big(self, max_rows)
            long = len(table.kept) > 100 and isinstance(found, Chunk)
            return Chunk(found.dataset, found.rows, found.state + b" " * 100_000) if long else found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Numbers, "read", read)
            with pytest.raises(NodeFailed, match="full") as caught:
                run(made, host=FakeHost(source=source, first=table), state=file)
        assert "room" in caught.value.hint
    with StateFile(tmp_path / "state", pipeline="test") as file:
        run(made, host=FakeHost(source=source, first=table), state=file)
    assert table.kept == list(range(2000))


def test_a_disk_that_is_full_leaves_no_empty_folder_of_the_state(tmp_path):
    code = """
import resource, signal, sys
from dataflare.pipeline.run_errors import StateError
from dataflare.pipeline.state_file import StateFile
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))  # no file can grow
try:
    StateFile(sys.argv[1], pipeline="p")
except StateError as error:
    assert "cannot be kept there" in str(error)
    print("told")
"""
    place = tmp_path / ".dataflare" / "p.state"
    done = subprocess.run([sys.executable, "-c", code, place], capture_output=True, text=True, timeout=60)
    assert done.stdout == "told\n", done.stderr
    assert list(tmp_path.iterdir()) == []
    StateFile(place, pipeline="p").close()
    assert (tmp_path / ".dataflare" / ".gitignore").read_text() == "*\n"
