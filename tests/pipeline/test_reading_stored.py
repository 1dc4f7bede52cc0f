"""Types of Parquet and Arrow files: INT96 times, which Arrow would wrap around, and extensions with parameters."""

from __future__ import annotations

import datetime
import gzip
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


def nested(levels: int) -> pa.Array:
    array = pa.array([1])
    for _ in range(levels):
        array = pa.ListArray.from_arrays([0, 1], array)
    return array


def write(connector: str, table: pa.Table, path: Path) -> Path:
    if connector == "parquet":
        parquet.write_table(table, path)
    else:
        with (pa.ipc.new_file if connector == "arrow" else pa.ipc.new_stream)(path, table.schema) as file:
            file.write_table(table)
    return path


ONE = pa.array([1])
DICTIONARY = pa.DictionaryArray.from_arrays(pa.array([0]), pa.array([[1]]))
UNION = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [ONE])
MONTHS = pa.array([(1, 2, 3)], pa.month_day_nano_interval())


@pytest.mark.parametrize(
    ("connector", "columns", "says", "hint"),
    [
        *(
            (connector, columns, says, hint)
            for connector in ("parquet", "arrow", "stream")
            for columns, says, hint in [
                ([("a", ONE), ("id", ONE), ("id", ONE)], "two columns are named 'id'", "another name for one of them"),
                ([(f"c{n}", ONE) for n in range(MAX_COLUMNS + 1)], f"more than {MAX_COLUMNS}", "fewer columns"),
                ([("deep", nested(40))], "nests deeper than 32 levels", "another type for the column"),
            ]
        ),
        *(
            (connector, [("x", array)], says, "another type for the column")
            for connector in ("arrow", "stream")
            for array, says in [
                (DICTIONARY, "column 'x': a dictionary is not of plain values"),
                (UNION, "column 'x': union is not on the list"),
                (MONTHS, "column 'x': interval is not on the list"),
                (pa.array([[1]], pa.list_view(pa.int64())), "column 'x': list_view is not on the list"),
            ]
        ),
    ],
)
def test_columns_that_are_refused_are_not_called_damage(connector, columns, says, hint, tmp_path):
    names, arrays = zip(*columns, strict=True)
    path = write(connector, pa.Table.from_arrays(list(arrays), names=list(names)), tmp_path / "in")
    with pytest.raises(DataError, match=says) as caught:
        read("parquet" if connector == "parquet" else "arrow", path)
    assert "malformed" not in str(caught.value)
    assert caught.value.hint.startswith("write it with")
    assert hint in caught.value.hint


CSV_BYTES, JSON_BYTES = b"a,b\n1,2\n", b'[{"a": 1}]\n'


@pytest.mark.parametrize("connector", ["parquet", "arrow", "excel"])
@pytest.mark.parametrize(
    ("data", "says", "hint"),
    [
        (CSV_BYTES, "but text", "connector: csv"),
        ("\ufeffname\nJürgen\n".encode(), "but text", "connector: csv"),
        (JSON_BYTES, "but text", "connector: jsonl"),
        (gzip.compress(CSV_BYTES, mtime=0), "but gzip data", "expand it first"),
        (b"", "is empty", "is it the right file?"),
    ],
)
def test_a_file_of_another_kind_is_not_called_damage(connector, data, says, hint, tmp_path):
    path = tmp_path / "in"
    path.write_bytes(data)
    with pytest.raises(DataError, match=says) as caught:
        read(connector, path)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("written", "connector", "says"),
    [
        ("parquet", "arrow", "is not an Arrow file but a Parquet file"),
        ("arrow", "parquet", "is not a Parquet file but an Arrow file"),
        ("stream", "parquet", "is not a Parquet file but an Arrow stream"),
        ("stream", "excel", "is not an Excel file but an Arrow stream"),
    ],
)
def test_a_stored_file_of_another_kind_names_its_connector(written, connector, says, tmp_path):
    path = write(written, pa.table({"a": [1]}), tmp_path / "in")
    with pytest.raises(DataError, match=says) as caught:
        read(connector, path)
    assert caught.value.hint == f"connector: {'parquet' if written == 'parquet' else 'arrow'}"


def test_what_is_of_no_known_kind_may_be_damaged(tmp_path):
    for data in (b"\x00\x01\x02\x03" * 8, write("parquet", pa.table({"a": [1]}), tmp_path / "p").read_bytes()[:-9]):
        path = tmp_path / "in"
        path.write_bytes(data)
        with pytest.raises(DataError) as caught:
            read("parquet", path)
        assert caught.value.hint.startswith("the file may be damaged")
