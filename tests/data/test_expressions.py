"""Expressions as plugins write them, and what they do to whole batches."""

from __future__ import annotations

import decimal
import math
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflare.budgets import HostBudget, OverTime, serving
from dataflare.data.batches import Batch
from dataflare.data.expressions import relations
from dataflare.data.expressions.evaluate import MAX_NODES, read_plan
from dataflare.data.expressions.interface import imports
from dataflare.data.expressions.relations import AGGREGATES
from dataflare.data.shapes import DataFailure
from dataflare.values import Err, Ok, Variant
from expression_kit import batch_of, call, column, compute, int64, literal_of, refusal, text, typed

LIMIT = 2**30
ORDERS = pa.RecordBatch.from_pydict(
    {
        "customer": ["ada", "bela", None, "ada", "bela", "ada"],
        "amount": pa.array([1.5, 2.0, 8.0, None, 4.0, 3.0]),
        "day": pa.array([3, 1, 2, 1, 2, 2], pa.int32()),
    }
)


def failure_of(function: Any, *args: Any) -> str:
    with pytest.raises(DataFailure) as raised:
        function(*args)
    return str(raised.value)


class TestPlans:
    def test_a_node_may_be_used_twice(self) -> None:
        nodes = [column("a"), call("add", 0, 0), call("multiply", 1, 1)]
        assert compute(batch_of(a=3), nodes).to_pylist() == [36]

    @pytest.mark.parametrize("argument", [1, 2, 2**32 - 1])
    def test_a_node_takes_only_nodes_before_it(self, argument: int) -> None:
        assert refusal(batch_of(a=1), [column("a"), call("negate", argument)]) == "malformed"

    def test_a_function_that_is_not_there_is_named(self) -> None:
        assert "no-such-function: os.system" in failure_of(read_plan, [call("os.system")])

    def test_functions_of_arrow_that_are_not_on_the_list_are_not_there(self) -> None:
        for name in ("random", "run_end_encode", "scatter", "pivot_wider", "rank", "take", "month_interval_between"):
            assert "no-such-function" in failure_of(read_plan, [column("a"), call(name, 0)])

    def test_a_million_nodes_are_too_many(self) -> None:
        nodes = [column("a")] * 1_000_000
        assert f"more than {MAX_NODES}" in failure_of(read_plan, nodes)

    def test_a_long_chain_takes_the_memory_of_a_few_columns(self) -> None:
        nodes = [column("a"), *(call("add", at, 0) for at in range(5_000))]
        assert compute(batch_of(a=1), nodes).to_pylist() == [5_001]

    def test_the_number_of_arguments_is_bounded(self) -> None:
        assert "arguments are more than" in failure_of(read_plan, [column("a"), call("coalesce", *[0] * 1001)])

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"digits": int64(1)}, "'digits' is not an option; there are: ndigits, mode"),
            ({"ndigits": text("1")}, "option ndigits must be a whole number from -30 to 30"),
            ({"ndigits": int64(2**40)}, "option ndigits must be a whole number"),
            ({"ndigits": literal_of(True)}, "option ndigits must be a whole number"),
            ({"mode": text("sideways")}, "option mode must be one of down"),
        ],
    )
    def test_an_option_that_does_not_fit_is_named(self, options: dict[str, Any], says: str) -> None:
        assert says in failure_of(read_plan, [column("a"), call("round", 0, **options)])

    def test_an_option_is_given_once(self) -> None:
        node = call("round", 0, ndigits=int64(1))
        node.value.options *= 2
        assert "'ndigits' is given twice" in failure_of(read_plan, [column("a"), node])

    def test_an_option_that_is_needed_is_named(self) -> None:
        assert "option pattern is missing" in failure_of(read_plan, [column("a"), call("starts_with", 0)])

    def test_members_of_a_set_are_literals(self) -> None:
        assert "is not a literal" in failure_of(read_plan, [column("a"), column("b"), call("is_in", 0, 1)])

    def test_a_column_that_is_missing_is_named(self) -> None:
        assert failure_of(compute, batch_of(a=1), [column("b")]) == "no-such-column: b"

    def test_types_that_do_not_go_together_are_named(self) -> None:
        says = failure_of(compute, batch_of(a=1, b="x"), [column("a"), column("b"), call("add", 0, 1)])
        assert "add: column 'a, b' is (int64, string), not (numeric, numeric) or" in says

    def test_timestamps_with_and_without_a_zone_are_not_compared(self) -> None:
        batch = pa.RecordBatch.from_arrays(
            [pa.array([0], pa.timestamp("s")), pa.array([0], pa.timestamp("s", "UTC"))], ["a", "b"]
        )
        assert refusal(batch, [column("a"), column("b"), call("less", 0, 1)]) == "wrong-type"

    def test_a_division_by_zero_is_out_of_range(self) -> None:
        assert failure_of(compute, batch_of(a=1), [column("a"), int64(0), call("divide", 0, 1)]) == (
            "out-of-range: divide: divide by zero (of a)"
        )

    def test_an_overflow_is_told_where_it_is_asked_for(self) -> None:
        batch = batch_of(a=2**63 - 1)
        assert refusal(batch, [column("a"), int64(1), call("add_checked", 0, 1)]) == "out-of-range"
        assert compute(batch, [column("a"), int64(1), call("add", 0, 1)]).to_pylist() == [-(2**63)]

    def test_the_deadline_is_looked_at_between_functions(self) -> None:
        budget = HostBudget()
        budget.deadline_s = 0.0
        with serving(budget), pytest.raises(OverTime):
            compute(batch_of(a=1), [column("a"), call("negate", 0)])

    def test_a_dictionary_counts_as_its_values(self) -> None:
        batch = pa.RecordBatch.from_pydict({"a": pa.array(["x", None, "x"]).dictionary_encode()})
        assert compute(batch, [column("a"), call("utf8_upper", 0)]).to_pylist() == ["X", None, "X"]

    def test_a_dictionary_that_explodes_is_refused(self) -> None:
        encoded = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000, pa.int8()), ["x" * 10_000])
        batch = pa.RecordBatch.from_arrays([encoded], ["a"])
        assert refusal(batch, [column("a"), call("utf8_upper", 0)], max_bytes=2**20) == "too-large"


