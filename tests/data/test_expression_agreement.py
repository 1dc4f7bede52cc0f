"""Every function, with hostile values of every type that it takes: what pyarrow or plain Python says of the same."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflare.data.expressions.function import Function
from dataflare.data.expressions.registry import FUNCTIONS
from dataflare.data.expressions.types import TypeClass
from dataflare.data.shapes import DataFailure
from expression_kit import call, column, compute, literal_of

ROWS: Final = 6
REFUSALS: Final = (pa.ArrowException, ValueError, OverflowError, TypeError)


def bits(width: int, *, signed: bool = True) -> st.SearchStrategy[int]:
    low, high = (-(2 ** (width - 1)), 2 ** (width - 1) - 1) if signed else (0, 2**width - 1)
    return st.sampled_from([low, high, 0, 1]) | st.integers(max(low, -9), 9) | st.integers(low, high)


def decimals(precision: int, scale: int) -> tuple[pa.DataType, st.SearchStrategy[Any]]:
    most = 10 ** (precision - scale) - 1
    return pa.decimal128(precision, scale), st.decimals(-most, most, places=scale)


TEXTS: Final = st.sampled_from(["", "a", "ab ab", "ÄB", "12", "ß", "Ǆ", "2024-03-10", "a1", "ß\u0301"]) | st.text(
    max_size=9
)
SECONDS: Final = st.sampled_from([0, 86_399, 1_710_000_000, -1, -(2**33)]) | st.integers(-(2**33), 2**33)
SAMPLES: Final[list[tuple[pa.DataType, st.SearchStrategy[Any]]]] = [
    *((kind, bits(kind.bit_width)) for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64())),
    *((kind, bits(kind.bit_width, signed=False)) for kind in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())),
    (pa.float32(), st.floats(width=32)),
    (pa.float64(), st.floats()),
    decimals(10, 2),
    decimals(38, 10),
    *((kind, TEXTS) for kind in (pa.string(), pa.large_string())),
    *((kind, TEXTS.map(str.encode) | st.binary(max_size=5)) for kind in (pa.binary(), pa.large_binary())),
    (pa.bool_(), st.booleans()),
    (pa.date32(), st.integers(-100_000, 100_000)),
    (pa.date64(), st.integers(-100_000, 100_000).map(lambda days: days * 86_400_000)),
    *((pa.timestamp("s", zone), SECONDS) for zone in (None, "UTC", "Europe/Berlin")),
    (pa.timestamp("ns"), bits(64)),
    (pa.time32("s"), st.integers(0, 86_399)),
    (pa.time64("ns"), st.integers(0, 86_400 * 10**9 - 1)),
    (pa.duration("s"), SECONDS),
    (pa.duration("us"), bits(64)),
    (pa.list_(pa.int64()), st.lists(bits(64), max_size=3)),
    (pa.struct({"a": pa.int64(), "b": pa.string()}), st.fixed_dictionaries({"a": bits(64), "b": TEXTS})),
]
OPTIONS: Final = (
    *(True, False, 0, 1, 2, 3, 7, -1, -2, 1.5, "", "a", ".", "ab", " ", "[ab]+", "^", "(?P<x>a)", "a%", "NFC", "NFKD"),
    *("half_up", "up", "day", "hour", "year", "week", "second", "us", "ns", "s", "Europe/Berlin", "+05:30"),
    *("%Y-%m-%d", "%H", "earliest", "raise", "skip", "emit_null"),
)
RENAMED: Final = {"mode": "round_mode"}
DEFAULTS: Final = {"strptime": {"unit": "us"}}
"""Options that pyarrow requires."""
CONVERTED: Final = re.compile("Casting|not in range|out of bounds")
"""In Arrow's messages about arguments that it cannot bring to one type. They can come from every function."""


def fitting(kind: TypeClass) -> list[tuple[pa.DataType, st.SearchStrategy[Any]]]:
    return [each for each in SAMPLES if kind.holds(each[0])]


def arguments_of(data: st.DataObject, function: Function) -> list[pa.Array]:
    """Columns of types that a form takes; those of one class mostly have one type."""
    form = data.draw(st.sampled_from(function.signatures))
    kinds = list(form.parameters)
    if form.variadic:
        kinds += kinds[-1:] * data.draw(st.integers(0, 2))
    picked = {str(kind): data.draw(st.sampled_from(fitting(kind))) for kind in kinds}
    made = []
    for kind in kinds:
        data_type, values = picked[str(kind)]
        if data.draw(st.integers(0, 9)) == 0:
            data_type, values = data.draw(st.sampled_from(fitting(kind)))
        made.append(pa.array(data.draw(st.lists(st.none() | values, min_size=ROWS, max_size=ROWS)), data_type))
    return made


def options_of(data: st.DataObject, function: Function) -> dict[str, Any]:
    given_options = {}
    for option in function.options:
        if not option.required and data.draw(st.booleans()):
            continue
        known = []
        for each in OPTIONS:
            try:
                option.read(each)
            except ValueError:
                continue
            known.append(each)
        given_options[option.name] = data.draw(st.sampled_from(known))
    return given_options


def by_rows(said: Callable[..., Any]) -> Callable[..., list[Any]]:
    """What a function of one row gives for all of them; null where an argument is."""

    def run(*columns: Sequence[Any], **options: Any) -> list[Any]:
        return [None if None in row else said(*row, **options) for row in zip(*columns, strict=True)]

    return run


