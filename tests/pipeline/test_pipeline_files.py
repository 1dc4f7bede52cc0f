from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet
import pytest
from pydantic import TypeAdapter

from dataflare.errors import UsageError
from dataflare.pipeline.models import Node
from dataflare.pipeline.outputs import AtomicFile
from dataflare.pipeline.readers import FileSource, open_source
from dataflare.pipeline.reading import json_parts
from dataflare.pipeline.run_errors import DataError
from dataflare.pipeline.writers import FileDestination, open_destination

Fill = Callable[..., Path]

BATCH = pa.RecordBatch.from_pydict(
    {
        "n": pa.array([1, None, -3], pa.int64()),
        "x": pa.array([1.5, 2.0, None], pa.float64()),
        "text": pa.array(["a,b", 'quo"te', "two\nlines é"], pa.string()),
        "flag": pa.array([True, False, None], pa.bool_()),
        "day": pa.array([datetime.date(2013, 1, 1), None, datetime.date(2024, 2, 29)], pa.date32()),
    }
)
CONNECTORS = ["csv", "jsonl", "parquet", "arrow"]


def node_of(connector: str, **keys: Any) -> Any:
    return TypeAdapter(Node).validate_python({"connector": connector, **keys})


def source_of(connector: str, path: Path, **options: Any) -> FileSource:
    return open_source(node_of(connector, read=str(path), options=options), path)


def destination_of(connector: str, path: Path, **options: Any) -> FileDestination:
    return open_destination(node_of(connector, write=str(path), input="in", options=options), path)


def write_all(destination: FileDestination, *batches: pa.RecordBatch, schema: pa.Schema | None = None) -> None:
    destination.prepare(schema if schema is not None else batches[0].schema)
    for batch in batches:
        destination.write(batch)
    destination.flush()
    destination.finish()
    destination.close()


def read_all(source: FileSource) -> pa.Table:
    table = pa.Table.from_batches(source.batches(), source.schema())
    source.close()
    return table


@pytest.fixture
def fill(tmp_path: Path) -> Fill:
    """Write a file."""

    def make(data: str | bytes, name: str = "in") -> Path:
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return make


@pytest.mark.parametrize("connector", CONNECTORS)
def test_what_was_written_is_read_again(connector, tmp_path):
    write_all(destination_of(connector, tmp_path / "file"), BATCH, BATCH.slice(1))
    options = {"columns": {"day": "date32[day]"}} if connector in ("csv", "jsonl") else {}
    assert read_all(source_of(connector, tmp_path / "file", **options)).to_pylist() == [
        *BATCH.to_pylist(),
        *BATCH.slice(1).to_pylist(),
    ]


@pytest.mark.parametrize("connector", CONNECTORS)
def test_batches_have_no_more_rows_than_asked_for(connector, tmp_path):
    batch = pa.RecordBatch.from_pydict({"n": pa.array(range(25), pa.int64())})
    write_all(destination_of(connector, tmp_path / "file"), batch)
    source = source_of(connector, tmp_path / "file", batch_rows=10)
    batches = list(source.batches())
    source.close()
    assert [batch.num_rows for batch in batches] == [10, 10, 5]
    assert [n for batch in batches for n in batch.column("n").to_pylist()] == list(range(25))


@pytest.mark.parametrize("connector", CONNECTORS)
def test_a_run_without_rows_makes_a_file_with_the_schema(connector, tmp_path):
    write_all(destination_of(connector, tmp_path / "file"), schema=BATCH.schema)
    assert (tmp_path / "file").is_file()
    if connector != "jsonl":
        assert read_all(source_of(connector, tmp_path / "file")).column_names == BATCH.schema.names


@pytest.mark.parametrize("connector", CONNECTORS)
def test_nothing_is_under_the_final_name_before_finish(connector, tmp_path):
    destination = destination_of(connector, tmp_path / "sub" / "file")
    destination.prepare(BATCH.schema)
    destination.write(BATCH)
    destination.flush()
    assert not (tmp_path / "sub" / "file").exists()
    destination.finish()
    destination.finish()
    destination.abort()
    assert os.listdir(tmp_path / "sub") == ["file"]


@pytest.mark.parametrize("end", ["abort", "close"])
@pytest.mark.parametrize("connector", CONNECTORS)
def test_an_aborted_run_leaves_no_trace(connector, end, tmp_path):
    (tmp_path / "file").write_text("before")
    destination = destination_of(connector, tmp_path / "file")
    destination.prepare(BATCH.schema)
    destination.write(BATCH)
    getattr(destination, end)()
    getattr(destination, end)()
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "before"