class TestLiterals:
    @pytest.mark.parametrize(
        ("type_name", "value", "expected"),
        [
            ("decimal128(10, 2)", "12.50", "decimal128(10, 2)"),
            ("date32[day]", "2024-03-10", "date32[day]"),
            ("timestamp[us]", "2024-03-10 01:30:00", "timestamp[us]"),
            ("int8", "-5", "int8"),
            ("bool", "true", "bool"),
        ],
    )
    def test_a_typed_literal_is_read_from_text(self, type_name: str, value: str, expected: str) -> None:
        assert str(compute(batch_of(a=1), [typed(type_name, value)]).type) == expected

    @pytest.mark.parametrize(
        ("type_name", "value"),
        [
            ("int8", "300"),
            ("int8", "x"),
            ("list<item: int8>", "[]"),
            ("no-type", "1"),
            ("decimal128(38, 66)", "1"),
            ("", ""),
        ],
    )
    def test_a_typed_literal_that_cannot_be_read_is_refused(self, type_name: str, value: str) -> None:
        assert refusal(batch_of(a=1), [typed(type_name, value)]) == "malformed"

    def test_null_takes_the_type_of_its_neighbour(self) -> None:
        nodes = [column("a"), literal_of(None), call("coalesce", 1, 0)]
        assert compute(batch_of(a="x"), nodes).to_pylist() == ["x"]

    def test_a_literal_alone_fills_a_column(self) -> None:
        assert compute(ORDERS, [int64(7)]).to_pylist() == [7] * 6
        assert compute(ORDERS, [literal_of(None)]).to_pylist() == [None] * 6

    def test_a_large_literal_in_many_rows_is_refused(self) -> None:
        batch = pa.RecordBatch.from_pydict({"a": [1] * 1000})
        assert refusal(batch, [text("x" * 10_000)], max_bytes=2**20) == "too-large"


