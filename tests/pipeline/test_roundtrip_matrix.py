"""Every Arrow type through every pair of formats, and through the example plugins that hand rows on.

What comes back equals what went in, or an error says why it cannot: never a third thing.
"""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflare import DirectoryGrant, Grants, Host, Target
from dataflare.data.guard.types import KINDS, kind
from dataflare.data.json_reader import decode_json_lines
from dataflare.data.json_writer import encode_json_lines
from dataflare.errors import DataflareError
from every_type import (
    ARRAYS,
    CONNECTORS,
    IDS,
    batches_of,
    may_refuse,
    notation,
    rows_of,
    same_rows,
    through,
    wide_batches,
)
from guest_kit import component
from reading_kit import read

ROOT = Path(__file__).parents[2]
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


def test_every_type_that_plugins_can_use_has_values_here():
    def kinds(data_type: pa.DataType) -> set[str]:
        return {kind(data_type)}.union(*(kinds(data_type.field(n).type) for n in range(data_type.num_fields)))

    assert set(KINDS) <= set().union(*(kinds(array.type) for array in ARRAYS))


@pytest.mark.parametrize("first", CONNECTORS)
@pytest.mark.parametrize("array", [*ARRAYS, *OTHERS], ids=[*IDS, *(str(array.type) for array in OTHERS)])
def test_values_survive_every_pair_of_formats_or_are_refused(tmp_path, array, first):
    batches = batches_of(array)
    expected = rows_of(batches)
    try:
        batches = through(first, tmp_path / first, batches)
    except DataflareError as error:
        assert str(error)
        assert may_refuse(first, array.type), f"{first} refused {array.type}: {error}"
        return
    assert rows_of(batches) == expected
    for second in CONNECTORS:
        try:
            again = through(second, tmp_path / f"{first}-{second}", batches)
        except DataflareError as error:
            assert str(error)
            assert may_refuse(second, array.type), f"{second} refused {array.type} from {first}: {error}"
            continue
        assert rows_of(again) == expected
        if "parquet" not in (first, second) and array in ARRAYS:
            assert again[0].schema.field("v").type == array.type


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
        assert rows_of([result]) == rows_of([batch])


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
    with host.load(component("filter-rows"), config={"column": "row", "op": ">=", "value": 2}) as plugin:
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

    with host.load(component("normalize-records")) as plugin:
        for batch in wide_batches():
            expected = pa.RecordBatch.from_arrays([normal(column) for column in batch.columns], schema=batch.schema)
            same_rows(plugin.process_batch(batch), expected)


@pytest.mark.guests
def test_values_are_shown_to_a_validator_and_stay(host):
    rules = [{"name": "known", "column": "row", "min": 0, "not_null": True}]
    with host.load(component("range-validator"), config={"rules": rules}) as plugin:
        for batch in wide_batches():
            before = rows_of([batch.select(["row"]).append_column("v", batch["v4"])])
            report = plugin.validate(batch)
            assert (report.rows_checked, report.violations) == (batch.num_rows, ())
            assert rows_of([batch.select(["row"]).append_column("v", batch["v4"])]) == before


@pytest.mark.guests
@pytest.mark.parametrize("start", [-(2**63), 2**63 - 3, 2**53])
def test_a_source_in_python_gives_every_integer(host, start):
    config = {"rows": 3, "start": start, "batch_rows": 2}
    with host.load(component("sequence-source"), config=config) as source:
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
    with host.load(component("normalize-records")) as plugin:
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
