"""`dataflare policy`: compare plugins with policies, learn policies from use, compare versions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from dataflare.cli.exit_codes import EXIT_DENIED
from dataflare.cli.needs import limit_json, limit_text, names, needs_of
from dataflare.cli.options import AsJson
from dataflare.cli.output import by_the_way, printed_errors, write_json
from dataflare.cli.screen import Screen, stderr, stdout
from dataflare.cli.security_options import GuardedTyper
from dataflare.errors import ConfigError
from dataflare.printable import printable
from dataflare.runtime.host import Host
from dataflare.security.atomic_files import write_atomically
from dataflare.security.audit import read_audit
from dataflare.security.capability import Needs
from dataflare.security.policy import Policy
from dataflare.security.review import NeedsDiff, PolicyReport, diff, suggest
from dataflare.security.review import check as compare
from dataflare.suggestions import close_matches

__all__ = ["EXIT_WIDER", "app"]

EXIT_WIDER: Final = 5
"""A version asks for more than the one before."""

app = GuardedTyper(
    help="Compare plugins with policies, derive policies from use, compare versions.", no_args_is_help=True
)


@app.command("check")
def check(
    policy: Annotated[Path, typer.Argument(help="The policy (YAML).", show_default=False)],
    components: Annotated[list[Path], typer.Argument(help="Components (.wasm).", show_default=False)],
    pipeline: Annotated[str, typer.Option(help="For this pipeline.", show_default="what holds in every one")] = "",
    as_json: AsJson = False,
) -> None:
    """Tell whether plugins get all that they ask for.

    What a plugin asks for is in its manifest; without one, it is what it imports. None of its code is run.

    Exit codes: 0 each gets all; 2 the policy is wrong, or a file cannot be read; 3 no component; 4 not all is given.
    """
    with printed_errors(as_json=as_json):
        found = Policy.read(policy)
        if pipeline:
            _require_known(pipeline, found)
        with Host() as host:
            reports = [(path, compare(needs_of(host, path), found, pipeline=pipeline)) for path in components]
        with by_the_way():
            if as_json:
                write_json(
                    {"policy": str(policy), "pipeline": pipeline, "plugins": [_report_json(*each) for each in reports]}
                )
            else:
                for path, report in reports:
                    _show_report(stdout(), path, report)
        if not all(_passes(report) for _, report in reports):
            raise typer.Exit(EXIT_DENIED)


def _require_known(pipeline: str, policy: Policy) -> None:
    """Refuse a pipeline that the policy does not know: the answer would be about what holds in every one."""
    known = sorted(policy.document.pipelines)
    if pipeline not in known:
        close = close_matches(pipeline, known, 3)
        raise ConfigError(
            f"{policy.source} knows no pipeline {pipeline!r}",
            where="--pipeline",
            hint=f"did you mean {' or '.join(map(repr, close))}?"
            if close
            else f"it knows {', '.join(known)}"
            if known
            else f"name it under `pipelines` in {policy.source}, or leave --pipeline out",
        )


def _passes(report: PolicyReport) -> bool:
    return report.ok and not report.reason


def _report_json(path: Path, report: PolicyReport) -> dict[str, Any]:
    return {
        "file": str(path),
        "plugin": report.plugin,
        "ok": _passes(report),
        "reason": report.reason,
        "asked": names(report.asked),
        "missing": [*names(report.missing), *report.datasets_missing],
        "unused": names(report.unused),
        "limits_missing": [limit_json(each) for each in report.limits_missing],
    }


def _show_report(console: Screen, path: Path, report: PolicyReport) -> None:
    verdict = ("ok", "green") if _passes(report) else ("refused", "red")
    console.say(Text.assemble(printable(f"{path}: {report.plugin}"), " ", verdict))
    if report.reason:
        console.say(f"  {report.reason}")
    for each in (*names(report.missing), *report.datasets_missing):
        console.say(f"  missing  {each}")
    for limit in report.limits_missing:
        console.say(f"  missing  {limit_text(limit)}")
    for each in names(report.unused):
        console.say(f"  not asked for  {each}", style="dim")


@app.command("suggest")
def suggest_command(
    log: Annotated[Path, typer.Argument(help="An audit log (JSON Lines).", show_default=False)],
    base: Annotated[
        Path | None,
        typer.Option(
            "--policy", help="The policy under which it was written: paths, pins, sizes.", show_default="none"
        ),
    ] = None,
    include_denied: Annotated[
        bool, typer.Option("--include-denied", help="Grant what was refused, too: to learn what a new plugin wants.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write it to a file.", show_default="standard output")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the smallest policy that allows the logged uses.

    Look at it before it is used: a log does not know where directories are, nor what should be allowed.

    Exit codes: 0 written; 1 the log is damaged, so that something may be missing; 2 a file cannot be read or is wrong.
    """
    with printed_errors(as_json=as_json):
        reading = read_audit(log)
        policy = suggest(
            reading.events, base=None if base is None else Policy.read(base), include_denied=include_denied
        )
        text = policy.to_yaml()
        if output is not None:
            write_atomically(output, text.encode())
        if as_json:
            write_json(
                {
                    "policy": text,
                    "events": len(reading.events),
                    "damaged_lines": list(reading.damaged_lines),
                    "truncated": reading.truncated,
                }
            )
        elif output is None:
            _show_yaml(text)
        if reading.damaged_lines:
            lines = ", ".join(map(str, reading.damaged_lines[:10]))
            stderr().say(f"warning: {log}: {len(reading.damaged_lines)} lines are not events: {lines}")
            raise typer.Exit(1)


