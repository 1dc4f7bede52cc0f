from __future__ import annotations

import base64
import json
import os
import stat
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflare.errors import ConfigError, DataflareError, NotAComponent, PermissionDenied
from dataflare.permissions.grant_keys import AsksModel
from dataflare.security.keys import PrivateKey, PublicKey, generate_key_files
from dataflare.security.manifest import Manifest, component_digest, embed
from dataflare.security.sections import append_section
from dataflare.security.signatures import (
    PAYLOAD_TYPE,
    DigestMismatch,
    MalformedSignature,
    Revoked,
    SignatureInvalid,
    SignatureRefused,
    SigningKeyExpired,
    Unsigned,
    UntrustedKey,
    add_signature,
    parse_signature,
    sign,
    sign_file,
    signature_path,
)
from dataflare.security.trust import TrustPolicy

NOW = datetime(2026, 6, 1, tzinfo=UTC)
KEY, OTHER = PrivateKey.generate(), PrivateKey.generate()
MANIFEST = Manifest(name="rates", version="1.2.0", kind="source", publisher="acme")
COMPONENT = embed(b"\0asm\x0d\0\x01\0\x07\x01\0", MANIFEST)
BARE = b"\0asm\x0d\0\x01\0\x07\x01\0"
SIGNATURE = sign(COMPONENT, KEY, now=lambda: NOW)


def trust(*keys: str, revoked: str = "{}", threshold: int = 1) -> TrustPolicy:
    listed = "\n".join(f"  - {{{key}}}" for key in keys)
    return TrustPolicy.parse(
        f"version: 1\nthreshold: {threshold}\nrevoked: {revoked}\nkeys:{' []' if not keys else chr(10) + listed}"
    )


def entry(key: PrivateKey, *, publisher: str = "acme", more: str = "") -> str:
    return f'key: "{key.public}", publisher: {publisher}{more}'


ACME = trust(entry(KEY))


def test_good_signature_says_what_was_signed_and_by_whom():
    verified = ACME.verify(COMPONENT, SIGNATURE, now=NOW)
    assert (verified.name, verified.version) == ("rates", "1.2.0")
    assert verified.digest == component_digest(COMPONENT)
    assert (verified.key_ids, verified.publishers) == ((KEY.public.id,), ("acme",))
    assert verified.signed_at == NOW


def test_signature_is_a_dsse_envelope():
    envelope = json.loads(SIGNATURE)
    payload = base64.b64decode(envelope["payload"])
    assert envelope["payloadType"] == PAYLOAD_TYPE == "application/vnd.dataflare.plugin+json"
    assert json.loads(payload)["component"] == component_digest(COMPONENT)
    (signature,) = envelope["signatures"]
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    encoded = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
    # Raises where it is wrong.
    Ed25519PublicKey.from_public_bytes(KEY.public.raw).verify(base64.b64decode(signature["sig"]), encoded)


def refused(kind: type[SignatureRefused], message: str, policy: TrustPolicy, component, signature, now=NOW):
    with pytest.raises(SignatureRefused) as caught:
        policy.verify(component, signature, now=now, name="rates.wasm")
    assert type(caught.value) is kind, caught.value
    assert message in str(caught.value)
    assert caught.value.plugin == "rates.wasm"
    assert isinstance(caught.value, PermissionDenied)


def test_unsigned_component_is_refused():
    refused(Unsigned, "has no signature", ACME, COMPONENT, None)


def test_nobody_is_trusted_unless_it_is_said():
    refused(UntrustedKey, KEY.public.id, TrustPolicy(), COMPONENT, SIGNATURE)


def test_key_that_is_not_trusted_is_refused():
    refused(UntrustedKey, f"the key {KEY.public.id}", trust(entry(OTHER)), COMPONENT, SIGNATURE)


def test_key_is_trusted_until_it_expires():
    policy = trust(entry(KEY, more=", expires: 2026-06-02T00:00:00Z"))
    policy.verify(COMPONENT, SIGNATURE, now=NOW + timedelta(hours=23))
    refused(SigningKeyExpired, "2026-06-02", policy, COMPONENT, SIGNATURE, now=NOW + timedelta(days=1))


def test_revoked_key_is_refused_with_the_reason():
    policy = trust(entry(KEY), revoked=f"{{keys: {{'{KEY.public.id}': stolen}}}}")
    refused(Revoked, "was revoked: stolen", policy, COMPONENT, SIGNATURE)


@pytest.mark.parametrize("whole_file", [False, True])
def test_revoked_component_is_refused_by_either_digest(whole_file):
    from hashlib import sha256

    digest = f"sha256:{sha256(COMPONENT).hexdigest()}" if whole_file else component_digest(COMPONENT)
    policy = trust(entry(KEY), revoked=f"{{digests: {{'{digest}': leaks rows}}}}")
    refused(Revoked, "leaks rows", policy, COMPONENT, SIGNATURE)


