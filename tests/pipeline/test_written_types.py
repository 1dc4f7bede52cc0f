"""Every type of column in every format: what is read back is equal, or the run fails and names the column."""

from __future__ import annotations

import ctypes
import datetime
import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dataflare.pipeline.columns import DictionaryGrowth
from dataflare.pipeline.partitions import partition_rows
from dataflare.pipeline.run_errors import DataError
from outputs_kit import CONNECTORS, destination_of

DAY_MS = 86_400_000
SHOWN = {"csv": "CSV", "jsonl": "JSON Lines", "parquet": "Parquet", "arrow": "Arrow"}
ZONES = ("UTC", "America/New_York", "+05:30")


def ints(*values: int | None, kind: pa.DataType) -> pa.Array:
    bits = pa.int64() if kind.bit_width == 64 else pa.int32()
    return pa.array(values, bits).view(kind)


FLAT = {
    "null": pa.nulls(3),
    "bool": pa.array([True, False, None]),
    **{
        str(kind): pa.array(
            [0, 2 ** (kind.bit_width - signed) - 1, -(2 ** (kind.bit_width - 1)) if signed else 0, None], kind
        )
        for signed, kinds in (
            (True, (pa.int8(), pa.int16(), pa.int32(), pa.int64())),
            (False, (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())),
        )
        for kind in kinds
    },
    "halffloat": pa.array([1.5, -0.0, math.inf, None], pa.float16()),
    "float": pa.array([0.1, 3.4028235e38, 1e-45, -math.inf, None], pa.float32()),
    "double": pa.array([0.1 + 0.2, -0.0, 5e-324, 1.7976931348623157e308, 1e16, math.inf, None]),
    "decimal32": pa.array([Decimal("1.50"), Decimal("-9999999.99"), None], pa.decimal32(9, 2)),
    "decimal64": pa.array([Decimal("0.01"), None], pa.decimal64(18, 2)),
    "decimal128": pa.array([Decimal("1E-10"), Decimal("9" * 28 + "." + "9" * 10), None], pa.decimal128(38, 10)),
    "decimal256": pa.array([Decimal("1." + "0" * 49 + "1"), None], pa.decimal256(76, 50)),
    "date32": pa.array([datetime.date(1, 1, 1), datetime.date(9999, 12, 31), None]),
    "time32[s]": pa.array([0, 86_399, None], pa.time32("s")),
    "time32[ms]": pa.array([1, 86_399_999, None], pa.time32("ms")),
    "time64[us]": pa.array([1, None], pa.time64("us")),
    "time64[ns]": pa.array([1, None], pa.time64("ns")),
    **{
        str(kind): pa.array([1, -1, 1_700_000_000, None], kind)
        for unit in ("s", "ms", "us", "ns")
        for kind in (pa.timestamp(unit), *(pa.timestamp(unit, zone) for zone in ZONES))
    },
    **{
        str(kind): pa.array(["a", "", None, "é\n\r\"',;", "NA", "null", " x "], kind)
        for kind in (pa.string(), pa.large_string(), pa.string_view())
    },
    **{
        f"text in {kind}": pa.array([b"a", b"", None], kind)
        for kind in (pa.binary(), pa.large_binary(), pa.binary_view())
    },
    "binary[2]": pa.array([b"ab", None], pa.binary(2)),
    "dictionary": pa.array(["a", "b", None, "a"]).dictionary_encode(),
    "dictionary of numbers": pa.array([1, 2, None]).dictionary_encode(),
    "dictionary with a null": pa.DictionaryArray.from_arrays([0, 1], pa.array(["a", None])),
    "run ends": pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["a", None])),
    "date64": ints(0, 3 * DAY_MS, None, kind=pa.date64()),
}
OTHERS = {
    **{f"duration[{unit}]": pa.array([5, -3, None], pa.duration(unit)) for unit in ("s", "ms", "us", "ns")},
    "interval": pa.array([pa.MonthDayNano([1, 2, 3]), None]),
    **{f"bytes in {kind}": pa.array([b"\xff\0", None], kind) for kind in (pa.binary(), pa.binary_view())},
    "NaN": pa.array([math.nan, 1.0]),
    "negative scale": pa.array([Decimal("1E+3")], pa.decimal128(10, -2)),
    "date64 with time": ints(5, kind=pa.date64()),
    "late year": ints(2**55, kind=pa.timestamp("s")),
    "early year": ints(-800_000, kind=pa.date32()),
    "time beyond a day": ints(86_400, kind=pa.time32("s")),
    "list": pa.array([[1, None], [], None]),
    "large list": pa.array([[1], [], None], pa.large_list(pa.int64())),
    "fixed-size list": pa.array([[1, 2], None], pa.list_(pa.int64(), 2)),
    "list view": pa.array([[1], [], None], pa.list_view(pa.int64())),
    "struct": pa.array([{"a": 1, "b": "x"}, None]),
    "struct of nothing": pa.array([{}, None], pa.struct([])),
    "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
    "sparse union": pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])]),
    "uuid": pa.array([b"0" * 16, None], pa.uuid()),
    "json": pa.array(["{}", None], pa.json_()),
    "list of dictionaries": pa.ListArray.from_arrays([0, 2], pa.array(["a", "b"]).dictionary_encode()),
    "list of intervals": pa.array([[pa.MonthDayNano([1, 2, 3])]]),
}
WIDENED = ["date64[ms]", "time32[s]", *(f"timestamp[s{zone}]" for zone in ("", *(f", tz={z}" for z in ZONES)))]
"""What Parquet has no form for of its own; what comes back is wider, and says the same."""
CSV_READS = {
    **dict.fromkeys((pa.Decimal32Type, pa.Decimal64Type, pa.Decimal128Type, pa.Decimal256Type), lambda _: pa.string()),
    pa.DurationType: lambda _: pa.int64(),
}
"""Types that pyarrow's CSV reader does not have."""
REFUSED = {
    "csv": {
        *("interval", "bytes in binary", "bytes in binary_view", "date64 with time", "late year", "early year"),
        *("time beyond a day", "list", "large list", "fixed-size list", "list view", "struct", "struct of nothing"),
        *("map", "sparse union", "list of dictionaries", "list of intervals"),
    },
    "jsonl": {
        *("interval", "date64 with time", "late year", "early year", "time beyond a day", "sparse union"),
        "list of intervals",
    },
    "parquet": {
        *("interval", "negative scale", "date64 with time", "late year", "struct of nothing", "sparse union"),
        "list of intervals",
    },
    "arrow": set(),
}


