"""Decimals keep their value through every conversion, or are refused: Arrow makes other numbers of some."""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.data.casts import cast
from dataflare.data.decimal_texts import read_decimals
from dataflare.data.expressions.relations import aggregate
from dataflare.data.json_reader import decode_json_lines
from dataflare.data.shapes import DataFailure
from expression_kit import call, column, compute, int64, text, typed

DIGITS = {pa.decimal32: 9, pa.decimal64: 18, pa.decimal128: 38, pa.decimal256: 76}


@st.composite
def decimals(draw: st.DrawFn) -> pa.DataType:
    kind = draw(st.sampled_from(list(DIGITS)))
    precision = draw(st.integers(1, DIGITS[kind]) | st.just(DIGITS[kind]))
    return kind(precision, draw(st.integers(0, precision) | st.just(precision)))


@st.composite
def numbers(draw: st.DrawFn) -> tuple[pa.DataType, Decimal | int]:
    if draw(st.booleans()):
        kind = draw(decimals())
        most = 10 ** draw(st.integers(1, kind.precision)) - 1
        digits = str(draw(st.sampled_from([most, -most]) | st.integers(-most, most)))
        return kind, Decimal(f"{digits}e-{kind.scale}")
    kind = draw(st.sampled_from([pa.int8(), pa.int64(), pa.uint64()]))
    least, most = (
        (0, 2**64 - 1) if kind == pa.uint64() else (-(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1) - 1)
    )
    return kind, draw(st.sampled_from([least, most]) | st.integers(least, most))


@given(numbers(), decimals())
def test_a_number_is_converted_to_a_decimal_exactly_or_not_at_all(number, target):
    kind, value = number
    try:
        made = cast(pa.array([value, None], kind), target, "c", 2**20)
    except DataFailure:
        return
    made.validate(full=True)
    assert made.to_pylist() == [value, None]


@pytest.mark.parametrize(
    ("value", "kind", "target"),
    [
        (Decimal(999866726382916455), pa.decimal128(25, 0), pa.decimal128(38, 35)),
        (Decimal(103232), pa.decimal32(9, 0), pa.decimal32(9, 6)),
        (Decimal("4937314406.988645"), pa.decimal128(19, 6), pa.decimal32(9, 8)),
        (2**64 - 1, pa.uint64(), pa.decimal32(5, 2)),
        (2**64 - 1, pa.uint64(), pa.decimal128(38, 30)),
    ],
)
def test_numbers_that_would_become_others_are_refused(value, kind, target):
    with pytest.raises(DataFailure, match=r"does not fit into"):
        cast(pa.array([value], kind), target, "c", 2**20)


@given(decimals(), st.data())
def test_a_decimal_becomes_the_nearest_double(kind, data):
    most = 10**kind.precision - 1
    value = Decimal(f"{data.draw(st.integers(-most, most))}e-{kind.scale}")
    made = cast(pa.array([value, None], kind), pa.float64(), "c", 2**20)
    assert made.to_pylist() == [float(value), None]


def test_a_decimal_of_which_arrow_makes_a_neighbour_becomes_the_nearest_double():
    value = pa.array([Decimal("0.000999")], pa.decimal128(38, 8))
    assert cast(value, pa.float64(), "c", 2**20).to_pylist() == [0.000999]
    assert cast(value, pa.float32(), "c", 2**20).to_pylist() == [float(np.float32("0.000999"))]


def test_integers_become_decimals_of_few_digits_if_they_fit():
    assert cast(pa.array([1, -99, None]), pa.decimal128(4, 2), "c", 2**20).to_pylist() == [1, -99, None]
    with pytest.raises(DataFailure, match=r"100 does not fit into"):
        cast(pa.array([1, 100]), pa.decimal128(4, 2), "c", 2**20)


TEXTS = st.from_regex(r"-?(0|[1-9][0-9]{0,90})(\.[0-9]{1,90})?(e[+-]?[0-9]{1,2})?", fullmatch=True)


