"""Expressions that cannot be: each is a typed error that names column and function, and is charged to who asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from dataflare.budgets import HostBudget, OverHostBytes, OverTime, serving
from dataflare.data.batches import Batch
from dataflare.data.expressions.interface import imports
from dataflare.errors import PluginError
from dataflare.runtime.plugin_errors import plugin_error
from dataflare.values import Err, Variant
from dataflare.wit_types.batches import TypeMismatch
from expression_kit import call, column, int64, text

FUNCTIONS = imports()
ROWS = pa.RecordBatch.from_pydict(
    {
        "id": [1, 2, 0],
        "name": ["a", "b", "c"],
        "tags": [["x"], [], None],
        "sum": pa.array([1, 2, 3], pa.decimal128(38, 2)),
        "here": pa.array([1, 2, 3], pa.timestamp("s", "Europe/Berlin")),
        "there": pa.array([1, 2, 3], pa.timestamp("s", "UTC")),
    }
)


def error(nodes: list[Variant], rows: pa.RecordBatch = ROWS) -> Variant:
    """The `data-error` of an expression."""
    found = FUNCTIONS["select"](Batch(rows), nodes, [SimpleNamespace(name="x", node=len(nodes) - 1)])
    assert isinstance(found, Err), found
    failure: Variant = found.error
    return failure


def told(failure: Variant) -> str:
    """What a caller reads of a plugin's error."""
    made = plugin_error(Variant("data", failure), plugin="p", export="x#transform")
    assert isinstance(made, PluginError)
    return made.message


@pytest.mark.parametrize(
    ("nodes", "case", "words"),
    [
        # A circle: lists of nodes have none, but they can try.
        ([column("id"), call("negate", 1)], "malformed", ["negate", "node 1 takes node 1, which is not before it"]),
        ([call("add", 1, 1), call("add", 0, 0)], "malformed", ["add", "node 0 takes node 1, which is not before it"]),
        ([column("id"), call("negate", 2**32 - 1)], "malformed", ["negate", "node 4294967295"]),
        ([column("absent")], "no-such-column", ["absent"]),
        ([column("id"), call("explode", 0)], "no-such-function", ["explode"]),
        ([column("id"), column("name"), call("add", 0, 1)], "wrong-type", ["add", "'id, name'", "(int64, string)"]),
        ([column("tags"), call("negate", 0)], "wrong-type", ["negate", "'tags'", "list<"]),
        # The column is behind another function.
        (
            [column("name"), call("utf8_upper", 0), call("negate", 1)],
            "wrong-type",
            ["negate", "column 'name' is (string), not"],
        ),
        ([int64(1), text("x"), call("add", 0, 1)], "wrong-type", ["add", "what it is given is (int64, string)"]),
        ([int64(1), column("id"), call("divide", 0, 1)], "out-of-range", ["divide", "divide by zero (of id)"]),
        (
            [column("name"), call("match_substring_regex", 0, pattern=text("("))],
            "out-of-range",
            ["match_substring_regex", "(of name)"],
        ),
        # Types count before values, wherever they stand.
        (
            [column("id"), int64(0), call("divide", 0, 1), column("name"), call("add", 2, 3)],
            "wrong-type",
            ["add", "'id, name'", "(int64, string)"],
        ),
        ([column("sum"), call("add", 0, 0)], "wrong-type", ["add", "'sum'", "decimal128(38, 2)"]),
        (
            [column("here"), column("there"), call("weeks_between", 0, 1)],
            "wrong-type",
            ["weeks_between", "'here, there'"],
        ),
        ([column("name"), call("cast", 0, type=text("nonsense"))], "malformed", ["cast: the type 'nonsense'"]),
        (
            [column("name"), call("utf8_lpad", 0, width=int64(4), padding=text("ab"))],
            "malformed",
            ["utf8_lpad: option padding must be one character"],
        ),
    ],
)
def test_expression_that_cannot_be_names_what_is_wrong(nodes, case, words):
    failure = error(nodes)
    assert failure.case == case
    message = told(failure)
    for each in words:
        assert each in message


def test_mismatch_has_column_function_and_types_apart():
    failure = error([column("id"), column("name"), call("add", 0, 1)])
    assert isinstance(failure.value, TypeMismatch)
    assert (failure.value.column, failure.value.function_name) == ("id, name", "add")
    assert failure.value.actual == "(int64, string)"


class Uncounted(list[Variant]):
    """Nodes that nobody may look at."""

    def __iter__(self) -> Iterator[Variant]:
        raise AssertionError("the nodes are read one by one")


def test_million_nodes_are_refused_by_their_number():
    failure = error(Uncounted([column("id")] * 1_000_000))
    assert (failure.case, failure.value) == ("too-large", "1000000 nodes are more than 10000 in an expression")


@pytest.mark.parametrize("pattern", ["(a*)*b", "(a|a)*b", "(a+)+$", "(.*)(.*)(.*)(.*)(.*)b"])
def test_pattern_that_blows_up_elsewhere_ends_or_is_refused(pattern):
    rows = pa.RecordBatch.from_pydict({"t": ["a" * 10_000] * 100})
    nodes = [column("t"), call("match_substring_regex", 0, pattern=text(pattern))]
    found = FUNCTIONS["filter"](Batch(rows), nodes)
    assert found.error.case == "too-large" if isinstance(found, Err) else found.value.num_rows() in (0, 100)


def test_join_that_explodes_names_its_columns():
    many = Batch(pa.RecordBatch.from_pydict({"k": [1] * 100_000}))
    found = FUNCTIONS["join"](many, many, [("k", "k")], "inner")
    assert isinstance(found, Err)
    assert found.error.case == "too-large"
    assert "the join by k = k has 10000000000 rows" in told(found.error)


def budgeted(nodes: list[Variant], room: int, rows: pa.RecordBatch) -> Any:
    with serving(HostBudget(room)):
        return FUNCTIONS["select"](Batch(rows), nodes, [SimpleNamespace(name="x", node=len(nodes) - 1)])


def test_result_is_charged_to_the_caller():
    rows = pa.RecordBatch.from_pydict({"n": list(range(100_000))})
    nodes = [column("n"), int64(2), call("multiply", 0, 1)]
    assert budgeted(nodes, 2_000_000, rows).value.num_rows() == 100_000
    with pytest.raises(OverHostBytes):
        budgeted(nodes, 500_000, rows)


def test_time_is_the_callers():
    rows = pa.RecordBatch.from_pydict({"n": list(range(1000))})
    nodes = [column("n"), *(call("negate", place) for place in range(1000))]
    budget = HostBudget(2**30)
    budget.deadline_s = time.monotonic() - 1
    with pytest.raises(OverTime), serving(budget):
        FUNCTIONS["select"](Batch(rows), nodes, [SimpleNamespace(name="x", node=1000)])
