"""Plugins that check batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import ClassVar

import pyarrow as pa

from dataflare.runtime.plugin import Plugin
from dataflare.runtime.results import Report
from dataflare.runtime.tables import merge_reports
from dataflare.texts import cut, cut_name
from dataflare.wit_types.validator import Rule, RuleCount, Violation

__all__ = ["Validator"]


class Validator(Plugin):
    """A plugin that checks batches and changes nothing."""

    kind: ClassVar[str] = "validator"

    def rules(self) -> list[Rule]:
        """Ask for the rules that it checks.

        Raises:
            PluginError: The plugin answered with an error.
            PluginFault: It trapped.
            UsageError: The plugin is closed.
        """
        return [Rule(cut_name(each.name), cut(each.description), each.severity) for each in self._call("rules")]

    def validate(self, rows: pa.RecordBatch | pa.Table | Iterable[pa.RecordBatch]) -> Report:
        """Check a batch.

        Args:
            rows: A batch. A table, or an iterable of batches, is checked batch by batch, with one report.

        Raises:
            PluginError: The plugin answered with an error.
            PluginFault: It trapped, or its report contradicts the batch or itself.
            UsageError: The plugin is closed.
        """
        if not isinstance(rows, pa.RecordBatch):
            return merge_reports(rows, self.validate)
        batch = self._wit_batch(rows)
        with self._data_lease(rows.num_rows) as worker:
            found = worker.call(self._interface, "validate", batch)
            report = Report(
                found.rows_checked,
                tuple(RuleCount(cut_name(each.rule), each.violations) for each in found.counts),
                tuple(
                    Violation(
                        each.row,
                        None if each.column is None else cut_name(each.column),
                        cut_name(each.rule),
                        each.severity,
                        cut(each.message),
                    )
                    for each in found.violations
                ),
            )
            if problem := _problem(report, rows.num_rows):
                raise self._broken_promise(worker, "validate", f"its report is wrong: {problem}")
            if worker.observation is not None:
                worker.observation.returned(report.rows_checked, 0, report.violation_count)
            return report


def _problem(report: Report, rows: int) -> str:
    """Describe what is impossible in a report; empty if it is consistent."""
    if report.rows_checked > rows:
        return f"{report.rows_checked} rows were checked, of {rows}"
    for violation in report.violations:
        if violation.row is not None and violation.row >= rows:
            return f"a violation of {violation.rule!r} is in row {violation.row}, of {rows} rows"
    counts = {count.rule: count.violations for count in report.counts}
    if len(counts) < len(report.counts):
        return "a rule is counted twice"
    for rule, listed in Counter(violation.rule for violation in report.violations).items():
        if listed > counts.get(rule, 0):
            return f"{listed} violations of {rule!r} are listed, {counts.get(rule, 0)} counted"
    return ""
