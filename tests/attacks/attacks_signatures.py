"""Attacks on signatures, trust and identity."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from securesystemslib.dsse import Envelope

from arena import Arena, Mutation, answers, attack, bystander, key
from dataflare.errors import ConfigError, PermissionDenied
from dataflare.runtime.arguments import ComponentFile
from dataflare.security.admission import Identity
from dataflare.security.capability import Needs
from dataflare.security.envelopes import parse_envelope
from dataflare.security.keys import PrivateKey, PublicKey
from dataflare.security.manifest import (
    MANIFEST_SECTION,
    DuplicateManifest,
    MalformedManifest,
    Manifest,
    component_digest,
    embed,
)
from dataflare.security.sections import append_section
from dataflare.security.signatures import (
    DigestMismatch,
    MalformedSignature,
    Revoked,
    SignatureInvalid,
    SignedStatement,
    SigningKeyExpired,
    Unsigned,
    UntrustedKey,
    parse_signature,
)
from dataflare.security.trust import TrustedKey, TrustPolicy, Verified


@attack("signatures")
def unsigned_component_is_loaded(arena: Arena) -> None:
    """Load a component without a signature where signatures are needed."""
    package = arena.package()
    host = arena.host(trust=arena.trust())
    arena.refused_load(Unsigned, lambda: arena.load(package.binary, host))


@attack("signatures")
def signed_file_without_its_signature(arena: Arena) -> None:
    """Delete the `.sig` file beside a component, hoping that nobody looks."""
    package = arena.package()
    file = arena.folder / "plugin.wasm"
    file.write_bytes(package.binary)
    file.with_name("plugin.wasm.sig").write_bytes(package.signature)
    host = arena.host(trust=arena.trust())
    host.load(file).close()
    file.with_name("plugin.wasm.sig").unlink()
    arena.refused_load(Unsigned, lambda: host.load(file))


@attack("signatures")
def code_changed_after_signing(arena: Arena) -> None:
    """Change a component after it was signed."""
    package = arena.package()
    host = arena.host(trust=arena.trust())
    # Before its manifest, and behind it, where no section may be at all.
    before = arena.package(append_section(bystander().binary, "more", b"code")).binary
    for changed in (before, append_section(package.binary, "more", b"code")):
        arena.refused_load(
            DigestMismatch, lambda changed=changed: arena.load(changed, host, signature=package.signature)
        )


@attack("signatures")
def manifest_changed_after_signing(arena: Arena) -> None:
    """Ask for more than what was signed, by another manifest."""
    package = arena.package()
    wider = Manifest.model_validate_json(
        '{"name": "hostile", "version": "1.0.0", "kind": "processor", "publisher": "acme",'
        ' "asks": {"secrets": ["token"]}}'
    )
    host = arena.host(trust=arena.trust())
    changed = embed(package.binary, wider)
    arena.refused_load(DigestMismatch, lambda: arena.load(changed, host, signature=package.signature))


@attack("signatures")
def manifest_removed_after_signing(arena: Arena) -> None:
    """Take the manifest away, so that nothing is asked for."""
    package = arena.package()
    host = arena.host(trust=arena.trust())
    arena.refused_load(DigestMismatch, lambda: arena.load(bystander().binary, host, signature=package.signature))


@attack("signatures")
def signature_of_another_component(arena: Arena) -> None:
    """Put the signature of a good component beside a bad one."""
    good, bad = arena.package(), arena.package(append_section(bystander().binary, "bad", b"code"))
    host = arena.host(trust=arena.trust())
    arena.refused_load(DigestMismatch, lambda: arena.load(bad.binary, host, signature=good.signature))


@attack("signatures")
def signed_by_a_stranger(arena: Arena) -> None:
    """Sign with a key that the operator does not know."""
    package = arena.package(signer="mallory")
    host = arena.host(trust=arena.trust())
    arena.refused_load(UntrustedKey, lambda: arena.load(package.binary, host, signature=package.signature))


@attack("signatures")
def forged_under_a_trusted_keys_name(arena: Arena) -> None:
    """Put a trusted key's id on a signature that another key made."""
    package = arena.package(signer="mallory")
    envelope = json.loads(package.signature)
    envelope["signatures"][0]["keyid"] = key("acme").public.id
    forged = json.dumps(envelope).encode()
    host = arena.host(trust=arena.trust())
    arena.refused_load(SignatureInvalid, lambda: arena.load(package.binary, host, signature=forged))


