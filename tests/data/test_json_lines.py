from __future__ import annotations

import base64
import datetime
import decimal
import json
import math
import re
import time
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrow_strategies import TEXT, arrays, batches
from dataflare.budgets import HostBudget, serving
from dataflare.data import json_blocks
from dataflare.data.batches import Batch, imports
from dataflare.data.guard.types import is_zero_width
from dataflare.data.json_keys import check_keys
from dataflare.data.schemas import to_wit
from dataflare.data.shapes import DataFailure
from dataflare.values import Err
from dataflare.wit_types.schemas import Field, Schema

FUNCTIONS = imports(max_batch_bytes=50_000_000)


def table(**columns) -> Batch:
    return Batch(pa.RecordBatch.from_pydict(columns))


def lines(batch: Batch) -> list[str]:
    text = bytes(batch.to_json_lines()).decode()
    assert not text or text.endswith("\n")
    return text.split("\n")[:-1]


def read(text: str | bytes, schema: Schema | None = None):
    return FUNCTIONS["from-json-lines"](text if isinstance(text, bytes) else text.encode(), schema)


def error(text: str | bytes, schema: Schema | None = None) -> str:
    result = read(text, schema)
    assert isinstance(result, Err), result
    assert result.error.case == "malformed"
    return result.error.value


def expected(value, data_type: pa.DataType):
    """What JSON has of a value, made one value at a time."""
    if value is None:
        return None
    if isinstance(value, float | np.floating) and not math.isfinite(value):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(float(value))]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if pa.types.is_struct(data_type):
        return {f.name: expected(value[f.name], f.type) for f in data_type}
    if isinstance(value, list):
        return [expected(item, data_type.value_type) for item in value]
    if isinstance(value, decimal.Decimal):
        return value
    return value.item() if isinstance(value, np.generic) else value


def simple_types() -> st.SearchStrategy[pa.DataType]:
    flat = st.sampled_from(
        [
            *(pa.null(), pa.bool_(), pa.int8(), pa.int64(), pa.uint64(), pa.float64(), pa.string(), pa.large_string()),
            *(pa.binary(), pa.binary(3), pa.dictionary(pa.int8(), pa.string())),
        ]
    )
    return st.recursive(
        flat,
        lambda inner: st.one_of(
            st.builds(pa.list_, inner),
            st.builds(pa.large_list, inner),
            st.builds(pa.list_, inner.filter(lambda kind: not is_zero_width(kind)), st.integers(1, 2)),
            st.builds(lambda k: pa.struct([(f'é"{i}', t) for i, t in enumerate(k)]), st.lists(inner, max_size=2)),
        ),
        max_leaves=3,
    )


@given(batches(simple_types()))
def test_each_row_is_written_as_json_has_it(arrow):
    got = [json.loads(line) for line in lines(Batch(arrow))]
    kinds = dict(zip(arrow.schema.names, arrow.schema.types, strict=True))
    assert got == [{k: expected(v, kinds[k]) for k, v in row.items()} for row in arrow.to_pylist()]


@given(batches())
def test_what_is_written_is_read_back(arrow):
    batch = Batch(arrow)
    result = read(bytes(batch.to_json_lines()), to_wit(arrow.schema))
    assert not isinstance(result, Err), result
    back = result.value.arrow
    assert back.schema.equals(arrow.schema)
    assert bytes(Batch(back).to_json_lines()) == bytes(batch.to_json_lines())


@given(arrays(pa.float64()))
def test_finite_doubles_come_back_to_the_bit(array):
    finite = array.filter(pa.array([v is not None and math.isfinite(v) for v in array.to_pylist()], pa.bool_()))
    got = [json.loads(line)["c"] for line in lines(table(c=finite))]
    assert [repr(value) for value in got] == [repr(value) for value in finite.to_pylist()]


@given(st.lists(TEXT | st.text(alphabet='\\"\0\n\t\x1f/éa', max_size=8), max_size=5))
def test_any_text_is_escaped(values):
    assert [json.loads(line)["c"] for line in lines(table(c=pa.array(values, pa.string())))] == values