class TestColumns:
    def test_columns_are_replaced_in_their_place_or_added(self) -> None:
        plan = read_plan([column("amount"), int64(2), call("multiply", 0, 1)])
        made = relations.with_columns(ORDERS, plan, [("amount", 2), ("two", 1)], LIMIT)
        assert made.schema.names == ["customer", "amount", "day", "two"]
        assert made.column("amount").to_pylist() == [3.0, 4.0, 16.0, None, 8.0, 6.0]

    def test_a_column_that_is_passed_on_keeps_its_metadata_and_memory(self) -> None:
        field = pa.field("a", pa.list_(pa.int8()), metadata={"dataflare.key": "1"})
        batch = pa.RecordBatch.from_arrays([pa.array([[1]], field.type)], schema=pa.schema([field], {"m": "1"}))
        made = relations.select(batch, read_plan([column("a")]), [("b", 0)], LIMIT)
        assert made.schema.field("b").metadata == {b"dataflare.key": b"1"}
        assert made.schema.metadata == {b"m": b"1"}
        assert made.column(0).values.buffers()[1].address == batch.column(0).values.buffers()[1].address

    def test_a_column_that_replaces_another_has_its_metadata(self) -> None:
        fields = [pa.field(name, pa.int8(), metadata={"is": name}) for name in "ab"]
        batch = pa.RecordBatch.from_arrays([pa.array([1], pa.int8())] * 2, schema=pa.schema(fields))
        plan = read_plan([column("b"), call("negate", 0)])
        made = relations.with_columns(batch, plan, [("a", 0), ("b", 1), ("c", 0), ("d", 1)], LIMIT).schema
        assert [made.field(name).metadata or {} for name in "abcd"] == [{b"is": b"a"}, {b"is": b"b"}, {b"is": b"b"}, {}]

    def test_a_cast_that_fails_names_itself_and_the_column(self) -> None:
        plan = read_plan([column("a"), call("cast", 0, type=text("int8"))])
        with pytest.raises(DataFailure, match=r"cast: Integer value 300 not in range.*\(of a\)"):
            relations.select(batch_of(a=300), plan, [("b", 1)], LIMIT)

    def test_no_columns_at_all_keep_their_rows(self) -> None:
        assert relations.select(ORDERS, read_plan([]), [], LIMIT).num_rows == 6

    def test_a_batch_without_columns_keeps_its_rows(self) -> None:
        empty = relations.select(ORDERS, read_plan([]), [], LIMIT)
        assert relations.with_columns(empty, read_plan([]), [], LIMIT).num_rows == 6
        assert relations.filter_by(empty, read_plan([literal_of(True)]), LIMIT).num_rows == 6
        assert relations.filter_by(empty, read_plan([literal_of(None), call("is_valid", 0)]), LIMIT).num_rows == 0

    @pytest.mark.parametrize("count", [1, 4, 5, 9])
    @pytest.mark.parametrize("rows", [ORDERS, relations.select(ORDERS, read_plan([]), [], LIMIT)], ids=["some", "none"])
    def test_few_columns_and_many_are_put_in_place_alike(self, rows: pa.RecordBatch, count: int) -> None:
        batch = rows.replace_schema_metadata({"m": "1"})
        names = ["day", *(f"new-{at}" for at in range(count - 1))]
        made = relations.with_columns(batch, read_plan([int64(7)]), [(name, 0) for name in names], LIMIT)
        assert made.schema.names == list(dict.fromkeys([*batch.schema.names, *names]))
        assert made.schema.metadata == {b"m": b"1"} and made.num_rows == 6
        assert all(made.column(name).to_pylist() == [7] * 6 for name in names)
        made.validate(full=True)

    def test_a_column_that_two_have_the_name_of_is_not_replaced(self) -> None:
        twice = pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
        for outputs in ([("a", 0)], [("a", 0), *((f"n{at}", 0) for at in range(8))]):
            assert "a" in failure_of(relations.with_columns, twice, read_plan([int64(1)]), outputs, LIMIT)

    def test_a_node_that_two_columns_need_is_computed_once(self) -> None:
        plan = read_plan([column("amount"), call("negate", 0)])
        made = relations.select(ORDERS, plan, [("a", 1), ("b", 1)], LIMIT)
        assert made.column("a").buffers()[1].address == made.column("b").buffers()[1].address

    def test_two_columns_of_one_name_are_refused(self) -> None:
        says = failure_of(relations.with_columns, ORDERS, read_plan([int64(1)]), [("x", 0), ("x", 0)], LIMIT)
        assert "the same name" in says

    def test_an_output_of_no_node_is_refused(self) -> None:
        assert "there is no node 5" in failure_of(relations.select, ORDERS, read_plan([int64(1)]), [("x", 5)], LIMIT)

    def test_a_filter_leaves_out_false_and_null(self) -> None:
        plan = read_plan([column("amount"), literal_of(2.5), call("greater", 0, 1)])
        assert relations.filter_by(ORDERS, plan, LIMIT).column("amount").to_pylist() == [8.0, 4.0, 3.0]

    def test_a_filter_needs_a_condition(self) -> None:
        assert "boolean" in failure_of(relations.filter_by, ORDERS, read_plan([int64(1)]), LIMIT)
        assert "at least a node" in failure_of(relations.filter_by, ORDERS, read_plan([]), LIMIT)