def test_a_destination_that_was_never_prepared_touches_nothing(tmp_path):
    destination = destination_of("csv", tmp_path / "file")
    destination.abort()
    destination.close()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("call", [lambda d: d.write(BATCH), lambda d: d.finish()])
def test_a_destination_wants_to_be_prepared(call, tmp_path):
    with pytest.raises(UsageError, match="was not prepared"):
        call(destination_of("csv", tmp_path / "file"))


@pytest.mark.parametrize("connector", CONNECTORS)
def test_rows_of_another_schema_are_refused(connector, tmp_path):
    destination = destination_of(connector, tmp_path / "file")
    destination.prepare(BATCH.schema)
    with pytest.raises(DataError, match="schema of the rows changed"):
        destination.write(BATCH.select(["n"]))
    destination.close()


@pytest.mark.parametrize(
    ("connector", "column"),
    [("csv", pa.array([[1]])), ("csv", pa.array([{"a": 1}])), ("jsonl", pa.array([pa.MonthDayNano([1, 2, 3])]))],
)
def test_a_column_that_the_format_does_not_have_is_refused(connector, column, tmp_path):
    batch = pa.RecordBatch.from_pydict({"a": column})
    destination = destination_of(connector, tmp_path / "file")
    with pytest.raises(DataError) as caught:
        write_all(destination, batch)
    assert caught.value.file == str(tmp_path / "file")
    destination.close()
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_an_error(fill, tmp_path):
    fill("", "plain")
    with pytest.raises(DataError, match="cannot be written"):
        destination_of("csv", tmp_path / "plain" / "file").prepare(BATCH.schema)


def test_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(DataError, match="is a folder"):
        destination_of("csv", tmp_path / "file").prepare(BATCH.schema)
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    destination = destination_of("parquet", tmp_path / "file")
    destination.prepare(BATCH.schema)
    destination.write(BATCH)

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(DataError, match="No space left on device"):
        destination.finish()
    assert os.listdir(tmp_path) == []


def test_a_committed_file_cannot_be_written_to(tmp_path):
    output = AtomicFile(tmp_path / "file")
    output.file.write(b"x")
    output.commit()
    output.commit()
    with pytest.raises(UsageError, match="is closed"):
        output.file.write(b"y")
    assert (tmp_path / "file").read_bytes() == b"x"


def test_an_atomic_file_that_is_left_is_aborted(tmp_path):
    with AtomicFile(tmp_path / "file") as output:
        output.file.write(b"x")
    assert os.listdir(tmp_path) == []


def test_small_batches_share_a_row_group(tmp_path):
    batch = pa.RecordBatch.from_pydict({"n": pa.array(range(10), pa.int64())})
    write_all(destination_of("parquet", tmp_path / "file", row_group_rows=25, compression="gzip"), *[batch] * 6)
    file = parquet.ParquetFile(tmp_path / "file")
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [25, 5, 25, 5]
    assert file.metadata.row_group(0).column(0).compression == "GZIP"


def test_csv_is_read_with_its_options(fill):
    path = fill("a;b\n007;-\n 1;x\n")
    source = source_of("csv", path, delimiter=";", columns={"a": "string"}, nulls=["-"])
    assert read_all(source).to_pydict() == {"a": ["007", " 1"], "b": [None, "x"]}


def test_texts_that_mean_null_are_nulls_in_all_columns(fill):
    assert read_all(source_of("csv", fill("n,t\n1,NA\nNA,x\n2,\n"), nulls=["NA", ""])).to_pydict() == {
        "n": [1, None, 2],
        "t": [None, "x", None],
    }


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a,b\n1,2\n3\n4,5\n", 3, "Expected 2 columns, got 1"),
        ('a,b\n"1\n\n",2\n3\n4,5\n', 5, "Expected 2 columns, got 1"),
        ("a,b\n\n\n1,2\n\n3,4,5\n", 6, "Expected 2 columns, got 3"),
        ("a,b\r\n1,2\r\n3\r\n", 3, "Expected 2 columns, got 1"),
        ("a,b\n" + "1,2\n" * 200 + "x,2\n", 202, "'x' is not a value of int64"),
        (b"a,b\n1,x\n2,\xff\n", 3, "invalid UTF8"),
        ('a,b\n1,2\n3,"open\n4,5\n', 3, "never closed"),
        ("a,a\n1,2\n", 1, "two columns are named 'a'"),
    ],
)
def test_a_broken_csv_is_named_with_its_line(fill, text, line, words):
    path = fill(text)
    with pytest.raises(DataError) as caught:
        read_all(source_of("csv", path, max_record="64B", sample="64B"))
    assert (caught.value.file, caught.value.line) == (str(path), line)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{path}:{line}: ")


