"""Every Arrow type through every pair of formats, and through the example plugins that hand rows on.

What comes back equals what went in, or an error says why it cannot: never a third thing.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflare import DirectoryGrant, Grants, Host, Target
from dataflare.data.guard.types import KINDS, kind, reduced
from dataflare.data.json_reader import decode_json_lines
from dataflare.data.json_writer import encode_json_lines
from dataflare.errors import DataflareError
from dataflare.pipeline.writers import open_destination
from reading_kit import NODES, read

ROOT = Path(__file__).parents[2]
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
OTHERS: list[pa.Array] = [
    pa.array(["", "a", None], pa.string_view()),
    pa.array([b"a", b"\xff", None], pa.binary_view()),
    pa.array([[1], [], None], pa.list_view(pa.int64())),
    pa.array([b"0" * 16, None], pa.uuid()),
    pa.array(['{"a": 1}', None], pa.json_()),
    pa.RunEndEncodedArray.from_arrays(pa.array([2, 4], pa.int32()), pa.array(["a", None])),
    pa.array([pa.MonthDayNano([1, 2, 3]), None]),
    pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])]),
    pa.array([Decimal("1E+3"), None], pa.decimal128(10, -2)),
    pa.array([1, 5, None], pa.int64()).view(pa.date64()),
    pa.array([2**55, None], pa.int64()).view(pa.timestamp("s")),
    pa.array([{}, None], pa.struct([])),
]
"""What plugins cannot use as it is, and values at the edge of what a format has a form for."""


def batches_of(array: pa.Array) -> list[pa.RecordBatch]:
    """The values beside their row numbers, whole, sliced, and none."""
    whole = pa.record_batch({"row": pa.array(range(len(array)), pa.int64()), "v": array})
    return [whole, whole.slice(1), whole.slice(0, 0), whole.slice(len(array) - 1)]


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


def notation(data_type: pa.DataType) -> str:
    """A type in the notation of `columns`, which leaves out how a value is stored."""
    data_type = reduced(data_type)
    if pa.types.is_run_end_encoded(data_type):
        return notation(data_type.value_type)
    if pa.types.is_list_view(data_type):
        return str(pa.list_(data_type.value_type))
    return re.sub(r" \('.*?'\)", "", str(data_type))


def through(connector: str, path: Path, batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Write batches and read them again, with their types where the format does not carry them."""
    write(connector, path, batches)
    options: dict[str, Any] = {}
    if connector in ("csv", "jsonl"):
        # Arrow writes the names of a map's own fields into its notation, where a file has given them others.
        options["columns"] = {field.name: notation(field.type) for field in batches[0].schema}
    return read(connector, path, **options).to_batches()


def rows(batches: list[pa.RecordBatch]) -> str:
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


def test_every_type_that_plugins_can_use_has_values_here():
    def kinds(data_type: pa.DataType) -> set[str]:
        return {kind(data_type)}.union(*(kinds(data_type.field(n).type) for n in range(data_type.num_fields)))

    assert set(KINDS) <= set().union(*(kinds(array.type) for array in ARRAYS))


@pytest.mark.parametrize("first", CONNECTORS)
@pytest.mark.parametrize("array", [*ARRAYS, *OTHERS], ids=[*IDS, *(str(array.type) for array in OTHERS)])
def test_values_survive_every_pair_of_formats_or_are_refused(tmp_path, array, first):
    batches = batches_of(array)
    expected = rows(batches)
    try:
        batches = through(first, tmp_path / first, batches)
    except DataflareError as error:
        assert str(error)
        assert may_refuse(first, array.type), f"{first} refused {array.type}: {error}"
        return
    assert rows(batches) == expected
    for second in CONNECTORS:
        try:
            again = through(second, tmp_path / f"{first}-{second}", batches)
        except DataflareError as error:
            assert str(error)
            assert may_refuse(second, array.type), f"{second} refused {array.type} from {first}: {error}"
            continue
        assert rows(again) == expected
        if "parquet" not in (first, second) and array in ARRAYS:
            assert again[0].schema.field("v").type == array.type


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


@pytest.fixture(scope="module")
def host():
    with Host() as host:
        yield host


@pytest.fixture(scope="module")
def mapper(host):
    with host.load(ROOT / "guest-sdks/rust/components/json-mapper.wasm", config={}) as plugin:
        yield plugin


@pytest.mark.parametrize("array", ARRAYS, ids=IDS)
def test_values_survive_a_record_processor(mapper, array):
    for batch in batches_of(array):
        result = mapper.process_batch(batch)
        assert result.schema == batch.schema
        assert rows([result]) == rows([batch])


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
        assert rows(columns[:1]) == rows(columns[1:]), name


