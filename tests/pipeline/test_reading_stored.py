"""Types of Parquet and Arrow files: INT96 times, which Arrow would wrap around, and extensions with parameters."""

from __future__ import annotations

import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from dataflare import run
from dataflare.data.guard.types import MAX_COLUMNS
from dataflare.pipeline.run_errors import DataError
from reading_kit import read, source_of

NINES = datetime.datetime(9999, 12, 31, 23, 59, 59, 999_999)
NS = 2**63 - 1


def int96(path: Path, column: pa.Array, **options: object) -> Path:
    parquet.write_table(pa.table({"t": column}), path, use_deprecated_int96_timestamps=True, **options)
    return path


def microseconds(*values: datetime.datetime | None) -> pa.Array:
    return pa.array(values, pa.timestamp("us"))


def test_int96_times_keep_their_nanoseconds(tmp_path):
    column = pa.array([0, 1, NS, -NS, None], pa.timestamp("ns"))
    assert read("parquet", int96(tmp_path / "t.parquet", column))["t"].combine_chunks().equals(column)


@pytest.mark.parametrize("max_batch", ["1GiB", "1B"])
@pytest.mark.parametrize(
    ("column", "place"),
    [
        (microseconds(None, *[datetime.datetime(2024, 1, 1)] * 9, NINES), ", row 11"),
        (microseconds(datetime.datetime(1, 1, 1)), ", row 1"),
        # The seconds are within the range; the fraction is not.
        (microseconds(datetime.datetime(2262, 4, 11, 23, 47, 16, 854_776)), ", row 1"),
        (microseconds(datetime.datetime(1677, 9, 21, 0, 12, 43, 145_224)), ", row 1"),
        (pa.array([[None], [], None, [NINES]], pa.list_(pa.timestamp("us"))), ""),
        (pa.array([{"a": [{"b": NINES}]}], pa.struct({"a": pa.list_(pa.struct({"b": pa.timestamp("us")}))})), ""),
        (pa.array([[("k", NINES)]], pa.map_(pa.string(), pa.timestamp("us"))), ""),
    ],
)
def test_int96_times_beyond_nanoseconds_are_an_error_and_can_be_read(tmp_path, max_batch, column, place):
    path = int96(tmp_path / "t.parquet", column, row_group_size=4)
    with pytest.raises(DataError, match=rf"t\.parquet: column 't'{place}: an INT96 time is beyond") as caught:
        read("parquet", path, batch_rows=3, max_batch=max_batch)
    assert caught.value.hint == "options: {int96: us} reads microseconds"
    assert read("parquet", path, batch_rows=3, int96="us")["t"].to_pylist() == column.to_pylist()


def test_the_schema_of_a_file_does_not_need_its_times(tmp_path):
    source = source_of("parquet", int96(tmp_path / "t.parquet", microseconds(NINES)), int96="us")
    assert source.schema() == pa.schema({"t": pa.timestamp("us")})
    source.close()


EXTENSIONS = {
    "uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes(16), None], pa.binary(16))),
    "json": pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{}", None])),
    "bool8": pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, None], pa.int8())),
    "opaque": pa.ExtensionArray.from_storage(pa.opaque(pa.int32(), "t", "v"), pa.array([1, None], pa.int32())),
    "tensor": pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.int8(), [2, 1], dim_names=["x", "y"]), pa.array([[1, 2], None], pa.list_(pa.int8(), 2))
    ),
}


@pytest.mark.parametrize("output", ["arrow", "parquet"])
@pytest.mark.parametrize("source", ["arrow", "parquet"])
@pytest.mark.parametrize("name", EXTENSIONS)
def test_extension_types_are_written_so_that_arrow_makes_them_again(tmp_path, monkeypatch, name, source, output):
    monkeypatch.chdir(tmp_path)
    table = pa.table({"x": EXTENSIONS[name]})
    if source == "parquet":
        parquet.write_table(table, "in")
    else:
        with pa.ipc.new_file("in", table.schema) as writer:
            writer.write_table(table)
    nodes = {
        "read": {"connector": source, "read": "in"},
        "write": {"connector": output, "input": "read", "write": "out"},
    }
    run({"name": "copy", "nodes": nodes})
    written = parquet.read_table("out") if output == "parquet" else pa.ipc.open_file("out").read_all()
    assert written.schema.field("x").type == table.schema.field("x").type
    assert written["x"].combine_chunks().storage.equals(table["x"].combine_chunks().storage)


@pytest.mark.parametrize("connector", ["parquet", "arrow"])
@pytest.mark.parametrize(
    ("names", "says", "hint"),
    [
        (["a", "id", "id"], "two columns are named 'id'", "write the file with another name for one of them"),
        ([f"c{n}" for n in range(MAX_COLUMNS + 1)], f"more than {MAX_COLUMNS}", "write the file with fewer columns"),
    ],
)
def test_columns_that_are_refused_are_not_called_damage(connector, names, says, hint, tmp_path):
    table = pa.Table.from_arrays([pa.array([1])] * len(names), names=names)
    path = tmp_path / "in"
    if connector == "parquet":
        parquet.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as file:
            file.write_table(table)
    with pytest.raises(DataError, match=says) as caught:
        read(connector, path)
    assert caught.value.hint.startswith(hint)
