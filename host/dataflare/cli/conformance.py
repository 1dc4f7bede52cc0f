"""`dataflare conformance`: whether a plugin, or a host, keeps the standard."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer

from dataflare.cli import conformance_certificates, conformance_host
from dataflare.cli.conformance_certificates import Certifying
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
from dataflare.cli.keys import PassphraseFile
from dataflare.cli.options import (
    AsJson,
    CacheDir,
    Config,
    GrantWords,
    LimitWords,
    compiled_folder,
    load_plugin,
    parse_plugin,
)
from dataflare.cli.output import printed_errors, write_json
from dataflare.cli.screen import stdout
from dataflare.cli.security_options import GuardedTyper
from dataflare.conformance import Duty, Subject, load_cases, load_duties, run_suite
from dataflare.conformance.cases import Case
from dataflare.conformance.samples import problem_of_sample
from dataflare.errors import ConfigError, DataflareError, PluginError, WorldMismatch
from dataflare.grants import Grants
from dataflare.pipeline.benchmark import read_rows
from dataflare.runtime.arguments import ComponentFile, default_name
from dataflare.runtime.host import Host
from dataflare.security.settings import Security

__all__ = ["app"]

_SAMPLE_ROWS = 1_000
_NO_CONFIG = "{}"

app = GuardedTyper(help="Prove that a plugin or a host keeps the standard.", no_args_is_help=True)


@app.command("run")
def run(
    security: Security,
    component: Annotated[Path, typer.Argument(help="A plugin (.wasm).", show_default=False)],
    config: Config = _NO_CONFIG,
    sample: Annotated[
        Path | None,
        typer.Option(
            "--sample",
            help="Rows that the plugin takes, the first 1,000 of a CSV, JSON Lines, Parquet or Arrow file. For a "
            "destination at least 8, with differing texts of three letters or more if it writes files.",
            show_default=False,
        ),
    ] = None,
    profile: Profiles = "full",
    case: Cases = None,
    expect: Expectations = None,
    junit: JUnit = None,
    html: Html = None,
    certificate_out: Annotated[
        Path | None,
        typer.Option(
            "--certificate", help="Write a certificate to this file, if the plugin is conformant.", show_default=False
        ),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(help="The private key's file, for --certificate.", envvar="DATAFLARE_KEY", show_default=False),
    ] = None,
    passphrase_file: PassphraseFile = None,
    grant: GrantWords = None,
    limit: LimitWords = None,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Run the conformance suite over a plugin.

    Each case gets a host of its own, and copies of the directories that are granted: yours stay as they are.

    Exit codes: 0 the plugin is conformant; 1 it is not; 2 the suite or the command line failed, or what was given was
    not enough to see the plugin at work; 3 the file is not a plugin; 4 the plugin needs what is not granted.
    """
    with printed_errors(as_json=as_json), telling(component.name, quiet=as_json) as teller:
        chosen_profile = parse_profile(profile)
        given = parse_plugin(config, grant, limit)
        known = known_failures(expect)
        certifying = Certifying.parse(certificate_out, key, passphrase_file, component, case=case, expect=expect)
        rows = None if sample is None else pa.Table.from_batches([read_rows(sample, _SAMPLE_ROWS)])
        folder = compiled_folder(cache_dir)
        teller.doing("compiling, which takes some seconds the first time")
        with Host(cache_dir=folder, security=security) as host:
            # What is verified, and certified, is what is tested: the file may be exchanged before its cases load it.
            file = ComponentFile.read(component, signed=bool(security.trust), certified=bool(security.policy))
            tested = file.contents if certifying is None else certifying.component
            given |= {"name": default_name(component), "signature": file.signature, "certificate": file.certificate}
            inspected = host.inspect(tested)
            if inspected.kind is None:
                raise WorldMismatch("; ".join(inspected.problems), component=str(component))
            kind = inspected.kind
            cases = chosen_cases(kind, chosen_profile, case, known, expect)
            # What it may not use is told before the first case.
            with load_plugin(host, tested, given) as plugin:
                name = plugin.name if certifying is None else plugin.metadata.name
                grants, limits = plugin.grants, plugin.limits
        if rows is not None:
            _require_sample(rows, kind, grants, sample)
        subject = Subject(
            tested,
            kind,
            given["config"] or {},
            name=given["name"],
            sample=rows,
            grants=grants,
            limits=limits,
            cache_dir=folder,
            # The policy was asked; it knows nothing of the copies of directories.
            audit=security.audit,
        )
        options = {
            "--config": None if config == _NO_CONFIG else config,
            "--sample": sample,
            "--grant": grant,
            "--limit": limit,
            "--profile": None if profile == "full" else profile,
            "--cache-dir": cache_dir,
            "--policy": security.policy,
            "--trust": security.trust,
            "--audit": security.audit,
            "--access": security.access,
            "--principal": security.principal,
        }
        again = repeating("dataflare conformance run", component, options)
        _require_config(subject)
        result = run_suite(subject, cases, expected=known, progress=teller.results(cases, again))
        if certifying is not None and result.passed(skips=chosen_profile != "certified"):
            teller.doing("measuring for the certificate")
            certifying.write(result, subject, chosen_profile, inspected, name)
    with printed_errors(as_json=as_json):
        finish(result, component.name, kind, chosen_profile, again=again, junit=junit, html=html, as_json=as_json)


def _require_config(subject: Subject) -> None:
    """Ask the plugin whether it takes the configuration: without one with which it works, nothing can be tested."""
    with tempfile.TemporaryDirectory(prefix="dataflare-conformance-") as folder, subject.at_work(Path(folder)) as work:
        try:
            work.make()
        except PluginError as error:
            if error.error.case == "invalid-config":
                hint = "give the configuration with which it works"
                raise ConfigError(f"the plugin refuses it: {error.message}", where="--config", hint=hint) from error
        except DataflareError:
            pass  # what else it does is for the cases to judge


def _require_sample(rows: pa.Table, kind: str, grants: Grants, file: Path | None) -> None:
    files = any(each.access == "write" for each in grants.files.values())
    if problem := problem_of_sample(rows, kind, files=files):
        raise ConfigError(problem, where=f"--sample {file}", hint="add rows to it, or take another file")


app.command("host")(conformance_host.run_host)
app.command("adapter")(conformance_host.serve_host)
app.command("verify")(conformance_certificates.verify)


@app.command("list")
def list_cases(as_json: AsJson = False) -> None:
    """List the cases of the suite, with the duties that they test.

    Exit codes: 0 listed.
    """
    with printed_errors(as_json=as_json):
        cases, duties = load_cases(), load_duties()
        if as_json:
            write_json([{**each.model_dump(exclude={"steps"}), "asks": _asks(each, duties)} for each in cases])
        else:
            for each in cases:
                _show_case(each, duties)


def _asks(case: Case, duties: Mapping[str, Duty]) -> dict[str, dict[str, str]]:
    return {number: {"level": duties[number].level, "text": duties[number].text} for number in case.duties}


def _show_case(case: Case, duties: Mapping[str, Duty]) -> None:
    screen = stdout()
    screen.say(f"{case.name}: {case.title}")
    for number in case.duties:
        screen.say(f"  {number} {duties[number].level}: {duties[number].text}")
