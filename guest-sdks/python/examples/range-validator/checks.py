"""Checks of columns that are plain Python lists."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

SEVERITIES = ("info", "warning", "error")
_ALL = 2**64 - 1
_DOUBLE_DIGITS = 15


class InvalidRule(ValueError):
    """A rule of the configuration is wrong; the text names the key."""


@dataclass(frozen=True)
class Rule:
    """What must hold for a column; nulls are only looked at by `not_null`."""

    name: str
    column: str
    minimum: float | Decimal | None
    maximum: float | Decimal | None
    not_null: bool
    one_of: frozenset[Any] | None
    severity: str
    max_violations: int

    @property
    def needs_values(self) -> bool:
        """Whether it is more than a question of nulls."""
        return self.minimum is not None or self.maximum is not None or self.one_of is not None

    @property
    def description(self) -> str:
        """One line on what must hold."""
        parts = ["has no nulls"] if self.not_null else []
        if self.minimum is not None or self.maximum is not None:
            low = "" if self.minimum is None else f"{self.minimum} <= "
            high = "" if self.maximum is None else f" <= {self.maximum}"
            parts.append(f"fulfils {low}value{high}")
        if self.one_of is not None:
            parts.append(f"is one of {', '.join(sorted(map(repr, self.one_of)))}")
        return f"column {self.column!r} " + " and ".join(parts)


def parse_rules(config: dict[str, Any]) -> list[Rule]:
    """Read the configuration's rules.

    Raises:
        InvalidRule: A key is absent, unknown or of the wrong type.
    """
    if unknown := config.keys() - {"rules"}:
        raise InvalidRule(f"unknown keys: {', '.join(sorted(unknown))}")
    entries = config.get("rules")
    if not isinstance(entries, list) or not entries:
        raise InvalidRule("rules: give at least one rule")
    rules = [_parse_rule(f"rules[{position}]", entry) for position, entry in enumerate(entries)]
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise InvalidRule(f"two rules are named {name!r}")
    return rules


def _parse_rule(where: str, entry: Any) -> Rule:
    if not isinstance(entry, dict):
        raise InvalidRule(f"{where}: give an object")
    known = {"name", "column", "min", "max", "not_null", "one_of", "severity", "max_violations"}
    if unknown := entry.keys() - known:
        raise InvalidRule(f"{where}: unknown keys: {', '.join(sorted(unknown))}")
    for key in ("name", "column"):
        if not isinstance(entry.get(key), str) or not entry[key]:
            raise InvalidRule(f"{where}.{key}: give a text")
    for key in ("min", "max"):
        if not _is_number(entry.get(key, 0)):
            raise InvalidRule(f"{where}.{key}: give a number")
    one_of = entry.get("one_of")
    if one_of is not None and (
        not isinstance(one_of, list) or not (all(isinstance(v, str) for v in one_of) or all(map(_is_number, one_of)))
    ):
        raise InvalidRule(f"{where}.one_of: give a list of texts or of numbers")
    not_null = entry.get("not_null", False)
    if not isinstance(not_null, bool):
        raise InvalidRule(f"{where}.not_null: give true or false")
    severity = entry.get("severity", "error")
    if severity not in SEVERITIES:
        raise InvalidRule(f"{where}.severity: give one of {', '.join(SEVERITIES)}")
    most = entry.get("max_violations", 100)
    if not isinstance(most, int) or isinstance(most, bool) or most < 0:
        raise InvalidRule(f"{where}.max_violations: give a whole number of at least 0")
    rule = Rule(
        name=entry["name"],
        column=entry["column"],
        minimum=entry.get("min"),
        maximum=entry.get("max"),
        not_null=not_null,
        one_of=None if one_of is None else frozenset(one_of),
        severity=severity,
        max_violations=most,
    )
    if not rule.not_null and not rule.needs_values:
        raise InvalidRule(f"{where}: give min, max, not_null or one_of")
    return rule


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_wide(type_name: str) -> bool:
    """Whether a type is a decimal of more digits than a double always keeps."""
    return type_name.startswith("decimal") and int(type_name.partition("(")[2].partition(",")[0]) > _DOUBLE_DIGITS


def decimals(texts: Sequence[str]) -> list[Decimal]:
    """The numbers that texts are; a null, which has no text, is as good as 0."""
    return [Decimal(text or 0) for text in texts]


def with_decimals(rule: Rule) -> Rule:
    """The rule for columns of decimals: its numbers as they are written, and not the doubles next to them."""
    low, high = (None if each is None else Decimal(str(each)) for each in (rule.minimum, rule.maximum))
    one_of = None if rule.one_of is None else frozenset(Decimal(str(each)) for each in rule.one_of)
    return replace(rule, minimum=low, maximum=high, one_of=one_of)


def null_rows(validity: Sequence[int] | None, rows: int) -> list[int]:
    """The rows whose bit in a validity bitmap is 0, ascending."""
    if validity is None:
        return []
    found = []
    for number, word in enumerate(validity):
        zeros = ~word & _ALL
        while zeros:
            lowest = zeros & -zeros
            found.append(64 * number + lowest.bit_length() - 1)
            zeros ^= lowest
    while found and found[-1] >= rows:
        found.pop()
    return found


def split_texts(text: str, offsets: Sequence[int]) -> list[str]:
    """The rows' texts; the offsets count UTF-8 bytes."""
    if text.isascii():
        return [text[begin:end] for begin, end in pairwise(offsets)]
    data = text.encode()
    return [data[begin:end].decode() for begin, end in pairwise(offsets)]


def broken_rows(rule: Rule, values: Sequence[Any], nulls: Sequence[int]) -> list[int]:
    """The rows that hold a value which the rule does not allow, ascending."""
    found: set[int] = set()
    # The built-in functions below run through a column several times as fast as a loop, and most columns are in order.
    if rule.one_of is not None and set(values) - rule.one_of:
        allowed = rule.one_of
        found.update(row for row, value in enumerate(values) if value not in allowed)
    if values and (rule.minimum is not None or rule.maximum is not None):
        low = -math.inf if rule.minimum is None else rule.minimum
        high = math.inf if rule.maximum is None else rule.maximum
        # A NaN, which is within no bounds, hides from min and max but not from sum.
        if min(values) < low or max(values) > high or math.isnan(sum(values)):
            found.update(row for row, value in enumerate(values) if not low <= value <= high)
    return sorted(found.difference(nulls))