def guest(name: str) -> Path:
    path = ROOT / f"build/guests/{name}.wasm"
    if not path.is_file():
        pytest.skip(f"{name} is not built: run make guests")
    return path


def test_values_survive_a_transformer_that_adds_a_column(host):
    config = {"columns": [{"name": "more", "op": "add", "left": "row", "right": 1}]}
    with host.load(ROOT / "guest-sdks/rust/components/derive-columns.wasm", config=config) as plugin:
        for batch in wide_batches():
            result = plugin.transform(batch)
            assert result["more"].to_pylist() == [n + 1 for n in batch["row"].to_pylist()]
            same_rows(result.drop_columns(["more"]), batch)


def test_values_survive_as_records_of_json(mapper):
    for batch in wide_batches():
        lines = bytes(encode_json_lines(batch, 2**30)).decode().split("\n")[:-1]
        mapped = "".join(f"{mapper.process(line)}\n" for line in lines)
        same_rows(decode_json_lines(mapped.encode(), batch.schema, 2**30), batch)


def test_values_survive_a_destination(host, tmp_path):
    grants = Grants(files={"out": DirectoryGrant(path=tmp_path, access="write")})
    component = ROOT / "guest-sdks/rust/components/jsonl-destination.wasm"
    batches = wide_batches()
    with host.load(component, config={"path": "out/rows.jsonl"}, grants=grants) as plugin:
        plugin.open(Target("rows", batches[0].schema))
        for batch in batches:
            plugin.write(batch)
        plugin.finish()
    columns = {field.name: notation(field.type) for field in batches[0].schema}
    found = read("jsonl", tmp_path / "rows.jsonl", columns=columns).combine_chunks().to_batches()[0]
    same_rows(found, pa.Table.from_batches(batches).combine_chunks().to_batches()[0])


@pytest.mark.guests
def test_values_survive_a_filter(host):
    with host.load(guest("filter-rows"), config={"column": "row", "op": ">=", "value": 2}) as plugin:
        for batch in wide_batches():
            result = plugin.transform(batch)
            same_rows(result, batch.filter(pa.compute.greater_equal(batch["row"], 2)))


@pytest.mark.guests
def test_values_survive_a_processor_in_javascript(host):
    """Its work is to trim and collapse white space in texts; nothing else changes."""

    def normal(column: pa.Array) -> pa.Array:
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            return column
        return pa.array([None if t is None else " ".join(t.split()) for t in column.to_pylist()], column.type)

    with host.load(guest("normalize-records")) as plugin:
        for batch in wide_batches():
            expected = pa.RecordBatch.from_arrays([normal(column) for column in batch.columns], schema=batch.schema)
            same_rows(plugin.process_batch(batch), expected)


@pytest.mark.guests
def test_values_are_shown_to_a_validator_and_stay(host):
    rules = [{"name": "known", "column": "row", "min": 0, "not_null": True}]
    with host.load(guest("range-validator"), config={"rules": rules}) as plugin:
        for batch in wide_batches():
            before = rows([batch.select(["row"]).append_column("v", batch["v4"])])
            report = plugin.validate(batch)
            assert (report.rows_checked, report.violations) == (batch.num_rows, ())
            assert rows([batch.select(["row"]).append_column("v", batch["v4"])]) == before


@pytest.mark.guests
@pytest.mark.parametrize("start", [-(2**63), 2**63 - 3, 2**53])
def test_a_source_in_python_gives_every_integer(host, start):
    config = {"rows": 3, "start": start, "batch_rows": 2}
    with host.load(guest("sequence-source"), config=config) as source:
        assert [n for chunk in source.chunks() for n in chunk.rows["n"].to_pylist()] == [start, start + 1, start + 2]


def written(fields: dict[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in fields.items()) + "}"


NUMBERS = (
    st.integers(-(10**40), 10**40).map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.decimals(-(10**12), 10**12, places=20).map(str)
    | st.sampled_from(["-0", "-0.0", "1.50", "1e400", "9007199254740993", "1E+5", "0.1000000000000000055"])
)
TEXTS = st.text('a0#\\"{}[]:,é9', max_size=8)
VALUES = st.recursive(
    NUMBERS | TEXTS.map(json.dumps) | st.sampled_from(["true", "false", "null"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(TEXTS, inner, max_size=3).map(written)
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def normalizer(host):
    with host.load(guest("normalize-records")) as plugin:
        yield plugin


@pytest.mark.guests
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.text("abé:", max_size=3), VALUES, max_size=4))
def test_a_record_processor_in_javascript_keeps_every_digit(normalizer, fields):
    record = written(fields)

    def parsed(text: str) -> object:
        return json.loads(
            text, parse_int=lambda number: ("number", number), parse_float=lambda number: ("number", number)
        )

    assert parsed(normalizer.process(record)) == parsed(record)
