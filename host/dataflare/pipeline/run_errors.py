"""The errors of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflare.errors import DataflareError
from dataflare.texts import cut

if TYPE_CHECKING:
    from dataflare.pipeline.report import RunReport

__all__ = ["DataError", "DatabaseError", "NodeFailed", "RunInterrupted", "StateError"]


class DataError(DataflareError):
    """Data that a pipeline reads or passes on is wrong. `file` and `line` say where, as far as that is known.

    Args:
        message: What is wrong; it and the hint are cut, since they may show what is in the file.
        file: The file that is read or written; empty if there is none.
        line: The line in it, from 1; 0 if it is not known.
    """

    def __init__(self, message: str, *, file: str = "", line: int = 0, hint: str = "") -> None:
        place = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        super().__init__(place + cut(message), hint=cut(hint))
        self.file = file
        self.line = line


class DatabaseError(DataError):
    """A database answered with an error, or cannot be reached.

    `sqlstate` is its code (empty for SQLite), `unavailable` says whether it may work later, and `of_rows` whether the
    values of rows are the cause. `retryable` is set where the very call can be made again: while connecting, not within
    a transaction.
    """

    retryable = False
    retry_after_ms: int | None = None

    def __init__(
        self, message: str, *, sqlstate: str = "", unavailable: bool = False, of_rows: bool = False, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.sqlstate = sqlstate
        self.unavailable = unavailable
        self.of_rows = of_rows


class StateError(DataflareError):
    """The state of a pipeline cannot be kept, read or used. Names its file, or the node that it does not fit."""


class NodeFailed(DataflareError):
    """A run failed in one of its nodes. Nothing has its final name, unless another destination had finished.

    `node` names the node, `where` is its `file:line` in the pipeline, and `report` says how far the run came;
    `__cause__` is the error itself.
    """

    def __init__(self, node: str, cause: DataflareError, report: RunReport, *, where: str) -> None:
        super().__init__(f"{where}: node {node!r} failed: {cause.message}", hint=cause.hint)
        self._text = f"{where}: node {node!r} failed: {cause}"
        self.node = node
        self.where = where
        self.report = report

    def __str__(self) -> str:
        return self._text


class RunInterrupted(KeyboardInterrupt):
    """A run was interrupted, by Ctrl-C or a signal that is handled like it. Each output is as it was before the run, or
    complete: the error's notes name those that are.

    `report` says how far the run came, and `signal` is the number of the signal.
    """

    def __init__(self, report: RunReport, signal: int) -> None:
        super().__init__(f"pipeline {report.pipeline!r} was interrupted")
        self.report = report
        self.signal = signal