@given(TEXTS, decimals())
def test_a_text_is_read_as_a_decimal_exactly_or_not_at_all(number, kind):
    try:
        made = read_decimals(pa.array([number, None]), kind).to_pylist()
    except (pa.ArrowException, ValueError):
        pass
    else:
        assert made == [Decimal(number), None]
    for written in (number, f'"{number}"'):
        try:
            made = decode_json_lines(f'\n{{"a":{written}}}\n{{}}'.encode(), pa.schema([("a", kind)]), 2**20)
        except DataFailure:
            continue
        assert made["a"].to_pylist() == [Decimal(number), None]


WRONG = "111111111111111111111111111111.5"
KIND = pa.decimal128(38, 30)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (KIND, WRONG),
        (pa.list_(KIND), f"[1.5, {WRONG}]"),
        (pa.struct([("x", KIND)]), f'{{"x": "{WRONG}"}}'),
        (pa.map_(pa.string(), KIND), f'[{{"key": "k", "value": {WRONG}}}]'),
        (pa.dictionary(pa.int32(), KIND), WRONG),
        (pa.decimal128(38, 38), "7.5"),
        (pa.decimal256(76, 38), "278331362420696953.006441030e+38"),
        (pa.decimal32(9, 9), "51235511"),
    ],
)
def test_json_with_more_digits_than_a_decimal_is_refused_with_its_line(kind, value):
    lines = f'{{"a":null}}\n\n{{"a":{value}}}\n'.encode()
    with pytest.raises(DataFailure, match=r"^malformed: line 3: (column )?'a': "):
        decode_json_lines(lines, pa.schema([("a", kind)]), 2**20)


def test_other_numbers_of_the_line_do_not_count():
    row = {"a": "1.5", "b": 10**17, "c": 1e300, "d": None}
    kinds = {"a": KIND, "b": pa.int64(), "c": pa.float64(), "d": pa.list_(KIND)}
    made = decode_json_lines(json.dumps(row).encode() + b"\n", pa.schema(list(kinds.items())), 2**20)
    assert made.to_pylist() == [{**row, "a": Decimal("1.5")}]


@pytest.mark.parametrize("kind", [pa.decimal32(9, 2), pa.decimal64(18, 2)])
def test_functions_take_decimals_of_few_bits(kind):
    rows = pa.RecordBatch.from_pydict({"c": pa.array([Decimal("1.50"), None], kind)})
    assert compute(rows, [column("c"), int64(1), call("add", 0, 1)]).to_pylist() == [Decimal("2.50"), None]
    assert compute(rows, [column("c"), typed("decimal32(3, 2)", "1.49"), call("greater", 0, 1)]).to_pylist() == [
        True,
        None,
    ]
    assert compute(rows, [column("c"), call("type_name", 0)]).to_pylist() == [str(kind)] * 2
    assert compute(rows, [column("c"), call("cast", 0, type=text("string"))]).to_pylist() == ["1.50", None]
    assert aggregate(rows, [], [("sum", "sum", "c")], 2**20)["sum"].to_pylist() == [Decimal("1.50")]
    assert aggregate(rows, ["c"], [("n", "count_rows", "c")], 2**20)["n"].to_pylist() == [1, 1]


def test_membership_compares_decimals_with_integers():
    rows = pa.RecordBatch.from_pydict({"c": pa.array([Decimal("1.00"), Decimal("1.50")], pa.decimal128(18, 2))})
    assert compute(rows, [column("c"), int64(1), int64(2), call("is_in", 0, 1, 2)]).to_pylist() == [True, False]


def test_an_aggregate_names_the_type_that_it_does_not_take():
    rows = pa.RecordBatch.from_pydict({"c": pa.array([Decimal("1.00")], pa.decimal128(18, 2))})
    with pytest.raises(DataFailure, match=r"first: column 'c' is decimal128\(18, 2\), not a type"):
        aggregate(rows, [], [("x", "first", "c")], 2**20)
