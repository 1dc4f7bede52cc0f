"""Certificates of conformance: in-toto statements over DSSE, each about one component.

A certificate is a file beside the component, with the component's name and `.cert`. It has the results of the suite,
and covers the component with its manifest, as a signature does. The policy decides which certificates are required, and
names the keys that may certify. A plugin's signature cannot be used as a certificate: the types of the signed texts
differ. The formats: https://github.com/in-toto/attestation and https://github.com/secure-systems-lab/dsse
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import AwareDatetime, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from securesystemslib.dsse import Envelope

from dataflare.documents.models import StrictModel
from dataflare.errors import ConfigError, PermissionDenied
from dataflare.security import manifest as manifests
from dataflare.security.certificate_rules import SUITE, CertificateProfile, CertifierRule, is_enough
from dataflare.security.envelopes import (
    MAX_ENVELOPE_BYTES,
    canonical_json,
    envelope_bytes,
    is_made_by,
    parse_envelope,
    problem_of,
)
from dataflare.security.identifiers import Digest
from dataflare.security.keys import PrivateKey, PublicKey
from dataflare.user_files import find_file

__all__ = [
    "Certificate",
    "CertificateExpired",
    "CertificateInvalid",
    "CertificateMismatch",
    "CertificateRefused",
    "Findings",
    "Grade",
    "MalformedCertificate",
    "NoCertificate",
    "ProfileTooLow",
    "UntrustedCertifier",
    "certificate_path",
    "certify",
    "parse_certificate",
    "read_certificate",
    "verify_certificate",
]

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "urn:dataflare:conformance:v1"

Letter: TypeAlias = Literal["A", "B", "C", "D"]
_Line = Annotated[str, StringConstraints(max_length=300)]


class CertificateRefused(PermissionDenied):
    """A plugin's certificate does not let it run. `plugin` is the component's name, as far as it is known."""

    def __init__(self, message: str, *, plugin: str = "", hint: str = "") -> None:
        super().__init__(message, plugin=plugin, capability="certificate", hint=hint)


class NoCertificate(CertificateRefused):
    """There is no certificate."""


class MalformedCertificate(CertificateRefused):
    """The certificate is not an envelope, not one about conformance, or contradicts itself."""


class UntrustedCertifier(CertificateRefused):
    """No key that may certify has signed it."""


class CertificateInvalid(CertificateRefused):
    """The name of a key that may certify is on it, but the key did not make it."""


class CertificateMismatch(CertificateRefused):
    """It is another component's, the component was changed after it was certified, or a report has other outcomes."""


class CertificateExpired(CertificateRefused):
    """The suite that it speaks of is too old, or newer than this host knows."""


class ProfileTooLow(CertificateRefused):
    """Its profile demands less than the policy requires."""


class Grade(StrictModel):
    """A grade, A to D, and why it is not better."""

    grade: Letter
    reasons: Annotated[tuple[_Line, ...], Field(strict=False, max_length=20)] = ()


class Counts(StrictModel):
    """How many cases passed, and how many did not apply. With any other outcome, there is no certificate."""

    PASS: Annotated[int, Field(ge=1, le=1_000_000)]
    SKIP: Annotated[int, Field(ge=0, le=1_000_000)] = 0


