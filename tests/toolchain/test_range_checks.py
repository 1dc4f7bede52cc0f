"""The range validator's checks, which are plain Python."""

from __future__ import annotations

import importlib.util
import math
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .conftest import REPOSITORY

_PATH = REPOSITORY / "guest-sdks" / "python" / "examples" / "range-validator" / "checks.py"
_SPEC = importlib.util.spec_from_file_location("range_validator_checks", _PATH)
assert _SPEC is not None and _SPEC.loader is not None
checks = importlib.util.module_from_spec(_SPEC)
# dataclasses look their module up.
sys.modules[_SPEC.name] = checks
_SPEC.loader.exec_module(checks)


def rule(**options: Any) -> Any:
    return checks.parse_rules({"rules": [{"name": "r", "column": "c", **options}]})[0]


@given(st.lists(st.booleans(), max_size=200))
def test_null_rows_are_the_zero_bits(valid: list[bool]) -> None:
    words = [
        sum(1 << bit for bit, one in enumerate(valid[begin : begin + 64]) if one) for begin in range(0, len(valid), 64)
    ]
    assert checks.null_rows(words, len(valid)) == [row for row, one in enumerate(valid) if not one]


@given(st.lists(st.text(max_size=5), max_size=20))
def test_texts_are_split_at_byte_offsets(texts: list[str]) -> None:
    offsets = [0]
    for text in texts:
        offsets.append(offsets[-1] + len(text.encode()))
    assert checks.split_texts("".join(texts), offsets) == texts


numbers = st.one_of(st.integers(-10, 10), st.floats(-10, 10), st.just(math.nan))


@given(st.lists(numbers, max_size=20), st.integers(-10, 10), st.integers(-10, 10), st.sets(st.integers(0, 19)))
def test_broken_rows_are_those_out_of_range_that_are_not_null(
    values: list[float], low: int, high: int, nulls: set[int]
) -> None:
    expected = [row for row, value in enumerate(values) if not low <= value <= high and row not in nulls]
    assert checks.broken_rows(rule(min=low, max=high), values, sorted(nulls)) == expected


@given(st.lists(st.sampled_from("abc"), max_size=20), st.sets(st.integers(0, 19)))
def test_broken_rows_are_those_outside_the_set(values: list[str], nulls: set[int]) -> None:
    expected = [row for row, value in enumerate(values) if value == "c" and row not in nulls]
    assert checks.broken_rows(rule(one_of=["a", "b"]), values, sorted(nulls)) == expected


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"name": "r"}, "rules[0].column"),
        ({"name": "r", "column": "c"}, "give min, max, not_null or one_of"),
        ({"name": "r", "column": "c", "min": True}, "rules[0].min: give a number"),
        ({"name": "r", "column": "c", "one_of": ["a", 1]}, "rules[0].one_of"),
        ({"name": "r", "column": "c", "min": 1, "severity": "fatal"}, "info, warning, error"),
        ({"name": "r", "column": "c", "min": 1, "max_violations": -1}, "max_violations"),
        ({"name": "r", "column": "c", "minimum": 1}, "unknown keys: minimum"),
    ],
)
def test_a_wrong_rule_is_refused_with_its_key(entry: dict[str, Any], says: str) -> None:
    with pytest.raises(checks.InvalidRule) as caught:
        checks.parse_rules({"rules": [entry]})
    assert says in str(caught.value)


def test_two_rules_of_one_name_are_refused() -> None:
    entry = {"name": "r", "column": "c", "min": 1}
    with pytest.raises(checks.InvalidRule, match="two rules"):
        checks.parse_rules({"rules": [entry, entry]})
