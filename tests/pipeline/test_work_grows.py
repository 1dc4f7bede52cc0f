"""Reading and writing take steps in proportion to batches, columns, files and partitions, and memory that is bounded.

Calls are counted, and bytes.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from dataflare.data.json_numbers import inexact_numbers
from dataflare.pipeline import sinks
from dataflare.pipeline.writers import open_destination
from reading_kit import NODES, read, source_of

CONNECTORS = ("csv", "jsonl", "parquet", "arrow")
FEW, TIMES = 30, 8
SLACK = 1.5


def calls(function: Callable[[], object]) -> int:
    """How many functions are called, those in C among them."""
    counter = itertools.count()

    def count(_: Any, event: str, __: Any) -> None:
        if event in ("call", "c_call"):
            next(counter)

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(before)
    return next(counter)


def check(steps: Callable[[int], Callable[[], object]]) -> None:
    """Compare some units of work with eight times as many; what is done once is in both."""
    steps(1)()  # what is imported and made on the first use
    few, many = calls(steps(FEW)), calls(steps(FEW * TIMES))
    assert few > FEW
    assert many <= few * TIMES * SLACK, (few, many)


def write(connector: str, path: Path, batches: list[pa.RecordBatch], **keys: Any) -> None:
    node = NODES.validate_python({"connector": connector, "write": str(path), "input": "in", **keys})
    destination = open_destination(node, path)
    try:
        destination.prepare(batches[0].schema)
        for batch in batches:
            destination.write(batch)
        destination.flush()
        destination.finish()
    finally:
        destination.close()


@pytest.fixture
def place(tmp_path):
    numbers = itertools.count()
    return lambda: tmp_path / str(next(numbers))


def some_rows(count: int, columns: int = 2) -> pa.RecordBatch:
    return pa.record_batch({f"c{n}": [f"{n}-{row}" for row in range(count)] for n in range(columns)})


@pytest.mark.parametrize("connector", CONNECTORS)
def test_writing_grows_with_the_batches(connector, place):
    check(lambda times: lambda: write(connector, place(), [some_rows(3)] * times))


@pytest.mark.parametrize("connector", CONNECTORS)
def test_writing_grows_with_the_columns(connector, place):
    check(lambda times: lambda: write(connector, place(), [some_rows(2, times * 2)]))


@pytest.mark.parametrize("connector", CONNECTORS)
def test_writing_grows_with_the_partitions(connector, place):
    def steps(times):
        rows = pa.record_batch({"p": list(range(times)), "v": ["x"] * times})
        return lambda: write(connector, place(), [rows], partition_by=["p"])

    check(steps)


def test_values_that_are_looked_up_in_dictionaries_grow_with_the_batches(place, monkeypatch):
    looked_up = []

    def index_in(values, *, value_set):
        looked_up.append(len(values) + len(value_set))
        return pc.index_in(values, value_set=value_set)

    monkeypatch.setattr("dataflare.pipeline.columns.pc", SimpleNamespace(**{**vars(pc), "index_in": index_in}))
    batches = [
        pa.record_batch({"d": pa.array([f"{n}-{row}" for row in range(1000)]).dictionary_encode()}) for n in range(400)
    ]
    counts = []
    monkeypatch.setattr(sinks, "_COLLECTED_ROWS", 2000)
    for few in (batches[:50], batches):
        looked_up.clear()
        write("arrow", path := place(), few)
        counts.append(sum(looked_up))
        assert read("arrow", path)["d"].to_pylist() == [value for each in few for value in each["d"].to_pylist()]
    assert counts[1] <= counts[0] * 8 * SLACK


def test_dictionaries_that_differ_grow_with_the_batches(place):
    def steps(times):
        batches = [
            pa.record_batch({"d": pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), [f"{n}"])})
            for n in range(times)
        ]
        return lambda: write("arrow", place(), batches)

    check(steps)


@pytest.mark.parametrize("connector", CONNECTORS)
def test_reading_grows_with_the_rows_and_batches(connector, place):
    def steps(times):
        write(connector, path := place(), [some_rows(2)] * times)
        return lambda: read(connector, path, batch_rows=1)

    check(steps)


@pytest.mark.parametrize("connector", CONNECTORS)
def test_reading_grows_with_the_columns(connector, place):
    def steps(times):
        write(connector, path := place(), [some_rows(2, times * 2)])
        return lambda: read(connector, path)

    check(steps)


def test_lines_of_long_numbers_are_counted_once():
    class Text(bytes):
        def count(self, *arguments):
            scanned.append(arguments[2] - arguments[1])
            return super().count(*arguments)

    line = b'{"a":12345678901234567890}\n'
    for times in (FEW, FEW * TIMES):
        scanned: list[int] = []
        found = list(inexact_numbers(Text(line * times), {("a",): pa.float64()}))
        assert [number for number, _, _ in found] == list(range(1, times + 1))
        assert sum(scanned) <= len(line) * times


@pytest.mark.parametrize("connector", CONNECTORS)
def test_reading_grows_with_the_files(connector, place):
    write(connector, path := place(), [some_rows(2)])
    check(lambda times: lambda: read(connector, [path] * times))


@pytest.mark.parametrize("connector", ["csv", "jsonl"])
def test_memory_of_reading_does_not_grow_with_the_file(connector, tmp_path):
    peaks = []
    for rows in (200_000, 1_600_000):
        path = tmp_path / f"{rows}.{connector}"
        path.write_text("n,t\n" * (connector == "csv") + LINES[connector] * rows)
        before = pa.total_allocated_bytes()
        options = {"max_record": "64KiB"} if connector == "csv" else {}
        source = source_of(connector, path, sample="64KiB", **options)
        peaks.append(max(pa.total_allocated_bytes() - before for _ in source.batches()))
        source.close()
    assert peaks[1] < 1.5 * peaks[0] + 2**20


LINES = {"csv": "123456789,some text\n", "jsonl": '{"n":123456789,"t":"some text"}\n'}