class Findings(StrictModel):
    """What the suite found: the statement's predicate.

    Attributes:
        suite: The suite's version.
        profile: The profile that was run, whole.
        kind: The plugin's kind.
        manifest: Digest of the component's manifest; `None` where it has none.
        results: Digest of the outcomes of all cases.
        counts: How many cases had which outcome.
        rows_per_s: The rows that it took or returned per second, on the certifier's machine.
        performance: The class that follows from it.
        capabilities: What an operator must grant, by short name.
        quality: The grade of its conformance.
        security: The grade of what it asks for.
        issued_at: When it was issued, in UTC; not verified.
    """

    suite: Annotated[int, Field(ge=1, le=1_000_000)]
    profile: CertificateProfile
    kind: Literal["source", "destination", "processor", "transformer", "validator"]
    manifest: Digest | None
    results: Digest
    counts: Counts
    rows_per_s: Annotated[int, Field(ge=0, le=10**15)]
    performance: Letter
    capabilities: Annotated[tuple[_Line, ...], Field(strict=False, max_length=100)]
    quality: Grade
    security: Grade
    issued_at: AwareDatetime

    @model_validator(mode="after")
    def _keep_the_profile(self) -> Self:
        if self.profile == "certified" and self.counts.SKIP:
            raise ValueError("the profile `certified` allows no case to be skipped")
        best = "C" if self.profile == "core" else "B" if self.counts.SKIP else "A"
        if not best <= self.quality.grade <= "C":
            raise ValueError(f"such results have no quality of {self.quality.grade}")
        return self


class _Digests(StrictModel):
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Subject(StrictModel):
    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
    digest: _Digests