@given(st.lists(st.one_of(st.none(), st.binary(max_size=8)), max_size=12))
def test_byte_strings_are_base64(values):
    got = [json.loads(line)["c"] for line in lines(table(c=pa.array(values, pa.binary())))]
    assert got == [None if value is None else base64.b64encode(value).decode() for value in values]


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (pa.array([datetime.date(2013, 1, 1)]), '"2013-01-01"'),
        (pa.array([datetime.date(2013, 1, 1)], pa.date64()), '"2013-01-01"'),
        (pa.array([1], pa.timestamp("s")), '"1970-01-01T00:00:01"'),
        (pa.array([1], pa.timestamp("us")), '"1970-01-01T00:00:00.000001"'),
        (pa.array([1], pa.timestamp("ms", tz="Europe/Rome")), '"1970-01-01T00:00:00.001Z"'),
        (pa.array([1], pa.time32("ms")), '"00:00:00.001"'),
        (pa.array([5], pa.duration("us")), "5"),
        (pa.array([decimal.Decimal("1.20")]), "1.20"),
        (pa.array([decimal.Decimal("1.20")], pa.decimal128(16, 2)), '"1.20"'),
        (pa.array([2.0]), "2.0"),
        (pa.array([1e16]), "1e+16"),
        (pa.array([float("nan")]), '"NaN"'),
        (pa.array([float("-inf")]), '"-Infinity"'),
        (pa.array([2**64 - 1], pa.uint64()), "18446744073709551615"),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int8())), '[{"key":"k","value":1}]'),
        (pa.array([{}], pa.struct([])), "{}"),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else None,
)
def test_form_of_each_type(array, text):
    assert lines(table(c=array)) == [f'{{"c":{text}}}']


def test_columns_come_in_order_and_nulls_are_written():
    assert lines(table(b=[1, None], a=["x", None])) == ['{"b":1,"a":"x"}', '{"b":null,"a":null}']


def test_rows_without_columns_are_empty_objects():
    assert lines(FUNCTIONS["new-batch"](3)) == ["{}"] * 3


def test_more_rows_than_are_joined_at_once_come_in_order():
    assert [json.loads(line)["a"] for line in lines(table(a=np.arange(70_000)))] == list(range(70_000))


@pytest.mark.parametrize("days", [-719_163, 2_932_897])
def test_date_that_has_no_iso_form_is_out_of_range(days):
    with pytest.raises(DataFailure) as caught:
        table(c=pa.array([days], pa.int32()).cast(pa.date32())).to_json_lines()
    assert caught.value.error.case == "out-of-range"


def test_type_without_a_json_form_is_a_wrong_type():
    with pytest.raises(DataFailure) as caught:
        table(c=pa.nulls(1, pa.month_day_nano_interval())).to_json_lines()
    assert caught.value.error.case == "wrong-type"


def test_text_over_the_limit_is_too_large():
    array = pa.DictionaryArray.from_arrays(np.zeros(100_000, np.int32), pa.array(["x" * 100_000]))
    batch = Batch(pa.RecordBatch.from_arrays([array], names=["c"]), max_bytes=1_000_000)
    with pytest.raises(DataFailure) as caught:
        batch.to_json_lines()
    assert caught.value.error.case == "too-large"


def test_schema_is_inferred_from_all_lines():
    arrow = read('{"a":1,"b":"x"}\n{"a":2.5}\n{"c":[true]}\n').value.arrow
    assert arrow.to_pylist() == [
        {"a": 1.0, "b": "x", "c": None},
        {"a": 2.5, "b": None, "c": None},
        {"a": None, "b": None, "c": [True]},
    ]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["18446744073709551615"], "decimal128(38, 0)"),
        (["9223372036854775808", "1", "null"], "decimal128(38, 0)"),
        (["1" * 39], "decimal256(76, 0)"),
        (["1234567890123456.78", "0.5"], "decimal128(38, 2)"),
        (["0.1234567890123456789", "1"], "decimal128(38, 19)"),
        (["9007199254740993", "0.5"], "decimal128(38, 1)"),
        (["[1.5, 18446744073709551616]", "[]"], "list<item: decimal128(38, 1)>"),
        (['{"b": {"c": 18446744073709551616}}'], "struct<b: struct<c: decimal128(38, 0)>>"),
        (["0.30000000000000004", "1.7976931348623157e308", "5e-324"], "double"),
        (["-0", "1"], "double"),
        (["-9223372036854775808", "9223372036854775807"], "int64"),
    ],
)
@pytest.mark.parametrize("rows_before", [0, 20_000])
def test_inferred_types_keep_every_number_as_it_is_written(values, kind, rows_before):
    def flat(value):
        if isinstance(value, list):
            return [flat(each) for each in value]
        if isinstance(value, dict):
            return {key: flat(each) for key, each in value.items()}
        return value if value is None else (Decimal(str(value)), math.copysign(1, value))

    text = '{"a":null}\n' * rows_before + "".join(f'{{"a":{value}}}\n' for value in values)
    column = read(text).value.arrow.column(0)
    assert str(column.type) == kind
    assert flat(column.to_pylist()[rows_before:]) == [
        flat(json.loads(value, parse_int=Decimal, parse_float=Decimal)) for value in values
    ]


