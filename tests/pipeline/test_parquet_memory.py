"""What reading Parquet takes is known before, or refused; what is valid is read all the same."""

from __future__ import annotations

import datetime
import decimal
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest
from pyarrow import parquet

import parquet_kit as kit
from dataflare.data.guard.batches import admit_batch, admit_schema
from dataflare.data.shapes import DataFailure
from dataflare.pipeline.reading.confined import OutOfMemory
from dataflare.pipeline.reading.parquet_confined import read_confined
from dataflare.pipeline.reading.parquet_costs import costs_of
from dataflare.pipeline.reading.parquet_footer import read_footer
from dataflare.pipeline.reading.parquet_pages import Chunk, Pages, read_pages
from dataflare.pipeline.run_errors import DataError
from hostile_parquet import HOSTILE, MOST
from reading_kit import read, source_of

SUPPORT: Final = Path(__file__).parents[1] / "support"
ROWS: Final = 3000


def read_in_child(path: Path, **options: Any) -> dict[str, Any]:
    """Read a file in a process that may have 3 GiB of addresses; tell what came of it."""
    done = subprocess.run(
        [sys.executable, str(SUPPORT / "read_parquet.py"), str(path), json.dumps(options)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (SUPPORT, *sys.path)))},
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("name", HOSTILE)
def test_small_file_that_takes_much_memory_is_refused_or_read_in_little(name: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    data, refused = HOSTILE[name]()
    path.write_bytes(data)
    told = read_in_child(path, max_batch=MOST)
    assert told["error"].startswith(refused), told
    assert not refused or (str(path) in told["message"] and told["hint"]), told
    assert told["grown_bytes"] < 400 * 2**20 and told["child_bytes"] < 700 * 2**20, told


def test_error_names_the_column_the_limit_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(HOSTILE["list_of_everything"]()[0])
    with pytest.raises(DataError) as caught:
        read("parquet", path, max_batch="32MiB")
    assert "rows.parquet: column 'a' takes more memory to read than max_batch = 32MiB allows" in caught.value.message
    assert "max_batch" in caught.value.hint and "batch_rows" in caught.value.hint


def test_fewer_rows_at_a_time_are_read_where_more_would_take_too_much(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    table = pa.table({"t": pa.array(["x" * 20_000, "y"] * 8192).dictionary_encode()}).cast(
        pa.schema({"t": pa.string()})
    )
    parquet.write_table(table, path)
    source = source_of("parquet", path)
    sizes = [batch.num_rows for batch in source.batches()]
    source.close()
    assert sizes[0] == 4096 and sum(sizes) == table.num_rows
    assert read("parquet", path).equals(table)


def test_usual_files_are_read_in_batches_of_the_given_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    rng = random.Random(1)
    rows = 300_000
    tails = [f"N{rng.randrange(5000)}AA" for _ in range(rows)]
    table = pa.table({**{f"n{i}": range(rows) for i in range(12)}, "tail": tails, "k": [[1, 2], None, []] * 100_000})
    parquet.write_table(table, path)
    source = source_of("parquet", path)
    sizes = [batch.num_rows for batch in source.batches()]
    source.close()
    assert sizes == [65_536] * 4 + [rows - 4 * 65_536]


def several() -> pa.Table:
    """Columns of all kinds that Parquet has."""
    rng = random.Random(7)
    numbers = [rng.choice((None, rng.randrange(1000))) for _ in range(ROWS)]
    words = [rng.choice((None, "", "prefix-" + "é" * rng.randrange(9) + str(rng.randrange(50)))) for _ in range(ROWS)]
    day = datetime.date(2024, 1, 1)
    return pa.table(
        {
            "i": pa.array(numbers, pa.int32()),
            "l": pa.array(numbers, pa.uint64()),
            "f": pa.array(numbers, pa.float64()),
            "b": [None if n is None else n % 2 == 0 for n in numbers],
            "t": words,
            "large": pa.array(words, pa.large_string()),
            "view": pa.array(words, pa.string_view()),
            "bytes": [None if w is None else w.encode() for w in words],
            "fixed": pa.array([None if n is None else b"%04d" % n for n in numbers], pa.binary(4)),
            "dec": pa.array([None if n is None else decimal.Decimal(n) for n in numbers], pa.decimal128(20, 2)),
            "day": [None if n is None else day + datetime.timedelta(n) for n in numbers],
            "when": pa.array(numbers, pa.timestamp("us", "UTC")),
            "cat": pa.array(words).dictionary_encode(),
            "list": [None if n is None else [n] * (n % 4) for n in numbers],
            "texts": [None if n is None else [w, None] for n, w in zip(numbers, words, strict=True)],
            "struct": [None if n is None else {"x": n, "y": w} for n, w in zip(numbers, words, strict=True)],
            "map": pa.array([[("k", n)] for n in numbers], pa.map_(pa.string(), pa.int64())),
            "three": pa.array([[1, 2, 3]] * ROWS, pa.list_(pa.int16(), 3)),
            "nothing": pa.nulls(ROWS),
            "id": pa.array([bytes(16)] * ROWS, pa.uuid()),
        }
    )


WAYS: Final[dict[str, dict[str, Any]]] = {
    "usual": {},
    "second pages": {"data_page_version": "2.0"},
    "small pages": {"data_page_size": 256, "write_batch_size": 64},
    "groups": {"row_group_size": 70},
    "plain": {"use_dictionary": False},
    "old": {"version": "1.0", "use_deprecated_int96_timestamps": True},
    "no statistics": {"write_statistics": False, "compression": "none"},
    **{codec: {"compression": codec} for codec in ("gzip", "brotli", "zstd", "lz4")},
    "texts by prefixes": {"use_dictionary": False, "column_encoding": {"t": "DELTA_BYTE_ARRAY"}},
    "texts by lengths": {"use_dictionary": False, "column_encoding": {"t": "DELTA_LENGTH_BYTE_ARRAY"}},
    "differences": {"use_dictionary": False, "column_encoding": {"i": "DELTA_BINARY_PACKED", "f": "BYTE_STREAM_SPLIT"}},
}


def plain(table: pa.Table) -> pa.Table:
    """The table with its dictionary written out: two of the same texts may be in different orders."""
    place = table.schema.get_field_index("cat")
    return table.set_column(place, "cat", table["cat"].cast(pa.string()))


@pytest.mark.parametrize("way", WAYS)
def test_both_ways_of_reading_agree_with_arrow(way: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    parquet.write_table(several(), path, **WAYS[way])
    file = parquet.ParquetFile(path)
    schema = admit_schema(file.schema_arrow)
    expected = pa.Table.from_batches([admit_batch(batch) for batch in file.iter_batches()], schema)
    assert plain(read("parquet", path, batch_rows=999)).equals(plain(expected))
    with path.open("rb") as opened:
        parts = read_confined(opened, batch_rows=999, max_bytes=2**27)
        own = next(parts)
        confined = pa.Table.from_batches(list(parts), own)
    assert own.equals(schema) and plain(confined).equals(plain(expected))


@pytest.mark.parametrize("writer", ["polars", "duckdb"])
def test_files_of_other_writers_are_read(writer: str, tmp_path: Path) -> None:
    module = pytest.importorskip(writer)
    path = tmp_path / "rows.parquet"
    if writer == "polars":
        rows: Any = {
            "n": range(ROWS),
            "f": [float("nan")] * ROWS,
            "t": [None, "é", "x"] * (ROWS // 3),
            "k": [[1]] * ROWS,
        }
        module.DataFrame(rows).write_parquet(path, statistics="full", data_page_size=2000, row_group_size=1500)
    else:
        rows = "range n, 'nan'::double f, CASE range % 3 WHEN 0 THEN NULL WHEN 1 THEN 'é' ELSE 'x' END t, [1] k"
        how = "FORMAT parquet, PARQUET_VERSION V2, KV_METADATA {k: 'v'}, ROW_GROUP_SIZE 2048"
        module.connect().execute(f"COPY (SELECT {rows} FROM range({ROWS})) TO '{path}' ({how})")
    table = read("parquet", path)
    assert table["n"].to_pylist() == list(range(ROWS)) and table["k"].to_pylist() == [[1]] * ROWS
    assert table["t"].to_pylist() == [None, "é", "x"] * (ROWS // 3) and table["f"].null_count == 0


@pytest.mark.parametrize("way", [way for way in WAYS if not way.startswith("texts")])
def test_memory_is_not_more_than_was_told(way: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    parquet.write_table(several(), path, **WAYS[way])
    told = read_in_child(path)
    assert told["error"] == "" and told["rows"] == ROWS
    with path.open("rb") as file:
        groups = read_footer(file, most_bytes=2**20).groups
        assert groups is not None
        costs = costs_of(parquet.ParquetFile(file), groups, file.fileno(), batch_rows=65_536, max_bytes=2**30)
    assert costs.are_known and told["arrow_bytes"] <= costs.most_bytes + costs.compressed_bytes, (told, costs)


def test_texts_of_unknown_length_are_read_in_a_process_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    parquet.write_table(several(), path, **WAYS["texts by prefixes"])
    assert read_in_child(path)["child_bytes"] > 0
    parquet.write_table(several(), path)
    assert read_in_child(path)["child_bytes"] == 0


def test_reader_that_dies_is_an_error_not_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.parquet"
    parquet.write_table(several(), path)
    with path.open("rb") as file:
        parts = read_confined(file, batch_rows=100, max_bytes=2**27)
        next(parts), next(parts)
        killed = parts.gi_yieldfrom.gi_frame.f_locals["process"]  # type: ignore[attr-defined]
        killed.kill()
        with pytest.raises(DataFailure):
            list(parts)


def test_reading_can_be_given_up(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    parquet.write_table(several(), path)
    with path.open("rb") as file:
        parts = read_confined(file, batch_rows=10, max_bytes=2**27)
        next(parts), next(parts)
        process = parts.gi_yieldfrom.gi_frame.f_locals["process"]  # type: ignore[attr-defined]
        parts.close()  # type: ignore[attr-defined]
        assert process.poll() is not None


def test_process_refuses_a_batch_beyond_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.table({"t": ["x" * 10_000] * 4096}), path)
    with path.open("rb") as file, pytest.raises(OutOfMemory):
        list(read_confined(file, batch_rows=4096, max_bytes=2**24))


def test_rows_without_columns_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(kit.file([], 70_000))
    source = source_of("parquet", path)
    assert [batch.num_rows for batch in source.batches()] == [65_536, 4464]
    source.close()


def header(*fields: bytes) -> bytes:
    """A page of one value of four bytes, whose header has these fields at its end."""
    return b"\x15\0\x15\x08\x15\x08" + b"".join(fields) + b"\0" + bytes(4)


DATA: Final = b"\x2c\x15\x02\x15\0\x15\x06\x15\x06\0"


def pages_of(page: bytes, path: Path) -> Pages:
    """What is read of a file that is one page of one value."""
    path.write_bytes(page)
    with path.open("rb") as file:
        return read_pages(file.fileno(), Chunk(0, 1, 0, False), short=0, most_bytes=2**20)


DATA_1: Final = DATA[:-1]
DATA_2: Final = b"\x15\x06" + header(b"\x5c\x15\x02\x15\0\x15\x02\x15\0\x15\0\x15\0\x12\x1c\x36\0\x16\x02\0\0")[2:]


@pytest.mark.parametrize(
    ("page", "says"),
    [
        (header(), "does not say what it holds"),
        (b"\x15\0\x15\x08\x15\x07" + DATA + b"\0", "negative"),
        (b"\x15\0" + kit.long_form(5, 12) + DATA[1:] + b"\0", "no size"),
        (b"\x15\0\x15\xff\xff\xff\xff\xff\x0f\x15\x08" + DATA + b"\0", "too many bits"),
        (b"\x15\0\x15\x88\x80\x80\x80\x80\0\x15\x08" + DATA + b"\0", "too many bits"),
        (header(b"\x05\x02\x08", DATA), "a field twice"),
        (header(DATA, kit.long_form(5, 12) + DATA[1:]), "a field twice"),
        (header(DATA, kit.long_form(0, 5) + b"\0"), "do not ascend"),
        (header(DATA, kit.long_form(-1, 5) + b"\0"), "do not ascend"),
        (header(DATA, kit.long_form(65_536 + 5, 12) + DATA[1:]), "does not define: 65541"),
        (header(DATA, kit.long_form(-65_536 + 2, 5) + b"\0"), "do not ascend"),
        (header(DATA, kit.long_form(2**31 - 1, 5) + b"\0"), "does not define"),
        (header(DATA, b"\x05" + kit.varint(2**32 + 12) + b"\0"), "too many bits"),
        (header(DATA, kit.long_form(32_767, 5) + b"\0"), "another kind than Parquet defines: 32767"),
        (header(DATA, kit.long_form(32_767, 8) + b"\0" + b"\x18\0"), "does not define: 32768"),
        (header(DATA, b"\x45\0"), "does not define: 9"),
        (header(DATA_1, kit.long_form(65_536 + 2, 5) + b"\x0e\0"), "does not define: 65538"),
        (header(DATA_1, kit.long_form(2, 5) + b"\x0e\0"), "a field twice"),
        (header(DATA_1, b"\x25\x0e\0"), "does not define: 6"),
        (header(DATA_1, b"\x1c", kit.long_form(65_536 + 3, 6) + b"\0\0\0"), "does not define: 65539"),
        (header(DATA_1, b"\x1c\x36\0", kit.long_form(3, 6) + b"\0\0\0"), "a field twice"),
        (header(DATA_1, b"\x1c\xa6\0\0\0"), "does not define: 10"),
        (header(DATA_1, b"\x1c\x18\xff\xff\xff\xff\x0f"), "too many bits"),
        (header(DATA, b"\x1c\x15\0\0"), "does not define: 1"),
        (header(DATA, b"\x1b\0"), "another kind than Parquet defines: 6"),
        (header(DATA, b"\x10"), "another kind than Parquet defines: 6"),
        (header(DATA, b"\x1c" * 20), "does not define: 1"),
        (header(b"\x2c\x16\x02\x15\0\0"), "another kind than Parquet defines: 1"),
        (header(DATA)[:8], "ends early"),
        (b"\x15\0\x15\x08\x15\x08\x2c\x15\x03\x15\0\0\0", "does not say what it holds"),
        (b"\x15\0\x15\x08\x15\x08\x2c\x15\x06\x15\0\0\0", "more values than its footer says"),
    ],
)
def test_header_that_thrift_could_read_otherwise_is_refused(page: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(DataFailure, match=says):
        pages_of(page, tmp_path / "page")


def test_header_of_any_length_is_read(tmp_path: Path) -> None:
    statistics = b"\x58" + kit.varint(100_000) + bytes(100_000) + b"\x18\0\x11\x12\x16\x80\x01\0"
    data = b"\x1c\x15\x02\x15\0\x15\x06\x15\x06\x1c" + statistics + b"\0"
    pages = pages_of(header(b"\x15\x00", data), tmp_path / "page")
    assert pages.values == [1] and pages.sizes == [4]


@pytest.mark.parametrize(
    "page",
    [
        header(kit.long_form(5, 12) + DATA[1:]),
        header(DATA, b"\x1c\0"),
        header(DATA, kit.long_form(32_767, 8) + b"\x03any"),
        header(DATA_1, kit.long_form(32_767, 8) + b"\x03any\0"),
        DATA_2,
    ],
    ids=["long form", "index", "extension", "extension within", "second kind"],
)
def test_header_of_all_that_parquet_defines_is_read(page: bytes, tmp_path: Path) -> None:
    pages = pages_of(page, tmp_path / "page")
    assert pages.values == [1] and pages.sizes == [4] and pages.is_bounded