def write(connector: str, path: Path, *arrays: pa.Array, name: str = "c") -> None:
    destination = destination_of(connector, path)
    schema = pa.schema([(name, arrays[0].type)])
    try:
        destination.prepare(schema)
        for array in arrays:
            destination.write(pa.RecordBatch.from_arrays([array], schema=schema))
        destination.finish()
    finally:
        destination.close()


def read(connector: str, path: Path, kind: pa.DataType) -> pa.Array:
    if connector == "arrow":
        return pa.ipc.open_file(path).read_all().column(0).combine_chunks()
    if connector == "parquet":
        return parquet.read_table(path).column(0).combine_chunks()
    options = arrow_csv.ConvertOptions(
        column_types={"c": kind}, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    parse = arrow_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)
    return arrow_csv.read_csv(path, parse_options=parse, convert_options=options).column(0).combine_chunks()


def as_decimals(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    return pa.array([None if text is None else Decimal(text) for text in texts.to_pylist()], kind)


def same(one: pa.Array, other: pa.Array) -> bool:
    """Whether types and values are equal; -0.0 and 0.0 are not, and NaN is."""
    if pa.types.is_dictionary(one.type) and one.type == other.type:
        one, other = one.dictionary_decode(), other.dictionary_decode()
    if pa.types.is_floating(one.type) and one.type == other.type:
        bits = {16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}[one.type.bit_width]
        one, other = one.view(bits), other.view(bits)
    return bool(one.type == other.type and one.equals(other))


def plain(array: pa.Array) -> pa.Array:
    """The same values in a type that CSV is read as."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return plain(array.storage)
    if pa.types.is_dictionary(kind):
        return plain(array.dictionary_decode())
    if pa.types.is_run_end_encoded(kind):
        return pa.array(array.to_pylist(), kind.value_type)
    for view, other in ((pa.string_view(), pa.string()), (pa.binary_view(), pa.binary()), (pa.float16(), pa.float32())):
        if kind == view:
            return array.cast(other)
    return array


@pytest.mark.parametrize("connector", ["csv", "parquet", "arrow"])
@pytest.mark.parametrize("name", [*FLAT, *OTHERS])
def test_a_column_is_read_back_as_it_was_or_refused_by_its_name(name, connector, tmp_path):
    array = {**FLAT, **OTHERS}[name]
    if name in REFUSED[connector]:
        with pytest.raises(DataError, match="column 'c'") as caught:
            write(connector, tmp_path / "f", array)
        assert "leave the column out" in caught.value.hint
        assert list(tmp_path.iterdir()) == []
        for other in (each for each, shown in SHOWN.items() if shown in caught.value.hint):
            write(other, tmp_path / other, array)
        return
    write(connector, tmp_path / "f", array, array.slice(1))
    expected = pa.concat_arrays([array, array.slice(1)])
    if connector == "csv":
        expected = plain(expected)
        found = read("csv", tmp_path / "f", CSV_READS.get(type(expected.type), lambda kind: kind)(expected.type))
        found = as_decimals(found, expected.type) if pa.types.is_decimal(expected.type) else found.cast(expected.type)
    else:
        found = read(connector, tmp_path / "f", expected.type)
        if connector == "parquet" and found.type != expected.type:
            assert str(array.type) in WIDENED or str(array.type).startswith(("dictionary<values=int64", "run_end"))
            expected = plain(expected).cast(found.type)
    assert same(found, expected)


@pytest.mark.parametrize("name", [*FLAT, *OTHERS])
def test_a_column_is_json_or_is_refused_by_its_name(name, tmp_path):
    array = {**FLAT, **OTHERS}[name]
    if name in REFUSED["jsonl"]:
        with pytest.raises(DataError, match="column 'c'"):
            write("jsonl", tmp_path / "f", array)
        assert list(tmp_path.iterdir()) == []
        return
    write("jsonl", tmp_path / "f", array)
    values = [json.loads(line)["c"] for line in (tmp_path / "f").read_text().splitlines()]
    assert [value is None for value in values] == array.is_null().to_pylist() or name in (
        "halffloat",
        "float",
        "double",
        "NaN",
    )
    if pa.types.is_integer(array.type) or pa.types.is_boolean(array.type) or pa.types.is_string(array.type):
        assert values == array.to_pylist()
    if pa.types.is_float64(array.type):
        assert [v for v in values if isinstance(v, float)] == [
            v for v in array.to_pylist() if v is not None and math.isfinite(v)
        ]
    if pa.types.is_decimal(array.type):
        assert [v and Decimal(str(v)) for v in values] == array.to_pylist()


def test_an_empty_text_and_a_null_differ_in_csv(tmp_path):
    write("csv", tmp_path / "f", pa.array(["", None]))
    assert (tmp_path / "f").read_bytes() == b'"c"\n""\n\n'


def test_a_time_with_a_zone_keeps_its_offset_in_csv(tmp_path):
    write("csv", tmp_path / "f", pa.array([1_710_052_200], pa.timestamp("s", "America/New_York")))
    assert (tmp_path / "f").read_text() == '"c"\n2024-03-10 01:30:00-0500\n'


# Zones whose local mean time has seconds, of which Monrovia kept its own until 1972, and some whose has none.
OLD_ZONES = (
    "Africa/Monrovia",
    "Asia/Kolkata",
    "Europe/Amsterdam",
    "America/New_York",
    "Europe/Dublin",
    "UTC",
    "+05:30",
)


@given(
    st.sampled_from(OLD_ZONES),
    st.sampled_from(["s", "ms", "us", "ns"]),
    st.lists(st.integers(-5_000_000_000, 200_000_000) | st.none(), min_size=1, max_size=4),
)
@example("Africa/Monrovia", "s", [0, 200_000_000])
@example("Asia/Kolkata", "ms", [-2_209_032_000])
def test_a_time_whose_offset_has_seconds_is_read_back(tmp_path_factory, zone, unit, seconds):
    path = tmp_path_factory.mktemp("f")
    kind = pa.timestamp(unit, zone)
    array = pa.array(seconds, pa.timestamp("s", zone)).cast(kind)
    write("csv", path / "f", array, array.dictionary_encode().dictionary_decode())
    assert read("csv", path / "f", kind).equals(pa.concat_arrays([array, array]))
    rows = pa.record_batch({"t": array, "n": pa.array(range(len(array)))})
    for values, part in partition_rows(rows, ["t"]):
        for number in part["n"].to_pylist():
            read_back = values[0] and datetime.datetime.fromisoformat(
                values[0].partition(".")[0][:19] + _zone(values[0])
            )
            assert (read_back and read_back.timestamp()) == seconds[number]


def _zone(text: str) -> str:
    return "+00:00" if text.endswith("Z") else text[-5:]


def test_each_time_names_one_folder_whatever_stands_beside_it():
    array = pa.array([0, 200_000_000], pa.timestamp("s", "Africa/Monrovia"))
    rows = pa.record_batch({"t": array, "n": pa.array([0, 1])})
    together = {values[0] for values, _ in partition_rows(rows, ["t"])}
    alone = {values[0] for n in (0, 1) for values, _ in partition_rows(rows.slice(n, 1), ["t"])}
    assert together == alone == {"1970-01-01 00:00:00Z", "1976-05-03 19:33:20+0000"}


@given(st.floats(width=64))
def test_every_double_is_read_back_from_csv_and_json(tmp_path_factory, number):
    path = tmp_path_factory.mktemp("f") / "f"
    write("csv", path, pa.array([number]))
    assert repr(float(path.read_text().split("\n")[1])) == repr(number)
    if math.isfinite(number):
        write("jsonl", path, pa.array([number]))
        assert repr(float(json.loads(path.read_text())["c"])) == repr(number)


@pytest.mark.parametrize("connector", ["csv", "jsonl"])
def test_two_columns_of_one_name_are_refused_where_a_reader_would_lose_one(connector, tmp_path):
    rows = pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"])
    with pytest.raises(DataError, match="two columns are named 'a'"):
        destination_of(connector, tmp_path / "f").prepare(rows.schema)


@pytest.mark.parametrize("connector", ["csv", "parquet"])
def test_rows_without_columns_are_refused_where_they_would_be_lost(connector, tmp_path):
    with pytest.raises(DataError, match="without columns"):
        destination_of(connector, tmp_path / "f").prepare(pa.schema([]))


# Dictionaries that differ between batches

DICTIONARIES = [
    pa.DictionaryArray.from_arrays(pa.array(numbers, pa.int8()), pa.array(values, pa.string()))
    for numbers, values in (
        ([], []),
        ([None], []),
        ([0, 1, 0], ["a", "b"]),
        ([1, None, 0], ["c", "b"]),
        ([0], ["b", "a"]),
        ([1, 0], ["a", None]),
        ([0, 0], ["a"]),
    )
]


@pytest.mark.parametrize("connector", CONNECTORS)
@pytest.mark.parametrize("start", range(len(DICTIONARIES)))
def test_batches_may_have_dictionaries_of_their_own(connector, start, tmp_path):
    arrays = DICTIONARIES[start:] + DICTIONARIES[:start]
    write(connector, tmp_path / "f", *arrays)
    expected = [value for array in arrays for value in array.to_pylist()]
    if connector == "jsonl":
        assert [json.loads(line)["c"] for line in (tmp_path / "f").read_text().splitlines()] == expected
    else:
        found = read(connector, tmp_path / "f", pa.string())
        assert found.to_pylist() == expected
        assert connector == "csv" or found.type == arrays[0].type


def test_a_dictionary_that_outgrows_its_indices_is_an_error(tmp_path):
    arrays = [
        pa.DictionaryArray.from_arrays(pa.array(range(100), pa.int8()), pa.array([f"{n}-{m}" for m in range(100)]))
        for n in range(2)
    ]
    with pytest.raises(DataError, match=r"column 'c'.*200 values, too many for indices of int8"):
        write("arrow", tmp_path / "f", *arrays)


def test_dictionaries_with_an_order_may_only_grow():
    grow = DictionaryGrowth()
    batches = [pa.DictionaryArray.from_arrays([0], values, ordered=True) for values in (["a"], ["a", "b"], ["b", "a"])]
    assert [grow(batch, "c").to_pylist() for batch in batches[:2]] == [["a"], ["a"]]
    with pytest.raises(DataError, match="order differs"):
        grow(batches[2], "c")


def test_dictionaries_within_other_columns_are_refused_where_they_differ(tmp_path):
    arrays = [pa.ListArray.from_arrays([0, 1], pa.array([text]).dictionary_encode()) for text in "ab"]
    with pytest.raises(DataError, match="within another one differ"):
        write("arrow", tmp_path / "f", *arrays)
    write("parquet", tmp_path / "f", *arrays)
    assert read("parquet", tmp_path / "f", pa.string()).to_pylist() == [["a"], ["b"]]


# Types that pyarrow has no class for


class ArrowSchema(ctypes.Structure):
    """A schema in Arrow's C data interface."""


ArrowSchema._fields_ = [
    ("format", ctypes.c_char_p),
    ("name", ctypes.c_char_p),
    ("metadata", ctypes.c_char_p),
    ("flags", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("children", ctypes.POINTER(ctypes.POINTER(ArrowSchema))),
    ("dictionary", ctypes.c_void_p),
    ("release", ctypes.c_void_p),
    ("private_data", ctypes.c_void_p),
]


def schema_of_months() -> pa.Schema:
    """A schema with an interval of months, as a file or another library may bring one."""
    released = ctypes.CFUNCTYPE(None, ctypes.POINTER(ArrowSchema))(
        lambda schema: setattr(schema.contents, "release", None)
    )
    release = ctypes.cast(released, ctypes.c_void_p)
    child = ArrowSchema(format=b"tiM", name=b"c", flags=2, release=release)
    children = (ctypes.POINTER(ArrowSchema) * 1)(ctypes.pointer(child))
    parent = ArrowSchema(format=b"+s", name=b"", n_children=1, children=children, release=release)
    schema = pa.Schema._import_from_c(ctypes.addressof(parent))
    schema_of_months.kept = (released, child, children, parent)  # type: ignore[attr-defined]
    return schema


@pytest.mark.parametrize("connector", CONNECTORS)
def test_a_type_that_pyarrow_does_not_know_is_refused_by_the_columns_name(connector, tmp_path):
    schema: Any = schema_of_months()
    with pytest.raises(DataError, match=r"column 'c' is (month_interval|of a type that pyarrow does not know)"):
        destination_of(connector, tmp_path / "f").prepare(schema)
    assert list(tmp_path.iterdir()) == []
