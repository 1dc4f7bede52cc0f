"""`dataflare run`: run a pipeline."""

from __future__ import annotations

import dataclasses
import logging
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.cells import set_cell_size
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from dataflare.capabilities.metrics import MemoryMetrics
from dataflare.capabilities.prometheus import to_prometheus
from dataflare.cli.figures import count, duration
from dataflare.cli.options import AsJson, CacheDir, Quiet, Verbose, compiled_folder
from dataflare.cli.output import by_the_way, error_json, exit_code, printed_errors, show_error, write_json
from dataflare.cli.report_files import ReportFiles, page_of
from dataflare.cli.run_report import show_report
from dataflare.cli.screen import Screen, stderr, stdout
from dataflare.cli.state_files import StateOption, keeps_state, open_state
from dataflare.cli.variables import EnvFiles, Settings, gather_variables
from dataflare.documents.quantities import parse_duration
from dataflare.errors import ConfigError, DataflareError
from dataflare.pipeline import report as reports
from dataflare.pipeline.check import check_pipeline
from dataflare.pipeline.pipeline_state import PipelineState
from dataflare.pipeline.report import RunReport
from dataflare.pipeline.run_errors import NodeFailed, RunInterrupted
from dataflare.pipeline.runner import run as run_pipeline
from dataflare.pipeline.specification import Specification, load_specification
from dataflare.pipeline.stop_limits import StopLimits
from dataflare.runtime.host import Host
from dataflare.runtime.options import Services
from dataflare.security.settings import Security

__all__ = ["command", "execute", "run_with_progress"]

_NAME_CELLS = 24


def command(
    security: Security,
    pipeline: Annotated[Path, typer.Argument(help="The pipeline, a YAML file.", show_default=False)],
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    check: Annotated[bool, typer.Option("--check", help="Only check it: no row moves, nothing is written.")] = False,
    state: StateOption = None,
    no_state: Annotated[
        bool, typer.Option("--no-state", help="Keep no state: each run starts from the beginning.")
    ] = False,
    full_refresh: Annotated[
        bool, typer.Option("--full-refresh", help="Let sources start from the beginning, even if there is state.")
    ] = False,
    max_rows: Annotated[
        int | None,
        typer.Option("--max-rows", min=1, help="Stop each source after this many rows.", show_default="all"),
    ] = None,
    max_time: Annotated[
        str | None,
        typer.Option("--max-time", help="Stop after this time, such as 10min.", show_default="as long as it takes"),
    ] = None,
    report_html: Annotated[
        Path | None,
        typer.Option("--report-html", help="Write the report as a page, a .html file.", show_default="no page"),
    ] = None,
    metrics_file: Annotated[
        Path | None,
        typer.Option(
            "--metrics-file",
            help="Write the numbers of the run and its plugins for Prometheus, a .prom file.",
            show_default="no file",
        ),
    ] = None,
    settings: Settings = None,
    env_files: EnvFiles = None,
    cache_dir: CacheDir = None,
) -> None:
    """Run a pipeline to its end, or leave no output.

    If the source keeps a position (a plugin, or a table of a database), the run continues from where the last one came
    to. How far that was is kept in a file beside the pipeline's, `.dataflare/NAME.state`, or in the one of --state.

    With --max-rows or --max-time, sources stop early. What was read is finished as in any run, the position is kept,
    and the next run continues from there. Files are read from the beginning each time.

    With --policy, plugins get what the policy says; `grants` and `limits` in the pipeline only narrow it, and variables
    of the environment are not put into the pipeline.

    --check finds what can be found before a row moves: it loads the plugins, asks them for their metadata, and compares
    kinds, grants, configurations, the beginnings of inputs, and outputs.

    Exit codes: 0 done; 1 the run failed; 2 the pipeline or the command line is wrong; 3 a file is not a plugin; 4 a
    plugin needs what is not granted, its signature is not good enough, or the principal may not run the pipeline; 128
    and the number of a signal that ended it, such as 130 for Ctrl-C. A second signal ends it at once. The code tells
    how the run ended, also where standard output cannot be written.
    """
    if quiet:
        logging.getLogger("dataflare").setLevel(logging.ERROR)
    with printed_errors(as_json=as_json):
        variables = gather_variables(settings or (), env_files or (), policy=security.policy is not None)
        specification = load_specification(pipeline, variables=variables)
        if no_state and (state is not None or full_refresh):
            other = "--state" if state is not None else "--full-refresh"
            raise ConfigError(f"--no-state and {other} are given together", where="run", hint="leave one of them out")
        limits = _stop_limits(max_rows, max_time)
        files = {"--report-html": report_html, "--metrics-file": metrics_file}
        if check and (given := [option for option, path in files.items() if path is not None]):
            what = f"--check and {given[0]} are given together"
            raise ConfigError(what, where="run", hint="leave one of them out")
        metrics = MemoryMetrics()
        with ReportFiles(
            (report_html, "--report-html", ".html", page_of),
            (metrics_file, "--metrics-file", ".prom", lambda _: to_prometheus(metrics)),
        ) as reports:
            execute(
                specification,
                # Who may read pipelines may check them; that was asked before.
                dataclasses.replace(security, access=None, principal=None) if check else security,
                as_json=as_json,
                verbose=verbose,
                quiet=quiet,
                check=check,
                state=state,
                keeps=not no_state and not check and (state is not None or keeps_state(specification)),
                full_refresh=full_refresh,
                limits=limits,
                cache_dir=cache_dir,
                reports=reports,
                metrics=metrics,
            )


