"""Values of every type that plugins can use, with nulls and extremes, and how they are compared, for tests."""

from __future__ import annotations

import datetime
import math
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from dataflare.data.guard.types import reduced
from dataflare.pipeline.writers import open_destination
from reading_kit import NODES, read

__all__ = [
    "ARRAYS",
    "CONNECTORS",
    "IDS",
    "batches_of",
    "may_refuse",
    "notation",
    "rows_of",
    "same_rows",
    "through",
    "wide_batches",
    "write",
]

CONNECTORS = ("csv", "jsonl", "parquet", "arrow")
DAY = datetime.date(2024, 2, 29)
MOMENT = datetime.datetime(2024, 3, 10, 1, 30, 15)
INF = math.inf


def integers(kind: pa.DataType) -> pa.Array:
    bits, signed = kind.bit_width, pa.types.is_signed_integer(kind)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return pa.array([low, high, 0, 1, None], kind)


def timestamps() -> list[pa.Array]:
    return [
        pa.array([0, 1_710_034_215, -1, None], pa.int64()).cast(pa.timestamp(unit, tz=zone))
        for unit in ("s", "ms", "us", "ns")
        for zone in (None, "UTC", "America/New_York", "+05:30")
    ]


ARRAYS: list[pa.Array] = [
    pa.array([True, False, None]),
    *map(integers, [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]),
    pa.array([0.5, -0.0, 65504.0, None, math.nan, INF, -INF], pa.float32()).cast(pa.float16()),
    pa.array([0.1, -0.0, 3.4e38, 1e-45, None, math.nan, INF, -INF], pa.float32()),
    pa.array([0.1, -0.0, 1.7976931348623157e308, 5e-324, 1e16, 2.0, None, math.nan, INF, -INF], pa.float64()),
    pa.array(["", "a", "NA", "null", "01234", "+49", "a,b", 'quo"te', "two\nlines", "é\u2028😀", " x ", "true", None]),
    pa.array(["", "a", None], pa.large_string()),
    pa.array([b"", b"\x00\xff", b"abc", None], pa.binary()),
    pa.array([b"", b"\x00\xff", None], pa.large_binary()),
    pa.array([b"abc", b"\x00\xff\n", None], pa.binary(3)),
    pa.array([DAY, datetime.date(1, 1, 1), datetime.date(9999, 12, 31), None], pa.date32()),
    pa.array([DAY, datetime.date(1970, 1, 1), None], pa.date64()),
    pa.array([datetime.time(1, 30, 15), datetime.time(0), None], pa.time32("s")),
    pa.array([datetime.time(1, 30, 15, 1000), None], pa.time32("ms")),
    pa.array([datetime.time(23, 59, 59, 999_999), None], pa.time64("us")),
    pa.array([1, 86_399_999_999_999, None], pa.int64()).cast(pa.time64("ns")),
    *timestamps(),
    *(pa.array([0, -1, 2**62, None], pa.int64()).cast(pa.duration(unit)) for unit in ("s", "ms", "us", "ns")),
    *(
        pa.array([Decimal("9.50"), Decimal("-0.01"), Decimal("100.00"), None], kind)
        for kind in (pa.decimal32(5, 2), pa.decimal64(12, 2), pa.decimal128(10, 2), pa.decimal128(38, 2))
    ),
    pa.array([Decimal("1" * 70), Decimal(-1), None], pa.decimal256(76, 0)),
    pa.array([Decimal("0.00000001"), None], pa.decimal128(10, 8)),
    pa.nulls(3),
    pa.array(["x", "y", "x", None]).dictionary_encode(),
    pa.array([[1, None], [], None, [2**63 - 1]], pa.list_(pa.int64())),
    pa.array([[0.5, math.nan], [INF], None], pa.large_list(pa.float64())),
    pa.array([[1, 2], None, [3, None]], pa.list_(pa.int8(), 2)),
    pa.array([{"a": 1, "b": "x"}, {"a": None, "b": ""}, None]),
    pa.array([{"t": MOMENT}, None], pa.struct([("t", pa.timestamp("us", tz="UTC"))])),
    pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int64())),
    pa.array([[[1], []], None], pa.list_(pa.list_(pa.int64()))),
]
IDS = [str(array.type) for array in ARRAYS]


