"""Columns in the names of folders: `year=2013/`."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflare.errors import ConfigError
from dataflare.pipeline.readers import open_source
from dataflare.pipeline.reading.inputs import find_files
from dataflare.pipeline.run_errors import DataError
from dataflare.pipeline.runner import run
from outputs_kit import CONNECTORS, write
from reading_kit import NODES

ROWS = pa.RecordBatch.from_pydict(
    {
        "n": pa.array([1, 2, 3], pa.int64()),
        "year": pa.array([2013, 2014, None], pa.int64()),
        "code": pa.array(["007", "a/b=c%", ""], pa.string()),
        "day": pa.array([datetime.date(2013, 1, 1), None, datetime.date(2024, 2, 29)]),
        "paid": pa.array([Decimal("1.5"), Decimal("2.5"), None], pa.decimal128(10, 1)),
    }
)


def read(folder: Path, pattern: str | list[str], *, connector: str = "parquet", **keys: Any) -> pa.Table:
    node = NODES.validate_python({"connector": connector, "read": pattern, **keys})
    source = open_source(node, find_files(folder, pattern), folder=folder)
    try:
        return pa.Table.from_batches(source.batches(), source.schema())
    finally:
        source.close()


def fill(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize("connector", CONNECTORS)
def test_what_is_written_by_folders_is_read_again(connector, tmp_path):
    write(connector, tmp_path / "out", ROWS, partition_by=["year", "code", "day"])
    table = read(tmp_path, f"out/**/*.{connector}", connector=connector)
    assert table.column_names == ["n", "paid", "year", "code", "day"]
    assert table.schema.field("year").type == pa.int64()
    assert table.schema.field("day").type == pa.date32()
    kept = [name for name in ROWS.schema.names if name != "paid"]
    assert table.select(kept).sort_by("n").to_pylist() == ROWS.select(kept).to_pylist()


TYPED = pa.RecordBatch.from_pydict(
    {
        "n": pa.array([1, 2, 3, 4], pa.int64()),
        "text": pa.array(["7", "1.50", "007", None], pa.large_string()),
        "words": pa.array(["true", "2024-01-01", "", "x"]).dictionary_encode(),
        "digits": pa.array(["1", "2", "3", "4"], pa.string_view()),
        "small": pa.array([1, -128, None, 127], pa.int8()),
        "large": pa.array([2**64 - 1, 0, 1, None], pa.uint64()),
        "yes": pa.array([True, False, None, True]),
        "paid": pa.array([Decimal("1.50"), Decimal("-0.25"), None, Decimal(3)], pa.decimal128(10, 2)),
        "at": pa.array([0, 1, -1, None], pa.timestamp("ns", "America/New_York")),
        "local": pa.array([0, 1, None, -1], pa.timestamp("us")),
        "day": pa.array([0, 86_400_000, None, -86_400_000], pa.int64()).cast(pa.date64()),
    }
)


@pytest.mark.parametrize("column", TYPED.schema.names[1:])
@pytest.mark.parametrize("connector", ["parquet", "arrow"])
def test_files_with_types_note_those_of_their_folders(connector, column, tmp_path):
    write(connector, tmp_path / "out", TYPED.select(["n", column]), partition_by=[column])
    found = read(tmp_path, f"out/*/*.{connector}", connector=connector)
    expected = TYPED.column(column)
    if pa.types.is_dictionary(expected.type) or "string" in str(expected.type):
        expected = expected.cast(pa.string())
    assert found.sort_by("n").column(column).combine_chunks().equals(expected)
    assert not found.schema.metadata
    again = read(tmp_path, f"out/*/*.{connector}", connector=connector, hive_partitioning={column: "string"})
    assert again.schema.field(column).type == pa.string()


@pytest.mark.parametrize("connector", ["csv", "jsonl"])
@pytest.mark.parametrize("texts", [["1.50", "2"], ["TRUE", "false"], ["1e5"], ["2024-01-01T00:00:00"], ["1", "1.0"]])
def test_a_text_that_its_type_would_write_in_another_way_stays_text(connector, texts, tmp_path):
    rows = pa.RecordBatch.from_pydict({"n": range(len(texts)), "k": texts})
    write(connector, tmp_path / "out", rows, partition_by=["k"])
    assert read(tmp_path, f"out/*/*.{connector}", connector=connector).sort_by("n").to_pylist() == rows.to_pylist()


@pytest.mark.parametrize(("texts", "kind"), [(["1.0", "2.5"], "double"), (["0.5"], "double"), (["7"], "int64")])
def test_folders_of_numbers_are_numbers(texts, kind, tmp_path):
    fill(tmp_path, **{f"k={text}/a.csv": "n\n1\n" for text in texts})
    assert str(read(tmp_path, "*/a.csv", connector="csv").schema.field("k").type) == kind


@pytest.mark.parametrize("connector", ["csv", "jsonl"])
def test_who_writes_texts_that_look_like_numbers_is_told(connector, tmp_path, caplog):
    write(connector, tmp_path / "out", pa.RecordBatch.from_pydict({"n": [1, 2], "k": ["7", "8"]}), partition_by=["k"])
    assert "column 'k' is text, and the names of its folders are read as int64" in caplog.text
    assert "`hive_partitioning: {k: string}`" in caplog.text
    caplog.clear()
    write(connector, tmp_path / "other", pa.RecordBatch.from_pydict({"n": [1, 2], "k": ["7", "x"]}), partition_by=["k"])
    write(connector, tmp_path / "whole", pa.RecordBatch.from_pydict({"n": [1, 2], "k": [7, 8]}), partition_by=["k"])
    assert caplog.text == ""


def test_folders_that_were_written_with_two_types_are_an_error(tmp_path):
    write("parquet", tmp_path / "a", pa.RecordBatch.from_pydict({"n": [1], "k": ["7"]}), partition_by=["k"])
    write("parquet", tmp_path / "b", pa.RecordBatch.from_pydict({"n": [2], "k": [7]}), partition_by=["k"])
    with pytest.raises(
        DataError, match="column 'k' of its folders was int64, and is string in the first file"
    ) as caught:
        read(tmp_path, "*/*/*.parquet")
    assert "`hive_partitioning: {k: string}`" in (caught.value.hint or "")
    found = read(tmp_path, "*/*/*.parquet", hive_partitioning={"k": "string"})
    assert found.to_pydict() == {"n": [1, 2], "k": ["7", "7"]}


@pytest.mark.parametrize("noted", [b"[", b"[1]", b'{"k": 1}', b'{"k": "int65"}', b"[" * 100_000])
def test_noted_types_that_are_damaged_are_an_error(noted, tmp_path):
    (tmp_path / "k=1").mkdir()
    table = pa.table([[1]], pa.schema([("n", pa.int64())], {"dataflare.folder_columns": noted}))
    parquet.write_table(table, tmp_path / "k=1" / "a.parquet")
    with pytest.raises(DataError, match="does not name types"):
        read(tmp_path, "*/*.parquet")


@settings(max_examples=30)
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.none(), min_size=1, max_size=6)
)
def test_every_text_comes_back(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("texts")
    rows = pa.RecordBatch.from_pydict({"n": range(len(texts)), "k": pa.array(texts, pa.string())})
    write("parquet", folder / "out", rows, partition_by=["k"])
    table = read(folder, "out/*/*.parquet", hive_partitioning={"k": "string"})
    assert table.sort_by("n").to_pylist() == rows.to_pylist()


def test_a_type_can_be_given_and_the_folders_can_be_left_aside(tmp_path):
    fill(tmp_path, **{"year=2013/a.csv": "n\n1\n", "year=2014/a.csv": "n\n2\n"})
    assert read(tmp_path, "*/a.csv", connector="csv").to_pydict() == {"n": [1, 2], "year": [2013, 2014]}
    given_type = read(tmp_path, "*/a.csv", connector="csv", hive_partitioning={"year": "string"})
    assert given_type.to_pydict() == {"n": [1, 2], "year": ["2013", "2014"]}
    assert read(tmp_path, "*/a.csv", connector="csv", hive_partitioning=False).to_pydict() == {"n": [1, 2]}


def test_only_what_a_pattern_goes_through_names_columns(tmp_path):
    inner = tmp_path / "env=prod"
    fill(inner, **{"year=2013/a.csv": "n\n1\n", "year=2013/month=1/a.csv": "n\n2\n"})
    assert read(inner, "year=2013/month=*/a.csv", connector="csv").to_pydict() == {"n": [2], "month": [1]}
    assert read(inner, "year=2013/a.csv", connector="csv").to_pydict() == {"n": [1]}
    assert read(inner, ["year=*/a.csv"], connector="csv").to_pydict() == {"n": [1], "year": [2013]}


def test_patterns_elsewhere_name_columns_too(tmp_path):
    fill(tmp_path, **{"year=2013/a.csv": "n\n1\n"})
    below = tmp_path / "a" / "b" / "c"
    for pattern in ("../../../year=*/a.csv", f"{tmp_path}/year=*/a.csv"):
        assert read(below, pattern, connector="csv").to_pydict() == {"n": [1], "year": [2013]}


def test_a_folder_whose_name_looks_like_a_pattern_is_itself(tmp_path):
    folder = tmp_path / "year=[1]"
    fill(folder, **{"a.csv": "n\n1\n"})
    assert read(folder, "../year=[1]/a.csv", connector="csv").to_pydict() == {"n": [1]}
    with pytest.raises(DataError, match="no file matches this pattern"):
        read(folder, "../year=[1]/b.csv", connector="csv")


def test_a_column_of_the_file_itself_stays(tmp_path):
    fill(tmp_path, **{"year=1/a.csv": "n,year\n1,2013\n"})
    assert read(tmp_path, "*/a.csv", connector="csv").to_pydict() == {"n": [1], "year": [2013]}


def test_metadata_of_the_file_is_kept(tmp_path):
    (tmp_path / "k=1").mkdir()
    table = pa.table([[1]], pa.schema([pa.field("n", pa.int64(), metadata={"unit": "m"})], {"made": "by hand"}))
    parquet.write_table(table, tmp_path / "k=1" / "a.parquet")
    found = read(tmp_path, "*/*.parquet").schema
    assert (found.metadata[b"made"], found.field("n").metadata[b"unit"]) == (b"by hand", b"m")


@pytest.mark.parametrize(
    ("files", "keys", "why"),
    [
        (["a=1/f.csv", "f.csv"], {}, "its folders name no column, and those of .* name a"),
        (["a=1/f.csv", "b=1/f.csv"], {}, "its folders name b, and those of .* name a"),
        (["a=1/b=1/f.csv", "b=2/a=1/f.csv"], {}, "its folders name b, a, and those of .* name a, b"),
        (["a=1/a=2/f.csv"], {}, "two of its folders name the column 'a'"),
        (["a=%FF/f.csv"], {}, "the folder 'a=%FF' is not UTF-8"),
        (["a=1/f.csv"], {"aa": "int64"}, "no folder is named aa=..., for which `hive_partitioning` gives a type"),
        (["a=300/f.csv"], {"a": "int8"}, "the folder a=300 is for column 'a', and '300' does not fit int8"),
        (["a=x/f.csv"], {"a": "double"}, "'x' is not a value of double"),
    ],
)
def test_folders_that_do_not_fit_are_an_error(tmp_path, files, keys, why):
    fill(tmp_path, **dict.fromkeys(files, "n\n1\n"))
    with pytest.raises(DataError, match=why) as caught:
        read(tmp_path, "**/f.csv", connector="csv", hive_partitioning=keys or True)
    assert "hive_partitioning" in str(caught.value) + (caught.value.hint or "")


def test_a_run_has_the_columns_and_a_type_that_does_not_exist_is_an_error(specify, tmp_path):
    fill(tmp_path, **{"year=2013/a.csv": "n\n1\n", "year=2014/a.csv": "n\n2\n"})
    text = "  in: {connector: csv, read: '**/a.csv'%s}\n  out: {connector: jsonl, write: out.jsonl, input: in}"
    run(specify(text % ""))
    assert (tmp_path / "out.jsonl").read_text() == '{"n":1,"year":2013}\n{"n":2,"year":2014}\n'
    for wrong, says in (("int65", "int65"), ("date32", "date32[day]")):
        with pytest.raises(ConfigError) as caught:
            specify(text % f", hive_partitioning: {{year: {wrong}}}")
        assert says in f"{caught.value.message} {caught.value.hint}" and "true or false" not in caught.value.message
    with pytest.raises(ConfigError, match="hive_partitioning: give true or false, not 'yes'"):
        specify(text % ", hive_partitioning: yes")