def _show_yaml(text: str) -> None:
    screen = stdout()
    for line in text.splitlines():
        screen.print(line, soft_wrap=True)  # to be read as YAML again


@app.command("diff")
def diff_command(
    old: Annotated[Path, typer.Argument(help="The version before (.wasm).", show_default=False)],
    new: Annotated[Path, typer.Argument(help="The new version (.wasm).", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Tell what a new version of a plugin asks for that the one before did not.

    Exit codes: 0 nothing more; 2 a file cannot be read; 3 no component; 5 it asks for more: look at it again.
    """
    with printed_errors(as_json=as_json):
        with Host() as host:
            before, after = needs_of(host, old), needs_of(host, new)
        found = diff(before, after)
        with by_the_way():
            if as_json:
                write_json(_diff_json(before, after, found))
            else:
                _show_diff(stdout(), before, after, found)
        if found.widened:
            raise typer.Exit(EXIT_WIDER)


def _diff_json(before: Needs, after: Needs, found: NeedsDiff) -> dict[str, Any]:
    return {
        "old": {"plugin": before.plugin, "version": before.version, "digest": before.digest},
        "new": {"plugin": after.plugin, "version": after.version, "digest": after.digest},
        "widened": found.widened,
        "added": [*names(found.added), *found.datasets_added],
        "removed": [*names(found.removed), *found.datasets_removed],
        "limits_raised": [limit_json(each) for each in found.limits_raised],
        "limits_lowered": [limit_json(each) for each in found.limits_lowered],
    }


def _show_diff(console: Screen, before: Needs, after: Needs, found: NeedsDiff) -> None:
    titles = (f"{each.plugin} {each.version or '(no version)'}" for each in (before, after))
    console.say(" -> ".join(titles))
    for sign, style, lines in (
        ("+", "red", [*names(found.added), *found.datasets_added, *map(limit_text, found.limits_raised)]),
        ("-", "green", [*names(found.removed), *found.datasets_removed, *map(limit_text, found.limits_lowered)]),
    ):
        for line in lines:
            console.say(f"  {sign} {line}", style=style)
    if found == NeedsDiff(added=frozenset(), removed=frozenset()):
        console.say("  they ask for the same")