def batches_of(array: pa.Array) -> list[pa.RecordBatch]:
    """The values beside their row numbers, whole, sliced, and none."""
    whole = pa.record_batch({"row": pa.array(range(len(array)), pa.int64()), "v": array})
    return [whole, whole.slice(1), whole.slice(0, 0), whole.slice(len(array) - 1)]


def notation(data_type: pa.DataType) -> str:
    """A type in the notation of `columns`, which leaves out how a value is stored."""
    data_type = reduced(data_type)
    if pa.types.is_run_end_encoded(data_type):
        return notation(data_type.value_type)
    if pa.types.is_list_view(data_type):
        return str(pa.list_(data_type.value_type))
    return re.sub(r" \('.*?'\)", "", str(data_type))


def rows_of(batches: list[pa.RecordBatch]) -> str:
    """All rows as text: NaN equals itself, and -0.0 is not 0.0; a zone is compared by its moments."""
    return repr([row for batch in batches for row in plain(batch).to_pylist()])


NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Compare by value: Parquet has no seconds and reads them as milliseconds, and `date64` as `date32`."""
    column = batch.column("v")
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    elif pa.types.is_timestamp(kind) or pa.types.is_time(kind) or pa.types.is_duration(kind):
        counts = column.cast(pa.int32() if kind.bit_width == 32 else pa.int64()).to_pylist()
        column = pa.array([None if n is None else str(n * NANOSECONDS[kind.unit]) for n in counts], pa.string())
    return pa.record_batch({"row": batch.column("row"), "v": column})


def wide_batches() -> list[pa.RecordBatch]:
    """All types side by side, so that a plugin is called a few times and not once a type."""
    length = max(map(len, ARRAYS))
    columns = {f"v{n}": pa.concat_arrays([a, pa.nulls(length - len(a), a.type)]) for n, a in enumerate(ARRAYS)}
    whole = pa.record_batch({"row": pa.array(range(length), pa.int64()), **columns})
    return [whole, whole.slice(1), whole.slice(0, 0), whole.slice(length - 1), whole.slice(2, 3)]


def same_rows(result: pa.RecordBatch, batch: pa.RecordBatch) -> None:
    result.validate(full=True)
    assert result.schema == batch.schema
    for name in batch.schema.names:
        columns = [pa.record_batch({"row": each["row"], "v": each[name]}) for each in (result, batch)]
        assert rows_of(columns[:1]) == rows_of(columns[1:]), name


def write(connector: str, path: Path, batches: list[pa.RecordBatch]) -> None:
    destination = open_destination(
        NODES.validate_python({"connector": connector, "write": str(path), "input": "in"}), path
    )
    try:
        destination.prepare(batches[0].schema)
        for batch in batches:
            destination.write(batch)
        destination.flush()
        destination.finish()
    finally:
        destination.close()


def through(connector: str, path: Path, batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Write batches and read them again, with their types where the format does not carry them."""
    write(connector, path, batches)
    options: dict[str, Any] = {}
    if connector in ("csv", "jsonl"):
        # Arrow writes the names of a map's own fields into its notation, where a file has given them others.
        options["columns"] = {field.name: notation(field.type) for field in batches[0].schema}
    return read(connector, path, **options).to_batches()


def may_refuse(connector: str, kind: pa.DataType) -> bool:
    """Which types a format has no form for."""
    if pa.types.is_interval(kind) or pa.types.is_union(kind) or (kind.id == pa.timestamp("s").id and kind.tz is None):
        return True  # a year beyond 9999, where it is a timestamp
    if pa.types.is_date64(kind) or pa.types.is_list_view(kind) or pa.types.is_run_end_encoded(kind):
        return True  # a time of day; what readers have no type for
    if connector == "csv":
        is_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
        return is_bytes or pa.types.is_nested(kind) or pa.types.is_dictionary(kind) or kind == pa.binary_view()
    return connector == "parquet" and (kind == pa.struct([]) or (pa.types.is_decimal(kind) and kind.scale < 0))
