"""json-mapper maps a batch by columns, and makes of it just what it makes of each record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arrow_strategies import batches
from dataflare import Host, PluginError, Processor
from dataflare.data.json_writer import encode_json_lines

COMPONENT = Path(__file__).parents[2] / "guest-sdks/rust/components/json-mapper.wasm"
OPERATORS = ["==", "!=", "<", "<=", ">", ">="]
NUMBERS = [0, -0.0, 1, 10, 9.5, 0.1, 0.1 + 0.2, 1e3, 1e22, 127, 128, 255, -1, 2**53 + 1, 2**63, 2**64 - 1, 2**64, 1e300]
TEXTS = ["", "a", "10", "NaN", "Ä", "2001-01-01", "1970-01-01T00:00:00Z"]


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host() as made:
        yield made


def lines(batch: pa.RecordBatch) -> list[str]:
    return bytes(encode_json_lines(batch, 2**30)).decode().split("\n")[:-1]


def parsed(line: str) -> list[tuple[str, Any]]:
    """The fields in order, numbers as they are written."""
    pairs: list[tuple[str, Any]] = json.loads(line, object_pairs_hook=list, parse_float=Decimal)
    return pairs


def by_records(plugin: Processor, batch: pa.RecordBatch) -> list[str] | None:
    try:
        mapped = [plugin.process(line) for line in lines(batch)]
    except PluginError:
        return None
    return [line for line in mapped if line is not None]


def by_columns(plugin: Processor, batch: pa.RecordBatch) -> pa.RecordBatch | None:
    try:
        return plugin.process_batch(batch)
    except PluginError:
        return None


def check(host: Host, batch: pa.RecordBatch, **config: Any) -> pa.RecordBatch | None:
    with host.load(COMPONENT, config=config) as plugin:
        assert isinstance(plugin, Processor)
        one_by_one, at_once = by_records(plugin, batch), by_columns(plugin, batch)
        assert (one_by_one is None) == (at_once is None)
        if one_by_one is not None and at_once is not None:
            assert list(map(parsed, lines(at_once))) == list(map(parsed, one_by_one))
        return at_once


def plain_values(batch: pa.RecordBatch, name: str) -> list[Any]:
    """What the records hold in a field and a condition can name, with numbers near them."""
    found = [json.loads(line)[name] for line in lines(batch)]
    numbers = [value for value in found if isinstance(value, int | float) and not isinstance(value, bool)]
    plain = [value for value in found if value is None or isinstance(value, int | float | str)]
    return plain + [value + 1 for value in numbers] + [value + 0.5 for value in numbers if abs(value) < 2**53]


@st.composite
def conditions(draw: st.DrawFn, batch: pa.RecordBatch) -> dict[str, Any]:
    name = draw(st.sampled_from(batch.schema.names))
    values = plain_values(batch, name)
    own = st.sampled_from(values) if values else st.none()
    any_value = st.one_of(own, own, own, st.none(), st.booleans(), st.sampled_from([*NUMBERS, *TEXTS]))
    return {"field": name, "op": draw(st.sampled_from(OPERATORS)), "value": draw(any_value)}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_condition_keeps_the_same_rows_in_either_way(host: Host, data: st.DataObject):
    batch = data.draw(batches().filter(lambda each: each.num_columns))
    condition = data.draw(conditions(batch))
    made = check(host, batch, keep_if=condition)
    if made is not None:
        assert made.schema == batch.schema


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_fields_are_dropped_renamed_and_set_in_either_way(host: Host, data: st.DataObject):
    batch = data.draw(batches())
    names = st.sampled_from(["c0", "c1", "c2", "x", "y"])
    config = {
        "drop": data.draw(st.lists(names, max_size=1)),
        "rename": data.draw(st.dictionaries(names, names, max_size=2)),
        "set": data.draw(st.dictionaries(names, st.sampled_from(["t", "", True, 7, -1, 2.5, 2**63]), max_size=2)),
    }
    clashes = len({config["rename"].get(name, name) for name in batch.schema.names if name not in config["drop"]})  # type: ignore[attr-defined]
    if clashes < len([name for name in batch.schema.names if name not in config["drop"]]) and batch.num_rows == 0:
        return  # no record to clash; the schema does
    check(host, batch, **config)


WITH_TEXTS = [
    pa.array(["straße", "ΑΣ", None, "", "ǅ İ"]),
    pa.array(["straße", "ΑΣ", None, "", "ǅ İ"], pa.large_string()),
    pa.array(["ß", "x", None, "ß", ""]).dictionary_encode(),
    pa.array([[1], None, [], [2], [3]]),
    pa.array([1, None, 2, 3, 4]),
]


@pytest.mark.parametrize("case", ["lowercase", "uppercase"])
@pytest.mark.parametrize("column", WITH_TEXTS, ids=lambda each: str(each.type))
def test_texts_change_their_case_in_either_way(host: Host, case: str, column: pa.Array):
    field = pa.field("t", column.type, metadata={"k": "v"})
    batch = pa.record_batch([column, pa.array(range(5))], schema=pa.schema([field, pa.field("n", pa.int64())]))
    made = check(
        host, batch, rename={"t": "text"}, keep_if={"field": "n", "op": "<", "value": 4}, **{case: ["text", "n"]}
    )
    assert made is not None
    assert made.schema == pa.schema([field.with_name("text"), pa.field("n", pa.int64())])


def test_columns_that_nobody_changes_are_handed_on(host: Host):
    kept = pa.array([float("nan"), -0.0, float("inf"), None])
    moments = pa.array([0, 10**12, None, -(10**12)], pa.timestamp("us", "America/New_York"))
    late = pa.array([2**31 - 1, 0, 0, None], pa.date32())  # a year that JSON has no form for
    batch = pa.record_batch({"x": kept, "t": moments, "d": late, "n": [1, 2, 3, 4]})
    with host.load(COMPONENT, config={"keep_if": {"field": "n", "op": ">=", "value": 1}, "drop": ["n"]}) as plugin:
        made = plugin.process_batch(batch)  # type: ignore[attr-defined]
    assert made.schema == batch.select(["x", "t", "d"]).schema
    for before, after in zip(batch.columns, made.columns, strict=False):
        as_bits = pa.int32() if before.type == pa.date32() else pa.int64()
        assert after.view(as_bits).equals(before.view(as_bits))


def test_what_is_copied_does_not_grow_with_the_rows(host: Host):
    config = {
        **{"keep_if": {"field": "n", "op": "!=", "value": None}, "drop": ["t"]},
        **{"rename": {"n": "number"}, "set": {"dataset": "d"}},
    }
    copied = []
    for count in (10, 10_000):
        batch = pa.record_batch({"n": list(range(count)), "t": ["some text"] * count})
        with host.load(COMPONENT, config=config) as plugin:
            assert plugin.process_batch(batch).num_rows == count  # type: ignore[attr-defined]
            copied.append(plugin.stats.bytes_in + plugin.stats.bytes_out)
    assert copied[0] > 0 and copied[1] < copied[0] + 1000


def test_a_condition_that_columns_cannot_say_reads_its_own_field_alone(host: Host):
    batch = pa.record_batch({"code": ["10", "9.5", "100"], "d": pa.array([2**31 - 1] * 3, pa.date32())})
    with host.load(COMPONENT, config={"keep_if": {"field": "code", "op": ">=", "value": 10}}) as plugin:
        assert plugin.process_batch(batch)["code"].to_pylist() == ["10", "100"]  # type: ignore[attr-defined]
    config = {"keep_if": {"field": "code", "op": ">=", "value": True}}
    wanted = 'row 0: keep_if: "code" is a text, and `value` is a boolean'
    with host.load(COMPONENT, config=config) as plugin, pytest.raises(PluginError, match=wanted):
        plugin.process_batch(batch)  # type: ignore[attr-defined]


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("value", [1, None])
@pytest.mark.parametrize("more", [{}, {"uppercase": ["d"]}])
def test_a_condition_on_a_column_that_is_not_there_is_an_error(host: Host, operator: str, value: Any, more: Any):
    config = {"keep_if": {"field": "amout", "op": operator, "value": value}, **more}
    batch = pa.record_batch({"amount": [1, 2], "d": [[1], [2]]})
    with host.load(COMPONENT, config=config) as plugin:
        with pytest.raises(PluginError, match='keep_if: there is no field "amout"; the fields are amount, d'):
            plugin.process_batch(batch)  # type: ignore[attr-defined]
        with pytest.raises(PluginError, match=r"the fields are none"):
            plugin.process_batch(batch.select([]))  # type: ignore[attr-defined]


def test_names_that_are_not_there_are_told_once(host: Host, caplog: pytest.LogCaptureFixture):
    config = {"drop": ["b", "a"], "rename": {"x": "y", "z": "v"}, "lowercase": ["y", "v", "s", "b"], "set": {"s": "S"}}
    batch = pa.record_batch({"x": ["T"]})
    with host.load(COMPONENT, config=config) as plugin:
        for _ in range(2):
            assert plugin.process_batch(batch).to_pylist() == [{"y": "t", "s": "S"}]  # type: ignore[attr-defined]
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert told[0].endswith("no record has these fields of the configuration: a, b, v, z")
