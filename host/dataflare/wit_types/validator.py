# Written by `dataflare bindgen`. Write it anew rather than change it.
"""`dataflare:plugin/validator@1.0.0`.

A plugin that checks batches and changes nothing.

Since version 1.0.0.
"""

from __future__ import annotations

import collections.abc as _abc
import dataclasses as _dataclasses
import typing as _t

__all__ = ["Report", "Rule", "RuleCount", "Severity", "Violation"]


Severity: _t.TypeAlias = _t.Literal["info", "warning", "error"]
"""The severity of a violation, lowest first.

Since version 1.0.0.

- `info`: Information; the row is right.
- `warning`: Something to look at; the row may pass.
- `error`: The row is wrong.
"""


@_dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """A rule that is checked.

    Since version 1.0.0.
    """

    name: str
    """Its name, unique within the plugin."""
    description: str
    """One line that says what must hold."""
    severity: Severity
    """The severity of its violations."""


@_dataclasses.dataclass(frozen=True, slots=True)
class Violation:
    """A rule that a row breaks.

    Since version 1.0.0.
    """

    row: int | None
    """The row within the batch, from 0; `none` if the whole batch breaks the rule."""
    column: str | None
    """The column; `none` if it is not a single column."""
    rule: str
    """The name of the rule."""
    severity: Severity
    """The severity."""
    message: str
    """What is wrong, for people."""


@_dataclasses.dataclass(frozen=True, slots=True)
class RuleCount:
    """How often a rule was broken.

    Since version 1.0.0.
    """

    rule: str
    """The name of the rule."""
    violations: int
    """The number of violations."""


@_dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What a check of a batch found.

    Since version 1.0.0.
    """

    rows_checked: int
    """The number of rows that were checked."""
    counts: _abc.Sequence[RuleCount]
    """Every rule with its number of violations, also rules without any. The counts are
    complete.
    """
    violations: _abc.Sequence[Violation]
    """The violations, by row, those of the whole batch in any place. If there are many,
    the list may have only the first ones.
    """
