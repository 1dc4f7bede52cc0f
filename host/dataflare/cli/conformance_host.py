"""`dataflare conformance host` and `adapter`: whether a host keeps the standard, and this host as an example of one."""

from __future__ import annotations

import contextlib
import shlex
import sys
from typing import Annotated, Literal

import typer

from dataflare.cli.conformance_common import (
    Cases,
    Expectations,
    Html,
    JUnit,
    Profiles,
    chosen_cases,
    finish,
    known_failures,
    parse_profile,
    repeating,
    telling,
)
from dataflare.cli.options import AsJson, CacheDir, compiled_folder
from dataflare.cli.output import printed_errors
from dataflare.conformance import CommandHost, HostService, HostSubject, LocalHost, run_suite
from dataflare.conformance.adapter import serve
from dataflare.errors import ConfigError
from dataflare.security.settings import Security

__all__ = ["run_host", "serve_host"]


def run_host(
    adapter: Annotated[
        str | None,
        typer.Option(
            "--adapter",
            help="A command that speaks the protocol of conformance/ADAPTER.md, with its arguments.",
            show_default="this host, in this process",
        ),
    ] = None,
    isolated: Annotated[
        bool, typer.Option("--isolated", help="Let this host run each plugin in a process of its own.")
    ] = False,
    profile: Profiles = "full",
    case: Cases = None,
    expect: Expectations = None,
    junit: JUnit = None,
    html: Html = None,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Run the conformance suite over a host.

    A component of the suite probes the host: what it is told to do comes from the cases, as data.

    Exit codes: 0 the host is conformant; 1 it is not; 2 the suite, the adapter or the command line failed.
    """
    name = adapter or ("this host, isolated" if isolated else "this host")
    with printed_errors(as_json=as_json), telling(name, quiet=as_json) as teller:
        if adapter is not None and isolated:
            raise ConfigError("are for different hosts", where="--adapter and --isolated", hint="leave one out")
        chosen_profile = parse_profile(profile)
        known = known_failures(expect)
        cases = chosen_cases("host", chosen_profile, case, known, expect)
        connection = (
            LocalHost(HostService(isolation="process" if isolated else "none", cache_dir=compiled_folder(cache_dir)))
            if adapter is None
            else CommandHost(_words(adapter))
        )
        with contextlib.closing(connection):
            again = repeating("dataflare conformance host", None, {"--adapter": adapter, "--cache-dir": cache_dir})
            again += " --isolated" if isolated else ""
            result = run_suite(HostSubject(connection), cases, expected=known, progress=teller.results(cases, again))
    with printed_errors(as_json=as_json):
        finish(result, name, "host", chosen_profile, again=again, junit=junit, html=html, as_json=as_json)


def serve_host(
    security: Security,
    isolated: Annotated[bool, typer.Option("--isolated", help="Run each plugin in a process of its own.")] = False,
    cache_dir: CacheDir = None,
) -> None:
    """Answer the requests of a conformance runner on standard input, as an example of an adapter.

    Without --policy it grants whatever the runner asks for, so let only a trusted runner use it.

    Exit codes: 0 there are no more requests.
    """
    with printed_errors(as_json=False):
        isolation: Literal["none", "process"] = "process" if isolated else "none"
        service = HostService(isolation=isolation, cache_dir=compiled_folder(cache_dir), security=security)
        serve(service, sys.stdin, sys.stdout)


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"is not a command: {error}", where="--adapter") from error
    if not words:
        raise ConfigError("is empty", where="--adapter", hint="give a command")
    return words
