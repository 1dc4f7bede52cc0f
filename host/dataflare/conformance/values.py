"""Rows that the suite makes, and how it compares what comes back."""

from __future__ import annotations

import datetime as dt
import decimal
import itertools
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

__all__ = [
    "TooLarge",
    "as_table",
    "by_schema",
    "default_sample",
    "difference",
    "objects",
    "shown",
    "typed_rows",
    "without_first",
    "without_views",
]

_MOST_SHOWN = 300
_MOST_BYTES = 64 * 2**20
_MOST_VALUES = 2_000_000


class TooLarge(Exception):
    """A result is too large to be compared value by value."""


def objects(rows: pa.Table | pa.RecordBatch | pa.ChunkedArray) -> list[Any]:
    """Turn rows, or values, into Python's; a plugin decides how large they are.

    Raises:
        TooLarge: They would take too much memory.
    """
    columns = rows.columns if isinstance(rows, pa.Table | pa.RecordBatch) else [rows]
    if rows.nbytes > _MOST_BYTES or sum(_values(each) for each in columns) > _MOST_VALUES:
        raise TooLarge(f"the result has more than {_MOST_VALUES} values or {_MOST_BYTES} bytes")
    try:
        return list(rows.to_pylist())
    except ValueError:  # nanoseconds, which Python's types do not have
        if isinstance(rows, pa.ChunkedArray):
            return list(_counted(rows).to_pylist())
        return list(pa.table([_counted(each) for each in rows.columns], names=rows.schema.names).to_pylist())


def _counted(column: Any) -> Any:
    """Times in nanoseconds as numbers."""
    kind = column.type
    is_time = pa.types.is_duration(kind) or pa.types.is_timestamp(kind) or pa.types.is_time64(kind)
    return column.cast(pa.int64()) if is_time and kind.unit == "ns" else column


def _values(column: Any) -> int:
    """How many values there are in a column, those within lists and records too."""
    if isinstance(column, pa.ChunkedArray):
        return sum(_values(chunk) for chunk in column.chunks)
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return len(column) + _values(column.flatten())
    if pa.types.is_fixed_size_list(kind):
        return len(column) * (1 + int(kind.list_size)) + _values(column.flatten())
    if pa.types.is_map(kind):
        return len(column) + _values(column.keys) + _values(column.items)
    if pa.types.is_struct(kind):
        return len(column) + sum(_values(each) for each in column.flatten())
    return len(column)


def default_sample() -> pa.Table:
    """Rows for plugins whose user gives none: numbers, texts, nulls and Unicode."""
    return pa.table(
        {
            "id": pa.array(range(12), pa.int64()),
            "name": pa.array(["Ada", "", "Bo", None, "Zoë", "名前", "a\nb", '"q"', "x" * 100, "0", "null", " "]),
            "amount": pa.array([1.5, None, -2.0, 0.0, 1e-9, 1e9, 3.25, 7.0, -0.5, 12.0, None, 4.0], pa.float64()),
        }
    )


def typed_rows() -> pa.RecordBatch:
    """Three rows, one of nulls, with a column of each common Arrow type."""
    utc = dt.UTC
    columns = {
        "boolean": pa.array([True, None, False]),
        "int8": pa.array([-128, None, 127], pa.int8()),
        "int16": pa.array([-(2**15), None, 2**15 - 1], pa.int16()),
        "int32": pa.array([-(2**31), None, 2**31 - 1], pa.int32()),
        "int64": pa.array([-(2**63), None, 2**63 - 1], pa.int64()),
        "uint8": pa.array([0, None, 255], pa.uint8()),
        "uint16": pa.array([0, None, 2**16 - 1], pa.uint16()),
        "uint32": pa.array([0, None, 2**32 - 1], pa.uint32()),
        "uint64": pa.array([0, None, 2**64 - 1], pa.uint64()),
        "half": pa.array([0.5, None, -1.5], pa.float16()),
        "float": pa.array([0.5, None, -1.5], pa.float32()),
        "double": pa.array([1e300, None, -1e-300], pa.float64()),
        "string": pa.array(["", None, "naïve 日本"], pa.string()),
        "large-string": pa.array(["", None, "naïve 日本"], pa.large_string()),
        "string-view": pa.array(["", None, "a text longer than twelve bytes"], pa.string_view()),
        "binary": pa.array([b"\x00\xff", None, b""], pa.binary()),
        "large-binary": pa.array([b"\x00\xff", None, b""], pa.large_binary()),
        "binary-view": pa.array([b"\x00\xff", None, b"bytes, more than twelve"], pa.binary_view()),
        "fixed-binary": pa.array([b"\x00\xff\x00", None, b"abc"], pa.binary(3)),
        "date": pa.array([dt.date(1, 1, 1), None, dt.date(9999, 12, 31)], pa.date32()),
        "date64": pa.array([dt.date(1970, 1, 1), None, dt.date(2024, 2, 29)], pa.date64()),
        "time32": pa.array([dt.time(0), None, dt.time(23, 59, 59)], pa.time32("s")),
        "time64": pa.array([dt.time(0), None, dt.time(23, 59, 59, 999_999)], pa.time64("us")),
        "duration-s": pa.array([-(2**31), None, 2**31], pa.duration("s")),
        "duration-ns": pa.array([-(2**63), None, 2**63 - 1], pa.duration("ns")),
        "timestamp": pa.array([dt.datetime(1970, 1, 1), None, dt.datetime(2262, 4, 11)], pa.timestamp("us")),
        "zoned": pa.array([dt.datetime(2024, 3, 10, tzinfo=utc), None, None], pa.timestamp("us", "Europe/Berlin")),
        "decimal": pa.array([decimal.Decimal("1.10"), None, decimal.Decimal("-99999999.99")], pa.decimal128(10, 2)),
        "decimal256": pa.array([decimal.Decimal("1" * 70), None, decimal.Decimal(0)], pa.decimal256(76, 2)),
        "list": pa.array([[1, None], None, []], pa.list_(pa.int64())),
        "large-list": pa.array([["a", None], None, []], pa.large_list(pa.string())),
        "fixed-list": pa.array([[1, None], None, [2, 3]], pa.list_(pa.int16(), 2)),
        "map": pa.array([[("a", 1), ("b", None)], None, []], pa.map_(pa.string(), pa.int64())),
        "dictionary": pa.DictionaryArray.from_arrays(
            pa.array([1, None, 0], pa.int32()), pa.array(["é", "b", "unused"])
        ),
        "dictionary-of-numbers": pa.array([5, None, 5], pa.int64()).dictionary_encode(),
        "dictionary-of-nulls": pa.DictionaryArray.from_arrays(pa.array([0, 1, 0], pa.int8()), pa.array([None, "x"])),
        "null": pa.nulls(3),
        "struct": pa.array([{"a": 1}, None, {"a": None}], pa.struct([pa.field("a", pa.int64())])),
    }
    return pa.RecordBatch.from_pydict(columns)