def _stop_limits(max_rows: int | None, max_time: str | None) -> StopLimits:
    try:
        max_time_s = None if max_time is None else parse_duration(max_time)
    except ValueError as error:
        raise ConfigError(str(error), where="--max-time") from error
    if max_time_s == 0:
        raise ConfigError("it must be longer than 0", where="--max-time", hint="give a time such as 10min")
    return StopLimits(max_rows, max_time_s)


def execute(
    specification: Specification,
    security: Security,
    *,
    as_json: bool,
    verbose: bool,
    quiet: bool,
    check: bool = False,
    state: str | None,
    keeps: bool,
    full_refresh: bool = False,
    limits: StopLimits | None = None,
    cache_dir: Path | None,
    reports: ReportFiles | None = None,
    metrics: MemoryMetrics | None = None,
    prepare: Callable[[], Specification] | None = None,
) -> None:
    """Run a pipeline, or check it, and show what came of it: what `run` and `dead-letter replay` do.

    Args:
        specification: The pipeline.
        security: What may be done.
        as_json: Whether the report is JSON, on standard output.
        verbose: Whether it says more.
        quiet: Whether there is none.
        check: Whether it is only checked.
        state: The state's file, or the URL of its database; `None` for the usual place.
        keeps: Whether there is a state.
        full_refresh: Whether sources begin at the beginning.
        limits: When they stop before their end.
        cache_dir: The cache's folder; `None` for the usual place.
        reports: Files that the report is written to as well; `None` for none.
        metrics: Where numbers of plugins and of the run go; `None` keeps them nowhere.
        prepare: Makes the pipeline that is run in its place, once all files are known to be good.

    Raises:
        typer.Exit: It failed, which was shown.
        RunInterrupted: It was interrupted.
    """
    reports = reports or ReportFiles()
    try:
        with ExitStack() as stack:
            kept = stack.enter_context(open_state(specification, state)) if keeps else None
            services = Services(metrics=metrics or MemoryMetrics())
            if kept is not None:
                services = dataclasses.replace(services, state_store=kept.plugins)
            host = stack.enter_context(Host(cache_dir=compiled_folder(cache_dir), services=services, security=security))
            for each in reports.paths:
                host.protect(each, "the report of this run")
            if check:
                _check(specification, host, as_json=as_json, quiet=quiet)
                return
            if prepare is not None:
                specification = prepare()
            # Sources continue from a state; letters are what they are.
            points = kept if specification.replays is None else None
            report = run_with_progress(
                specification, host, show=not quiet, state=points, full_refresh=full_refresh, limits=limits
            )
    except NodeFailed as error:
        document = {**error.report.to_json(), "error": error_json(error)}
        with by_the_way():
            if as_json:
                write_json(document)
        show_error(error)
        _write_beside(reports, document)
        raise typer.Exit(exit_code(error)) from None
    except RunInterrupted as error:
        with by_the_way():
            if not as_json and not quiet:
                show_report(stdout(), error.report, verbose=verbose)
        _write_beside(reports, error.report.to_json())
        raise
    document = report.to_json()
    unwritten: DataflareError | None = None
    try:
        reports.write(document)
    except KeyboardInterrupt as error:
        # All is done: the report says so, and the exit code that somebody asked for another end.
        with by_the_way():
            if not as_json and not quiet:
                show_report(stdout(), report, verbose=verbose)
        raise RunInterrupted(report, getattr(error, "signal", signal.SIGINT)) from error
    except DataflareError as error:
        unwritten = error
        document |= {"error": error_json(error)}
    with by_the_way():
        if as_json:
            write_json(document)
        elif not quiet:
            show_report(stdout(), report, verbose=verbose)
    if unwritten is not None:
        show_error(unwritten)
        raise typer.Exit(exit_code(unwritten))


