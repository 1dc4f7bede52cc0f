"""What the commands of `dataflare conformance` share: their options, their cases, and what they show."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from rich.status import Status

from dataflare.cli.output import by_the_way, write_json
from dataflare.cli.report_files import write_file
from dataflare.cli.screen import stderr, stdout
from dataflare.conformance import CaseResult, Outcome, SuiteResult, load_cases, load_duties
from dataflare.conformance.cases import KINDS, Case, Profile, select
from dataflare.conformance.reports import UNTESTED, DutyRow, matrix, to_html, to_json, to_junit, verdict_of
from dataflare.conformance.runner import Expectation
from dataflare.documents.models import first_problem
from dataflare.documents.reader import parse_document
from dataflare.errors import ConfigError
from dataflare.printable import printable
from dataflare.user_files import read_file

__all__ = [
    "Cases",
    "Expectations",
    "Html",
    "JUnit",
    "Profiles",
    "Teller",
    "chosen_cases",
    "finish",
    "known_failures",
    "parse_profile",
    "repeating",
    "telling",
]

_MAX_EXPECTATIONS = 2**20

Profiles: TypeAlias = Annotated[
    str, typer.Option("--profile", help="`core`, `full`, or `certified`: as `full`, and no case may be skipped.")
]
Cases: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--case", help="A case, a group or a duty, such as `source/resume`; may be repeated.", show_default="all"
    ),
]
Expectations: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--expect",
        help="A YAML file of cases that are known to fail, each with `reason` and `link`.",
        show_default=False,
    ),
]
JUnit: TypeAlias = Annotated[
    Path | None, typer.Option("--junit", help="Write JUnit XML to this file.", show_default=False)
]
Html: TypeAlias = Annotated[
    Path | None, typer.Option("--html", help="Write a page for people to this file.", show_default=False)
]


class _Known(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1)
    link: str = Field(min_length=1)


def chosen_cases(
    kind: str, profile: Profile, only: list[str] | None, known: Mapping[str, Expectation], expect: Path | None
) -> list[Case]:
    """Choose the cases that are run.

    Raises:
        ConfigError: A name chooses none, or a case that is known to fail is not there.
    """
    every = load_cases()
    for name in only or ():
        if not select(every, kind=kind, profile=profile, only=[name]):
            elsewhere = any(select(every, kind=other, profile="full", only=[name]) for other in (*KINDS, "host"))
            what = f"tests nothing of a {kind} in the profile `{profile}`" if elsewhere else "is no case, group or duty"
            raise ConfigError(
                f"no case is chosen: {name!r} {what}",
                where="--case",
                hint="`dataflare conformance list` has all cases; leave --case out for all",
            )
    cases = select(every, kind=kind, profile=profile, only=only or ())
    if unknown := sorted(set(known) - {each.name for each in every}):
        raise ConfigError(f"there is no case {unknown[0]!r}", where=str(expect))
    return cases


def finish(
    result: SuiteResult,
    name: str,
    kind: str,
    profile: Profile,
    *,
    again: str,
    junit: Path | None,
    html: Path | None,
    as_json: bool,
) -> None:
    """Write the reports, and end with the exit code; `again` is the command that repeats a case."""
    passed = result.passed(skips=profile != "certified")
    verdict = verdict_of(result, passed=passed)
    duties = load_duties()
    rows = matrix(result, duties, select(load_cases(), kind=kind, profile="full"))
    said: dict[str, Any] = {"plugin": name, "profile": profile, "passed": passed}
    if junit is not None:
        write_file(junit, to_junit(result, plugin=name))
    if html is not None:
        write_file(html, to_html(result, duties, rows=rows, again=again, **said))
    with by_the_way():
        if as_json:
            write_json(to_json(result, rows=rows, **said))
        else:
            _show_end(result, verdict, said)
            _show_duties(rows)
    raise typer.Exit(2 if verdict == UNTESTED else 0 if passed else 1)


def parse_profile(text: str) -> Profile:
    """Read `--profile`.

    Raises:
        ConfigError: It is not a profile.
    """
    match text:
        case "core" | "full" | "certified":
            return text
    raise ConfigError(f"there is no profile {text!r}", where="--profile", hint="core, full or certified")


def known_failures(file: Path | None) -> dict[str, Expectation]:
    """Read the cases that are known to fail; `None` is none.

    Raises:
        ConfigError: The file cannot be read, or is wrong.
    """
    if file is None:
        return {}
    try:
        value = parse_document(read_file(file, _MAX_EXPECTATIONS), name=str(file)).value
        found = TypeAdapter(dict[str, _Known]).validate_python(value or {})
    except ValidationError as error:
        hint = "each case has `reason` and `link`"
        raise ConfigError(first_problem(error), where=str(file), hint=hint) from error
    return {name: Expectation(each.reason, each.link) for name, each in found.items()}


def repeating(command: str, file: Path | None, options: Mapping[str, object]) -> str:
    """Write a command with the options that were given; each may have several values."""
    words = [] if file is None else [str(file)]
    for name, given in options.items():
        words += [
            word for value in (given if isinstance(given, list) else [given]) if value for word in (name, str(value))
        ]
    return " ".join([command, *map(shlex.quote, words)])


@contextmanager
def telling(name: str, *, quiet: bool) -> Iterator[Teller]:
    """Show what goes on: each result as it comes, and on a terminal what is being done."""
    screen = stderr()
    shown = not quiet and screen.is_terminal and not screen.is_dumb_terminal
    with by_the_way():
        if not quiet:
            stdout().say(f"{name}: conformance")
    with screen.status("") if shown else nullcontext() as status:
        yield Teller(status, quiet=quiet)


class Teller:
    """Shows results as they come.

    Args:
        status: The line of a terminal that says what is being done; `None`: there is none.
        quiet: Whether nothing is shown.
    """

    def __init__(self, status: Status | None, *, quiet: bool) -> None:
        self._status = status
        self._quiet = quiet

    def doing(self, what: str) -> None:
        """Show what is being done."""
        if self._status is not None:
            self._status.update(printable(what))

    def results(self, cases: Sequence[Case], again: str) -> Callable[[CaseResult], None]:
        """Make what shows the results of cases; `again` is the command that repeats one."""
        names = iter([each.name for each in cases])
        self.doing(next(names, ""))

        def tell(result: CaseResult) -> None:
            self.doing(next(names, ""))
            if not self._quiet:
                with by_the_way():
                    _show(result, again)

        return tell


def _show(result: CaseResult, again: str) -> None:
    screen = stdout()
    screen.say(f"{result.outcome.value:<5} {result.case.name}: {result.case.title}")
    if result.outcome in (Outcome.PASS, Outcome.SKIP):
        if result.message:
            screen.say(f"      {result.message}")
        return
    screen.say(f"      duty: {', '.join(result.case.duties)}")
    screen.say(f"      {result.message}")
    if result.given:
        screen.say(f"      given: {result.given}")
    screen.say(f"      run again: {again} --case {result.case.name}")


def _show_end(result: SuiteResult, verdict: str, said: Mapping[str, Any]) -> None:
    counts = ", ".join(f"{number} {name}" for name, number in result.counts.items())
    seconds = sum(each.seconds for each in result.results)
    stdout().say(f"{said['plugin']} {verdict} ({said['profile']}): {counts} in {seconds:.1f} s")
    for each in result.unseen:
        stdout().say(f"  nothing was seen of its work, since {each.case.name} was skipped: {each.message}")


def _show_duties(rows: Sequence[DutyRow]) -> None:
    verdicts = ("kept", "broken", "not tested", "not run")
    found = {verdict: [each.duty.number for each in rows if each.verdict == verdict] for verdict in verdicts}
    counts = ", ".join(f"{len(numbers)} {verdict}" for verdict, numbers in found.items() if numbers)
    others = [*found["broken"], *found["not tested"]]
    stdout().say(f"  duties: {counts}" + (f" ({', '.join(others)})" if others else ""))