def without_views(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows as plugins see them: views of texts and of bytes are the large types."""
    large = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
    columns = [column.cast(large.get(column.type, column.type)) for column in rows.columns]
    fields = [field.with_type(large.get(field.type, field.type)) for field in rows.schema]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def as_table(batches: Sequence[pa.RecordBatch]) -> pa.Table:
    """Put batches together; those without rows do not count where their columns are others."""
    filled = [each for each in batches if each.num_rows] or list(batches)[:1]
    return pa.Table.from_batches(filled).combine_chunks() if filled else pa.table({})


def by_schema(batches: Sequence[pa.RecordBatch]) -> list[pa.Table]:
    """Put batches together, those of each schema apart, in their order; those without rows do not count."""
    filled = [each for each in batches if each.num_rows]
    groups = itertools.groupby(filled, lambda each: [(field.name, field.type, field.nullable) for field in each.schema])
    return [as_table(list(group)) for _, group in groups]


def without_first(tables: Sequence[pa.Table], rows: int) -> list[pa.Table]:
    """Leave out the first rows."""
    left = []
    for each in tables:
        if each.num_rows > rows:
            left.append(each.slice(rows))
        rows = max(0, rows - each.num_rows)
    return left


def difference(found: Any, due: Any) -> str:
    """Say how a value, a table, or tables of several schemas differ from what is due; empty where they do not."""
    if isinstance(found, list) and isinstance(due, list):
        return _difference_of_lists(found, due)
    if isinstance(found, pa.Table) and isinstance(due, pa.Table):
        if found.num_rows == due.num_rows == 0:
            return ""
        if found.schema.names != due.schema.names:
            return f"the columns are {found.schema.names}, and should be {due.schema.names}"
        if found.num_rows != due.num_rows:
            return f"there are {found.num_rows} rows, and should be {due.num_rows}"
        for name in due.schema.names:
            one, other = found.column(name), due.column(name)
            if one.type != other.type:
                return f"column {name!r} is {one.type}, and should be {other.type}"
            if one.equals(other):
                continue
            pairs = zip(objects(one), objects(other), strict=True)
            for row, (a, b) in enumerate(pairs):
                if repr(a) != repr(b):  # NaN is not equal to itself
                    return f"row {row}, column {name!r}: {shown(a)}, and should be {shown(b)}"
        return ""
    return "" if repr(found) == repr(due) else f"{shown(found)}, and should be {shown(due)}"


def _difference_of_lists(found: Sequence[pa.Table], due: Sequence[pa.Table]) -> str:
    rows, rows_due = (sum(each.num_rows for each in tables) for tables in (found, due))
    if rows != rows_due:
        return f"there are {rows} rows, and should be {rows_due}"
    if len(found) != len(due):
        return f"the columns change {len(found) - 1} times, and should {len(due) - 1} times"
    return next((message for one, other in zip(found, due, strict=True) if (message := difference(one, other))), "")


def shown(value: Any) -> str:
    """Write a value for people, cut to a length."""
    if isinstance(value, list) and value and all(isinstance(each, pa.Table) for each in value):
        value = value[0] if len(value) == 1 else "; then ".join(map(shown, value))
    if isinstance(value, pa.Table | pa.RecordBatch):
        try:
            few = json.dumps(objects(value.slice(0, 3)), default=str, ensure_ascii=False)
        except (TooLarge, ValueError, OverflowError, RecursionError) as error:
            few = f"({error})"
        text = f"{value.num_rows} rows of {value.schema.names[:20]}: {few}"
    elif isinstance(value, bytes):
        text = value[:_MOST_SHOWN].decode("utf-8", "backslashreplace")
    elif isinstance(value, str):
        text = repr(value[:_MOST_SHOWN])
    else:
        text = repr(value)
    return text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 3] + "..."