@pytest.mark.parametrize(
    "values", [["1", "1e-400"], ["0.12345678901234567890", "1e-30"], ["1" * 77], ["1" * 20, "NaN"]]
)
def test_numbers_that_no_type_keeps_are_an_error_with_their_line_and_column(values):
    message = error("".join(f'{{"b":0,"a":{value}}}\n' for value in values))
    assert re.match(r"line [12]: column 'a': no type keeps .*give the column a type", message)


def test_numbers_within_texts_are_not_looked_at():
    text = '{"a":1.5,"b":"18446744073709551616","c":":-0,"}\n'
    assert read(text).value.arrow.to_pylist() == [{"a": 1.5, "b": "18446744073709551616", "c": ":-0,"}]


@pytest.mark.parametrize(
    "text",
    [
        '{"a":[null,null]}',
        '{"a":{"b":null}}\n{"a":{"b":null}}',
        '{"a":[[null],[]]}',
        '{"a":[null,1]}',
        '{"a":[null,"2024-01-01"],"b":"2024-01-01"}',
        '{"a":[null,null,{"b":[null,true]}]}',
        '{"a":[null,[null,[1.5]]]}\n{"a":null}\n{"a":[]}',
    ],
)
@pytest.mark.parametrize("before", ["", '{"c":1}\n' * 10_000], ids=["short", "long"])
def test_nulls_within_lists_and_objects_are_inferred(text, before):
    arrow = read(before + text).value.arrow.slice(before.count("\n")).select(["a"])
    arrow.validate(full=True)
    assert arrow.to_pylist() == [{"a": json.loads(line)["a"]} for line in text.split()]


def test_keys_that_the_schema_does_not_name_are_dropped():
    batch = read('{"a":1,"z":{"y":[1]}}\n', Schema((Field("a", "int8", True, ()),), (("k", "v"),))).value
    assert (batch.arrow.to_pydict(), batch.schema().metadata) == ({"a": [1]}, (("k", "v"),))


def test_schema_may_come_as_bytes_beside_the_bulk_text():
    schema = Schema((Field(b"a", b"int8", True, ((b"k", b"v"),)),), ())
    assert read('{"a":1}', schema).value.schema().fields == (Field("a", "int8", True, (("k", "v"),)),)


@pytest.mark.parametrize("text", ["", "\n", " \n\n"])
@pytest.mark.parametrize("schema", [None, Schema((Field("a", "int8", True, ()),), ())])
def test_no_lines_give_no_rows(text, schema):
    batch = read(text, schema).value
    assert (batch.num_rows(), batch.column_names()) == (0, [] if schema is None else ["a"])


def test_lines_without_columns_are_counted():
    assert read("{}\n{}\n").value.num_rows() == 2
    assert read('{"a":1}\n{}\n', Schema((), ())).value.num_rows() == 2


def test_blank_lines_and_carriage_returns_are_left_out():
    assert read('\n{"a":1}\r\n\r\n  \n{"a":2}').value.arrow.to_pydict() == {"a": [1, 2]}


INT8 = Schema((Field("a", "int8", True, ()),), ())


