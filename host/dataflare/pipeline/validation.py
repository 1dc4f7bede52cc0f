"""What is done with rows that a validator finds wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dataflare.data.columns import row_values
from dataflare.pipeline.branches import Rejected
from dataflare.pipeline.models import ViolationActions
from dataflare.pipeline.run_errors import DataError
from dataflare.pipeline.writers import FileDestination
from dataflare.runtime.results import Report
from dataflare.runtime.validator import Validator
from dataflare.wit_types.validator import Violation

__all__ = ["Finding", "Validation", "rejects_schema", "violations_schema"]

_SHOWN = 3
_SPARE = 1.25
"""How many more parts than an even spread needs: chance puts more into some of them."""


def violations_schema(rows: pa.Schema) -> pa.Schema:
    """Describe the records of a violations file, for rows of a schema.

    `row` counts from 0 over all rows that the node took; it and `values`, the row, are null for a whole batch.
    """
    return pa.schema(
        [
            pa.field("row", pa.int64()),
            pa.field("column", pa.string()),
            pa.field("rule", pa.string(), nullable=False),
            pa.field("severity", pa.string(), nullable=False),
            pa.field("message", pa.string(), nullable=False),
            pa.field("values", pa.struct(list(rows))),
        ]
    )


def rejects_schema(rows: pa.Schema) -> pa.Schema:
    """Describe the records of a rejects file, for rows of a schema: `rules` are those for which the row is dropped."""
    return pa.schema(
        [
            pa.field("row", pa.int64(), nullable=False),
            pa.field("rules", pa.list_(pa.string()), nullable=False),
            pa.field("values", pa.struct(list(rows)), nullable=False),
        ]
    )


@dataclass(frozen=True, slots=True)
class Finding:
    """A batch, what the validator said of it, and the violations that are known one by one."""

    rows: pa.RecordBatch
    report: Report
    violations: tuple[Violation, ...]


class Validation:
    """Checks batches with a validator, and keeps, drops or refuses rows as the pipeline says.

    Any thread may `examine`; the findings go to `apply` in the order of the batches, from one thread at a time.

    Args:
        plugin: The validator.
        actions: What becomes of wrong rows, by severity.
        counts: Where violations are counted, by rule.
        violations: Where to write violations; `None` for nowhere.
        rejects: Where to write rows that are dropped; `None` for nowhere.
        gives_rejected: Whether a node takes the rows that are dropped.
    """

    def __init__(
        self,
        plugin: Validator,
        actions: ViolationActions,
        counts: Counter[str],
        *,
        violations: FileDestination | None = None,
        rejects: FileDestination | None = None,
        gives_rejected: bool = False,
    ) -> None:
        self._plugin = plugin
        self._actions = actions
        self._counts = counts
        self._violations = violations
        self._rejects = rejects
        self._action_of: dict[str, str] = {}
        self._rows_before = 0
        self._prepared = False
        self._gives_rejected = gives_rejected
        self._gave_rejected = False

    def begin(self) -> None:
        """Ask for the rules."""
        for rule in self._plugin.rules():
            self._action_of[rule.name] = getattr(self._actions, rule.severity)
            self._counts[rule.name] = 0

    def examine(self, rows: pa.RecordBatch) -> Finding:
        """Ask the validator about a batch, and where it names too few of the rows to drop, about parts of it.

        Raises:
            PluginError: The plugin answered with an error.
            PluginFault: It trapped.
        """
        if rows.num_rows == 0:
            return Finding(rows, Report(0, (), ()), ())
        report = self._plugin.validate(rows)
        if not self._unnamed(report):
            return Finding(rows, report, report.violations)
        return Finding(rows, report, self._violations_of_parts(rows, report))

    def apply(self, finding: Finding, first: int) -> list[pa.RecordBatch | Rejected]:
        """Count and list violations, and keep or drop the rows.

        Args:
            finding: What `examine` found.
            first: The number of its first row among all that the node took.

        Returns:
            The rows that may go on, and where a node takes them, those that are dropped.

        Raises:
            DataError: A violation is one that the pipeline fails for, or rows are to be dropped and the plugin did not
                say which.
        """
        rows, report = finding.rows, finding.report
        self._rows_before = first
        self._prepare(rows.schema)
        for count in report.counts:
            self._counts[count.rule] += count.violations
        self._fail_where_asked(finding)
        self._fail_where_unknown(finding)
        if self._violations is not None and finding.violations:
            self._violations.write(self._listed(rows, finding.violations))
        dropped = self._dropped(finding)
        if dropped.any() and self._rejects is not None:
            self._rejects.write(self._rejected(rows, finding.violations, dropped))
        left = rows.filter(pa.array(~dropped)) if dropped.any() else rows
        # Whoever takes what is dropped learns the columns from the first batch, though it may have no rows.
        gives = self._gives_rejected and (bool(dropped.any()) or not self._gave_rejected)
        self._gave_rejected |= gives
        return [left, Rejected(rows.filter(pa.array(dropped)))] if gives else [left]

    def _prepare(self, schema: pa.Schema) -> None:
        if self._prepared:
            return
        self._prepared = True
        if self._violations is not None:
            self._violations.prepare(violations_schema(schema))
        if self._rejects is not None:
            self._rejects.prepare(rejects_schema(schema))

    def _action(self, rule: str) -> str:
        # A rule that the plugin did not name before has no severity that one could go by.
        return self._action_of.get(rule, self._actions.error)

    def _unnamed(self, report: Report) -> bool:
        """Whether rows are to be dropped that the report does not name."""
        listed = Counter(violation.rule for violation in report.violations)
        return any(
            count.violations > listed[count.rule] for count in report.counts if self._action(count.rule) == "drop"
        )

    def _violations_of_parts(self, rows: pa.RecordBatch, report: Report) -> tuple[Violation, ...]:
        """Divide a batch until each part's report names all that are to be dropped; one row alone needs no name."""
        # What is said of a batch as a whole is said of this one, not of parts that nobody sent.
        found = [each for each in report.violations if each.row is None]
        parts = [(0, rows.num_rows)]
        while parts:
            start, length = parts.pop()
            said = report if length == rows.num_rows else self._plugin.validate(rows.slice(start, length))
            if not self._unnamed(said):
                found += [replace(each, row=start + each.row) for each in said.violations if each.row is not None]
            elif length == 1:
                found += [self._violation_of_only_row(start, count.rule) for count in said.counts if count.violations]
            else:
                parts += reversed(_divided(start, length, said))
        return tuple(found)

    def _violation_of_only_row(self, row: int, rule: str) -> Violation:
        return Violation(row, None, rule, "error", "the validator counted it, and did not describe it")

    def _fail_where_asked(self, finding: Finding) -> None:
        broken = {
            count.rule: count.violations
            for count in finding.report.counts
            if count.violations and self._action(count.rule) == "fail"
        }
        if not broken:
            return
        counts = ", ".join(f"{rule!r} {number} times" for rule, number in broken.items())
        examples = [self._describe(each) for each in finding.violations if each.rule in broken][:_SHOWN]
        listed = "".join(f"\n    {each}" for each in examples)
        raise DataError(
            f"rows from {self._rows_before} on break {counts}{listed}",
            hint="mend the data, or let the pipeline go on: `on_violation: drop` or `keep`",
        )

    def _fail_where_unknown(self, finding: Finding) -> None:
        named = Counter(violation.rule for violation in finding.violations)
        for count in finding.report.counts:
            if self._action(count.rule) == "drop" and count.violations != named[count.rule]:
                raise DataError(
                    f"rows from {self._rows_before} on break {count.rule!r} {count.violations} times, but the plugin "
                    f"named {named[count.rule]}, also when it was asked about parts of the batch, so which rows to "
                    "drop is not known",
                    hint="let the plugin name more (by an option such as max_violations), or take smaller batches",
                )

    def _dropped(self, finding: Finding) -> npt.NDArray[np.bool_]:
        dropped = np.zeros(finding.rows.num_rows, np.bool_)
        for violation in finding.violations:
            if self._action(violation.rule) == "drop":
                dropped[slice(None) if violation.row is None else violation.row] = True
        return dropped

    def _describe(self, violation: Violation) -> str:
        place = "the batch" if violation.row is None else f"row {self._rows_before + violation.row}"
        return f"{place}: {violation.message}"

    def _listed(self, rows: pa.RecordBatch, violations: Sequence[Violation]) -> pa.RecordBatch:
        numbers = pa.array([each.row for each in violations], pa.int64())
        columns = [
            [None if each.row is None else self._rows_before + each.row for each in violations],
            [each.column for each in violations],
            [each.rule for each in violations],
            [each.severity for each in violations],
            [each.message for each in violations],
        ]
        schema = violations_schema(rows.schema)
        arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=False)]
        return pa.RecordBatch.from_arrays([*arrays, row_values(rows).take(numbers)], schema=schema)

    def _rejected(
        self, rows: pa.RecordBatch, violations: Sequence[Violation], dropped: npt.NDArray[np.bool_]
    ) -> pa.RecordBatch:
        every = dict.fromkeys(v.rule for v in violations if v.row is None and self._action(v.rule) == "drop")
        rules: dict[int, dict[str, None]] = {}
        for each in violations:
            if each.row is not None and self._action(each.rule) == "drop":
                rules.setdefault(each.row, dict(every))[each.rule] = None
        numbers = np.flatnonzero(dropped)
        arrays = [
            pa.array(numbers + self._rows_before, pa.int64()),
            pa.array([list(rules.get(number, every)) for number in numbers.tolist()], pa.list_(pa.string())),
            row_values(rows).take(pa.array(numbers)),
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=rejects_schema(rows.schema))


def _divided(start: int, length: int, report: Report) -> list[tuple[int, int]]:
    """Divide rows into as many parts as it takes to name all that is wrong, if it is spread evenly, with some to spare.

    Each violation that a plugin lists costs time: halves, and halves of these, would list most of them in vain.
    """
    listed = len(report.violations)
    needed = ceil(_SPARE * report.violation_count / listed) if listed else 2
    size = max(1, length // max(2, needed))
    return [(begin, min(size, start + length - begin)) for begin in range(start, start + length, size)]
