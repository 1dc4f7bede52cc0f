from __future__ import annotations

import datetime
import decimal
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.pipeline import partitions
from dataflare.pipeline.run_errors import DataError
from outputs_kit import CONNECTORS, destination_of, write

ROWS = pa.RecordBatch.from_pydict(
    {"k": pa.array(["a", "b", "a", None]), "n": pa.array([1, 2, 3, 4], pa.int64()), "y": pa.array([1, 1, 2, 1])}
)


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("connector", CONNECTORS)
def test_rows_are_written_by_the_values_of_a_column(connector, tmp_path):
    destination = write(connector, tmp_path / "out", ROWS, partition_by=["k"])
    names = ["k=__HIVE_DEFAULT_PARTITION__", "k=a", "k=b"]
    assert tree(tmp_path / "out") == [f"{name}/part-0.{connector}" for name in names]
    assert destination.published.to_json() == {"path": str(tmp_path / "out"), "action": "created", "files": 3}
    form = {"jsonl": "json"}.get(connector, connector)
    partitioning = datasets.partitioning(pa.schema([("k", pa.string())]), flavor="hive")
    table = datasets.dataset(tmp_path / "out", format=form, partitioning=partitioning).to_table()
    assert sorted(table.select(["n", "k"]).to_pylist(), key=lambda row: row["n"]) == [
        {"n": row["n"], "k": row["k"]} for row in ROWS.to_pylist()
    ]


def test_partitions_nest(tmp_path):
    write("csv", tmp_path / "out", ROWS, partition_by=["y", "k"])
    assert tree(tmp_path / "out") == [
        "y=1/k=__HIVE_DEFAULT_PARTITION__/part-0.csv",
        "y=1/k=a/part-0.csv",
        "y=1/k=b/part-0.csv",
        "y=2/k=a/part-0.csv",
    ]
    assert (tmp_path / "out" / "y=2" / "k=a" / "part-0.csv").read_text() == '"n"\n3\n'


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("../../etc", "k=..%2F..%2Fetc"),
        ("a b=c%", "k=a%20b%3Dc%25"),
        ("é\n", "k=%C3%A9%0A"),
        ("", "k="),
        (".", "k=."),
        ("__HIVE_DEFAULT_PARTITION__", "k=%5F_HIVE_DEFAULT_PARTITION__"),
        (True, "k=true"),
        (datetime.date(2013, 1, 31), "k=2013-01-31"),
        (decimal.Decimal("1.50"), "k=1.50"),
        (datetime.datetime(2013, 1, 1, 5), "k=2013-01-01%2005%3A00%3A00.000000"),
    ],
)
def test_values_are_escaped(value, name, tmp_path):
    write("csv", tmp_path / "out", pa.RecordBatch.from_pydict({"k": [value], "n": [1]}), partition_by=["k"])
    assert os.listdir(tmp_path / "out") == [name]
    assert os.listdir(tmp_path) == ["out"]


@given(st.lists(st.tuples(st.none() | st.text(max_size=3), st.integers(0, 2)), min_size=1, max_size=30))
def test_each_row_goes_to_its_partition_in_order(keys):
    rows = pa.RecordBatch.from_pydict(
        {
            "a": pa.array([a for a, _ in keys], pa.string()),
            "b": pa.array([b for _, b in keys], pa.int8()),
            "n": pa.array(range(len(keys)), pa.int64()),
        }
    )
    found = {values: part.column("n").to_pylist() for values, part in partitions.partition_rows(rows, ["a", "b"])}
    expected: dict[Any, list[int]] = {}
    for number, (a, b) in enumerate(keys):
        expected.setdefault((a, str(b)), []).append(number)
    assert found == expected


@pytest.mark.parametrize("connector", CONNECTORS)
def test_many_partitions_need_few_open_files_and_little_memory(connector, tmp_path, monkeypatch):
    monkeypatch.setattr(partitions, "_MOST_OPEN_FILES", 3)
    monkeypatch.setattr(partitions, "_WAITING_BYTES", 200)
    most = 0
    original = partitions.PartitionedFolder._open_part

    def counted(self: Any, values: Any) -> Any:
        nonlocal most
        most = max(most, len(self._open) + 1)
        return original(self, values)

    monkeypatch.setattr(partitions.PartitionedFolder, "_open_part", counted)
    destination = destination_of(connector, tmp_path / "out", partition_by=["k"])
    batches = [pa.RecordBatch.from_pydict({"k": [n % 10 for n in range(i, i + 20)], "n": range(20)}) for i in range(9)]
    destination.prepare(batches[0].schema)
    for batch in batches:
        destination.write(batch)
    destination.finish()
    assert most == 3
    form = {"jsonl": "json"}.get(connector, connector)
    table = datasets.dataset(tmp_path / "out", format=form, partitioning="hive").to_table()
    rows = sorted((row["k"], row["n"]) for row in table.to_pylist())
    assert rows == sorted((row["k"], row["n"]) for batch in batches for row in batch.to_pylist())
    if connector in ("csv", "jsonl"):
        assert destination.published.files == 10


