"""Attacks on certificates of conformance, which a policy may demand of plugins."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pydantic import Field
from securesystemslib.dsse import Envelope

from arena import Arena, Mutation, Package, answers, attack, bystander, key
from dataflare import Policy
from dataflare.security import certificates
from dataflare.security.certificate_rules import SUITE, CertifierRule
from dataflare.security.certificates import (
    CertificateExpired,
    CertificateInvalid,
    CertificateMismatch,
    Counts,
    Findings,
    Grade,
    MalformedCertificate,
    NoCertificate,
    ProfileTooLow,
    UntrustedCertifier,
    certify,
)
from dataflare.security.envelopes import envelope_bytes
from dataflare.security.manifest import manifest_digest
from dataflare.security.sections import append_section


def certificate_of(binary: bytes, *, by: str = "certifier", **findings: Any) -> bytes:
    """A certificate of the profile `full`, apart from what is said."""
    said = {"suite": SUITE, "profile": "full", "kind": "processor", "counts": Counts(PASS=20), **findings}
    found = Findings(
        manifest=manifest_digest(binary),
        results=f"sha256:{'0' * 64}",
        rows_per_s=1000,
        performance="D",
        capabilities=(),
        quality=Grade(grade="C"),
        security=Grade(grade="A"),
        issued_at=datetime(2026, 1, 1, tzinfo=UTC),
        **said,
    )
    return certify(binary, found, key(by), name="hostile")


def demanding(needed: str = "full", *, oldest: int = SUITE) -> Policy:
    """A policy that demands a certificate of the plugin."""
    document = {
        "version": 1,
        "certificates": {"keys": [str(key("certifier").public)], "oldest_suite": oldest},
        "plugins": {"hostile": {"require": {"certificate": needed}}},
    }
    return Policy.parse(json.dumps(document))


def refused(
    arena: Arena, error: type[Exception], package: Package, certificate: bytes | None, needed: str = "full"
) -> None:
    """A certificate for a package does not let it in, and a good one does."""
    host = arena.host(policy=demanding(needed))
    good = certificate_of(package.binary, profile="certified")
    arena.load(package.binary, host, certificate=good).close()
    arena.refused_load(error, lambda: arena.load(package.binary, host, certificate=certificate))


def rewritten(certificate: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A certificate whose statement is another one, with the signature that was there."""
    envelope = json.loads(certificate)
    statement = json.loads(base64.b64decode(envelope["payload"]))
    change(statement)
    envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    return json.dumps(envelope).encode()


@attack("signatures")
def plugin_without_a_certificate(arena: Arena) -> None:
    """Load a plugin without a certificate where the policy demands one: by bytes, by file, and for its metadata."""
    package = arena.package()
    refused(arena, NoCertificate, package, None)
    host = arena.host(policy=demanding())
    file = arena.folder / "hostile.wasm"
    file.write_bytes(package.binary)
    arena.refused_load(NoCertificate, lambda: host.load(file))
    arena.raises(NoCertificate, lambda: host.metadata(file))
    fit: Any = answers(None)
    arena.raises(NoCertificate, lambda: host.instantiate(file, fit=fit, imports={}))
    file.with_name("hostile.wasm.cert").write_bytes(certificate_of(package.binary))
    host.load(file).close()
    assert host.metadata(file).name


@attack("signatures")
def certificate_by_a_stranger(arena: Arena) -> None:
    """Certify your own plugin with a key that the policy does not name, under that key's id or a trusted key's."""
    package = arena.package()
    own = certificate_of(package.binary, by="stranger")
    refused(arena, UntrustedCertifier, package, own)
    forged = own.replace(key("stranger").public.id.encode(), key("certifier").public.id.encode())
    refused(arena, CertificateInvalid, package, forged)


@attack("signatures")
def certificate_that_was_changed(arena: Arena) -> None:
    """Write a higher profile, another digest or a newer suite into a genuine certificate."""
    package, other = arena.package(), arena.package(version="2.0.0")
    core = certificate_of(package.binary, profile="core")

    def full(statement: dict[str, Any]) -> None:
        statement["predicate"]["profile"] = "full"

    refused(arena, CertificateInvalid, package, rewritten(core, full))

    def of_other(statement: dict[str, Any]) -> None:
        statement["predicate"]["manifest"] = manifest_digest(other.binary)

    refused(arena, CertificateInvalid, other, rewritten(certificate_of(package.binary), of_other))


@attack("signatures")
def certificate_of_another_component(arena: Arena) -> None:
    """Put the certificate of a good plugin beside a bad one, or beside the same one with another manifest."""
    package = arena.package()
    stranger = append_section(package.binary[:8], "", b"other code")
    refused(arena, CertificateMismatch, package, certificate_of(stranger))
    greedy = arena.package(asks={"clock": True})
    refused(arena, CertificateMismatch, package, certificate_of(greedy.binary))


@attack("signatures")
def section_behind_a_certified_component(arena: Arena) -> None:
    """Append a section to a certified component: code's worth of bytes that nobody tested."""
    bare = bystander().binary
    good = certificate_of(bare)
    host = arena.host(policy=demanding())
    arena.load(bare, host, certificate=good, name="hostile").close()
    for name in ("dataflare:certificate", "producers", ""):
        changed = append_section(bare, name, b"x" * 1000)
        error = arena.raises_any(Exception, lambda c=changed: arena.load(c, host, certificate=good, name="hostile"))
        assert isinstance(error, CertificateMismatch), error


