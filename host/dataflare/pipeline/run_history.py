"""The runs of a pipeline, in its state file."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias

from pydantic import BaseModel, Field

from dataflare.capabilities.sql_state import SqlConnection
from dataflare.pipeline.pipeline_state import PipelineState
from dataflare.pipeline.report import RunReport
from dataflare.pipeline.run_errors import StateError

__all__ = ["RecordedRun", "noted", "recorded_runs"]

_log = logging.getLogger("dataflare.pipeline")

_MOST_RUNS: Final = 1000
_FAR_S: Final = 2.0**37


_Count: TypeAlias = Annotated[int, Field(ge=0, le=2**63)]


class _RecordedNode(BaseModel):
    name: str
    rows_in: _Count
    rows_out: _Count
    failed: _Count
    quarantined: str = ""
    guarantee: str | None = None


class _RecordedReport(BaseModel):
    """What is shown of a report."""

    rows_in: _Count
    rows_out: _Count
    seconds: float
    stopped: str | None = None
    error: str | None = None
    nodes: list[_RecordedNode]


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A run in the history.

    Args:
        id: Its number; they rise, from 1.
        begun_at: When it began, in seconds since 1970; `None` for a damaged entry.
        ended_at: When it ended; `None` for one that died.
        status: `completed`, `failed`, `interrupted`; `running` for one that died; `damaged` where what was kept of it
            is not what was written.
        report: Its report as JSON, with `error` where it failed; `None` for one that died.
    """

    id: int
    begun_at: float | None
    ended_at: float | None
    status: str
    report: str | None


@contextmanager
def noted(state: PipelineState | None, report: RunReport) -> Iterator[None]:
    """Record the run inside the `with` block; the last 1,000 are kept.

    Args:
        state: The file; `None`: there is no history.
        report: The report of the run, which says at the end how it went.

    Raises:
        StateError: The file cannot be written when the run begins.
    """
    if state is None:
        yield
        return
    number = state.write(_begin)
    message = None
    try:
        yield
    except BaseException as error:
        message = str(error) or type(error).__name__
        raise
    finally:
        value = report.to_json() | ({} if message is None else {"error": message})
        values = (time.time(), report.status, json.dumps(value), number)
        try:
            state.write(
                lambda connection: connection.execute(
                    "UPDATE run SET ended_at = ?, status = ?, report = ? WHERE id = ?", values
                )
            )
        except StateError as error:
            # All is done, or an error is on its way that matters more.
            _log.warning("the run could not be noted in the history: %s", error)


def recorded_runs(state: PipelineState, limit: int = _MOST_RUNS) -> list[RecordedRun]:
    """The last runs, the latest first.

    Raises:
        StateError: The file cannot be read.
    """
    query = "SELECT id, begun_at, ended_at, status, report FROM run ORDER BY id DESC LIMIT ?"
    rows = state.read(lambda connection: connection.execute(query, (limit,)).fetchall())
    return [_recorded(*row) for row in rows]


def _recorded(number: int, begun: Any, ended: Any, status: Any, report: Any) -> RecordedRun:
    try:
        _check(begun, ended, report)
    except (TypeError, ValueError, OverflowError):
        # It hides none of the others.
        return RecordedRun(int(number), None, None, "damaged", None)
    ended_at = None if ended is None else float(ended)
    return RecordedRun(int(number), float(begun), ended_at, str(status), None if report is None else str(report))


def _begin(connection: SqlConnection) -> int:
    row = connection.execute("INSERT INTO run (begun_at, status) VALUES (?, 'running') RETURNING id", (time.time(),))
    number = int(row.fetchone()[0])
    connection.execute("DELETE FROM run WHERE id <= ?", (number - _MOST_RUNS,))
    return number


def _check(begun: float, ended: float | None, report: str | None) -> None:
    for moment in (begun, ended):
        if moment is not None and not 0 <= moment < _FAR_S:
            raise ValueError(moment)
    if report is not None:
        _RecordedReport.model_validate_json(report, strict=True)