def test_a_folder_of_partitions_is_replaced_as_a_whole(tmp_path):
    write("csv", tmp_path / "out", ROWS, partition_by=["k"])
    (tmp_path / "out").chmod(0o750)
    destination = write("csv", tmp_path / "out", ROWS.slice(1, 1), partition_by=["k"])
    assert tree(tmp_path / "out") == ["k=b/part-0.csv"]
    assert (destination.published.action, os.listdir(tmp_path)) == ("replaced", ["out"])
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o750


def test_a_folder_is_replaced_where_the_system_cannot_exchange_names(tmp_path, monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: object())
    write("csv", tmp_path / "out", ROWS, partition_by=["k"])
    write("csv", tmp_path / "out", ROWS.slice(1, 1), partition_by=["k"])
    assert (tree(tmp_path / "out"), os.listdir(tmp_path)) == (["k=b/part-0.csv"], ["out"])


@pytest.mark.parametrize("name", ["notes.txt", "k=a/notes.txt", "other/part-0.csv", "part-0.csv"])
def test_a_folder_that_holds_anything_else_is_not_replaced(name, tmp_path):
    write("csv", tmp_path / "out", ROWS, partition_by=["k"])
    (tmp_path / "out" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "out" / name).write_text("mine")
    with pytest.raises(DataError, match="which no node with"):
        write("csv", tmp_path / "out", ROWS, partition_by=["k"])
    assert (tmp_path / "out" / name).read_text() == "mine"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("connector", CONNECTORS)
def test_files_are_added_to_a_folder(connector, tmp_path):
    write(connector, tmp_path / "out", ROWS, partition_by=["k"])
    before = tree(tmp_path / "out")
    assert write(connector, tmp_path / "out", ROWS, partition_by=["k"], if_exists="append").published.files == 3
    after = tree(tmp_path / "out")
    assert (len(after), set(before) < set(after), os.listdir(tmp_path)) == (6, True, ["out"])
    write(connector, tmp_path / "out", ROWS, partition_by=["k"])
    assert tree(tmp_path / "out") == before


def test_a_folder_that_exists_fails_where_that_is_asked_for(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="exists already"):
        write("csv", tmp_path / "out", ROWS, partition_by=["k"], if_exists="fail")


def test_a_run_that_is_aborted_leaves_the_folder(tmp_path):
    write("csv", tmp_path / "out", ROWS, partition_by=["k"])
    before = tree(tmp_path / "out")
    destination = destination_of("parquet", tmp_path / "out", partition_by=["k"])
    destination.prepare(ROWS.schema)
    destination.write(ROWS)
    destination.abort()
    destination.close()
    assert (tree(tmp_path / "out"), os.listdir(tmp_path)) == (before, ["out"])


def test_a_run_without_rows_makes_an_empty_folder(tmp_path):
    write("csv", tmp_path / "out", ROWS.slice(0, 0), partition_by=["k"])
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (["z"], "there is no column 'z'"),
        (["x"], "column 'x' is double, which cannot be the name of a folder"),
        (["k", "x"], "cannot be the name"),
    ],
)
def test_a_column_that_names_no_folder_is_refused(columns, words, tmp_path):
    rows = pa.RecordBatch.from_pydict({"k": ["a"], "x": [1.5]})
    with pytest.raises(DataError, match=words):
        write("csv", tmp_path / "out", rows, partition_by=columns)
    assert os.listdir(tmp_path) == []


FAR = pa.array([2**55, None], pa.int64())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (pa.array([1, None], pa.int64()).view(pa.date64()), "a date64 with a time of day"),
        (pa.array([3_000_000, None], pa.int32()).cast(pa.date32()), "a date outside the years 1 to 9999"),
        (pa.array([-800_000, None], pa.int32()).cast(pa.date32()), "a date outside the years 1 to 9999"),
        (FAR.view(pa.timestamp("s")), "a date outside the years 1 to 9999"),
        (FAR.view(pa.timestamp("ms", "UTC")), "a date outside the years 1 to 9999"),
        (FAR.view(pa.timestamp("s")).dictionary_encode(), "a date outside the years 1 to 9999"),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_a_value_without_a_text_names_no_folder(values, words, tmp_path):
    rows = pa.RecordBatch.from_pydict({"k": values, "n": [1, 2]})
    with pytest.raises(DataError, match=f"column 'k' holds {words}, which a text cannot hold") as caught:
        write("parquet", tmp_path / "out", rows, partition_by=["k"])
    assert caught.value.hint and not (tmp_path / "out").exists()


def test_files_need_a_column(tmp_path):
    with pytest.raises(DataError, match="none is left"):
        write("csv", tmp_path / "out", pa.RecordBatch.from_pydict({"k": ["a"]}), partition_by=["k"])


def test_a_value_that_is_too_long_for_a_name_is_an_error(tmp_path):
    with pytest.raises(DataError, match="too long for the name of a folder"):
        write("csv", tmp_path / "out", pa.RecordBatch.from_pydict({"k": ["a" * 300], "n": [1]}), partition_by=["k"])


def test_a_file_in_the_place_of_the_folder_is_not_replaced(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(DataError, match="needs a folder"):
        write("csv", tmp_path / "out", ROWS, partition_by=["k"])