class TestSort:
    def test_rows_are_ordered_and_equal_ones_keep_their_order(self) -> None:
        made = relations.sort(ORDERS, [("day", True)], nulls_first=False, max_bytes=2**30)
        assert made.column("day").to_pylist() == [3, 2, 2, 2, 1, 1]
        assert made.column("amount").to_pylist() == [1.5, 8.0, 4.0, 3.0, 2.0, None]

    def test_nulls_stand_where_they_are_wanted(self) -> None:
        for first in (True, False):
            amounts = (
                relations.sort(ORDERS, [("amount", False)], nulls_first=first, max_bytes=2**30)
                .column("amount")
                .to_pylist()
            )
            assert amounts.index(None) == (0 if first else 5)

    @pytest.mark.parametrize("keys", [[], [("a", False)] * 65])
    def test_keys_are_one_to_64(self, keys: list[tuple[str, bool]]) -> None:
        assert "1 to 64 keys" in failure_of(relations.sort, ORDERS, keys, False, 2**30)

    def test_a_nested_column_has_no_order(self) -> None:
        batch = pa.RecordBatch.from_pydict({"a": [[1]]})
        assert "sort: column 'a' is list<item: int64>, not flat" in failure_of(
            relations.sort, batch, [("a", False)], False, 2**30
        )

    @given(st.lists(st.tuples(st.none() | st.integers(-3, 3), st.none() | st.sampled_from("ab")), max_size=20))
    @settings(max_examples=100, deadline=None)
    def test_it_agrees_with_python(self, rows: list[tuple[int | None, str | None]]) -> None:
        batch = pa.RecordBatch.from_pydict(
            {"n": pa.array([n for n, _ in rows], pa.int64()), "t": pa.array([t for _, t in rows], pa.string())}
        )
        made = relations.sort(batch, [("n", False), ("t", False)], nulls_first=False, max_bytes=2**30)
        expected = sorted(rows, key=lambda row: (row[0] is None, row[0] or 0, row[1] is None, row[1] or ""))
        assert list(zip(made.column("n").to_pylist(), made.column("t").to_pylist(), strict=True)) == expected