def test_key_for_other_plugins_is_refused():
    refused(UntrustedKey, "a plugin named 'rates'", trust(entry(KEY, more=", plugins: [x]")), COMPONENT, SIGNATURE)
    trust(entry(KEY, more=", plugins: [rates]")).verify(COMPONENT, SIGNATURE, now=NOW)


def test_publisher_of_the_manifest_has_to_be_the_keys():
    refused(UntrustedKey, "says to be published by 'acme'", trust(entry(KEY, publisher="evil")), COMPONENT, SIGNATURE)


def test_changed_component_is_refused():
    refused(DigestMismatch, "for the component", ACME, append_section(COMPONENT, "x", b""), SIGNATURE)


def test_changed_manifest_is_refused():
    wider = MANIFEST.model_copy(update={"asks": AsksModel(secrets=frozenset({"root"}))})
    refused(DigestMismatch, "for the manifest", ACME, embed(COMPONENT, wider), SIGNATURE)
    refused(DigestMismatch, "for the manifest", ACME, BARE, SIGNATURE)


def test_name_that_was_signed_has_to_be_the_manifests():
    signed = parse_signature(SIGNATURE)
    other = signed.statement.model_copy(update={"name": "other"})
    signed.envelope.payload = json.dumps(other.model_dump(mode="json")).encode()
    signed.envelope.sign(KEY.signer())
    refused(DigestMismatch, "by its manifest", ACME, COMPONENT, signed.to_bytes())


def test_forged_statement_under_a_trusted_keys_name_is_refused():
    signed = parse_signature(sign(BARE, KEY, name="rates", version="1.0.0", now=lambda: NOW))
    forged = json.loads(SIGNATURE)
    forged["signatures"] = json.loads(signed.to_bytes())["signatures"]
    refused(SignatureInvalid, "not genuine", ACME, COMPONENT, json.dumps(forged).encode())


def test_other_key_cannot_sign_in_a_trusted_keys_name():
    forged = json.loads(sign(COMPONENT, OTHER, now=lambda: NOW))
    forged["signatures"][0]["keyid"] = KEY.public.id
    refused(SignatureInvalid, "not genuine", ACME, COMPONENT, json.dumps(forged).encode())


def test_threshold_needs_so_many_different_keys():
    both = trust(entry(KEY), entry(OTHER, publisher="auditor"), threshold=2)
    refused(UntrustedKey, "1 trusted keys have signed, but 2 are needed", both, COMPONENT, SIGNATURE)
    verified = both.verify(COMPONENT, add_signature(COMPONENT, SIGNATURE, OTHER), now=NOW)
    assert verified.publishers == ("acme", "auditor")
    assert len(verified.key_ids) == 2


def test_one_good_signature_is_enough_beside_a_stranger_s():
    assert ACME.verify(COMPONENT, add_signature(COMPONENT, SIGNATURE, OTHER), now=NOW).publishers == ("acme",)


def test_signature_is_added_only_beside_genuine_ones_of_the_same_component():
    forged = json.loads(SIGNATURE)
    forged["signatures"][0]["sig"] = base64.b64encode(bytes(64)).decode()
    with pytest.raises(SignatureInvalid, match="not genuine"):
        add_signature(COMPONENT, json.dumps(forged).encode(), OTHER)
    without_key = json.loads(SIGNATURE)
    del without_key["signatures"][0]["key"]
    with pytest.raises(SignatureInvalid, match="carries no public key"):
        add_signature(COMPONENT, json.dumps(without_key).encode(), OTHER)
    other_key = json.loads(SIGNATURE)
    other_key["signatures"][0]["key"] = str(OTHER.public)
    with pytest.raises(SignatureInvalid, match="carries another key"):
        add_signature(COMPONENT, json.dumps(other_key).encode(), OTHER)
    with pytest.raises(ConfigError, match="another component's"):
        add_signature(embed(COMPONENT, MANIFEST.model_copy(update={"version": "1.3.0"})), SIGNATURE, OTHER)
    with pytest.raises(MalformedSignature):
        add_signature(COMPONENT, SIGNATURE[:-9], OTHER)


def test_signature_is_added_to_a_component_without_a_manifest_under_the_name_that_is_vouched_for():
    signature = sign(BARE, KEY, name="bare", version="0.1.0", now=lambda: NOW)
    with pytest.raises(ConfigError, match="have to be given"):
        add_signature(BARE, signature, OTHER)
    with pytest.raises(DigestMismatch, match=r"for bare 0\.1\.0, not for rates 0\.1\.0"):
        add_signature(BARE, signature, OTHER, name="rates", version="0.1.0")
    assert len(parse_signature(add_signature(BARE, signature, OTHER, name="bare", version="0.1.0")).key_ids) == 2


