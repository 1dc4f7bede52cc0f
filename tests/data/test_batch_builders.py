from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrow_strategies import FLOATS, INTEGERS, TEXT, TIMES, batches, words
from dataflare.data.batches import Batch, imports
from dataflare.data.shapes import BinaryValues, TextValues
from dataflare.values import Ok

FUNCTIONS = imports(max_batch_bytes=10_000_000)
NUMBERS = st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.booleans()), max_size=150)


def call(name: str, *args):
    return FUNCTIONS[name if name in FUNCTIONS else f"[method]batch.{name}"](*args)


def good(name: str, *args) -> Batch:
    result = call(name, *args)
    assert isinstance(result, Ok), result
    return result.value


def case(name: str, *args) -> str:
    return call(name, *args).error.case


def table(**columns) -> Batch:
    return Batch(pa.RecordBatch.from_pydict(columns), max_bytes=10_000_000)


def texts(*values: str) -> TextValues:
    encoded = [value.encode() for value in values]
    return TextValues(np.cumsum([0, *map(len, encoded)]).astype(np.uint32), b"".join(encoded))


@given(NUMBERS)
def test_int64_column_holds_its_values_and_nulls(rows):
    flags = [flag for _, flag in rows]
    batch = good(
        "with-int64-column",
        FUNCTIONS["new-batch"](len(rows)),
        "a",
        np.array([n for n, _ in rows], np.int64),
        words(flags),
    )
    assert batch.arrow.column("a").to_pylist() == [n if flag else None for n, flag in rows]
    batch.arrow.validate(full=True)


@given(st.lists(st.one_of(st.none(), st.floats()), max_size=70))
def test_float64_column_holds_its_values_and_nulls(rows):
    values = np.array([0 if v is None else v for v in rows], np.float64)
    batch = good(
        "with-float64-column", FUNCTIONS["new-batch"](len(rows)), "a", values, words([v is not None for v in rows])
    )
    assert repr(batch.arrow.column("a").to_pylist()) == repr(rows)


@given(st.lists(st.one_of(st.none(), st.booleans()), max_size=70))
def test_boolean_column_holds_its_values_and_nulls(rows):
    values = np.array([bool(v) for v in rows], np.bool_)
    batch = good(
        "with-boolean-column", FUNCTIONS["new-batch"](len(rows)), "a", values, words([v is not None for v in rows])
    )
    assert batch.arrow.column("a").to_pylist() == rows


@given(st.lists(TEXT, max_size=70))
def test_text_column_holds_its_texts(rows):
    batch = good("with-text-column", FUNCTIONS["new-batch"](len(rows)), b"a", texts(*rows), None)
    assert batch.arrow.column("a").to_pylist() == rows
    assert batch.arrow.schema.field("a").type == pa.string()


@given(st.lists(st.binary(max_size=5), max_size=70))
def test_binary_column_holds_its_values(rows):
    values = BinaryValues(np.cumsum([0, *map(len, rows)]).astype(np.uint32), b"".join(rows))
    assert (
        good("with-binary-column", FUNCTIONS["new-batch"](len(rows)), "a", values, None).arrow["a"].to_pylist() == rows
    )


@pytest.mark.parametrize("kind", [*INTEGERS, *TIMES], ids=str)
def test_replaced_column_of_integers_keeps_its_type(kind):
    day = 86_400_000 if kind == pa.date64() else 1
    batch = good("with-int64-column", table(a=pa.nulls(2, kind)), "a", np.array([day, 0]), None)
    assert batch.arrow.schema.field("a").type == kind
    assert batch.int64_column("a").tolist() == [day, 0]