@attack("signatures")
def certificate_of_an_old_suite(arena: Arena) -> None:
    """Show a certificate of an older suite without the cases that the plugin fails, or of a future suite."""
    package = arena.package()
    future = certificate_of(package.binary, suite=SUITE + 1)
    refused(arena, CertificateExpired, package, future)
    old = CertifierRule.model_construct(keys=(str(key("certifier").public),), oldest_suite=SUITE + 1)
    arena.raises(
        CertificateExpired,
        lambda: certificates.verify_certificate(
            package.binary, certificate_of(package.binary), needed="core", certifiers=old
        ),
    )


@attack("signatures")
def certificate_of_a_lower_profile(arena: Arena) -> None:
    """Show a certificate of `core` where `full` is demanded, and one of `certified` with cases that were skipped."""
    package = arena.package()
    refused(arena, ProfileTooLow, package, certificate_of(package.binary, profile="core"))
    refused(arena, ProfileTooLow, package, certificate_of(package.binary), "certified")
    # A certifier's own program need not check what it signs.
    lying = {"profile": "certified", "counts": {"PASS": 20, "SKIP": 3}}
    refused(arena, MalformedCertificate, package, resigned(certificate_of(package.binary), lying), "certified")


def resigned(certificate: bytes, predicate: dict[str, Any]) -> bytes:
    """A certificate with another predicate, signed by the certifier's own key."""
    statement = json.loads(base64.b64decode(json.loads(certificate)["payload"]))
    statement["predicate"].update(predicate)
    return signed(json.dumps(statement).encode())


def signed(payload: bytes) -> bytes:
    """An envelope of anything, signed by the certifier."""
    envelope = Envelope(payload, certificates.PAYLOAD_TYPE, {})
    envelope.sign(key("certifier").signer())
    return json.dumps(envelope.to_dict()).encode()


@attack("signatures")
def signature_as_a_certificate(arena: Arena) -> None:
    """Show a genuine signature of the plugin, by a key that may also certify, as its certificate."""
    package = arena.package(by="certifier")
    refused(arena, MalformedCertificate, package, package.signature)


@attack("signatures")
def certificate_with_two_meanings(arena: Arena) -> None:
    """Repeat a key in what is signed, so that readers differ about the profile."""
    package = arena.package()
    statement = base64.b64decode(json.loads(certificate_of(package.binary, profile="core"))["payload"])
    doubled = statement.replace(b'"profile":"core"', b'"profile":"core","profile":"full"')
    refused(arena, MalformedCertificate, package, signed(doubled))


HERE = "dataflare.security.certificates"


@attack("revocation")
def certificate_by_a_key_that_was_revoked(arena: Arena) -> None:
    """Certify a plugin with a stolen key, which the trust policy has revoked, and the policy still names."""
    package = arena.package(by="acme")
    certificate = certificate_of(package.binary)
    for revoked, works in (({}, True), ({key("certifier").public.id: "stolen"}, False)):
        trust = arena.trust("acme", revoked={"keys": revoked})
        host = arena.host(policy=demanding(), trust=trust)

        def load(host: Any = host) -> Any:
            return arena.load(package.binary, host, signature=package.signature, certificate=certificate)

        if works:
            load().close()
        else:
            arena.refused_load(UntrustedCertifier, load, says="was revoked: stolen")


@attack("signatures")
def statement_of_another_kind_as_a_certificate(arena: Arena) -> None:
    """Show a genuine statement of a certifier that is not a certificate, or that is about two components."""
    package = arena.package()
    other = {"name": "other", "digest": {"sha256": "0" * 64}}

    def without(name: str) -> Callable[[dict[str, Any]], object]:
        return lambda statement: statement.pop(name)

    for change in (
        without("_type"),
        without("predicateType"),
        lambda statement: statement["subject"].append(other),
        lambda statement: statement["subject"].insert(0, other),
        lambda statement: statement.update(predicateType="https://slsa.dev/provenance/v1"),
    ):
        statement = json.loads(base64.b64decode(json.loads(certificate_of(package.binary))["payload"]))
        change(statement)
        envelope = Envelope(json.dumps(statement).encode(), certificates.PAYLOAD_TYPE, {})
        envelope.sign(key("certifier").signer())
        refused(arena, MalformedCertificate, package, envelope_bytes(envelope))


class _AnyStatement(certificates._Statement):
    type_: str = Field("", alias="_type")  # type: ignore[assignment]  # more than the real one takes


MUTATIONS = [
    Mutation(f"{HERE}:_is_revoked", answers(False), ("certificate_by_a_key_that_was_revoked",)),
    Mutation(
        "dataflare.security.policy:Policy.certificate_needed",
        answers(None),
        ("plugin_without_a_certificate", "signature_as_a_certificate"),
    ),
    Mutation(f"{HERE}:_Statement", _AnyStatement, ("statement_of_another_kind_as_a_certificate",)),
    Mutation(f"{HERE}:_check_keys", answers(None), ("certificate_by_a_stranger", "certificate_that_was_changed")),
    Mutation(f"{HERE}:is_made_by", answers(True), ("certificate_that_was_changed",)),
    Mutation(
        f"{HERE}:_check_component",
        answers(None),
        ("certificate_of_another_component", "section_behind_a_certified_component"),
    ),
    Mutation(f"{HERE}:_check_suite", answers(None), ("certificate_of_an_old_suite",)),
    Mutation(f"{HERE}:_check_profile", answers(None), ("certificate_of_a_lower_profile",)),
    Mutation("dataflare.security.manifest:unique_keys", lambda pairs: dict(pairs), ("certificate_with_two_meanings",)),
]