def test_a_quote_within_a_field_is_none_that_is_open(fill):
    assert read_all(source_of("csv", fill('a,b\n5" pipe,1\n'))).to_pydict() == {"a": ['5" pipe'], "b": [1]}


def test_a_csv_without_anything_is_refused(fill):
    with pytest.raises(DataError, match="Empty CSV"):
        source_of("csv", fill(""))


def test_a_type_for_no_column_is_refused(fill):
    with pytest.raises(DataError, match="there is no column 'c'"):
        source_of("csv", fill("a,b\n1,2\n"), columns={"c": "string"})


def test_a_csv_is_not_read_at_once(tmp_path):
    table = pa.table({"n": pa.array(range(400_000), pa.int64())})
    arrow_csv.write_csv(table, tmp_path / "in")
    source = source_of("csv", tmp_path / "in", max_record="20kB", sample="20kB")
    before = pa.total_allocated_bytes()
    largest = max(pa.total_allocated_bytes() - before for _ in source.batches())
    source.close()
    assert largest < table.nbytes / 4


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('{"a": 1}\n{"a": 2\n{"a": 3}\n', 2, "does not end on its line"),
        ('{"a": 1}\n\n{"a": "x"}\n', 3, "changed from number to string"),
        ("[1]\n", 1, ""),
        ('{"a": 1}\n' * 50 + '{"a": "x"}\n', 51, ""),
        ('{"a": 1}\n' * 50 + '{"a": 2.5}\n', 51, ""),
        ('{"a": 1}\n' * 50 + '{"a": 1}\n{"a": 1, "b": 2}\n', 52, "'b' comes up here first"),
        ('{"a": {"b": 1}}\n' * 50 + '{"a": {"b": 1, "c": 2}}\n', 51, "'a.c' comes up here first"),
        ('{"a": [{"b": 1}]}\n' * 50 + '{"a": [{"b": 1, "c": 2}]}\n', 51, "'a.c' comes up here first"),
        (b'{"a": "x"}\n{"a": "\xff"}\n', 2, "is not UTF-8"),
    ],
)
def test_broken_json_lines_are_named_with_their_line(fill, monkeypatch, text, line, words):
    monkeypatch.setattr(json_parts, "PART_BYTES", 64)
    path = fill(text)
    with pytest.raises(DataError) as caught:
        read_all(source_of("jsonl", path, sample="64B"))
    assert (caught.value.file, caught.value.line) == (str(path), line), str(caught.value)
    assert words in str(caught.value)


def test_json_lines_need_no_last_line_end_and_may_lack_columns(fill, monkeypatch):
    monkeypatch.setattr(json_parts, "PART_BYTES", 16)
    path = fill('{"a": 1, "b": "x"}\n{"a": 2}\n{"b": "y"}\n\n{"a": null, "b": null}')
    assert read_all(source_of("jsonl", path)).to_pydict() == {"a": [1, 2, None, None], "b": ["x", None, "y", None]}


def test_types_of_json_lines_can_be_given(fill, monkeypatch):
    monkeypatch.setattr(json_parts, "PART_BYTES", 16)
    path = fill('{"a": 1}\n{"a": 2.5}\n{"a": 3, "late": "x"}\n')
    table = read_all(source_of("jsonl", path, columns={"a": "double", "late": "string"}))
    assert table.to_pydict() == {"a": [1.0, 2.5, 3.0], "late": [None, None, "x"]}


def test_json_lines_without_any_have_the_columns_that_are_given(fill):
    source = source_of("jsonl", fill(""), columns={"a": "int64"})
    assert source.schema() == pa.schema([("a", pa.int64())])
    assert list(source.batches()) == []


@pytest.mark.parametrize("connector", ["parquet", "arrow"])
def test_a_file_that_is_something_else_is_refused(fill, connector):
    path = fill("a,b\n1,2\n" * 10)
    with pytest.raises(DataError) as caught:
        source_of(connector, path)
    assert caught.value.file == str(path)


@pytest.mark.parametrize("connector", ["parquet", "arrow"])
def test_a_file_that_is_cut_off_is_refused(tmp_path, connector):
    path = tmp_path / "file"
    write_all(destination_of(connector, path), BATCH)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError):
        read_all(source_of(connector, path))


@pytest.mark.parametrize("connector", CONNECTORS)
def test_a_file_that_is_not_there_is_named(tmp_path, connector):
    with pytest.raises(DataError, match="No such file") as caught:
        source_of(connector, tmp_path / "none")
    assert caught.value.file == str(tmp_path / "none")