def _write_beside(reports: ReportFiles, document: Mapping[str, Any]) -> None:
    """Write the report of a run that did not succeed: what ended the run matters more than what hinders this."""
    try:
        reports.write(document)
    except DataflareError as error:
        show_error(error)


def _check(specification: Specification, host: Host, *, as_json: bool, quiet: bool) -> None:
    name, order = specification.pipeline.name, list(specification.order)
    problems = check_pipeline(specification, host)
    with by_the_way():
        if as_json and problems:
            write_json({"pipeline": name, "status": "invalid", "errors": [error_json(each) for each in problems]})
        elif as_json:
            write_json({"pipeline": name, "status": "valid", "order": order})
        elif not problems and not quiet:
            stdout().say(f"{specification.file}: {len(order)} nodes, valid")
    for each in problems:
        show_error(each)
    if problems:
        raise typer.Exit(exit_code(problems[0]))


def run_with_progress(
    specification: Specification,
    host: Host,
    *,
    show: bool = True,
    state: PipelineState | None = None,
    full_refresh: bool = False,
    limits: StopLimits | None = None,
) -> RunReport:
    """Run a pipeline; on a terminal, show on standard error how far each node is."""
    screen = stderr()
    with _progress(screen, enabled=show and screen.is_terminal and not screen.is_dumb_terminal) as update:
        return run_pipeline(
            specification, host=host, progress=update, state=state, full_refresh=full_refresh, limits=limits
        )


@contextmanager
def _progress(screen: Screen, *, enabled: bool) -> Iterator[Callable[[reports.Progress], None] | None]:
    if not enabled:
        yield None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=10),
        TextColumn("{task.fields[state]}", markup=False),
    )
    with Progress(*columns, console=screen, transient=True) as display:
        waiting = display.add_task("loading plugins", total=None, state="")
        tasks: dict[str, TaskID] = {}

        def update(progress: reports.Progress) -> None:
            display.update(waiting, visible=False)
            for node in progress.nodes:
                if node.name not in tasks:
                    tasks[node.name] = display.add_task(set_cell_size(node.name, _NAME_CELLS), total=None, state="")
                expected = progress.rows_expected if node.kind == "source" else None
                rows = max(node.rows_in, node.rows_out)
                state = _state(rows, expected, progress.elapsed_s)
                display.update(tasks[node.name], completed=rows, total=expected, state=state)

        yield update


def _state(rows: int, expected: int | None, elapsed_s: float) -> str:
    rate = rows / elapsed_s if elapsed_s else 0.0
    text = f"{count(rows)} rows, {count(rate)} rows/s"
    if expected is not None and rate and rows < expected:
        text += f", {duration((expected - rows) / rate)} left"
    return text