class TestAggregate:
    def test_groups_are_in_the_order_of_their_first_rows(self) -> None:
        made = relations.aggregate(
            ORDERS, ["customer"], [("n", "count_rows", ""), ("total", "sum", "amount"), ("days", "list", "day")], LIMIT
        )
        assert made.to_pylist() == [
            {"customer": "ada", "n": 3, "total": 4.5, "days": [3, 1, 2]},
            {"customer": "bela", "n": 2, "total": 6.0, "days": [1, 2]},
            {"customer": None, "n": 1, "total": 8.0, "days": [2]},
        ]

    @pytest.mark.parametrize("name", sorted(AGGREGATES))
    def test_every_aggregate_works_on_what_it_takes_and_on_no_rows(self, name: str) -> None:
        known = AGGREGATES[name]
        kind = pa.bool_() if str(known.takes) == "boolean" else pa.int64()
        batch = pa.RecordBatch.from_pydict({"k": [1, 1, 2], "v": pa.array([1, None, 0]).cast(kind)})
        of = "" if known.takes is None else "v"
        without = () if known.needs_keys else ((3, [], 1), (0, [], 1))
        for rows, keys, groups in ((3, ["k"], 2), (0, ["k"], 0), *without):
            assert relations.aggregate(batch.slice(0, rows), keys, [("r", name, of)], LIMIT).num_rows == groups

    def test_keys_alone_give_the_different_rows(self) -> None:
        assert relations.aggregate(ORDERS, ["customer"], [], LIMIT).column(0).to_pylist() == ["ada", "bela", None]

    def test_a_key_keeps_its_metadata(self) -> None:
        schema = pa.schema([pa.field("k", pa.int8(), metadata={"dataflare.key": "1"})])
        batch = pa.RecordBatch.from_pydict({"k": [1, 1]}, schema=schema)
        made = relations.aggregate(batch, ["k"], [("n", "count_rows", "")], LIMIT)
        assert made.schema.field("k").metadata == {b"dataflare.key": b"1"}

    @pytest.mark.parametrize(
        ("keys", "wanted", "says"),
        [
            (["customer"], [("x", "mode", "amount")], "no aggregate 'mode'"),
            (["customer"], [("x", "sum", "customer")], "sum: column 'customer' is string, not numeric"),
            (["customer"], [("x", "sum", "nothing")], "no-such-column: nothing"),
            (["nothing"], [("x", "sum", "amount")], "no-such-column: nothing"),
            (["customer"], [("customer", "sum", "amount")], "the same name"),
            (["customer"] * 65, [], "0 to 64 keys"),
            ([], [("x", "list", "amount")], "list needs keys"),
        ],
    )
    def test_what_cannot_be_computed_is_named(
        self, keys: list[str], wanted: list[tuple[str, str, str]], says: str
    ) -> None:
        assert says in failure_of(relations.aggregate, ORDERS, keys, wanted, LIMIT)

    @given(st.lists(st.tuples(st.none() | st.sampled_from("abc"), st.none() | st.integers(-9, 9)), max_size=30))
    @settings(max_examples=100, deadline=None)
    def test_sums_agree_with_python(self, rows: list[tuple[str | None, int | None]]) -> None:
        batch = pa.RecordBatch.from_pydict(
            {"k": pa.array([k for k, _ in rows], pa.string()), "v": pa.array([v for _, v in rows], pa.int64())}
        )
        made = relations.aggregate(batch, ["k"], [("n", "count", "v"), ("s", "sum", "v"), ("m", "mean", "v")], LIMIT)
        groups: dict[str | None, list[int]] = {}
        for key, value in rows:
            groups.setdefault(key, []).extend([] if value is None else [value])
        assert made.column("k").to_pylist() == list(groups)
        assert made.column("n").to_pylist() == [len(each) for each in groups.values()]
        assert made.column("s").to_pylist() == [sum(each) if each else None for each in groups.values()]
        for mean, each in zip(made.column("m").to_pylist(), groups.values(), strict=True):
            assert mean is None if not each else math.isclose(mean, sum(each) / len(each))


KINDS = ["inner", "left-outer", "left-semi", "left-anti"]


