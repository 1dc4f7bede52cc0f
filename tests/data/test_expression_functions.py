"""The closed list of functions: each does what its example says, in slices as in one piece, and refuses the rest."""

from __future__ import annotations

import dataclasses
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflare.data.expressions import times
from dataflare.data.expressions.evaluate import read_plan
from dataflare.data.expressions.function import Function
from dataflare.data.expressions.registry import FUNCTIONS, TOPICS
from dataflare.data.shapes import DataFailure
from expression_kit import batch_of, call, column, compute, int64, literal_of, refusal, text

ALL = sorted(FUNCTIONS.values(), key=lambda each: each.name)
NAMES = [each.name for each in ALL]


def plain(value: Any) -> Any:
    return value.as_py() if isinstance(value, pa.Scalar) else value


def scalars(function: Function) -> list[pa.Scalar]:
    return [each if isinstance(each, pa.Scalar) else pa.scalar(each) for each in function.example.arguments]


def call_of(function: Function, first: int, count: int) -> Any:
    options = [(name, literal_of(value)) for name, value in function.example.options.items()]
    return call(function.name, *range(first, first + count), **dict(options))


def test_the_list_is_long_and_its_names_are_unique() -> None:
    assert len(FUNCTIONS) == sum(len(topic) for topic in TOPICS.values())
    assert len(FUNCTIONS) >= 120


@pytest.mark.parametrize("function", ALL, ids=NAMES)
def test_an_example_over_columns_is_true(function: Function) -> None:
    arguments = scalars(function)
    columns = {f"c{at}": pa.array([each.as_py()] * 3, each.type) for at, each in enumerate(arguments)}
    keep = len(arguments) if function.literal_from is None else function.literal_from
    nodes = [column(f"c{at}") if at < keep else literal_of(each.as_py()) for at, each in enumerate(arguments)]
    result = compute(pa.RecordBatch.from_pydict(columns), [*nodes, call_of(function, 0, len(nodes))])
    assert result.to_pylist() == [plain(function.example.result)] * 3


@pytest.mark.parametrize("function", ALL, ids=NAMES)
def test_an_example_over_no_rows_gives_none(function: Function) -> None:
    arguments = scalars(function)
    columns = {f"c{at}": pa.array([], each.type) for at, each in enumerate(arguments)}
    keep = len(arguments) if function.literal_from is None else function.literal_from
    nodes = [column(f"c{at}") if at < keep else literal_of(each.as_py()) for at, each in enumerate(arguments)]
    assert len(compute(pa.RecordBatch.from_pydict(columns), [*nodes, call_of(function, 0, len(nodes))])) == 0


