"""`dataflare dev`: build, load and try a plugin again after each change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from dataflare.authoring.dev import Developing, Round
from dataflare.authoring.samples import Sample, Tried
from dataflare.cli.exit_codes import EXIT_FAILED
from dataflare.cli.figures import count, duration
from dataflare.cli.options import CacheDir, compiled_folder, parse_config
from dataflare.cli.output import error_json, exit_code, printed_errors, show_error, write_json_line
from dataflare.cli.screen import stdout
from dataflare.cli.security_options import AuditFile
from dataflare.engine.engine import Engine
from dataflare.runtime.host import Host
from dataflare.security.settings import Security

__all__ = ["command"]


def command(
    folder: Annotated[Path, typer.Argument(help="A folder with a plugin.yaml.", show_default="here")] = Path(),
    sample: Annotated[
        Path | None,
        typer.Option(
            help="Rows to try the plugin with: a .csv, .jsonl, .parquet or .arrow file.", show_default="a case's rows"
        ),
    ] = None,
    case: Annotated[
        str | None,
        typer.Option(help="The case of tests/cases to try.", show_default="the first that expects no error"),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(help="The configuration: a JSON object, or @FILE.", show_default="the case's"),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, max=1_000_000, help="Try and show at most this many rows.")] = 20,
    sandbox: Annotated[
        bool,
        typer.Option(
            "--sandbox",
            help="Build a plugin that would run natively too, and run it as a component, within its limits.",
        ),
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="Run one round, and end.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write a line of JSON for each round to standard output.")
    ] = False,
    build_timeout: Annotated[
        float, typer.Option(min=1, max=86_400, help="Stop each tool of a build after this many seconds.")
    ] = 600.0,
    cache_dir: CacheDir = None,
    audit: AuditFile = None,
) -> None:
    """Build, load and try the plugin of a folder again after each change.

    A round shows rows before and after, and the time of each step. Plugins in Python, JavaScript and TypeScript run
    natively, others as components. An error is shown with its file and line, and the next change begins the next round.

    Exit codes: 130 ended by Ctrl-C. With --once: 0 as expected; 1 the build, the plugin or its case failed; 2 the
    plugin.yaml, the case or the sample is wrong.
    """
    with (
        printed_errors(as_json=as_json, write=write_json_line),
        Engine(cache_dir=compiled_folder(cache_dir), debug=True) as engine,
        Host(engine=engine, security=Security(audit=audit)) as host,
    ):
        chosen = Sample(
            file=None if sample is None else sample.absolute(),
            case=case,
            config=None if config is None else parse_config(config),
            max_rows=rows,
        )
        developing = Developing(folder, host, chosen, sandbox=sandbox, build_timeout_s=build_timeout)
        for each in developing.rounds(once=once):
            if as_json:
                write_json_line(_document(each))
            else:
                _show(each)
            if once and each.error is not None:
                raise typer.Exit(exit_code(each.error))
            if once and not each.good:
                raise typer.Exit(EXIT_FAILED)
            if not once and not as_json and each.number == 1:
                stdout().say(f"watching {developing.folder}: {developing.files} files; Ctrl-C ends it")


def _document(made: Round) -> dict[str, Any]:
    tried = made.tried
    document: dict[str, Any] = {
        "round": made.number,
        "good": made.good,
        "changed": list(made.changed),
        "native": made.native,
        "seconds": round(made.seconds, 6),
        "steps": {name: round(seconds, 6) for name, seconds in made.steps.items()},
        "printed": made.printed,
    }
    if tried is not None:
        document |= {"sample": tried.sample, "before": tried.before, "after": tried.after, "problem": tried.problem}
        document |= {"rows_before": tried.rows_before, "rows_after": tried.rows_after}
    if made.error is not None:
        document["error"] = error_json(made.error)
    return document


def _show(made: Round) -> None:
    screen = stdout()
    if made.changed:
        screen.say(f"changed: {', '.join(made.changed)}")
    for line in made.printed.splitlines():
        screen.say(f"printed: {line}")
    if made.error is not None:
        show_error(made.error)
    if made.tried is not None:
        _show_rows(made.tried)
    steps = ", ".join(f"{name} {duration(seconds)}" for name, seconds in made.steps.items())
    how = ", natively," if made.native else ", in the sandbox," if steps else ""
    screen.say(f"round {made.number}{how} in {duration(made.seconds)}: {steps or 'nothing was run'}")


def _show_rows(tried: Tried) -> None:
    screen = stdout()
    for title, rows, number in (("before", tried.before, tried.rows_before), ("after", tried.after, tried.rows_after)):
        first = "" if number == len(rows) else f", the first {count(len(rows))}"
        screen.say(f"{title}: {count(number)} {'row' if number == 1 else 'rows'}{first}")
        for row in rows:
            screen.say(f"  {json.dumps(row, ensure_ascii=False)}")
    if tried.problem:
        screen.say_lines(f"FAILED {tried.problem}")
    elif tried.expected:
        screen.say(f"ok {tried.sample}")