class _Statement(StrictModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: Annotated[tuple[_Subject, ...], Field(strict=False, min_length=1, max_length=1)]
    predicate_type: Literal["urn:dataflare:conformance:v1"] = Field(alias="predicateType")
    predicate: Findings


class Certificate:
    """A well-formed certificate that is not verified.

    Attributes:
        name: The plugin's name in the certificate.
        component: The digest of the certified component, without its manifest.
        findings: The results of the suite, as the certifier states them. Do not rely on them before verification.
        envelope: The envelope, as an object of securesystemslib.
    """

    def __init__(self, statement: _Statement, envelope: Envelope) -> None:
        (subject,) = statement.subject
        self.name = subject.name
        self.component = f"sha256:{subject.digest.sha256}"
        self.findings = statement.predicate
        self.envelope = envelope


def certify(component: bytes, findings: Findings, key: PrivateKey, *, name: str) -> bytes:
    """Certify a component.

    Args:
        component: The component.
        findings: The results of the suite; `findings.manifest` must be this component's.
        key: The key that certifies.
        name: The plugin's name.

    Returns:
        The contents of the `.cert` file.

    Raises:
        NotAComponent: Not a component, truncated or damaged.
        ManifestError: Its manifest cannot be used.
        ConfigError: The findings are for another manifest, or the name is not valid.
    """
    if findings.manifest != manifests.manifest_digest(component):
        raise ConfigError("the findings are of another manifest", where=name)
    digest = manifests.component_digest(component).removeprefix("sha256:")
    try:
        subject = (_Subject(name=name, digest=_Digests(sha256=digest)),)
        types: Any = {"_type": STATEMENT_TYPE, "predicateType": PREDICATE_TYPE}
        statement = _Statement(**types, subject=subject, predicate=findings)
    except ValidationError as error:
        raise ConfigError(f"a plugin named {name[:200]!r} cannot be certified") from error
    envelope = Envelope(canonical_json(statement), PAYLOAD_TYPE, {})
    envelope.sign(key.signer()).unrecognized_fields["key"] = str(key.public)
    return envelope_bytes(envelope)


def certificate_path(component: Path) -> Path:
    """Return the path of the certificate of a component's file."""
    return component.parent / f"{component.name}.cert"


def read_certificate(component: Path) -> bytes | None:
    """Read the certificate beside a component's file; `None` if there is none.

    Raises:
        ConfigError: It cannot be read, or is too long.
    """
    return find_file(certificate_path(component), MAX_ENVELOPE_BYTES)


def parse_certificate(data: bytes, *, plugin: str = "") -> Certificate:
    """Read a certificate without verifying it.

    Raises:
        MalformedCertificate: It is not a valid certificate; the message says why.
    """
    try:
        statement, envelope = parse_envelope(data, _Statement, payload_type=PAYLOAD_TYPE)
    except (ValueError, RecursionError) as error:
        raise MalformedCertificate(f"the certificate is malformed: {problem_of(error)}", plugin=plugin) from error
    return Certificate(statement, envelope)


def verify_certificate(
    component: bytes,
    certificate: bytes | None,
    *,
    needed: CertificateProfile,
    certifiers: CertifierRule,
    revoked: Mapping[str, str] = MappingProxyType({}),
    name: str = "",
) -> Certificate:
    """Verify a component's certificate. Nothing of the component is compiled or run.

    Args:
        component: The component.
        certificate: The contents of its `.cert` file; `None` if there is none.
        needed: The required profile; a higher one is accepted too.
        certifiers: The accepted keys and versions of the suite.
        revoked: Keys that no longer count, by their ids, with the reason.
        name: The component's name, for errors.

    Raises:
        NotAComponent: Not a component, truncated or damaged.
        ManifestError: Its manifest cannot be used.
        CertificateRefused: One of its subclasses says why: `NoCertificate`, `MalformedCertificate`,
            `UntrustedCertifier`, `CertificateInvalid`, `CertificateMismatch`, `CertificateExpired`, `ProfileTooLow`.
    """
    if certificate is None:
        raise NoCertificate(
            f"has no certificate, and one of the profile `{needed}` is required",
            plugin=name,
            hint="certify it (dataflare conformance run --certificate), or get its .cert file from its publisher",
        )
    found = parse_certificate(certificate, plugin=name)
    _check_keys(found, certifiers.keys, revoked, name)
    # Only from here on can its content be trusted.
    _check_component(found, component, name)
    _check_suite(found, certifiers.oldest_suite, name)
    _check_profile(found, needed, name)
    return found


def _check_keys(found: Certificate, keys: Iterable[str], revoked: Mapping[str, str], name: str) -> None:
    known = {key.id: key for key in map(PublicKey.parse, keys)}
    named = [each for each in found.envelope.signatures if each in known]
    signed = [known[each] for each in named if not _is_revoked(each, revoked)]
    if named and not signed:
        raise UntrustedCertifier(
            f"the key {named[0]}, which certified it, was revoked: {revoked[named[0]]}", plugin=name
        )
    if not signed:
        raise UntrustedCertifier(
            f"its certificate is signed by the key {', '.join(found.envelope.signatures)}, which may not certify",
            plugin=name,
            hint="add the certifier's public key to `certificates: keys:` of the policy, if it is to be trusted",
        )
    if not any(is_made_by(found.envelope, key) for key in signed):
        raise CertificateInvalid(
            f"the certificate of the key {signed[0].id} is not genuine: it was changed, or it is forged", plugin=name
        )


def _is_revoked(key_id: str, revoked: Mapping[str, str]) -> bool:
    return key_id in revoked


def _check_component(found: Certificate, component: bytes, name: str) -> None:
    manifest = manifests.manifest_digest(component, name=name)  # which names a component that is damaged
    for what, certified, actual in (
        ("component", found.component, manifests.component_digest(component)),
        ("manifest", found.findings.manifest, manifest),
    ):
        if certified != actual:
            raise CertificateMismatch(
                f"the certificate is for the {what} {certified or 'none'}, not for this one, {actual or 'none'}",
                plugin=name,
                hint="the component was changed after it was certified, or the certificate belongs to another one",
            )


def _check_suite(found: Certificate, oldest: int, name: str) -> None:
    suite = found.findings.suite
    if suite < oldest:
        raise CertificateExpired(
            f"its certificate is of suite {suite}, and suite {oldest} is the oldest that is accepted",
            plugin=name,
            hint="certify it again, with a current version",
        )
    if suite > SUITE:
        raise CertificateExpired(
            f"its certificate is of suite {suite}, and this host knows suites up to {SUITE}",
            plugin=name,
            hint="install a newer version of dataflare",
        )


def _check_profile(found: Certificate, needed: CertificateProfile, name: str) -> None:
    if not is_enough(found.findings.profile, needed):
        raise ProfileTooLow(
            f"its certificate is of the profile `{found.findings.profile}`, and `{needed}` is required", plugin=name
        )