@pytest.mark.parametrize(
    ("kind", "value"),
    [(pa.int8(), 128), (pa.uint64(), -1), (pa.date32(), 2**31), (pa.time32("s"), 86_400), (pa.date64(), 1)],
    ids=str,
)
def test_value_that_does_not_fit_the_kept_type_is_out_of_range(kind, value):
    batch = table(a=pa.nulls(2, kind))
    assert case("with-int64-column", batch, "a", np.array([value, 0]), None) == "out-of-range"
    assert good("with-int64-column", batch, "a", np.array([value, 0]), words([False, True])).arrow["a"].null_count == 1


@pytest.mark.parametrize("kind", FLOATS, ids=str)
def test_replaced_column_of_floats_keeps_its_type(kind):
    batch = good("with-float64-column", table(a=pa.nulls(2, kind)), "a", np.array([1.5, np.inf]), None)
    assert batch.arrow.schema.field("a").type == kind
    assert batch.float64_column("a").tolist() == [1.5, np.inf]


def test_finite_number_that_becomes_infinite_is_out_of_range():
    batch = table(a=pa.nulls(2, pa.float32()))
    assert case("with-float64-column", batch, "a", np.array([1.0, 1e300]), None) == "out-of-range"
    assert (
        good("with-float64-column", batch, "a", np.array([1.0, 1e300]), words([True, False])).arrow["a"].null_count == 1
    )


@pytest.mark.parametrize("kind", [pa.string(), pa.float64(), pa.dictionary(pa.int8(), pa.string())], ids=str)
def test_replaced_column_of_another_type_becomes_int64(kind):
    batch = good("with-int64-column", table(a=pa.nulls(1, kind)), "a", np.array([1]), None)
    assert batch.arrow.schema.field("a").type == pa.int64()


def test_replaced_column_keeps_its_place_and_metadata():
    schema = pa.schema(
        [pa.field("a", pa.int8(), nullable=False, metadata={"k": "v"}), ("b", pa.int8())], metadata={"s": "t"}
    )
    old = Batch(pa.RecordBatch.from_pydict({"a": [1, 2], "b": [3, 4]}, schema=schema))
    same = good("with-int64-column", old, "a", np.array([5, 6]), None).arrow.schema
    assert same.equals(schema, check_metadata=True)
    with_null = good("with-int64-column", old, "a", np.array([5, 6]), words([True, False])).arrow.schema.field("a")
    assert (with_null.nullable, with_null.metadata) == (True, {b"k": b"v"})


def test_replaced_extension_column_is_none_any_more():
    array = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0123456789abcdef"], pa.binary(16)))
    batch = good("with-text-column", table(a=array), b"a", texts("x"), None)
    assert (batch.arrow.schema.field("a").type, batch.arrow.schema.field("a").metadata) == (pa.string(), None)


def test_later_changes_of_the_given_array_do_not_reach_the_batch():
    memory = np.array([1, 2, 3, 4])
    batch = good("with-int64-column", FUNCTIONS["new-batch"](2), "a", memory[:2], None)
    memory[:] = 9
    assert batch.int64_column("a").tolist() == [1, 2]


def test_old_batch_does_not_change():
    old = table(a=[1, 2])
    good("with-int64-column", old, "a", np.array([5, 6]), None)
    assert old.arrow.to_pydict() == {"a": [1, 2]}


@pytest.mark.parametrize("count", [0, 1, 3])
def test_wrong_number_of_values_is_out_of_range(count):
    batch = table(a=[1, 2])
    assert case("with-int64-column", batch, "b", np.zeros(count, np.int64), None) == "out-of-range"
    assert case("with-float64-column", batch, "b", np.zeros(count), None) == "out-of-range"
    assert case("with-boolean-column", batch, "b", np.zeros(count, np.bool_), None) == "out-of-range"
    assert (
        case("with-text-column", batch, b"b", TextValues(np.zeros(count + 1, np.uint32), b""), None) == "out-of-range"
    )


def test_no_offsets_at_all_are_out_of_range():
    values = TextValues(np.zeros(0, np.uint32), b"")
    assert case("with-text-column", FUNCTIONS["new-batch"](0), b"b", values, None) == "out-of-range"


