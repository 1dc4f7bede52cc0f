"""`dataflare audit`: what plugins used, and what was refused."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from dataflare.cli.exit_codes import EXIT_FAILED
from dataflare.cli.figures import count
from dataflare.cli.options import AsJson
from dataflare.cli.output import printed_errors, write_json
from dataflare.cli.screen import stderr, stdout
from dataflare.security.audit import AuditEvent, read_audit

__all__ = ["Use", "command", "totals"]

Use = tuple[str, str, str, str]
"""Plugin, pipeline, what was used, and whether it was allowed."""


def command(
    log: Annotated[Path, typer.Argument(help="An audit log (JSON Lines).", show_default=False)],
    plugin: Annotated[str | None, typer.Option(help="Only this plugin.", show_default="all")] = None,
    pipeline: Annotated[str | None, typer.Option(help="Only this pipeline.", show_default="all")] = None,
    denied: Annotated[bool, typer.Option("--denied", help="Only what was refused.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what plugins used, how often, and what was refused.

    Exit codes: 0 shown; 1 the log is damaged: some lines are not events; 2 it cannot be read.
    """
    with printed_errors(as_json=as_json):
        reading = read_audit(log)
        events = [
            each
            for each in reading.events
            if plugin in (None, each.plugin)
            and pipeline in (None, each.pipeline)
            and (not denied or each.decision == "deny")
        ]
        if as_json:
            write_json(
                {
                    "events": [each.model_dump(mode="json") for each in events],
                    "damaged_lines": list(reading.damaged_lines),
                    "truncated": reading.truncated,
                }
            )
        else:
            stdout().print(_table(events))
        if reading.damaged_lines:
            stderr().say(f"warning: {log}: {len(reading.damaged_lines)} lines are not events")
            raise typer.Exit(EXIT_FAILED)


def totals(events: Iterable[AuditEvent]) -> dict[Use, tuple[int, str]]:
    """How often each use happened, and the last reason that was written for it.

    A use that repeats is written with its running count; where the count does not rise, another run has begun.
    """
    done: dict[Use, int] = {}
    running: dict[tuple[Use, str], int] = {}
    reasons: dict[Use, str] = {}
    for event in events:
        use = (event.plugin, event.pipeline, event.object, event.decision)
        key = (use, event.function)
        before = running.get(key, 0)
        done[use] = done.get(use, 0) + (event.count - before if event.count > before else event.count)
        running[key] = event.count
        reasons[use] = event.reason or reasons.get(use, "")
    return {use: (number, reasons[use]) for use, number in done.items()}


def _table(events: Iterable[AuditEvent]) -> Table:
    table = Table()
    for title in ("plugin", "pipeline", "what", "decision"):
        table.add_column(title, overflow="fold")
    table.add_column("times", justify="right")
    table.add_column("reason", overflow="fold")
    for (plugin, pipeline, what, decision), (number, reason) in sorted(totals(events).items()):
        shown = Text("deny", style="red") if decision == "deny" else decision
        reason = "" if reason == "so far" else reason
        table.add_row(plugin, pipeline, what, shown, count(number), reason)
    return table