@attack("signatures")
def statement_rewritten_within_its_envelope(arena: Arena) -> None:
    """Keep the signature, and rewrite what it signs to name the bad component."""
    good, bad = arena.package(), arena.package(append_section(bystander().binary, "bad", b"code"))
    envelope = json.loads(good.signature)
    statement = json.loads(base64.b64decode(envelope["payload"]))
    statement["component"] = component_digest(bad.binary)
    envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    forged = json.dumps(envelope).encode()
    host = arena.host(trust=arena.trust())
    arena.refused_load(SignatureInvalid, lambda: arena.load(bad.binary, host, signature=forged))


@attack("signatures")
def signed_with_an_expired_key(arena: Arena) -> None:
    """Use a key after the operator's trust in it has ended."""
    package = arena.package()
    host = arena.host(trust=arena.trust(more={"expires": "2020-01-01T00:00:00Z"}))
    arena.refused_load(SigningKeyExpired, lambda: arena.load(package.binary, host, signature=package.signature))


@attack("signatures")
def signed_with_a_stolen_key(arena: Arena) -> None:
    """Use a key that was revoked."""
    package = arena.package()
    host = arena.host(trust=arena.trust(revoked={"keys": {key("acme").public.id: "stolen"}}))
    arena.refused_load(Revoked, lambda: arena.load(package.binary, host, signature=package.signature), says="stolen")


@attack("signatures")
def component_that_was_revoked(arena: Arena) -> None:
    """Bring back a version that was found to be bad, well signed."""
    package = arena.package()
    host = arena.host(trust=arena.trust(revoked={"digests": {component_digest(package.binary): "leaks rows"}}))
    arena.refused_load(Revoked, lambda: arena.load(package.binary, host, signature=package.signature), says="leaks")


@attack("signatures")
def key_of_another_plugin(arena: Arena) -> None:
    """Sign with a key that is trusted, except for other plugins only."""
    package = arena.package()
    host = arena.host(trust=arena.trust(more={"plugins": ["another"]}))
    arena.refused_load(UntrustedKey, lambda: arena.load(package.binary, host, signature=package.signature))


@attack("signatures")
def publisher_that_did_not_sign(arena: Arena) -> None:
    """Claim a well-known publisher in the manifest, and sign with one's own trusted key."""
    package = arena.package(by="bigcorp", signer="acme")
    host = arena.host(trust=arena.trust("acme", "bigcorp"))
    arena.refused_load(
        UntrustedKey, lambda: arena.load(package.binary, host, signature=package.signature), says="bigcorp"
    )


@attack("signatures")
def one_signature_where_two_are_needed(arena: Arena) -> None:
    """Get past a threshold with one key, and its signature repeated."""
    package = arena.package()
    host = arena.host(trust=arena.trust("acme", "reviewer", threshold=2))
    arena.refused_load(UntrustedKey, lambda: arena.load(package.binary, host, signature=package.signature))
    envelope = json.loads(package.signature)
    envelope["signatures"] *= 2
    twice = json.dumps(envelope).encode()
    arena.refused_load(MalformedSignature, lambda: arena.load(package.binary, host, signature=twice))


@attack("signatures")
def envelope_of_another_kind(arena: Arena) -> None:
    """Present a genuine signature of something that is not a plugin."""
    package = arena.package()
    signed = parse_signature(package.signature)
    signed.envelope = Envelope(signed.envelope.payload, "application/vnd.in-toto+json", {})
    signed.sign(key("acme"))
    host = arena.host(trust=arena.trust())
    arena.refused_load(MalformedSignature, lambda: arena.load(package.binary, host, signature=signed.to_bytes()))