def of_nulls_too(said: Callable[..., Any]) -> Callable[..., list[Any]]:
    return lambda *columns, **options: [said(*row, **options) for row in zip(*columns, strict=True)]


def between(value: Any, low: Any, high: Any) -> bool | None:
    above = None if None in (value, low) else value >= low
    below = None if None in (value, high) else value <= high
    return False if False in (above, below) else None if None in (above, below) else True


def case_when(*row: Any) -> Any:
    return next((row[at + 1] for at in range(0, len(row) - 1, 2) if row[at]), row[-1])


def joined(*row: Any, separator: str = "", null_handling: str = "emit_null") -> Any:
    if null_handling == "emit_null" and None in row:
        return None
    there = [each if isinstance(each, str) else each.decode("latin-1") for each in row if each is not None]
    return separator.join(there)


def digest(name: str) -> Callable[..., list[Any]]:
    return by_rows(lambda value: hashlib.new(name, value if isinstance(value, bytes) else value.encode()).hexdigest())


def chosen(place: int | None, *values: Any) -> Any:
    if place is not None and not 0 <= place < len(values):
        raise ValueError(place)
    return None if place is None else values[place]


PYTHON: Final[dict[str, Callable[..., list[Any]]]] = {
    "between": of_nulls_too(between),
    "null_if": of_nulls_too(lambda value, other: None if value == other else value),
    "case_when": of_nulls_too(case_when),
    "choose": of_nulls_too(chosen),
    "binary_join_element_wise": of_nulls_too(joined),
    "utf8_slice_codeunits": by_rows(lambda value, start=0, stop=None, step=1: value[start:stop:step]),
    "sha256": digest("sha256"),
    "md5": digest("md5"),
    "struct_field": by_rows(lambda value, name: value[name]),
    "list_element": by_rows(lambda value, index: value[index] if index < len(value) else None),
}
"""Functions that Arrow lacks, or has with another meaning."""
ELSEWHERE: Final = {"cast", "type_name", "hash_64", "binary_repeat", "is_in", "index_in"}
"""Functions with properties of their own in `test_expression_functions.py`, or below."""


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - set(PYTHON) - ELSEWHERE))
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_function_of_arrow_gives_what_pyarrow_gives(name: str, data: st.DataObject) -> None:
    function = FUNCTIONS[name]
    arrays, options = arguments_of(data, function), options_of(data, function)
    known = getattr(pc, name, None) or getattr(pc, f"{name}_")
    try:
        named = {RENAMED.get(key, key): value for key, value in options.items()}
        expected = known(*arrays, **DEFAULTS.get(name, {}) | named)
        expected.validate(full=True)
    except REFUSALS as error:
        refused = refusal_of(function, arrays, options)
        if not function.errors:
            assert refused.error.case == "wrong-type" or CONVERTED.search(str(error)), error
        return
    found = result_of(function, arrays, options)
    assert found.type == expected.type
    assert found.to_string(window=ROWS) == expected.to_string(window=ROWS)


@pytest.mark.parametrize("name", sorted(PYTHON))
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_other_function_gives_what_python_gives(name: str, data: st.DataObject) -> None:
    function = FUNCTIONS[name]
    arrays, options = arguments_of(data, function), options_of(data, function)
    if name == "struct_field":
        options = {"name": data.draw(st.sampled_from("ab"))}
    try:
        expected = PYTHON[name](*(each.to_pylist() for each in arrays), **options)
    except (*REFUSALS, pa.ArrowException):
        return  # what Python has no value for, such as nanoseconds; or a number of no argument
    try:
        found = result_of(function, arrays, options)
    except DataFailure as failure:
        assert function.errors or failure.error.case == "wrong-type" or CONVERTED.search(str(failure)), failure
        return
    if name == "binary_join_element_wise" and "binary" in str(found.type):
        expected = [each if each is None else each.encode("latin-1") for each in expected]
    assert str(found.to_pylist()) == str(expected) or found.to_pylist() == expected


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_members_of_a_set_are_found_as_in_python(data: st.DataObject) -> None:
    data_type, values = data.draw(st.sampled_from([(pa.int64(), bits(64)), (pa.string(), TEXTS)]))
    column_values = data.draw(st.lists(st.none() | values, max_size=ROWS))
    members = data.draw(st.lists(values, min_size=1, max_size=3))
    rows = pa.RecordBatch.from_arrays([pa.array(column_values, data_type)], ["c"])
    nodes = [column("c"), *map(literal_of, members)]
    places = range(len(nodes))
    assert compute(rows, [*nodes, call("is_in", *places)]).to_pylist() == [each in members for each in column_values]
    assert compute(rows, [*nodes, call("index_in", *places)]).to_pylist() == [
        members.index(each) if each in members else None for each in column_values
    ]


def result_of(function: Function, arrays: Sequence[pa.Array], options: dict[str, Any]) -> pa.Array:
    names = [f"c{at}" for at in range(len(arrays))]
    literals = {name: literal_of(value) for name, value in options.items()}
    nodes = [*map(column, names), call(function.name, *range(len(arrays)), **literals)]
    return compute(pa.RecordBatch.from_arrays(list(arrays), names), nodes)


def refusal_of(function: Function, arrays: Sequence[pa.Array], options: dict[str, Any]) -> DataFailure:
    with pytest.raises(DataFailure) as raised:
        result_of(function, arrays, options)
    return raised.value