def test_validity_that_is_too_short_is_out_of_range():
    batch = FUNCTIONS["new-batch"](65)
    assert case("with-int64-column", batch, "a", np.zeros(65, np.int64), words([True] * 64)) == "out-of-range"


@pytest.mark.parametrize(
    ("offsets", "text"),
    [
        ([1, 1, 2], b"ab"),
        ([0, 1, 1], b"ab"),
        ([0, 1, 3], b"ab"),
        ([0, 2, 1], b"a"),
        ([0, 2**32 - 1, 2], b"ab"),
        ([0, 1, 2], "é".encode()),
        ([0, 2, 4], "a€".encode()),
    ],
)
def test_offsets_that_do_not_fit_the_text_are_malformed(offsets, text):
    values = TextValues(np.array(offsets, np.uint32), text)
    assert case("with-text-column", FUNCTIONS["new-batch"](2), b"a", values, None) == "malformed"


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=6), TEXT)
def test_any_offsets_give_a_valid_column_or_an_error(offsets, text):
    values = TextValues(np.array(offsets, np.uint32), text.encode())
    result = call("with-text-column", FUNCTIONS["new-batch"](len(offsets) - 1), b"a", values, None)
    if isinstance(result, Ok):
        result.value.arrow.validate(full=True)
        assert "".join(result.value.arrow["a"].to_pylist()) == text
    else:
        assert result.error.case == "malformed"


def test_cast_converts_one_column():
    batch = good("cast-column", table(a=["1", "2"], b=[1.0, 2.0]), "a", "int16")
    assert batch.arrow.schema.types == [pa.int16(), pa.float64()]


@pytest.mark.parametrize(
    ("values", "to", "expected"),
    [
        (["1", "x"], "int64", "malformed"),
        ([1.5], "int8", "malformed"),
        ([1], "struct<a: int8>", "wrong-type"),
        ([1], "money", "malformed"),
        ([b"\xff"], "string", "malformed"),
    ],
)
def test_cast_that_cannot_be_is_an_error_value(values, to, expected):
    assert case("cast-column", table(a=values), "a", to) == expected


def test_cast_that_reads_memory_of_the_host_is_a_wrong_type():
    empty = pa.nulls(3, pa.list_(pa.binary(100_000)))
    assert (
        case("cast-column", table(a=empty), "a", "fixed_size_list<item: fixed_size_binary[100000]>[2]") == "wrong-type"
    )


@pytest.mark.parametrize(
    ("array", "to"),
    [
        (pa.array([1.0, None, 1e39]), "float"),
        (pa.array([70_000]), "halffloat"),
        (pa.array([Decimal(10) ** 60], pa.decimal256(76, 0)), "float"),
        (pa.array(["inf", "1e400"]), "double"),
        (pa.array(["1e39"], pa.large_string()), "float"),
        (pa.array([[1e39]]), "list<item: float>"),
        (pa.array(["1e39"]).dictionary_encode(), "float"),
    ],
)
def test_cast_makes_no_number_infinite(array, to):
    error = call("cast-column", table(c=array), "c", to).error
    assert (error.case, "is beyond the range of" in error.value) == ("malformed", True)


def test_cast_keeps_what_is_infinite():
    for values in ([math.inf, None, -math.inf, 1.5], ["inf", None, "-Infinity", "1.5"]):
        made = good("cast-column", table(c=values), "c", "float")
        assert made.arrow.column(0).to_pylist() == [math.inf, None, -math.inf, 1.5]


def test_cast_names_the_value_that_does_not_fit():
    assert "'x1'" in call("cast-column", table(a=["1", "x1"]), "a", "int64").error.value


@pytest.mark.parametrize("to", ["fixed_size_binary[2000000]", "fixed_size_list<item: int64>[2000000]"])
def test_cast_that_would_fill_the_memory_is_too_large(to):
    assert case("cast-column", table(a=pa.nulls(10)), "a", to) == "too-large"


