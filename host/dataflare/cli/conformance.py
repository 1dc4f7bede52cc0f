"""`dataflare conformance`: whether a plugin keeps the standard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import typer
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dataflare.cli.guards import GuardedTyper
from dataflare.cli.options import AsJson, CacheDir, Config, GrantWords, LimitWords, compiled_folder, parse_plugin
from dataflare.cli.output import by_the_way, printed_errors, write_json
from dataflare.cli.screen import stdout
from dataflare.conformance import CaseResult, Outcome, Subject, SuiteResult, load_cases, load_duties, run_suite
from dataflare.conformance.cases import Case, Profile, select
from dataflare.conformance.reports import to_html, to_json, to_junit
from dataflare.conformance.runner import Expectation
from dataflare.errors import ConfigError, WorldMismatch
from dataflare.grants import Grants
from dataflare.limits import Limits
from dataflare.pipeline.benchmark import read_rows
from dataflare.pipeline.outputs import AtomicFile
from dataflare.runtime.host import Host
from dataflare.user_files import read_file

__all__ = ["app"]

_MAX_EXPECTATIONS = 2**20
_SAMPLE_ROWS = 1_000

app = GuardedTyper(help="Prove that a plugin keeps the standard.", no_args_is_help=True)


class _Known(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1)
    link: str = Field(min_length=1)


@app.command("run")
def run(
    component: Annotated[Path, typer.Argument(help="A plugin (.wasm).", show_default=False)],
    config: Config = "{}",
    sample: Annotated[
        Path | None,
        typer.Option(
            "--sample",
            help="Rows that the plugin takes, the first 1,000 of a CSV, JSON Lines, Parquet or Arrow file.",
            show_default=False,
        ),
    ] = None,
    profile: Annotated[
        str, typer.Option("--profile", help="`core`, `full`, or `certified`: as `full`, and no case may be skipped.")
    ] = "full",
    case: Annotated[
        list[str] | None,
        typer.Option(
            "--case", help="A case, a group or a duty, such as `source/resume`; may be repeated.", show_default="all"
        ),
    ] = None,
    expect: Annotated[
        Path | None,
        typer.Option(
            "--expect",
            help="A YAML file of cases that are known to fail, each with `reason` and `link`.",
            show_default=False,
        ),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option("--junit", help="Write JUnit XML to this file.", show_default=False)
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page for people to this file.", show_default=False)
    ] = None,
    grant: GrantWords = None,
    limit: LimitWords = None,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Run the conformance suite over a plugin.

    Each case gets a host of its own, and copies of the directories that are granted: yours stay as they are.

    Exit codes: 0 the plugin is conformant; 1 it is not; 2 the suite or the command line failed; 3 the file is not a
    plugin; 4 the plugin needs what is not granted.
    """
    with printed_errors(as_json=as_json):
        chosen_profile = _profile(profile)
        given = parse_plugin(config, grant, limit)
        known = _known(expect) if expect is not None else {}
        rows = None if sample is None else pa.Table.from_batches([read_rows(sample, _SAMPLE_ROWS)])
        folder = compiled_folder(cache_dir)
        every = load_cases()
        with Host(cache_dir=folder) as host:
            kind = _kind(host, component)
            cases = select(every, kind=kind, profile=chosen_profile, only=case or ())
            if not cases:
                raise ConfigError(
                    f"no case is chosen: {', '.join(case or ())}", where="--case", hint="leave --case out for all"
                )
            if unknown := sorted(set(known) - {each.name for each in every}):
                raise ConfigError(f"there is no case {unknown[0]!r}", where=str(expect))
            # What it may not use is told before the first case.
            host.load(component, **given).close()
        subject = Subject(
            component,
            kind,
            given["config"] or {},
            sample=rows,
            grants=given["grants"] or Grants(),
            limits=given["limits"] or Limits(),
            cache_dir=folder,
        )
        result = run_suite(subject, cases, expected=known, progress=_teller(component, quiet=as_json))
        passed = result.passed(skips=chosen_profile != "certified")
        said = {"plugin": component.name, "profile": profile, "passed": passed}
        if junit is not None:
            _write(junit, to_junit(result, plugin=component.name))
        if html is not None:
            _write(html, to_html(result, load_duties(), **said))  # type: ignore[arg-type]
        with by_the_way():
            if as_json:
                write_json(to_json(result, **said))  # type: ignore[arg-type]
            else:
                _show_end(result, said)
        raise typer.Exit(2 if result.failed_itself else 0 if passed else 1)


@app.command("list")
def list_cases(as_json: AsJson = False) -> None:
    """List the cases of the suite, with the duties that they test.

    Exit codes: 0 listed.
    """
    with printed_errors(as_json=as_json):
        cases = load_cases()
        if as_json:
            write_json([each.model_dump(exclude={"steps"}) for each in cases])
        else:
            for each in cases:
                _show_case(each)


def _show_case(case: Case) -> None:
    stdout().say(f"{case.name}: {case.title} ({', '.join(case.duties)})")


def _profile(text: str) -> Profile:
    match text:
        case "core" | "full" | "certified":
            return text
    raise ConfigError(f"there is no profile {text!r}", where="--profile", hint="core, full or certified")


def _kind(host: Host, component: Path) -> str:
    found = host.inspect(component)
    if found.kind is None:
        raise WorldMismatch("; ".join(found.problems), component=str(component))
    return found.kind


def _known(file: Path) -> dict[str, Expectation]:
    try:
        value = yaml.safe_load(read_file(file, _MAX_EXPECTATIONS))
        found = TypeAdapter(dict[str, _Known]).validate_python(value or {})
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"is not YAML: {str(error).splitlines()[0]}", where=str(file)) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        hint = "each case has `reason` and `link`"
        raise ConfigError(f"{where}: {first['msg']}" if where else first["msg"], where=str(file), hint=hint) from error
    return {name: Expectation(each.reason, each.link) for name, each in found.items()}


def _write(path: Path, text: str) -> None:
    with AtomicFile(path) as file:
        file.file.write(text.encode("utf-8", "replace"))
        file.commit()


def _teller(component: Path, *, quiet: bool) -> Callable[[CaseResult], None]:
    screen = stdout()

    def tell(result: CaseResult) -> None:
        if quiet:
            return
        with by_the_way():
            _show(result, component.name)

    if not quiet:
        with by_the_way():
            screen.say(f"{component.name}: conformance")
    return tell


def _show(result: CaseResult, component: str) -> None:
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
    screen.say(f"      alone: dataflare conformance run {component} --case {result.case.name}")


def _show_end(result: SuiteResult, said: dict[str, Any]) -> None:
    counts = ", ".join(f"{number} {name}" for name, number in result.counts.items())
    verdict = "conformant" if said["passed"] else "not conformant"
    seconds = sum(each.seconds for each in result.results)
    stdout().say(f"{said['plugin']} is {verdict} ({said['profile']}): {counts} in {seconds:.1f} s")