@pytest.mark.parametrize(
    ("text", "schema", "line"),
    [
        ('{"a":1}\n\n{"a":}\n', None, 3),
        ('{"a":1}\n{"a":"x"}\n', None, 2),
        ('{"a":1}\n\n{"a":300}\n{"a":1}', INT8, 3),
        ('{"a":1}\n{"a":"x"}\n', INT8, 2),
        ('{"a":1}\n{"a":1}{"a":2}\n', None, 2),
        ('{"a":1}\n{"a":\n1}\n', None, 2),
        ('{"a":1}\n[1]\n', None, 2),
        ('null\n{"a":1}\n', None, 1),
        ('{"b":"Inf, -NaN"}\n{"a":Inf}\n', None, 2),
        ('{"a":[-NaN]}\n', INT8, 1),
        (' null {"a":1}\n', INT8, 1),
        ('{"a":1}\n\nnull\n{"a":1}\n', INT8, 3),
        ('{"a":1}\n{"a":1} null\n{"a":1}\n', None, 2),
        ('{"a":1', None, 1),
        ('{"a":1}\n{"a":"' + "\\" * 3 + '"}\n{"a":', None, 2),
        ("1\n", None, 1),
        ('{"a":1}\n{"b":1}', Schema((Field("a", "int8", False, ()),), ()), 2),
        ('{"d":"2020-01-01"}\n{"d":"2020-02-31"}\n', Schema((Field("d", "date32[day]", True, ()),), ()), 2),
        ('{"d":"AA=="}\n{"d":"A==="}\n', Schema((Field("d", "binary", True, ()),), ()), 2),
        ('{"d":"AA=="}\n\n{"d":"=A=="}\n', Schema((Field("d", "binary", True, ()),), ()), 3),
        ('{"d":[1,2]}\n{"d":[1]}\n', Schema((Field("d", "fixed_size_list<item: int8>[2]", True, ()),), ()), 2),
        ('{"d":"1.5"}\n{"d":"1.x"}\n', Schema((Field("d", "decimal128(5, 2)", True, ()),), ()), 2),
    ],
)
def test_line_that_does_not_fit_is_named(text, schema, line):
    assert error(text, schema).startswith(f"line {line}: ")


@pytest.mark.parametrize(
    "text", ['{"a":' + "[" * 200_000 + "]" * 200_000 + "}", '{"a":' * 200_000 + "1" + "}" * 200_000]
)
@pytest.mark.parametrize("schema", [None, INT8])
def test_deep_nesting_is_malformed_and_overflows_nothing(text, schema):
    assert error(text, schema) == "line 1: nested deeper than 32 levels"


def test_brackets_within_texts_do_not_count():
    text = json.dumps({"a": "[{" * 1000, "b": '\\"[' * 50 + "\\"}) + "\n"
    assert read(text).value.arrow.to_pylist() == [json.loads(text)]


@pytest.mark.parametrize(
    "name",
    [
        "fixed_size_binary[16000000]",
        "fixed_size_list<item: int8>[2000000]",
        "list<item: fixed_size_binary[16000000]>",
    ],
)
def test_column_so_wide_that_it_would_fill_the_memory_is_too_large(name):
    assert read('{"a":null}\n' * 400, Schema((Field("a", name, True, ()),), ())).error.case == "too-large"


def test_text_over_the_limit_of_a_batch_is_too_large():
    assert imports(max_batch_bytes=10)["from-json-lines"](b'{"abc":12}\n', None).error.case == "too-large"


@pytest.mark.parametrize("name", ["money", "month_day_nano_interval"])
def test_schema_that_json_cannot_fill_is_an_error_value(name):
    assert read('{"a":1}', Schema((Field("a", name, True, ()),), ())).error.case in ("malformed", "wrong-type")


@given(st.text(alphabet='{}[]":,\\\n 0123456789aentrulfs.-+', max_size=40), st.sampled_from([None, INT8]))
def test_any_text_gives_a_batch_or_an_error_value(text, schema):
    result = read(text, schema)
    assert result.error.case == "malformed" if isinstance(result, Err) else result.value.num_rows() >= 0


def test_a_long_text_is_inferred_as_its_names_first_appear_with_texts_that_stay_texts():
    rows = [{"n": i, "at": "2024-03-10T01:30:00-05:00", "x": 0.5} for i in range(3000)]
    rows += [{"at": None, "late": "2024-03-10"}, {"at": "no time", "more": [1]}]
    batch = read("".join(json.dumps(row) + "\n" for row in rows)).value.arrow
    assert batch.schema.names == ["n", "at", "x", "late", "more"]
    assert [str(field.type) for field in batch.schema][:4] == ["int64", "string", "double", "string"]
    assert batch["at"].to_pylist() == [row.get("at") for row in rows]


def test_a_long_text_that_does_not_fit_says_in_which_line():
    rows = [{"at": "2024-03-10"}] * 5000 + [{"at": 7}]
    assert "line 5001" in error("".join(json.dumps(row) + "\n" for row in rows))


