"""What a terminal shows of a run's report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rich.table import Table

from dataflare.cli.figures import byte_count, count, duration
from dataflare.cli.screen import Screen
from dataflare.pipeline.dead_letters import FAILED
from dataflare.pipeline.report import NodeReport, RunReport

__all__ = ["show_report"]


def show_report(screen: Screen, report: RunReport, *, verbose: bool = False) -> None:
    """Show what a run did. It fits 80 columns: rows and time of each node; `verbose` adds what they are made of."""
    screen.say(f"pipeline {report.pipeline}")
    columns = ("rows in", "rows out", "bytes", "rows/s", "time") if verbose else ("rows in", "rows out", "time")
    screen.print(_table(report, columns, _rows_and_time))
    if verbose:
        screen.print()
        screen.print(_table(report, ("kind", "guest", "marshal", "host", "copied"), _times))
    for node in report.nodes:
        for rule, violations in node.violations.items():
            if violations:
                screen.say(f"{node.name}: {rule} {count(violations)}")
        if node.failed:
            kept = node.dead_letters is not None
            kept = kept and (report.status == "completed" or str(node.dead_letters).endswith(FAILED))
            where = f"are in {node.dead_letters}" if kept else "were left out"
            screen.say(f"{node.name}: {count(node.failed)} rows failed and {where}")
        if node.quarantined:
            screen.say(f"{node.name}: quarantined: {node.quarantined}")
        if node.retries:
            screen.say(f"{node.name}: {count(node.retries)} calls were made again")
        if node.outage_seconds:
            screen.say(f"{node.name}: no answer for {duration(node.outage_seconds)}, but for trial calls")
        if node.reloads:
            screen.say(f"{node.name}: a new instance took over {count(node.reloads)} times")
        if node.resumed:
            screen.say(f"{node.name}: continued from where the last run stopped")
        if verbose and node.no_checkpoints:
            screen.say(f"{node.name}: no checkpoints before the end: {node.no_checkpoints}")
        for change in node.schema_changes:
            screen.say(f"{node.name}: {change.shown}{f', {change.place}' if change.place else ''}")
        for each in node.changes:
            if each.kind not in ("create", "replace-rows"):
                screen.say(f"{node.name}: {each.shown}")
        if node.guarantee == "at-least-once":
            screen.say(f"{node.name}: at least once: rows may be written twice after a run that stopped")
    for path in report.replaced:
        screen.say(f"replaced {path}")
    if report.done_before:
        screen.say(f"finished by the last run: {', '.join(report.done_before)}")
    if report.stopped is not None:
        screen.say(f"stopped before the end, by --{report.stopped}")
    ended = "" if report.status in ("completed", "running") else f"{report.status}: "
    screen.say(
        f"{ended}{count(report.rows_in)} rows in, {count(report.rows_out)} rows out in {duration(report.seconds)}"
    )


def _table(report: RunReport, columns: Sequence[str], values: Callable[[NodeReport], Mapping[str, str]]) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column("node", overflow="fold")
    for name in columns:
        table.add_column(name, justify="left" if name == "kind" else "right", no_wrap=True)
    for node in report.nodes:
        found = values(node)
        table.add_row(node.name, *(found[name] for name in columns))
    return table


def _rows_and_time(node: NodeReport) -> Mapping[str, str]:
    rows = max(node.rows_in, node.rows_out)
    return {
        "rows in": count(node.rows_in) if node.kind != "source" else "-",
        "rows out": count(node.rows_out),
        "bytes": byte_count(node.bytes),
        "rows/s": count(rows / node.seconds) if node.seconds > 0 else "-",
        "time": duration(node.seconds),
    }


def _times(node: NodeReport) -> Mapping[str, str]:
    parts = {"guest": node.guest_seconds, "marshal": node.marshal_seconds, "host": node.host_seconds}
    is_plugin = sum(parts.values()) > 0
    copied = byte_count(node.bytes_in + node.bytes_out)
    return {
        "kind": node.kind,
        **{name: duration(part) if is_plugin else "-" for name, part in parts.items()},
        "copied": copied if is_plugin else "-",
    }