@attack("signatures")
def metadata_of_an_unsigned_component(arena: Arena) -> None:
    """Have code run by asking for metadata alone, which needs no grants."""
    host = arena.host(trust=arena.trust())
    arena.raises(Unsigned, lambda: host.metadata(arena.package().binary))
    arena.assert_denied(capability="host", function="metadata")


@attack("signatures")
def nobody_is_trusted_by_default(arena: Arena) -> None:
    """Rely on an empty trust policy letting everybody in."""
    package = arena.package()
    host = arena.host(trust=arena.trust().parse("version: 1\n"))
    arena.refused_load(UntrustedKey, lambda: arena.load(package.binary, host, signature=package.signature))


@attack("signatures")
def two_manifests_in_one_component(arena: Arena) -> None:
    """Carry two manifests, so that the reviewer reads one and the host another."""
    package = arena.package()
    harmless = Manifest(name="harmless", version="1.0.0", kind="processor").canonical()
    doubled = append_section(package.binary, MANIFEST_SECTION, harmless)
    host = arena.host(policy=arena.policy())
    arena.refused_load(DuplicateManifest, lambda: arena.load(doubled, host))


@attack("signatures")
def repeated_key_in_a_manifest(arena: Arena) -> None:
    """Repeat a key of the manifest's JSON, so that two readers see two values."""
    text = b'{"format":1,"kind":"processor","name":"harmless","name":"hostile","version":"1.0.0"}'
    component = append_section(bystander().binary, MANIFEST_SECTION, text)
    host = arena.host(policy=arena.policy())
    arena.refused_load(MalformedManifest, lambda: arena.load(component, host))


@attack("signatures")
def private_key_that_others_can_read(arena: Arena) -> None:
    """Wait for a signing key that lies around readable, to copy it."""
    file = arena.folder / "release.key"
    PrivateKey.generate().save(file)
    PrivateKey.read(file)
    file.chmod(0o644)
    arena.raises(ConfigError, lambda: PrivateKey.read(file), says="can be read or changed by others")


@attack("signatures")
def name_of_another_plugin_pinned_by_digest(arena: Arena) -> None:
    """Take the name of a plugin that has grants, which the operator pinned to its digest."""
    good = arena.package(name="rates")
    policy = arena.policy({"digests": [component_digest(good.binary)]}, name="rates", clock=True)
    host = arena.host(policy=policy)
    arena.load(good.binary, host).close()
    bad = arena.package(append_section(bystander().binary, "bad", b"code"), name="rates")
    arena.refused_load(PermissionDenied, lambda: arena.load(bad.binary, host), says="digest")


@attack("signatures")
def rolled_back_to_an_old_version(arena: Arena) -> None:
    """Install an old, correctly signed version with a vulnerability that was fixed since."""
    policy = arena.policy({"versions": ">=1.2.0, <2.0.0"})
    host = arena.host(policy=policy, trust=arena.trust())
    old, new = arena.package(version="1.1.9"), arena.package(version="1.2.0")
    arena.load(new.binary, host, signature=new.signature).close()
    arena.refused_load(PermissionDenied, lambda: arena.load(old.binary, host, signature=old.signature), says="1.1.9")