LONG_LINES = (
    *([f'{{"a":{number}}}' for number in range(60)], ['{"a":1}'] * 40 + ['{"a":1.5}'] * 40),
    *(['{"a":null}'] * 40 + ['{"b":"x"}'] * 40, ['{"a":[]}'] * 40 + ['{"a":[null]}'] * 40 + ['{"a":[1]}'] * 40),
    *(['{"a":1}'] * 40 + ["null", '{"a":1}'] * 40, ['{"a":[null,"x"]}', '{"a":["y",null,"z"]}'] * 40),
    *(['{"a":[null]}'] * 40, ["{}"] * 40, ["{}"] * 40 + ['{"a":{"x":1}}'] * 40 + ['{"a":{"y":[true]}}'] * 40),
    *(['{"t":"2024-01-01T00:00:00Z"}'] * 40, ['{"t":"2024-01-01T00:00:00Z"}'] * 40 + ['{"t":"x"}'] * 40),
    *(["", '{"a":1}', " "] * 30, [""] * 300 + ['{"a":1}'], ['{"a":99999999999999999999}'] * 40 + ['{"a":1}'] * 40),
    *(['{"a":1}'] * 40 + ['{"a":"x"}'] * 40, ['{"a":1}'] * 40 + ["null"], ['{"a":1}'] * 40 + ['{"a":1}{}']),
    *(['{"a":true}'] * 40 + ['{"a":1}'], ['{"a":1}'] * 60 + ['{"a":}'], ['{"a":{"x":1}}'] * 40 + ['{"a":{"x":[1]}}']),
)
SCHEMAS = (
    None,
    Schema((Field("a", "int64", True, ()),), ()),
    Schema((Field("a", "string", True, ()), Field("t", "string", True, ())), ()),
    Schema((), ()),
)


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
@pytest.mark.parametrize("given", LONG_LINES, ids=lambda given: f"{given[0]} to {given[-1]}")
def test_long_text_is_read_in_parts_with_the_same_outcome(given, schema, monkeypatch):
    text = "\n".join(given)
    whole = read(text, schema)
    monkeypatch.setattr(json_blocks, "_PART_BYTES", 64)
    budget = HostBudget()
    budget.deadline_s = time.monotonic() + 3600
    with serving(budget):
        parts = read(text, schema)
    assert type(parts) is type(whole)
    if isinstance(whole, Err):
        assert parts.error.case == whole.error.case
        assert re.match(r"line \d+", parts.error.value)[0] == re.match(r"line \d+", whole.error.value)[0]
    else:
        assert parts.value.arrow.schema.equals(whole.value.arrow.schema)
        assert parts.value.arrow.equals(whole.value.arrow)


KEYS = ["", "a", "b", "abcdef", "abcdefg", "abcdefgh", "a much longer name than eight bytes", "ü"]


@given(
    first=st.lists(st.sampled_from(KEYS), min_size=1, max_size=6, unique=True),
    changes=st.lists(st.tuples(st.integers(0, 39), st.integers(0, 5), st.sampled_from([*KEYS, "x", "abcdefgi"]))),
)
def test_keys_that_differ_from_line_to_line_are_counted_however_they_are_told_apart(first, changes):
    keys = [list(first) for _ in range(40)]
    for line, place, key in changes:
        if place < len(first) and key not in keys[line]:
            keys[line][place] = key
    text = "".join("{" + ",".join(f"{json.dumps(key, ensure_ascii=False)}:1" for key in line) + "}\n" for line in keys)
    different = len({key for line in keys for key in line})
    # Room for the nulls of as many columns as the first line has, and for no more.
    most = 4 * 40 * len(first)
    try:
        check_keys(text.encode(), 40, most)
    except DataFailure as error:
        assert (error.error.case, different > len(first)) == ("too-large", True)
    else:
        assert different <= len(first)


class Counted(bytes):
    """A text that counts how often all of it is looked through for something."""

    looks = 0

    def count(self, *arguments: object) -> int:
        self.looks += 1
        return super().count(*arguments)  # type: ignore[arg-type]


def test_a_text_of_the_same_keys_is_looked_through_once_however_many_they_are():
    for keys in (2, 20, 90):
        line = "{" + ",".join(f'"key {key}":{key}' for key in range(keys)) + "}\n"
        text = Counted((line * 100).encode())
        check_keys(text, 100, 4 * 100 * keys)
        assert text.looks == 1
