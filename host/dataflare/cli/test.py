"""`dataflare test`: a plugin's unit tests, and its cases in the sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dataflare.authoring.building import build_plugin
from dataflare.authoring.case_files import CASES, Case, read_cases
from dataflare.authoring.cases import CaseResult, run_cases
from dataflare.authoring.unit_tests import run_unit_tests
from dataflare.cli.exit_codes import EXIT_FAILED
from dataflare.cli.options import AsJson, CacheDir, compiled_folder
from dataflare.cli.output import by_the_way, printed_errors, write_json
from dataflare.cli.screen import stdout
from dataflare.cli.security_options import AuditFile
from dataflare.documents.reader import Document
from dataflare.engine.engine import Engine
from dataflare.errors import ConfigError, DataflareError
from dataflare.runtime.host import Host
from dataflare.security.settings import Security

__all__ = ["command"]


def command(
    folder: Annotated[Path, typer.Argument(help="A folder with a plugin.yaml.", show_default="here")] = Path(),
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
    audit: AuditFile = None,
) -> None:
    """Test the plugin of a folder.

    Its own unit tests come first, then the cases of `tests/cases` in the sandbox.

    Exit codes: 0 all passed; 1 a test or a case failed, the build failed, or a tool is missing; 2 the plugin.yaml or a
    case is wrong, or there is nothing to test.
    """
    with (
        printed_errors(as_json=as_json),
        Host(cache_dir=compiled_folder(cache_dir), security=Security(audit=audit)) as host,
    ):
        cases = read_cases(folder)  # before a build, which takes longer than to find a mistake
        unit_tests = run_unit_tests(folder)
        if not as_json and unit_tests:
            stdout().say(f"unit tests passed: {unit_tests}")
        built, file = build_plugin(folder, host)
        results = []
        for case, each in zip(cases, run_cases(cases, built.guest.output, file, host), strict=True):
            if each.faulted:
                each = _placed(folder, case, each, cache_dir)
            results.append(each)
            if not as_json:
                with by_the_way():
                    _show(each)
        if not results and not unit_tests:
            raise ConfigError("there is nothing to test", where=str(folder), hint=f"put a case into {CASES}")
        failed = sum(bool(each.problem) for each in results)
        with by_the_way():
            if as_json:
                shown = [{"name": each.name, "problem": each.problem} for each in results]
                write_json({"passed": not failed, "unit_tests": unit_tests, "cases": shown})
            else:
                stdout().say(f"{len(results) - failed} of {len(results)} cases passed")
        if failed:
            raise typer.Exit(EXIT_FAILED)


def _placed(folder: Path, case: tuple[Case, Document], found: CaseResult, cache_dir: Path | None) -> CaseResult:
    """What a case comes to in a build for debugging, whose traps name files and lines; else what was found."""
    with Engine(cache_dir=compiled_folder(cache_dir), debug=True) as engine, Host(engine=engine) as host:
        try:
            built, file = build_plugin(folder, host, debug=True)
            (again,) = run_cases([case], built.guest.output, file, host)
        except DataflareError:
            return found
    return again if again.faulted else found


def _show(result: CaseResult) -> None:
    stdout().say_lines(f"FAILED {result.problem}" if result.problem else f"ok {result.name}")
