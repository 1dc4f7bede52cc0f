"""Attacks on what a signature covers, and on those who sign beside others."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from typing import Any

from arena import Arena, Mutation, Package, answers, attack, bystander, key
from dataflare.errors import ConfigError, NotAComponent
from dataflare.security.keys import PrivateKey
from dataflare.security.manifest import MANIFEST_SECTION, MalformedManifest, component_digest
from dataflare.security.sections import append_section, custom_sections, digest_without, without_sections
from dataflare.security.signatures import (
    DigestMismatch,
    MalformedSignature,
    Revoked,
    SignatureInvalid,
    SignatureRefused,
    add_signature,
    sign,
)

HOST_VERSION = {"name": "hostile", "version": "1.0.0"}


def _first_manifest(component: bytes, *, name: str = "") -> bytes | None:
    return next((each.payload for each in custom_sections(component) if each.name == MANIFEST_SECTION), None)


def revoked_file(arena: Arena) -> tuple[Package, Any]:
    """A package, and a host whose operator revoked the package's very file."""
    package = arena.package()
    digest = f"sha256:{sha256(package.binary).hexdigest()}"
    return package, arena.host(trust=arena.trust(revoked={"digests": {digest: "leaks rows"}}))


@attack("signatures")
def section_appended_to_a_revoked_file(arena: Arena) -> None:
    """Append a section that is kept for signatures to a revoked file, so that its digest is another one."""
    package, host = revoked_file(arena)
    arena.refused_load(Revoked, lambda: arena.load(package.binary, host, signature=package.signature))
    for name in ("dataflare:signature", "producers", ""):
        changed = append_section(package.binary, name, b"x" * 1000)
        error = arena.raises_any(Exception, lambda c=changed: arena.load(c, host, signature=package.signature))
        assert isinstance(error, SignatureRefused | MalformedManifest), error


@attack("signatures")
def manifest_moved_within_a_revoked_file(arena: Arena) -> None:
    """Move the manifest to the front of a revoked file: the same sections, the same signature, another digest."""
    package, host = revoked_file(arena)
    rest = without_sections(package.binary, {MANIFEST_SECTION})
    payload = _first_manifest(package.binary)
    assert payload is not None
    moved = append_section(rest[:8], MANIFEST_SECTION, payload) + rest[8:]
    assert component_digest(moved) == component_digest(package.binary)
    arena.refused_load(MalformedManifest, lambda: arena.load(moved, host, signature=package.signature))


@attack("signatures")
def manifests_length_written_in_more_bytes(arena: Arena) -> None:
    """Write the length of a revoked file's manifest in five bytes, where fewer do."""
    package, host = revoked_file(arena)
    rest = without_sections(package.binary, {MANIFEST_SECTION})
    payload = _first_manifest(package.binary)
    assert payload is not None
    contents = bytes([len(MANIFEST_SECTION)]) + MANIFEST_SECTION.encode() + payload
    length = bytes([len(contents) >> shift & 0x7F | 0x80 for shift in (0, 7, 14, 21)])
    padded = rest + b"\0" + length + b"\0" + contents
    assert _first_manifest(padded) == payload and component_digest(padded) == component_digest(package.binary)
    arena.refused_load(MalformedManifest, lambda: arena.load(padded, host, signature=package.signature))


@attack("signatures")
def section_beside_a_pinned_component(arena: Arena) -> None:
    """Hide code's worth of bytes in a section beside a component that the policy pins by its digest."""
    package = arena.package()
    policy = arena.policy({"digests": [component_digest(package.binary)]}, clock=True)
    host = arena.host(policy=policy)
    arena.load(package.binary, host).close()
    rest = without_sections(package.binary, {MANIFEST_SECTION})
    payload = _first_manifest(package.binary)
    assert payload is not None
    bad = append_section(append_section(rest, "dataflare:signature", b"more"), MANIFEST_SECTION, payload)
    arena.raises_any(Exception, lambda: arena.load(bad, host))
    assert arena.events(decision="deny", function="load"), arena.shown_log()


def countersigned(arena: Arena, package: Package, signature: bytes, **identity: str) -> bytes:
    return add_signature(package.binary, signature, key("auditor"), **identity)