def test_signature_is_added_to_at_most_sixteen():
    signature = SIGNATURE
    for _ in range(15):
        signature = add_signature(COMPONENT, signature, PrivateKey.generate())
    with pytest.raises(MalformedSignature, match="at most 16"):
        add_signature(COMPONENT, signature, OTHER)


def test_component_without_a_manifest_is_signed_by_name_and_version():
    signature = sign(BARE, KEY, name="bare", version="0.1.0", now=lambda: NOW)
    assert ACME.verify(BARE, signature, now=NOW).name == "bare"
    refused(DigestMismatch, "for the manifest none", ACME, embed(BARE, MANIFEST), signature)
    with pytest.raises(ConfigError, match="embed a manifest"):
        sign(BARE, KEY)
    with pytest.raises(ConfigError, match="is not the manifest's"):
        sign(COMPONENT, KEY, name="other")


def test_what_is_no_component_is_neither_signed_nor_verified():
    with pytest.raises(NotAComponent):
        sign(b"", KEY)
    with pytest.raises(NotAComponent):
        ACME.verify(COMPONENT[:-1], SIGNATURE, now=NOW)


ENVELOPE = json.loads(SIGNATURE)


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        (b"", "Invalid JSON"),
        (b"\xff", "Invalid JSON"),
        (b"null", "should be an object"),
        (json.dumps({**ENVELOPE, "more": 1}).encode(), "more"),
        (json.dumps({**ENVELOPE, "payloadType": "text/plain"}).encode(), "'text/plain'"),
        (json.dumps({**ENVELOPE, "payload": "%%%"}).encode(), "malformed"),
        (json.dumps({**ENVELOPE, "payload": "é"}).encode(), "malformed"),
        (json.dumps({**ENVELOPE, "payload": base64.b64encode(b"{}").decode()}).encode(), "format: Field required"),
        (json.dumps({**ENVELOPE, "signatures": []}).encode(), "at least 1"),
        (json.dumps({**ENVELOPE, "signatures": ENVELOPE["signatures"] * 2}).encode(), "is there twice"),
        (json.dumps({**ENVELOPE, "signatures": ENVELOPE["signatures"] * 17}).encode(), "at most 16"),
        (json.dumps({**ENVELOPE, "signatures": [{"keyid": "x", "sig": ""}]}).encode(), "keyid"),
        (SIGNATURE + b" " * 70_000, "longer than"),
        (SIGNATURE[:-3], "Invalid JSON"),
    ],
)
def test_malformed_signature_is_refused_with_what_is_wrong(signature, message):
    refused(MalformedSignature, message, ACME, COMPONENT, signature)


@given(st.binary(max_size=200))
def test_random_bytes_are_no_signature(data):
    with pytest.raises(MalformedSignature):
        parse_signature(data)


@settings(max_examples=300)
@given(st.data())
def test_flipped_bits_are_refused_or_change_nothing_that_is_signed(data):
    changed = bytearray(SIGNATURE)
    for position in data.draw(st.lists(st.integers(0, len(changed) * 8 - 1), min_size=1, max_size=4)):
        changed[position // 8] ^= 1 << position % 8
    try:
        verified = ACME.verify(COMPONENT, bytes(changed), now=NOW)
    except SignatureRefused as error:
        assert error.message
    else:
        assert verified == ACME.verify(COMPONENT, SIGNATURE, now=NOW)


@settings(max_examples=300)
@given(st.data())
def test_flipped_bits_of_the_component_never_pass(data):
    changed = bytearray(COMPONENT)
    for position in data.draw(st.lists(st.integers(0, len(changed) * 8 - 1), min_size=1, max_size=4, unique=True)):
        changed[position // 8] ^= 1 << position % 8
    with pytest.raises(DataflareError):
        ACME.verify(bytes(changed), SIGNATURE, now=NOW)


def test_every_truncation_of_a_signature_is_refused():
    for length in range(len(SIGNATURE) - 1):
        with pytest.raises(MalformedSignature):
            parse_signature(SIGNATURE[:length])


# Files.


def test_signed_file_is_verified_by_the_file_beside_it(tmp_path):
    path = tmp_path / "rates.wasm"
    path.write_bytes(COMPONENT)
    with pytest.raises(Unsigned):
        ACME.verify_file(path, now=NOW)
    assert sign_file(path, KEY, now=lambda: NOW) == signature_path(path) == tmp_path / "rates.wasm.sig"
    assert ACME.verify_file(path, now=NOW).name == "rates"
    sign_file(path, OTHER, now=lambda: NOW)
    with pytest.raises(UntrustedKey):
        ACME.verify_file(path, now=NOW)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["rates.wasm", "rates.wasm.sig"]


def test_failed_write_leaves_the_old_signature(tmp_path, monkeypatch):
    path = tmp_path / "rates.wasm"
    path.write_bytes(COMPONENT)
    sign_file(path, KEY, now=lambda: NOW)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="No space"):
        sign_file(path, OTHER)
    assert signature_path(path).read_bytes() == SIGNATURE
    assert len(list(tmp_path.iterdir())) == 2


# Keys.


@pytest.mark.parametrize("passphrase", [None, "correct horse"])
def test_generated_key_is_private_and_reads_back(tmp_path, passphrase):
    path = tmp_path / "acme.key"
    public = generate_key_files(path, passphrase=passphrase)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert PublicKey.read(tmp_path / "acme.key.pub") == public
    key = PrivateKey.read(path, passphrase=passphrase)
    assert key.public == public
    assert (b"ENCRYPTED" in path.read_bytes()) is (passphrase is not None)
    assert len(public.id) == 64
    assert str(public) in repr(key)


def test_wrong_and_missing_passphrases_are_told_apart(tmp_path):
    generate_key_files(tmp_path / "locked", passphrase="right")
    generate_key_files(tmp_path / "open")
    with pytest.raises(ConfigError, match="passphrase is wrong"):
        PrivateKey.read(tmp_path / "locked", passphrase="wrong")
    with pytest.raises(ConfigError, match="is protected by a passphrase"):
        PrivateKey.read(tmp_path / "locked")
    with pytest.raises(ConfigError, match="is not protected"):
        PrivateKey.read(tmp_path / "open", passphrase="right")
    with pytest.raises(ConfigError, match="protects nothing"):
        KEY.save(tmp_path / "empty", passphrase="")


def test_existing_key_is_never_replaced(tmp_path):
    path = tmp_path / "k"
    generate_key_files(path)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="exists already"):
        KEY.save(path)
    with pytest.raises(ConfigError, match="exists already"):
        generate_key_files(path)
    assert path.read_bytes() == before


