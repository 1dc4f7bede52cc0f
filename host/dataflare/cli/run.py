"""`dataflare run`: run a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from dataflare.cli.figures import byte_count, count, duration
from dataflare.cli.guards import AccessFile, AuditFile, PolicyFile, Principal, TrustFile
from dataflare.cli.interrupts import interrupting_signals
from dataflare.cli.options import AsJson, CacheDir, compiled_folder
from dataflare.cli.output import error_json, exit_code, printed_errors, show_error, stderr, stdout, write_json
from dataflare.pipeline import report as reports
from dataflare.pipeline.failures import NodeFailed, RunInterrupted
from dataflare.pipeline.report import NodeReport, RunReport
from dataflare.pipeline.runner import run as run_pipeline
from dataflare.pipeline.specification import Specification, load_specification
from dataflare.runtime.host import Host

__all__ = ["command", "node_table", "run_with_progress"]


def command(
    pipeline: Annotated[Path, typer.Argument(help="The pipeline, a YAML file.", show_default=False)],
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only check the pipeline; load and run nothing.")] = False,
    cache_dir: CacheDir = None,
    policy: PolicyFile = None,
    trust: TrustFile = None,
    audit: AuditFile = None,
    access: AccessFile = None,
    principal: Principal = None,
) -> None:
    """Run a pipeline to its end, or leave no output.

    With --policy, plugins get what the policy says; `grants` and `limits` in the pipeline only narrow it.

    Exit codes: 0 done; 1 the run failed; 2 the pipeline or the command line is wrong; 3 a file is no plugin; 4 a plugin
    needs what is not granted, its signature is not good enough, or the principal may not run the pipeline; 128
    and the number of a signal that ended it, such as 130 for Ctrl-C. A second signal ends it at once.
    """
    with printed_errors(as_json=as_json), interrupting_signals():
        specification = load_specification(pipeline)
        if check:
            _say_checked(specification, as_json=as_json)
            return
        try:
            with Host(
                cache_dir=compiled_folder(cache_dir),
                policy=policy,
                trust=trust,
                audit=audit,
                access=access,
                principal=principal,
            ) as host:
                report = run_with_progress(specification, host, show=not quiet)
        except NodeFailed as error:
            if as_json:
                write_json({**error.report.to_json(), "error": error_json(error)})
            show_error(error)
            raise typer.Exit(exit_code(error)) from None
        except RunInterrupted as error:
            if not as_json:
                stdout().print(node_table(error.report))
            raise
        if as_json:
            write_json(report.to_json())
        else:
            console = stdout()
            console.print(node_table(report))
            for path in report.replaced:
                console.print(f"replaced {escape(path)}")
            console.print(
                f"{count(report.rows_in)} rows in, {count(report.rows_out)} rows out in {duration(report.seconds)}"
            )


def _say_checked(specification: Specification, *, as_json: bool) -> None:
    if as_json:
        write_json({"pipeline": specification.pipeline.name, "status": "valid", "order": list(specification.order)})
    else:
        stdout().print(f"{specification.file}: {len(specification.order)} nodes, valid")


def run_with_progress(specification: Specification, host: Host, *, show: bool = True) -> RunReport:
    """Run a pipeline; on a terminal, show rows, rows a second and bytes on standard error meanwhile."""
    console = stderr()
    with _progress(console, enabled=show and console.is_terminal) as update:
        return run_pipeline(specification, host=host, progress=update)


@contextmanager
def _progress(console: Console, *, enabled: bool) -> Iterator[Callable[[reports.Progress], None] | None]:
    if not enabled:
        yield None
        return
    columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as display:
        task = display.add_task("loading plugins", total=None)

        def update(progress: reports.Progress) -> None:
            rate = progress.rows / progress.elapsed_s if progress.elapsed_s else 0.0
            text = f"{count(progress.rows)} rows, {count(rate)} rows/s, {byte_count(progress.bytes)}"
            display.update(task, description=text, completed=progress.rows, total=progress.rows_expected)

        yield update


def node_table(report: RunReport) -> Table:
    """A table of the nodes: rows, bytes, and the time of each, split into guest, marshalling and host."""
    table = Table(title=f"pipeline {escape(report.pipeline)}", title_justify="left")
    table.add_column("node")
    table.add_column("kind")
    for name in ("rows in", "rows out", "bytes", "rows/s", "time", "guest", "marshal", "host", "copied"):
        table.add_column(name, justify="right", no_wrap=True)
    for node in report.nodes:
        table.add_row(*_row(node))
    for node in report.nodes:
        for rule, violations in node.violations.items():
            if violations:
                table.caption = f"{table.caption or ''}{escape(node.name)}: {escape(rule)} {count(violations)}  "
    return table


def _row(node: NodeReport) -> tuple[str, ...]:
    rows = max(node.rows_in, node.rows_out)
    rate = count(rows / node.seconds) if node.seconds > 0 else "-"
    is_plugin = node.guest_seconds + node.marshal_seconds + node.host_seconds > 0
    split = (node.guest_seconds, node.marshal_seconds, node.host_seconds)
    return (
        escape(node.name),
        node.kind,
        count(node.rows_in) if node.kind != "source" else "-",
        count(node.rows_out),
        byte_count(node.bytes),
        rate,
        duration(node.seconds),
        *(duration(part) if is_plugin else "-" for part in split),
        byte_count(node.bytes_in + node.bytes_out) if is_plugin else "-",
    )