@attack("signatures")
def false_signature_that_is_signed_beside(arena: Arena) -> None:
    """Have an auditor sign beside a signature that its key did not make."""
    package = arena.package()
    countersigned(arena, package, package.signature)
    forged = json.loads(package.signature)
    forged["signatures"][0]["sig"] = base64.b64encode(bytes(64)).decode()
    arena.raises(SignatureInvalid, lambda: countersigned(arena, package, json.dumps(forged).encode()))
    for stranger in (str(PrivateKey.generate().public), None):
        forged = json.loads(package.signature)
        forged["signatures"][0]["key"] = stranger
        arena.raises(SignatureInvalid, lambda f=forged: countersigned(arena, package, json.dumps(f).encode()))


@attack("signatures")
def false_name_that_is_signed_beside(arena: Arena) -> None:
    """Have an auditor sign beside a statement that gives the component another plugin's name."""
    bare = Package(bystander().binary, sign(bystander().binary, key("mallory"), name="rates", version="1.0.0"))
    arena.raises(ConfigError, lambda: countersigned(arena, bare, bare.signature), says="have to be given")
    arena.raises(DigestMismatch, lambda: countersigned(arena, bare, bare.signature, **HOST_VERSION), says="rates")
    package = arena.package()
    signed = json.loads(package.signature)
    statement = json.loads(base64.b64decode(signed["payload"]))
    signed["payload"] = base64.b64encode(json.dumps({**statement, "name": "rates"}).encode()).decode()
    arena.raises(DigestMismatch, lambda: countersigned(arena, package, json.dumps(signed).encode()), says="rates")


@attack("signatures")
def signature_that_readers_understand_differently(arena: Arena) -> None:
    """Repeat keys of a signature's JSON, outside or within what is signed, so that two readers see two statements."""
    package = arena.package()
    host = arena.host(trust=arena.trust())
    text = package.signature.decode()
    twice = text.replace('"payloadType":', '"payloadType": "text/plain", "payloadType":').encode()
    for use in (
        lambda: countersigned(arena, package, twice),
        lambda: arena.load(package.binary, host, signature=twice),
    ):
        arena.raises(MalformedSignature, use, says="repeated")
    signed = json.loads(text)
    payload = base64.b64decode(signed["payload"]).decode().replace('"name":', '"name":"rates","name":')
    signed["payload"] = base64.b64encode(payload.encode()).decode()
    arena.raises(MalformedSignature, lambda: countersigned(arena, package, json.dumps(signed).encode()), says="repeat")


@attack("files-in")
def component_of_a_million_sections(arena: Arena) -> None:
    """Have so many sections that reading their names alone takes minutes."""
    component = bystander().binary + b"\0\2\1x" * 1_000_000
    host = arena.host(trust=arena.trust())
    arena.refused_load(NotAComponent, lambda: arena.load(component, host, signature=b""), says="sections")


MUTATIONS = [
    Mutation(
        "dataflare.security.trust:TrustPolicy._check_digests", answers(None), ("section_appended_to_a_revoked_file",)
    ),
    Mutation(
        "dataflare.security.manifest:read_raw",
        _first_manifest,
        ("manifest_moved_within_a_revoked_file", "manifests_length_written_in_more_bytes"),
    ),
    Mutation(
        "dataflare.security.manifest:component_digest",
        lambda component: digest_without(component, {MANIFEST_SECTION, "dataflare:signature"}),
        ("section_beside_a_pinned_component",),
    ),
    Mutation(
        "dataflare.security.signatures:SignedStatement.require_genuine",
        answers(None),
        ("false_signature_that_is_signed_beside",),
    ),
    Mutation(
        "dataflare.security.signatures:_identity",
        lambda component, name, version, file: ("rates", "1.0.0"),
        ("false_name_that_is_signed_beside",),
    ),
    Mutation("dataflare.security.manifest:unique_keys", dict, ("signature_that_readers_understand_differently",)),
    Mutation("dataflare.security.sections:_MAX_SECTIONS", 2**30, ("component_of_a_million_sections",)),
]
