"""Progress and cancellation of long work within one call; `plugin.yaml` lists `tasks` under `needs`."""

from __future__ import annotations

from dataflare_plugin.bindings import interface

__all__ = ["is_cancelled", "report_progress"]

_tasks = interface("tasks")


def report_progress(done: int, total: int = 0, message: str = "") -> None:
    """Report progress, counted in the plugin's own unit; `total` is 0 if it is not known."""
    _tasks.report_progress(done, total, message)


def is_cancelled() -> bool:
    """Whether the operator wants the call to end. Then raise `Cancelled` soon: it is stopped at its time limit."""
    return bool(_tasks.is_cancelled())