def test_key_that_others_may_read_is_refused(tmp_path):
    generate_key_files(tmp_path / "k")
    (tmp_path / "k").chmod(0o640)
    with pytest.raises(ConfigError, match="mode 0640") as caught:
        PrivateKey.read(tmp_path / "k")
    assert "chmod 600" in caught.value.hint


def test_other_kinds_of_keys_are_refused(tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    path = tmp_path / "k"
    path.write_bytes(
        X25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="is not an Ed25519 key"):
        PrivateKey.read(path)


@given(st.binary(max_size=200))
def test_random_bytes_are_no_private_key(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("keys") / "k"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(ConfigError):
        PrivateKey.read(path)


@given(st.text(max_size=60) | st.binary(max_size=40).map(lambda raw: "ed25519:" + base64.b64encode(raw).decode()))
def test_any_text_is_a_public_key_that_reads_back_or_a_config_error(text):
    try:
        key = PublicKey.parse(text)
    except ConfigError as error:
        assert "is not a public key" in error.message
    else:
        assert PublicKey.parse(str(key)) == key


# Trust policies.


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("version: 1\nkeys:\n  - publisher: acme", 3, "key is missing"),
        (
            f'version: 1\nkeys:\n  - key: "{KEY.public}"\n    publisher: a\n    expire: x',
            5,
            "keys.0.expire: unknown key",
        ),
        ('version: 1\nkeys:\n  - {key: "ed25519:AAAA", publisher: a}', 3, "is not a public key"),
        (f"version: 1\nkeys:\n  - {{{entry(KEY)}}}\n  - {{{entry(KEY)}}}", 2, "is there twice"),
        (f"version: 1\nthreshold: 2\nkeys:\n  - {{{entry(KEY)}}}", 1, "can never be met"),
        (f"version: 1\nkeys:\n  - {{{entry(KEY)}, expires: 2026-01-01}}", 3, "expires"),
        (f"version: 1\nkeys:\n  - {{{entry(KEY)}, expires: 2026-01-01T00:00:00}}", 3, "with a time zone"),
        ("version: 1\nrevoked: {digests: {abc: x}}", 2, "is not of the form"),
    ],
)
def test_wrong_trust_policy_is_refused_with_file_and_line(text, line, message):
    with pytest.raises(ConfigError) as caught:
        TrustPolicy.parse(text, source="t.yaml")
    assert caught.value.where == f"t.yaml:{line}"
    assert message in caught.value.message


@given(st.text(max_size=120))
def test_any_text_is_a_trust_policy_that_trusts_nobody_or_a_config_error(text):
    for each in (text, f"version: 1\nkeys: {text}"):
        try:
            policy = TrustPolicy.parse(each)
        except ConfigError as error:
            assert error.where
        else:
            with pytest.raises(SignatureRefused):
                policy.verify(COMPONENT, SIGNATURE, now=NOW)
