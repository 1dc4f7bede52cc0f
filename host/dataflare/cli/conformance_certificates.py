"""Certificates: `dataflare conformance run --certificate` writes one, `dataflare conformance verify` verifies it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import typer

from dataflare.cli.conformance_common import parse_profile
from dataflare.cli.keys import read_passphrase
from dataflare.cli.options import AsJson
from dataflare.cli.output import by_the_way, printed_errors, write_json
from dataflare.cli.screen import stdout
from dataflare.conformance import Subject, SuiteResult, load_cases
from dataflare.conformance.cases import Profile, select
from dataflare.conformance.grades import performance_class, quality_grade, results_digest, security_grade
from dataflare.conformance.runner import CaseResult, Outcome
from dataflare.errors import ConfigError
from dataflare.pipeline.benchmark import measure
from dataflare.runtime.inspection import Inspection
from dataflare.security import manifest as manifests
from dataflare.security.atomic_files import write_atomically
from dataflare.security.audit import utc_now
from dataflare.security.certificate_rules import SUITE, CertifierRule
from dataflare.security.certificates import (
    Certificate,
    CertificateMismatch,
    Counts,
    Findings,
    Grade,
    certificate_path,
    certify,
    read_certificate,
    verify_certificate,
)
from dataflare.security.keys import PrivateKey, PublicKey
from dataflare.user_files import read_component, read_file

__all__ = ["Certifying", "verify"]

_MEASURED_S = 1.0
_MEASURED_ROWS = 20_000
_MAX_REPORT = 16 * 2**20


class Certifying:
    """A certificate that is to be written when a plugin turns out to be conformant.

    Args:
        output: Where it is written to.
        key: Whose certificate it is.
        component: The component, over which the suite must run too: the file may change during the run.
    """

    def __init__(self, output: Path, key: PrivateKey, component: bytes) -> None:
        self._output = output
        self._key = key
        self.component = component

    @classmethod
    def parse(
        cls, output: Path | None, key: Path | None, passphrase_file: Path | None, component: Path, **partial: Any
    ) -> Certifying | None:
        """Read the options; `None` where no certificate is asked for.

        Args:
            output: `--certificate`.
            key: `--key`.
            passphrase_file: `--passphrase-file`.
            component: The component.
            partial: Options with which not all of the suite counts, by name; none of them may be given.

        Raises:
            ConfigError: One is missing, or is not allowed beside the others, or the key cannot be read.
        """
        if output is None:
            if key is not None:
                raise ConfigError("signs a certificate, and none is asked for", where="--key", hint="add --certificate")
            return None
        if key is None:
            raise ConfigError("needs a key that signs it", where="--certificate", hint="add --key FILE")
        for name, value in partial.items():
            if value:
                raise ConfigError("is about the whole suite", where="--certificate", hint=f"leave --{name} out")
        private = PrivateKey.read(key, passphrase=read_passphrase(passphrase_file))
        return cls(output, private, read_component(component))

    def write(self, result: SuiteResult, subject: Subject, profile: Profile, found: Inspection, name: str) -> None:
        """Measure the plugin, grade it, and write its certificate."""
        rows_per_s = _rows_per_s(subject)
        quality, why = quality_grade(result, profile=profile)
        security, asked = security_grade(found.capabilities, found.wasi)
        counts = result.counts
        findings = Findings(
            suite=SUITE,
            profile=profile,
            kind=subject.kind,  # type: ignore[arg-type]  # one of the kinds, since it was loaded
            manifest=manifests.manifest_digest(self.component),
            results=results_digest(result, kind=subject.kind, profile=profile),
            counts=Counts(PASS=counts.get("PASS", 0), SKIP=counts.get("SKIP", 0)),
            rows_per_s=int(rows_per_s),
            performance=performance_class(rows_per_s),
            capabilities=found.capabilities,
            quality=Grade(grade=quality, reasons=tuple(why)),
            security=Grade(grade=security, reasons=tuple(asked)),
            issued_at=utc_now(),
        )
        write_atomically(self._output, certify(self.component, findings, self._key, name=name))


def _rows_per_s(subject: Subject) -> float:
    with (
        tempfile.TemporaryDirectory(prefix="dataflare-conformance-") as folder,
        subject.at_work(Path(folder)) as work,
    ):
        rows = subject.rows
        many = pa.concat_tables([rows] * max(1, _MEASURED_ROWS // max(1, rows.num_rows))).combine_chunks()
        return measure(work.make(), next(iter(many.to_batches()), None), seconds=_MEASURED_S).rows_per_s


def verify(
    component: Annotated[Path, typer.Argument(help="A component (.wasm).", show_default=False)],
    trusted_key: Annotated[
        list[Path], typer.Option("--trusted-key", help="The .pub file of one who may certify; may be repeated.")
    ],
    profile: Annotated[str, typer.Option("--profile", help="The least profile that is enough.")] = "core",
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", help="The certificate.", show_default="the .cert file beside the component"),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            help="A report (`conformance run --json`) whose outcomes must be those that were certified, with every "
            "case of the profile.",
            show_default=False,
        ),
    ] = None,
    oldest_suite: Annotated[
        int, typer.Option("--oldest-suite", min=1, max=SUITE, help="The oldest version of the suite that is accepted.")
    ] = SUITE,
    as_json: AsJson = False,
) -> None:
    """Verify a component's certificate of conformance. Nothing of the component is compiled or run.

    Exit codes: 0 it is good; 2 a file cannot be read or is wrong; 3 no component; 4 it is not good, and why.
    """
    with printed_errors(as_json=as_json):
        needed = parse_profile(profile)
        certifiers = CertifierRule(
            keys=tuple(str(PublicKey.read(each)) for each in trusted_key), oldest_suite=oldest_suite
        )
        data = read_component(component)
        written = read_certificate(component) if certificate is None else read_file(certificate, _MAX_REPORT)
        found = verify_certificate(data, written, needed=needed, certifiers=certifiers, name=str(component))
        if report is not None:
            _compare(found, report)
        with by_the_way():
            if as_json:
                write_json(_document(component, certificate or certificate_path(component), found))
            else:
                _show(component, found)


def _compare(found: Certificate, report: Path) -> None:
    """Demand that a report has the outcomes that were certified, and all cases of their profile."""
    findings = found.findings
    try:
        listed = json.loads(read_file(report, _MAX_REPORT), object_pairs_hook=manifests.unique_keys)["cases"]
        cases = {each["name"]: Outcome(each["outcome"]) for each in listed}
        if len(cases) < len(listed):
            raise ValueError("a case is there twice")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(f"is not a report of the suite: {error}", where=str(report)) from error
    every = {each.name: each for each in select(load_cases(), kind=findings.kind, profile=findings.profile)}
    if set(cases) != set(every):
        differing = sorted(set(cases) ^ set(every))
        raise CertificateMismatch(
            f"the report lacks or adds cases of the profile `{findings.profile}`: {', '.join(differing[:5])}",
            plugin=found.name,
        )
    result = SuiteResult(tuple(CaseResult(every[name], outcome, 0.0) for name, outcome in cases.items()))
    if results_digest(result, kind=findings.kind, profile=findings.profile) != findings.results:
        raise CertificateMismatch("the report's outcomes are not those that were certified", plugin=found.name)


def _document(component: Path, certificate: Path, found: Certificate) -> dict[str, Any]:
    return {
        "file": str(component),
        "name": found.name,
        "digest": found.component,
        "certificate": str(certificate),
        **found.findings.model_dump(mode="json"),
    }


def _show(component: Path, found: Certificate) -> None:
    findings = found.findings
    say = stdout().say
    say(
        f"{component}: {found.name}, a {findings.kind}, is certified for `{findings.profile}` by suite {findings.suite}"
    )
    say(f"  issued: {findings.issued_at.isoformat(' ', 'minutes')}, as the certifier says")
    say(f"  performance: {findings.performance} ({findings.rows_per_s:,} rows/s)")
    for what, grade in (("quality", findings.quality), ("security", findings.security)):
        say(f"  {what}: {grade.grade}")
        for reason in grade.reasons:
            say(f"    {reason}")
