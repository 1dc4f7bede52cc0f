"""`dataflare runs`: what the runs of a pipeline did."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dataflare.cli.figures import count, duration
from dataflare.cli.options import AsJson
from dataflare.cli.output import printed_errors, write_json
from dataflare.cli.report_files import page_of, write_file
from dataflare.cli.screen import stdout
from dataflare.cli.security_options import GuardedTyper
from dataflare.cli.state_files import PipelineFile, StateOption, opened_state, time_text
from dataflare.cli.variables import EnvFiles, Settings
from dataflare.errors import ConfigError
from dataflare.json_values import parse_json
from dataflare.pipeline.run_history import RecordedRun, recorded_runs

__all__ = ["app"]


app = GuardedTyper(help="List and show the runs of a pipeline that keeps a state.", no_args_is_help=True)


@app.command("list")
def list_runs(
    pipeline: PipelineFile,
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Show at most this many runs.")] = 20,
    state: StateOption = None,
    settings: Settings = None,
    env_files: EnvFiles = None,
) -> None:
    """List the runs of a pipeline, the latest first. The last 1,000 are kept.

    Exit codes: 0 listed; 1 the state cannot be read, or a run is under way; 2 the pipeline is wrong.
    """
    with printed_errors(as_json=as_json):
        with opened_state(pipeline, state, settings, env_files, create=False) as (_, file):
            found = recorded_runs(file, limit)
        if as_json:
            write_json([_document(each) for each in found])
            return
        for each in found:
            _say(each)


@app.command("show")
def show(
    pipeline: PipelineFile,
    number: Annotated[int | None, typer.Argument(help="Its number.", show_default="the last one")] = None,
    as_json: AsJson = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Write the report as a page to this file.", show_default="no page"),
    ] = None,
    state: StateOption = None,
    settings: Settings = None,
    env_files: EnvFiles = None,
) -> None:
    """Show the report of a run.

    Exit codes: 0 shown; 1 the state cannot be read, or a run is under way; 2 the pipeline is wrong, or there is no such
    run.
    """
    with printed_errors(as_json=as_json):
        with opened_state(pipeline, state, settings, env_files, create=False) as (specification, file):
            found = recorded_runs(file)
        chosen = next((each for each in found if number in (None, each.id)), None)
        if chosen is None:
            hint = f"the last one is {found[0].id}" if found else "there was none yet"
            raise ConfigError(f"there is no run {'' if number is None else number}".strip(), where="runs", hint=hint)
        if html is not None:
            write_file(
                html, page_of(_report(chosen) or {"pipeline": specification.pipeline.name, "status": _status(chosen)})
            )
        if as_json:
            write_json({**_document(chosen), "report": _report(chosen)})
            return
        _say(chosen)
        _show(_report(chosen))


def _report(run: RecordedRun) -> dict[str, Any]:
    try:
        value = parse_json(run.report or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _status(run: RecordedRun) -> str:
    # The state file is not held by a run: one that did not end is dead.
    return "died" if run.status == "running" else run.status


def _document(run: RecordedRun) -> dict[str, Any]:
    report = _report(run)
    return {
        "run": run.id,
        "id": report.get("id"),
        "begun": None if run.begun_at is None else time_text(run.begun_at),
        "ended": None if run.ended_at is None else time_text(run.ended_at),
        "status": _status(run),
        "stopped": report.get("stopped"),
        "rows_in": report.get("rows_in", 0),
        "rows_out": report.get("rows_out", 0),
        "seconds": report.get("seconds", 0.0),
        "error": report.get("error"),
        "quarantined": [node["name"] for node in report.get("nodes", []) if node.get("quarantined")],
    }


def _say(run: RecordedRun) -> None:
    if run.begun_at is None:
        stdout().say(f"{run.id}: damaged: the state file does not say any more what it did")
        return
    shown = _document(run)
    what = f"{count(int(shown['rows_in']))} rows in, {count(int(shown['rows_out']))} rows out"
    took = "" if run.ended_at is None else f", {duration(max(0.0, run.ended_at - run.begun_at))}"
    quarantined = f", quarantined: {', '.join(shown['quarantined'])}" if shown["quarantined"] else ""
    stdout().say(f"{run.id}: {shown['begun']}: {shown['status']}, {what}{took}{quarantined}")


def _show(report: dict[str, Any]) -> None:
    screen = stdout()
    for node in report.get("nodes", []):
        text = f"{node['name']}: {count(node['rows_in'])} rows in, {count(node['rows_out'])} rows out"
        parts = [f"{count(node['failed'])} failed" if node["failed"] else "", node["guarantee"] or ""]
        screen.say(", ".join(each for each in (text, *parts) if each))
        if node.get("quarantined"):
            screen.say(f"{node['name']}: quarantined: {node['quarantined']}")
    if report.get("error"):
        screen.say(f"error: {report['error']}")