def test_cast_of_a_dictionary_counts_what_it_stands_for():
    array = pa.DictionaryArray.from_arrays(np.zeros(10_000, np.int32), pa.array(["x" * 100_000]))
    assert case("cast-column", table(a=array), "a", "string") == "too-large"


def test_select_picks_columns_in_order():
    assert good("select", table(a=[1], b=[2], c=[3]), ["c", "a"]).arrow.to_pydict() == {"c": [3], "a": [1]}


def test_select_of_no_columns_keeps_the_rows():
    assert good("select", table(a=[1, 2]), []).num_rows() == 2


def test_select_of_an_absent_or_repeated_column_is_refused():
    assert case("select", table(a=[1]), ["b"]) == "no-such-column"
    assert case("select", table(a=[1]), ["a", "a"]) == "out-of-range"


def test_rename_changes_the_name_alone():
    assert good("rename-column", table(a=[1], b=[2]), "b", "c").arrow.to_pydict() == {"a": [1], "c": [2]}


def test_rename_to_a_taken_name_is_out_of_range():
    assert case("rename-column", table(a=[1], b=[2]), "b", "a") == "out-of-range"
    assert good("rename-column", table(a=[1]), "a", "a").column_names() == ["a"]


@given(batches(), st.data())
def test_filter_keeps_the_rows_of_the_mask(arrow, data):
    flags = data.draw(st.lists(st.booleans(), min_size=arrow.num_rows, max_size=arrow.num_rows))
    kept = good("filter", Batch(arrow), words(flags)).arrow
    expected = [repr(row) for row, flag in zip(arrow.to_pylist(), flags, strict=True) if flag]
    assert [repr(row) for row in kept.to_pylist()] == expected
    assert kept.schema.equals(arrow.schema)


def test_filter_of_a_batch_without_columns_counts_rows():
    assert good("filter", FUNCTIONS["new-batch"](70), words([True, False] * 35)).num_rows() == 35


def test_mask_that_is_too_short_is_out_of_range():
    assert case("filter", FUNCTIONS["new-batch"](65), words([True] * 64)) == "out-of-range"


def test_slice_shares_the_memory():
    old = table(a=[1, 2, 3])
    part = good("slice", old, 1, 2)
    assert part.int64_column("a").tolist() == [2, 3]
    assert part.arrow["a"].buffers()[1].address == old.arrow["a"].buffers()[1].address


@pytest.mark.parametrize(("offset", "length"), [(0, 4), (4, 0), (2**32 - 1, 2**32 - 1)])
def test_slice_past_the_end_is_out_of_range(offset, length):
    assert case("slice", table(a=[1, 2, 3]), offset, length) == "out-of-range"


@given(batches())
def test_concat_puts_rows_one_after_another(arrow):
    joined = good("concat", [Batch(arrow), Batch(arrow.slice(1))]).arrow
    assert repr(joined.to_pylist()) == repr(arrow.to_pylist() + arrow.slice(1).to_pylist())
    joined.validate(full=True)


def test_concat_of_none_or_of_different_schemas_is_refused():
    assert case("concat", []) == "out-of-range"
    error = call("concat", [table(a=[1]), table(a=["x"])]).error
    assert (error.case, error.value.column) == ("wrong-type", "a")
    assert case("concat", [table(a=[1]), table(a=[1], b=[2])]) == "wrong-type"


def test_concat_of_one_batch_many_times_is_too_large():
    assert case("concat", [table(a=np.zeros(100_000))] * 100) == "too-large"


def test_concat_keeps_rows_without_columns():
    assert good("concat", [FUNCTIONS["new-batch"](3), FUNCTIONS["new-batch"](4)]).num_rows() == 7


def test_batch_of_the_most_rows_costs_nothing():
    assert FUNCTIONS["new-batch"](2**32 - 1).num_rows() == 2**32 - 1