@pytest.mark.parametrize("function", ALL, ids=NAMES)
def test_slices_give_what_one_piece_gives(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = scalars(function)
    rows = 10
    columns = {
        f"c{at}": pa.array([None if row % 4 == at + 1 else each.as_py() for row in range(rows)], each.type)
        for at, each in enumerate(arguments)
    }
    keep = len(arguments) if function.literal_from is None else function.literal_from
    nodes = [column(f"c{at}") if at < keep else literal_of(each.as_py()) for at, each in enumerate(arguments)]
    nodes.append(call_of(function, 0, len(nodes)))
    batch = pa.RecordBatch.from_pydict(columns)
    whole = compute(batch, nodes)
    monkeypatch.setattr(
        "dataflare.data.expressions.evaluate.FUNCTIONS",
        {**FUNCTIONS, function.name: dataclasses.replace(function, rows=3)},
    )
    assert compute(batch, nodes).equals(whole)


@pytest.mark.parametrize("function", ALL, ids=NAMES)
def test_arguments_of_another_type_or_number_are_refused(function: Function) -> None:
    odd = pa.array([[{"a": 1}]], pa.list_(pa.struct([("a", pa.int8())])))
    batch = pa.RecordBatch.from_arrays([odd], ["odd"])
    for arguments in ([0] * (len(function.example.arguments) + 40), []):
        bad = call_of(function, 0, 0)
        bad.value.arguments = arguments
        with pytest.raises(DataFailure) as raised:
            compute(batch, [column("odd"), bad])
        assert raised.value.error.case in ("wrong-type", "out-of-range", "malformed")


NUMBERS = {
    pa.int8(): st.integers(-128, 127),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float32(): st.floats(width=32),
    pa.float64(): st.floats(),
}
ARITHMETIC = [each.name for each in TOPICS["Numbers"] if not each.options]


@pytest.mark.parametrize("name", ARITHMETIC)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_numbers_agree_with_pyarrow(name: str, data: st.DataObject) -> None:
    count = len(FUNCTIONS[name].example.arguments)
    rows = data.draw(st.integers(0, 20))
    arrays = []
    for _ in range(count):
        kind = data.draw(st.sampled_from(list(NUMBERS)))
        arrays.append(pa.array(data.draw(st.lists(st.none() | NUMBERS[kind], min_size=rows, max_size=rows)), kind))
    batch = pa.RecordBatch.from_arrays(arrays, [f"c{at}" for at in range(count)])
    nodes = [*(column(f"c{at}") for at in range(count)), call(name, *range(count))]
    try:
        expected = pc.call_function(name, arrays)
    except pa.ArrowException:
        with pytest.raises(DataFailure):
            compute(batch, nodes)
    else:
        found = compute(batch, nodes)
        assert found.type == expected.type
        assert str(found.to_pylist()) == str(expected.to_pylist())  # NaN equals NaN


@given(
    values=st.lists(st.none() | st.text(max_size=12), max_size=12),
    name=st.sampled_from(
        [each.name for each in TOPICS["Texts and bytes"] if not each.options and each.name != "binary_repeat"]
    ),
)
@settings(max_examples=300, deadline=None)
def test_texts_agree_with_pyarrow(values: list[str | None], name: str) -> None:
    array = pa.array(values, pa.string())
    if name == "binary_reverse":
        array = array.cast(pa.binary())
    found = compute(pa.RecordBatch.from_arrays([array], ["c"]), [column("c"), call(name, 0)])
    assert found.to_pylist() == pc.call_function(name, [array]).to_pylist()


@given(st.lists(st.tuples(st.none() | st.text(max_size=5), st.none() | st.integers(0, 5)), max_size=10))
@settings(max_examples=100, deadline=None)
def test_repeats_agree_with_python(rows: list[tuple[str | None, int | None]]) -> None:
    batch = pa.RecordBatch.from_pydict(
        {"t": pa.array([t for t, _ in rows], pa.string()), "n": pa.array([n for _, n in rows], pa.int64())}
    )
    found = compute(batch, [column("t"), column("n"), call("binary_repeat", 0, 1)])
    assert found.to_pylist() == [None if t is None or n is None else t * n for t, n in rows]


class TestRepeats:
    @pytest.mark.parametrize("times", [2**62, 2**31, 10**9])
    def test_a_text_too_long_for_the_host_is_refused_before_it_is_made(self, times: int) -> None:
        assert refusal(batch_of(t="ab"), [column("t"), int64(times), call("binary_repeat", 0, 1)]) == "too-large"

    def test_numbers_under_nulls_and_of_empty_texts_do_not_count(self) -> None:
        batch = pa.RecordBatch.from_pydict({"t": ["", None, "a"], "n": [2**62, 2**62, 2]})
        assert compute(batch, [column("t"), column("n"), call("binary_repeat", 0, 1)]).to_pylist() == ["", None, "aa"]

    def test_a_negative_number_is_refused(self) -> None:
        assert refusal(batch_of(t="ab"), [column("t"), int64(-1), call("binary_repeat", 0, 1)]) == "out-of-range"


class TestBounds:
    def test_padding_is_bounded_by_the_limit_of_a_batch(self) -> None:
        batch = pa.RecordBatch.from_pydict({"t": ["a"] * 20_000})
        nodes = [column("t"), call("utf8_lpad", 0, width=int64(100_000))]
        assert refusal(batch, nodes, max_bytes=2**20) == "too-large"

    def test_a_replacement_that_explodes_is_stopped(self) -> None:
        batch = pa.RecordBatch.from_pydict({"t": ["a" * 100_000]})
        nodes = [column("t"), call("replace_substring", 0, pattern=text("a"), replacement=text("b" * 1000))]
        assert refusal(batch, nodes, max_bytes=2**20) == "too-large"

    def test_a_regular_expression_is_bounded(self) -> None:
        for pattern in ("(a{1000}){1000}", "(", "a" * 1001):
            nodes = [column("t"), call("match_substring_regex", 0, pattern=text(pattern))]
            assert refusal(batch_of(t="ab"), nodes) in ("malformed", "out-of-range")

    def test_a_regular_expression_takes_no_exponential_time(self) -> None:
        nodes = [column("t"), call("match_substring_regex", 0, pattern=text("(a*)*(a*)*b"))]
        assert compute(batch_of(t="a" * 50_000), nodes).to_pylist() == [False]

    def test_a_zone_is_a_name_and_no_path(self) -> None:
        batch = pa.RecordBatch.from_pydict({"t": pa.array([0], pa.timestamp("s"))})
        for zone in ("../../etc/passwd", "Mars/Olympus", "", "Europe/Berlin\0"):
            assert refusal(batch, [column("t"), call("assume_timezone", 0, timezone=text(zone))]) == "malformed"

    def test_a_zone_that_arrow_does_not_find_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(times, "zones", lambda: frozenset({"Old/Name"}))
        batch = pa.RecordBatch.from_pydict({"t": pa.array([0], pa.timestamp("s"))})
        assert refusal(batch, [column("t"), call("assume_timezone", 0, timezone=text("Old/Name"))]) == "malformed"


class TestHashes:
    @pytest.mark.parametrize("kind", [pa.int8(), pa.uint64(), pa.float32(), pa.float64()])
    def test_equal_numbers_have_equal_hashes(self, kind: pa.DataType) -> None:
        found = compute(pa.RecordBatch.from_pydict({"n": pa.array([2, 0], kind)}), [column("n"), call("hash_64", 0)])
        expected = compute(pa.RecordBatch.from_pydict({"n": pa.array([2, 0])}), [column("n"), call("hash_64", 0)])
        assert found.equals(expected)

    def test_zeros_of_both_signs_are_equal(self) -> None:
        found = compute(pa.RecordBatch.from_pydict({"n": [0.0, -0.0]}), [column("n"), call("hash_64", 0)])
        assert found[0] == found[1]

    @given(st.lists(st.none() | st.text(max_size=8), max_size=20), st.integers(0, 5))
    @settings(max_examples=100, deadline=None)
    def test_a_hash_depends_on_the_text_alone(self, values: list[str | None], offset: int) -> None:
        array = pa.array([*["x"] * offset, *values], pa.string()).slice(offset)
        found = compute(pa.RecordBatch.from_arrays([array], ["t"]), [column("t"), call("hash_64", 0)]).to_pylist()
        by_text = dict(zip(values, found, strict=True))
        assert [by_text[each] for each in values] == found
        for value in values:
            one = compute(
                pa.RecordBatch.from_arrays([pa.array([value], pa.large_string())], ["t"]),
                [column("t"), call("hash_64", 0)],
            )
            assert one.to_pylist() == [by_text[value]]

    def test_few_of_many_texts_share_a_hash(self) -> None:
        texts = [f"{at}" for at in range(50_000)] + [f"row-{at}" for at in range(50_000)]
        found = compute(pa.RecordBatch.from_pydict({"t": texts}), [column("t"), call("hash_64", 0)])
        assert len(found.unique()) == len(texts)


def test_a_plan_is_read_once_for_any_number_of_batches() -> None:
    plan = read_plan([column("a"), int64(2), call("multiply", 0, 1)])
    for value in (1, 5):
        assert plan.compute(batch_of(a=value), [2], 2**20)[0].to_pylist() == [2 * value]
