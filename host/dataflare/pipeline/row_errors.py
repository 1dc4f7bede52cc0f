"""Rows on which a plugin fails: their batch is halved until they are known, and the other rows go on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Generic, Literal, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
from pydantic import Discriminator, Field, Tag

from dataflare.data.joins import join_batches
from dataflare.documents.models import StrictModel
from dataflare.documents.quantities import Duration, parse_duration
from dataflare.errors import CallCancelled, DataflareError, PluginError, PluginFault
from dataflare.locks import Lock
from dataflare.pipeline.dead_letters import QUARANTINED, DeadLetters, Letter
from dataflare.pipeline.pipeline_state import Checkpoint
from dataflare.pipeline.report import NodeReport, OutputReport
from dataflare.pipeline.retries import DEFAULT_RETRIES, Retries
from dataflare.pipeline.run_errors import DataError
from dataflare.wit_types.destination import RejectedRow

__all__ = ["Attempt", "ErrorLimits", "OnError", "OnErrorModel", "RejectedRows", "RowErrors", "policy_of"]

R = TypeVar("R")
_log = logging.getLogger("dataflare.pipeline")

_OF_ROWS: Final = frozenset({"invalid-input", "data", "internal", "other"})
"""The cases of an error that a single row can cause; any other error concerns all rows alike."""
_SHARE_FROM: Final = 1_000
"""The share is checked from this many rows on; at the end of a run, for any number."""

Action: TypeAlias = Literal["fail", "skip"]


class OnErrorModel(StrictModel):
    """The failure policy of a node: what is done about calls that fail."""

    rows: Action = Field(
        default="fail",
        description="`skip` leaves out the rows on which the plugin fails, and writes them to `dead_letters` if the "
        "node has such a file; `fail` ends the run.",
    )
    retries: int = Field(
        default=DEFAULT_RETRIES,
        ge=0,
        le=1000,
        description="How often in a row a call is made again that answers `unavailable` or `rate-limited`.",
    )
    max_outage: Duration = Field(
        default="0s",
        description="After these retries, no call of the node is made but a trial each minute, for this long in all; "
        "then the run fails.",
    )
    reloads: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="How often in a row a call that faults (a trap, or a limit) is made again by a new instance; what "
        "the old one had in its memory is lost. Not for destinations.",
    )
    max_errors: int | None = Field(
        default=None, ge=0, le=2**63 - 1, description="The run fails when more rows than this were left out."
    )
    max_error_share: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="And when they are more than this share of the rows, such as 0.01; looked at from 1,000 rows on, "
        "and at the end.",
    )
    max_faults: int = Field(
        default=10,
        ge=0,
        le=2**31,
        description="The run fails when the plugin trapped, or passed a limit, on more rows than this.",
    )
    quarantine: bool = Field(
        default=False,
        description="After more than `max_faults` faults, the run does not fail: the plugin is not called any more in "
        "this run, and the rows that follow are left out. Not for sources and destinations.",
    )

    @property
    def max_outage_s(self) -> float:
        """How long calls may go on to fail for a reason that may pass, in seconds."""
        return parse_duration(self.max_outage)

    def shown(self, letters: str | None) -> str:
        """Describe what is not as usual, in one line for people; empty for nothing.

        Args:
            letters: The file of dead letters; `None` for none.
        """
        parts = {
            "rows": f"rows that fail go to {letters}" if letters else "rows that fail are left out",
            "max_outage": f"calls stop in an outage of up to {self.max_outage}",
            "reloads": f"a new instance takes over {self.reloads} times in a row",
            "quarantine": f"quarantine after more than {self.max_faults} faults",
        }
        usual = OnErrorModel()
        return "; ".join(text for key, text in parts.items() if getattr(self, key) != getattr(usual, key))


OnError: TypeAlias = Annotated[
    Annotated[Action, Tag("|action")] | Annotated[OnErrorModel, Tag("|settings")],
    Discriminator(lambda value: "|settings" if isinstance(value, dict | OnErrorModel) else "|action"),
]


def policy_of(on_error: OnErrorModel | Action | None, dead_letters: str | None) -> OnErrorModel:
    """The failure policy of a node: a file of dead letters stands for `skip`."""
    if isinstance(on_error, OnErrorModel):
        if dead_letters is not None and "rows" not in on_error.model_fields_set:
            return on_error.model_copy(update={"rows": "skip"})
        return on_error
    return OnErrorModel(rows=on_error or ("fail" if dead_letters is None else "skip"))


class ErrorLimits:
    """How many rows of a node may be left out; any thread may call it.

    Args:
        settings: The limits.

    Attributes:
        quarantined: Why the plugin is not called any more; empty while it is.
    """

    def __init__(self, settings: OnErrorModel) -> None:
        self.quarantined = ""
        self._settings = settings
        self._lock = Lock()
        self._rows = self._errors = self._faults = 0

    def take(self, rows: int) -> None:
        """Count rows that were processed."""
        with self._lock:
            self._rows += rows

    def fail(self, reason: str, *, fault: bool, rows: int = 1) -> None:
        """Take note of rows that are left out.

        Raises:
            DataError: They are too many.
        """
        with self._lock:
            self._errors += rows
            self._faults += fault
            self._check(reason, at_end=False)

    def end(self) -> None:
        """Look at the share of all rows.

        Raises:
            DataError: It is too large.
        """
        with self._lock:
            self._check("", at_end=True)

    def _check(self, reason: str, *, at_end: bool) -> None:
        limits = self._settings
        last = f"; the last: {reason}" if reason else ""
        if self._faults > limits.max_faults and not self.quarantined:
            found = (
                f"the plugin faulted (a trap or a limit) on {self._faults} rows, more than "
                f"`max_faults: {limits.max_faults}`{last}"
            )
            if not limits.quarantine:
                raise DataError(
                    found,
                    hint="mend the plugin, allow more, or go on without it: `on_error: {rows: skip, quarantine: true}`",
                )
            self.quarantined = found
            _log.warning("quarantine: %s; it is not called any more in this run, and its rows are left out", found)
        if limits.max_errors is not None and self._errors > limits.max_errors:
            raise DataError(
                f"{self._errors} rows failed, more than `max_errors: {limits.max_errors}`{last}",
                hint="mend the data or the plugin, or allow more",
            )
        share = limits.max_error_share
        enough = self._rows >= _SHARE_FROM or at_end
        if share is not None and enough and self._errors > share * self._rows:
            raise DataError(
                f"{self._errors} of {self._rows} rows failed, more than `max_error_share: {share}`{last}",
                hint="mend the data or the plugin, or allow more",
            )


@dataclass(frozen=True, slots=True)
class _Failed:
    """A row on which the plugin failed; or, without an error, rows that it was not asked about any more."""

    rows: pa.RecordBatch
    error: DataflareError | None


@dataclass(frozen=True, slots=True)
class Attempt(Generic[R]):
    """The outcome of a batch: the results of its parts and the rows that failed, in the order of the rows."""

    items: tuple[tuple[int, R | _Failed], ...]
    """Each with the number of rows that it is of."""
    ended: DataflareError | None = None
    """What ended the work before all rows were through; the rows that had failed by then are still written down."""


class RowErrors(Generic[R]):
    """Processes batches, and leaves out the rows on which that fails.

    Any thread may call `work`; `results` is for one at a time, in the order of the batches.

    Args:
        work: What is done with a batch, or any part of one.
        settings: The failure policy.
        retries: Those of the node.
        report: The node's account.
        letters: Where failed rows go; `None` for nowhere.
    """

    def __init__(
        self,
        work: Callable[[pa.RecordBatch], R],
        settings: OnErrorModel,
        retries: Retries,
        report: NodeReport,
        letters: DeadLetters | None,
    ) -> None:
        self._work = work
        self._skips = settings.rows == "skip"
        self._limits = ErrorLimits(settings)
        self._retries = retries
        self._report = report
        self._letters = letters
        self._rows_before = 0
        self._has_given = False

    def work(self, rows: pa.RecordBatch) -> Attempt[R]:
        """Process a batch; if that fails, process halves of it, until the failing rows are known.

        Raises:
            DataError: Too many rows failed.
            PluginError: The plugin answered with an error that is not a row's, or rows are not to be left out.
            PluginFault: It broke down, and rows are not to be left out.
        """
        self._limits.take(rows.num_rows)
        if not self._skips:
            return Attempt(((rows.num_rows, self._retries.call(self._work, rows)),))
        items: list[tuple[int, R | _Failed]] = []
        try:
            self._work_on_parts(rows, items)
        except DataflareError as error:
            if any(isinstance(item, _Failed) for _, item in items):
                return Attempt(tuple(items), error)
            raise
        return Attempt(tuple(items))

    def _work_on_parts(self, rows: pa.RecordBatch, items: list[tuple[int, R | _Failed]]) -> None:
        parts = [rows]
        while parts:
            part = parts.pop()
            if self._limits.quarantined and part.num_rows:
                items.append((part.num_rows, _Failed(part, None)))
                self._limits.fail(self._limits.quarantined, fault=False, rows=part.num_rows)
                continue
            try:
                items.append((part.num_rows, self._retries.call(self._work, part)))
            except (PluginError, PluginFault) as error:
                if part.num_rows == 0 or not _may_be_of_a_row(error):
                    raise
                if part.num_rows == 1:
                    items.append((1, _Failed(part, error)))
                    self._limits.fail(error.message, fault=isinstance(error, PluginFault))
                else:
                    half = part.num_rows // 2
                    parts += [part.slice(half), part.slice(0, half)]
        if rows.num_rows and not self._limits.quarantined and all(isinstance(item, _Failed) for _, item in items):
            # What follows learns the columns from the first batch, though it has no rows.
            items.append((0, self._retries.call(self._work, rows.slice(0, 0))))

    def results(self, attempt: Attempt[R]) -> Sequence[tuple[int, R]]:
        """Write down the rows that failed.

        Args:
            attempt: What `work` returned.

        Returns:
            The results of the others, in the order of the rows, each with the number of its first row in the run.

        Raises:
            DataError: The dead letters cannot be written.
            DataflareError: What ended the work on the batch.
        """
        results: list[tuple[int, R]] = []
        failed: list[pa.RecordBatch] = []
        letters: list[Letter] = []
        for rows, item in attempt.items:
            if isinstance(item, _Failed):
                failed.append(item.rows)
                letters += [self._letter(item.error, self._rows_before + row) for row in range(rows)]
            else:
                results.append((self._rows_before, item))
            self._rows_before += rows
        self._report.failed += len(letters)
        self._report.quarantined = self._limits.quarantined
        if failed and self._letters is not None:
            self._letters.write(join_batches(failed), letters)
        if attempt.ended is not None:
            raise attempt.ended
        if failed and not results and not self._has_given:
            # In quarantine; without this last call, what follows would not learn the columns.
            results.append((self._rows_before, self._retries.call(self._work, failed[0].slice(0, 0))))
        self._has_given = True
        return results

    def _letter(self, error: DataflareError | None, row: int) -> Letter:
        return Letter(row, QUARANTINED, self._limits.quarantined) if error is None else Letter.of(error, row)

    def end(self) -> None:
        """Check the limits once more, after the last row.

        Raises:
            DataError: The share of rows that failed is too large.
        """
        self._limits.end()


class RejectedRows:
    """Leaves out the rows that a destination rejects; one thread at a time.

    Args:
        settings: What becomes of them.
        report: The node's account.
        letters: Where they go; `None` for nowhere.
    """

    def __init__(self, settings: OnErrorModel, report: NodeReport, letters: DeadLetters | None) -> None:
        self._skips = settings.rows == "skip"
        self._limits = ErrorLimits(settings)
        self._report = report
        self._letters = letters
        self._rows_before = 0

    @property
    def pending(self) -> bool:
        """Whether there are letters that are not safe yet."""
        return self._letters is not None and self._letters.pending

    def keep_before(self, point: Checkpoint) -> None:
        """Take note that the destination has all rows before a barrier."""
        if self._letters is not None:
            self._letters.keep_before(point)

    @property
    def published(self) -> OutputReport | None:
        """The file of dead letters, once it is in its place."""
        return None if self._letters is None else self._letters.published

    def leave_out(self, rows: pa.RecordBatch, rejected: Sequence[RejectedRow]) -> pa.RecordBatch:
        """Leave rejected rows out of a batch.

        Raises:
            DataError: There are some, and they are not to be left out, or they are too many.
        """
        self._limits.take(rows.num_rows)
        before = self._rows_before
        self._rows_before += rows.num_rows
        if not rejected:
            return rows
        first = rejected[0]
        column = "" if first.column is None else f", column {first.column!r}"
        if not self._skips:
            raise DataError(
                f"{len(rejected)} of {rows.num_rows} rows were rejected: row {first.row}{column}: {first.reason}",
                hint="to go on without such rows, give the node a file for them: `dead_letters: rejected.jsonl`",
            )
        for each in rejected:
            self._limits.fail(each.reason, fault=False)
        self._report.failed += len(rejected)
        numbers = pa.array([each.row for each in rejected], pa.int64())
        if self._letters is not None:
            letters = [Letter(before + each.row, "rejected", each.reason, each.column) for each in rejected]
            self._letters.write(rows.take(numbers), letters)
        taken = np.ones(rows.num_rows, bool)
        taken[numbers.to_numpy()] = False
        return rows.filter(pa.array(taken))

    def end(self) -> None:
        """Check the limits once more, after the last row.

        Raises:
            DataError: The share of rejected rows is too large.
        """
        self._limits.end()

    def finish(self) -> None:
        """Make all letters safe and visible."""
        if self._letters is not None:
            self._letters.finish()

    def abort(self) -> None:
        """Leave the file of dead letters as it was; idempotent, and nothing after `finish`."""
        if self._letters is not None:
            self._letters.abort()


def _may_be_of_a_row(error: PluginError | PluginFault) -> bool:
    if isinstance(error, PluginError):
        return getattr(error.error, "case", "") in _OF_ROWS
    return not isinstance(error, CallCancelled)
