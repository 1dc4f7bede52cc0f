"""Validators: rules, and the rows that break them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from dataflare_plugin.batch import Batch
from dataflare_plugin.expressions import Expression
from dataflare_plugin.plugin import Plugin

__all__ = ["MOST_REPORTED", "Rule", "Validator", "Violation", "limited"]

MOST_REPORTED = 100
"""Violations of a rule that are reported for a batch; all are counted."""


@dataclass(frozen=True)
class Rule:
    """A rule that rows must keep.

    Args:
        name: Its name.
        holds: An expression that is true for good rows; rows where it is null are good too. Without one, override
            `Validator.validate`.
        description: One line that says what must hold.
        severity: `info`, `warning` or `error`.
        column: The column that it is about.
    """

    name: str
    holds: Expression | None = field(default=None, compare=False)
    description: str = ""
    severity: str = "error"
    column: str = ""


@dataclass(frozen=True)
class Violation:
    """A row that breaks a rule."""

    rule: Rule
    row: int | None
    message: str = ""


class Validator(Plugin):
    """Checks batches. Override `rules`, and `validate` for rules that are not expressions."""

    kind: ClassVar[str] = "validator"

    def rules(self) -> Sequence[Rule]:
        """The rules."""
        raise NotImplementedError

    def validate(self, batch: Batch) -> Iterable[Violation]:
        """The rows that break a rule."""
        rules = [rule for rule in self.rules() if rule.holds is not None]
        checked = batch.with_columns(**{f"{number}": ~rule.holds for number, rule in enumerate(rules)})
        for number, rule in enumerate(rules):
            for row, broken in enumerate(checked.column(f"{number}")):
                if broken:
                    yield Violation(rule, row)


def limited(violations: Iterable[Violation]) -> tuple[Counter[str], list[Violation]]:
    """How often each rule is broken, and the violations that are reported."""
    counts: Counter[str] = Counter()
    reported: list[Any] = []
    for each in violations:
        counts[each.rule.name] += 1
        if counts[each.rule.name] <= MOST_REPORTED:
            reported.append(each)
    return counts, reported