@attack("signatures")
def component_exchanged_after_verification(arena: Arena) -> None:
    """Exchange the file between its verification and its compilation."""
    package, bad = arena.package(), arena.package(append_section(bystander().binary, "bad", b"code"))
    file = arena.folder / "plugin.wasm"
    file.write_bytes(package.binary)
    file.with_name("plugin.wasm.sig").write_bytes(package.signature)
    compiled: list[bytes] = []

    class Exchanging:
        """A trust policy whose file is exchanged as soon as it has been verified."""

        def verify(self, component: bytes, signature: bytes | None, *, now: datetime, name: str) -> Verified:
            found = arena.trust().verify(component, signature, now=now, name=name)
            file.write_bytes(bad.binary)
            return found

    class Watching:
        """An engine that tells what it compiles."""

        def open(self, binary: bytes, **options: Any) -> object:
            compiled.append(binary)
            return arena.engine.open(binary, **options)

        def remaining_s(self) -> float:
            return arena.engine.remaining_s()

    host = arena.host(trust=Exchanging(), engine=Watching())
    host.load(file).close()
    assert file.read_bytes() == bad.binary
    assert compiled == [package.binary], "what is compiled is what was verified"


@attack("signatures")
def key_with_which_everybody_signs(arena: Arena) -> None:
    """Have an operator trust a public key of small order, for which anyone can forge signatures."""
    prime = 2**255 - 19
    order_8 = int.from_bytes(
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
    )
    for number in (0, 1, prime - 1, order_8, prime - order_8, prime, prime + 1, 2**255 - 1):
        for sign_bit in (0, 1):
            raw = (number | sign_bit << 255).to_bytes(32, "little")
            text = f"ed25519:{base64.b64encode(raw).decode()}"
            arena.raises(ConfigError, lambda text=text: PublicKey.parse(text), says="is not a public key")
    assert PublicKey.parse(str(key("acme").public)) == key("acme").public


def _one_is_enough(policy: TrustPolicy, signed: SignedStatement, *_: object) -> dict[str, TrustedKey]:
    """Count the trusted keys that have signed, and neither how many there are nor whether one is revoked."""
    known = {PublicKey.parse(each.key).id: each for each in policy.document.keys}
    return {each: known[each] for each in signed.key_ids}


def _any_key(policy: TrustPolicy, signed: SignedStatement, *_: object) -> dict[str, TrustedKey]:
    """Count all that have signed, whether they are known or not."""
    return {each: TrustedKey(key=str(key("acme").public), publisher="acme") for each in signed.key_ids}


def _of_any_kind(data: bytes, statement: type[BaseModel], *, payload_type: str) -> tuple[BaseModel, Envelope]:
    return parse_envelope(data, statement, payload_type=json.loads(data)["payloadType"])


class _ReadAgain(ComponentFile):
    """Reads the file each time that it is asked for its contents."""

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name != "contents" or self.name == "component":
            return found
        with open(self.name, "rb") as file:
            return file.read()


MUTATIONS = [
    Mutation(
        "dataflare.security.admission:Admission.identify",
        answers(Identity(needs=Needs(plugin="hostile"))),
        ("unsigned_component_is_loaded", "signed_file_without_its_signature", "metadata_of_an_unsigned_component"),
    ),
    Mutation(
        "dataflare.security.trust:TrustPolicy._check_statement",
        answers(None),
        ("manifest_removed_after_signing",),
    ),
    Mutation(
        "dataflare.security.trust:TrustPolicy._verified_keys",
        _any_key,
        ("signed_by_a_stranger", "nobody_is_trusted_by_default"),
    ),
    Mutation("dataflare.security.trust:TrustPolicy._check_manifest", answers(None), ("publisher_that_did_not_sign",)),
    Mutation("dataflare.security.signatures:parse_envelope", _of_any_kind, ("envelope_of_another_kind",)),
    Mutation("dataflare.security.keys:_require_private", answers(None), ("private_key_that_others_can_read",)),
    Mutation("dataflare.runtime.host:ComponentFile", _ReadAgain, ("component_exchanged_after_verification",)),
    Mutation(
        "dataflare.security.trust:TrustPolicy._verified_keys",
        _one_is_enough,
        ("one_signature_where_two_are_needed", "signed_with_a_stolen_key"),
    ),
    Mutation("dataflare.security.keys:_is_weak", answers(False), ("key_with_which_everybody_signs",)),
]