class TestJoin:
    NAMES = pa.RecordBatch.from_pydict({"id": ["ada", "ada", None, "carla"], "name": ["A1", "A2", "N", "C"]})

    def test_null_equals_nothing_and_the_lefts_order_holds(self) -> None:
        made = relations.join(ORDERS, self.NAMES, [("customer", "id")], "left-outer", LIMIT)
        assert list(zip(made.column("customer").to_pylist(), made.column("name").to_pylist(), strict=True)) == [
            ("ada", "A1"), ("ada", "A2"), ("bela", None), (None, None), ("ada", "A1"), ("ada", "A2"), ("bela", None),
            ("ada", "A1"), ("ada", "A2"),
        ]  # fmt: skip

    def test_a_join_that_explodes_is_refused_before_it_is_made(self) -> None:
        many = pa.RecordBatch.from_pydict({"k": [1] * 100_000})
        assert "too-large: the join by k = k has 10000000000 rows" in failure_of(
            relations.join, many, many, [("k", "k")], "inner", LIMIT
        )
        assert relations.join(many, many, [("k", "k")], "left-semi", LIMIT).num_rows == 100_000

    @pytest.mark.parametrize(
        ("on", "says"),
        [
            ([], "1 to 64 keys"),
            ([("customer", "nothing")], "no-such-column: nothing"),
            ([("day", "id")], "two columns of one type (int32)"),
        ],
    )
    def test_keys_that_do_not_fit_are_named(self, on: list[tuple[str, str]], says: str) -> None:
        assert says in failure_of(relations.join, ORDERS, self.NAMES, on, "inner", LIMIT)

    def test_two_columns_of_one_name_are_refused(self) -> None:
        assert "rename one before" in failure_of(
            relations.join, ORDERS, ORDERS, [("customer", "customer")], "inner", LIMIT
        )

    @pytest.mark.parametrize("kind", KINDS)
    @given(data=st.data())
    @settings(max_examples=60, deadline=None)
    def test_it_agrees_with_python(self, kind: str, data: st.DataObject) -> None:
        key = st.tuples(st.none() | st.integers(0, 2), st.none() | st.sampled_from("ab"))
        left, right = (data.draw(st.lists(key, max_size=8)) for _ in range(2))

        def batch(rows: list[tuple[int | None, str | None]], label: str) -> pa.RecordBatch:
            return pa.RecordBatch.from_pydict(
                {
                    "a": pa.array([a for a, _ in rows], pa.int64()),
                    "b": pa.array([b for _, b in rows], pa.string()),
                    label: pa.array(range(len(rows)), pa.int64()),
                }
            )

        made = relations.join(batch(left, "x"), batch(right, "y"), [("a", "a"), ("b", "b")], kind, LIMIT)
        expected: list[tuple[int, int | None]] = []
        for at, one in enumerate(left):
            partners = [to for to, two in enumerate(right) if one == two and None not in one]
            if kind == "left-semi" or kind == "left-anti":
                expected += [(at, None)] if bool(partners) == (kind == "left-semi") else []
            else:
                expected += [(at, to) for to in partners] or ([(at, None)] if kind == "left-outer" else [])
        found = made.column("y").to_pylist() if "y" in made.schema.names else [None] * made.num_rows
        assert list(zip(made.column("x").to_pylist(), found, strict=True)) == expected


class TestInterface:
    """The functions as the engine calls them: objects with attributes, results as values."""

    def test_each_function_answers_with_a_batch_or_an_error(self) -> None:
        functions = imports()
        batch = Batch(ORDERS)
        double = [column("amount"), int64(2), call("multiply", 0, 1)]
        outputs = [SimpleNamespace(name="double", node=2)]
        positive = [column("amount"), int64(2), call("greater", 0, 1)]
        aggregates = [SimpleNamespace(name="n", aggregate="count_rows", column="")]
        keys = [SimpleNamespace(column="day", descending=False)]
        answers = {
            "with-columns": functions["with-columns"](batch, double, outputs),
            "select": functions["select"](batch, double, outputs),
            "filter": functions["filter"](batch, positive),
            "sort": functions["sort"](batch, keys, "last"),
            "aggregate": functions["aggregate"](batch, ["customer"], aggregates),
            "join": functions["join"](batch, batch, [("customer", "customer")], "left-semi"),
        }
        assert set(answers) == set(functions)
        assert {name: answer.value.num_rows() for name, answer in answers.items() if isinstance(answer, Ok)} == {
            "with-columns": 6, "select": 6, "filter": 3, "sort": 6, "aggregate": 3, "join": 5,
        }  # fmt: skip

    def test_an_error_is_a_value(self) -> None:
        answer = imports()["filter"](Batch(ORDERS), [column("nothing")])
        assert isinstance(answer, Err)
        assert answer.error.case == "no-such-column"


def test_sum_with_more_digits_than_its_type_is_refused() -> None:
    most = pa.array([decimal.Decimal(10**38 - 1)] * 2, pa.decimal128(38, 0))
    for keys in ([], ["k"]):
        batch = pa.record_batch({"k": [1, 1], "n": most})
        assert "does not fit in precision" in failure_of(relations.aggregate, batch, keys, [("x", "sum", "n")], LIMIT)


def test_decimals_of_literals_alone_are_computed() -> None:
    one = Variant("literal", Variant("typed", SimpleNamespace(type_name="decimal128(5, 2)", text="1.25")))
    plan = read_plan([one, Variant("call", SimpleNamespace(name="add", arguments=[0, 0], options=[]))])
    (made,) = plan.compute(ORDERS, [1], LIMIT)
    assert made.to_pylist() == [decimal.Decimal("2.50")] * ORDERS.num_rows
