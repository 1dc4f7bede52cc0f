"""What becomes of rows that a validator finds wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from dataflare.pipeline.failures import DataError
from dataflare.pipeline.models import ViolationActions
from dataflare.pipeline.writers import FileDestination
from dataflare.runtime.results import Report, Violation
from dataflare.runtime.validator import Validator

__all__ = ["VIOLATIONS_SCHEMA", "Validation"]

VIOLATIONS_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64()),
        pa.field("column", pa.string()),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("severity", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
    ]
)
"""The records of a violations file. `row` counts from 0 over all rows that the node took; null for a whole batch."""

_SHOWN = 3


class Validation:
    """Checks batches with a validator, and keeps, drops or refuses rows as the pipeline says; one thread at a time.

    Args:
        plugin: The validator.
        actions: What becomes of wrong rows, by severity.
        counts: Where violations are counted, by rule.
        listing: Where to write violations; `None` for nowhere.
    """

    def __init__(
        self, plugin: Validator, actions: ViolationActions, counts: Counter[str], listing: FileDestination | None
    ) -> None:
        self._plugin = plugin
        self._actions = actions
        self._counts = counts
        self._listing = listing
        self._action_of: dict[str, str] = {}
        self._rows_before = 0

    def begin(self) -> None:
        """Ask for the rules, and begin the list of violations."""
        for rule in self._plugin.rules():
            self._action_of[rule.name] = getattr(self._actions, rule.severity)
            self._counts[rule.name] = 0
        if self._listing is not None:
            self._listing.prepare(VIOLATIONS_SCHEMA)

    def check(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Check a batch.

        Returns:
            The rows that may go on.

        Raises:
            DataError: A violation is one that the pipeline fails for, or rows are to be dropped and the plugin did not
                say which.
            PluginError: The plugin answered with an error.
            PluginFault: It trapped.
        """
        if rows.num_rows == 0:
            return rows
        report = self._plugin.validate(rows)
        for count in report.counts:
            self._counts[count.rule] += count.violations
        if self._listing is not None and report.violations:
            self._listing.write(self._as_rows(report.violations))
        self._fail_where_asked(report)
        kept = self._without_dropped(rows, report)
        self._rows_before += rows.num_rows
        return kept

    def _action(self, rule: str) -> str:
        # A rule that the plugin did not name before has no severity that one could go by.
        return self._action_of.get(rule, self._actions.error)

    def _fail_where_asked(self, report: Report) -> None:
        broken = {
            count.rule: count.violations
            for count in report.counts
            if count.violations and self._action(count.rule) == "fail"
        }
        if not broken:
            return
        counts = ", ".join(f"{rule!r} {number} times" for rule, number in broken.items())
        examples = [self._describe(each) for each in report.violations if each.rule in broken][:_SHOWN]
        listed = "".join(f"\n    {each}" for each in examples)
        raise DataError(
            f"rows from {self._rows_before} on break {counts}{listed}",
            hint="mend the data, or let the pipeline go on: `on_violation: drop` or `keep`",
        )

    def _without_dropped(self, rows: pa.RecordBatch, report: Report) -> pa.RecordBatch:
        listed = Counter(violation.rule for violation in report.violations)
        for count in report.counts:
            if self._action(count.rule) == "drop" and count.violations > listed[count.rule]:
                raise DataError(
                    f"{count.violations} rows from {self._rows_before} on break {count.rule!r}, but the plugin named "
                    f"only {listed[count.rule]} of them, so which to drop is not known",
                    hint="let the plugin name more (by an option such as max_violations), or take smaller batches",
                )
        keep = np.ones(rows.num_rows, np.bool_)
        for violation in report.violations:
            if self._action(violation.rule) == "drop":
                keep[slice(None) if violation.row is None else violation.row] = False
        return rows if keep.all() else rows.filter(pa.array(keep))

    def _describe(self, violation: Violation) -> str:
        place = "the batch" if violation.row is None else f"row {self._rows_before + violation.row}"
        return f"{place}: {violation.message}"

    def _as_rows(self, violations: Iterable[Violation]) -> pa.RecordBatch:
        return pa.RecordBatch.from_pylist(
            [
                {
                    "row": None if each.row is None else self._rows_before + each.row,
                    "column": each.column,
                    "rule": each.rule,
                    "severity": each.severity,
                    "message": each.message,
                }
                for each in violations
            ],
            VIOLATIONS_SCHEMA,
        )
