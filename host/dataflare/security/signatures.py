"""Signatures of plugins: DSSE envelopes over a statement that says which component is meant.

A signature is a file beside the component, its name with `.sig` added. The statement holds the digest of the component
without its manifest, the digest of its manifest, its name and its version, so that none of them can be exchanged.
Nothing here trusts anybody: `dataflare.security.trust` does.
The format: https://github.com/secure-systems-lab/dsse
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field, StringConstraints, ValidationError
from securesystemslib.dsse import Envelope
from securesystemslib.signer import Signature  # type: ignore[attr-defined]  # not re-exported explicitly

from dataflare.errors import ConfigError, PermissionDenied
from dataflare.security import manifest as manifests
from dataflare.security.atomic_files import write_atomically
from dataflare.security.audit import utc_now
from dataflare.security.fields import Digest, Name, StrictModel, VersionText
from dataflare.security.keys import PrivateKey
from dataflare.user_files import find_file, read_component

__all__ = [
    "MAX_SIGNATURE_BYTES",
    "PAYLOAD_TYPE",
    "DigestMismatch",
    "MalformedSignature",
    "Revoked",
    "SignatureInvalid",
    "SignatureRefused",
    "SignedStatement",
    "SigningKeyExpired",
    "Statement",
    "Unsigned",
    "UntrustedKey",
    "add_signature",
    "parse_signature",
    "read_signature",
    "sign",
    "sign_file",
    "signature_path",
]

PAYLOAD_TYPE: Final = "application/vnd.dataflare.plugin+json"
MAX_SIGNATURE_BYTES: Final = 64 * 2**10
_MAX_SIGNATURES: Final = 16


class SignatureRefused(PermissionDenied):
    """A plugin's signature does not let it run. `plugin` is the component's name, as far as it is known."""

    def __init__(self, message: str, *, plugin: str = "", hint: str = "") -> None:
        super().__init__(message, plugin=plugin, hint=hint)


class Unsigned(SignatureRefused):
    """There is no signature."""


class MalformedSignature(SignatureRefused):
    """The signature is no envelope, or not one of a plugin."""


class SignatureInvalid(SignatureRefused):
    """A trusted key's name is on it, but the key did not make it: the statement was changed, or it is forged."""


class UntrustedKey(SignatureRefused):
    """No key that the trust policy knows, or knows for this plugin, has signed."""


class SigningKeyExpired(SignatureRefused):
    """The key is trusted no longer."""


class Revoked(SignatureRefused):
    """The key, or this very component, was revoked."""


class DigestMismatch(SignatureRefused):
    """The signature is another component's, or the component was changed after it was signed."""


class Statement(StrictModel):
    """What is signed.

    Attributes:
        format: The statement's own version.
        name: The plugin's name.
        version: The plugin's version.
        component: Digest of the component without its manifest and signature sections.
        manifest: Digest of its manifest; `None` where it has none.
        signed_at: When; for people, since whoever signs could write anything.
    """

    format: Literal[1] = 1
    name: Name
    version: VersionText
    component: Digest
    manifest: Digest | None
    signed_at: AwareDatetime


class _SignatureEntry(StrictModel):
    keyid: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    sig: Annotated[str, StringConstraints(max_length=1024)]


class _EnvelopeFile(StrictModel):
    payload: str
    payloadType: str  # the format's name
    signatures: Annotated[list[_SignatureEntry], Field(min_length=1, max_length=_MAX_SIGNATURES)]


class SignedStatement:
    """A statement and its signatures, well-formed, none of them verified.

    Attributes:
        statement: What somebody says to have signed. Not to be relied on before it is verified.
        envelope: The envelope as securesystemslib has it.
    """

    def __init__(self, statement: Statement, envelope: Envelope) -> None:
        self.statement = statement
        self.envelope = envelope

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The keys that say to have signed."""
        return tuple(self.envelope.signatures)

    def to_bytes(self) -> bytes:
        """The signature as a file."""
        return json.dumps(self.envelope.to_dict(), sort_keys=True, indent=1).encode() + b"\n"


def sign(
    component: bytes,
    key: PrivateKey,
    *,
    name: str = "",
    version: str = "",
    now: Callable[[], datetime] = utc_now,
) -> bytes:
    """Sign a component.

    Args:
        component: The component.
        key: Whose signature it is.
        name: The plugin's name; needed where the component has no manifest.
        version: Its version; likewise.
        now: The clock.

    Returns:
        What belongs into the `.sig` file.

    Raises:
        NotAComponent: Not a component, cut short or damaged.
        ManifestError: Its manifest cannot be used.
        ConfigError: Name or version are missing, out of their form, or others than the manifest's.
    """
    manifest = manifests.read(component, name=name)
    if manifest is not None:
        for what, given, own in (("name", name, manifest.name), ("version", version, manifest.version)):
            if given not in ("", own):
                raise ConfigError(f"the {what} {given!r} is not the manifest's, {own!r}", hint=f"leave the {what} out")
        name, version = manifest.name, manifest.version
    try:
        statement = Statement(
            name=name,
            version=version,
            component=manifests.component_digest(component),
            manifest=manifests.manifest_digest(component),
            signed_at=now(),
        )
    except ValidationError as error:
        raise ConfigError(
            f"a plugin named {name!r} of version {version!r} cannot be signed",
            hint="embed a manifest, or give a name such as csv-reader and a version such as 1.0.0",
        ) from error
    envelope = Envelope(_canonical(statement), PAYLOAD_TYPE, {})
    envelope.sign(key.signer())
    return SignedStatement(statement, envelope).to_bytes()


def add_signature(signature: bytes, key: PrivateKey) -> bytes:
    """Sign the statement of a signature too, for operators who want more than one; returns the new `.sig` contents.

    Raises:
        MalformedSignature: It is no signature.
    """
    signed = parse_signature(signature)
    signed.envelope.sign(key.signer())
    return signed.to_bytes()


def sign_file(
    component: str | Path,
    key: PrivateKey,
    *,
    name: str = "",
    version: str = "",
    now: Callable[[], datetime] = utc_now,
) -> Path:
    """Sign a component's file; returns the path of the `.sig` file, which is written in one step.

    Raises:
        ConfigError, NotAComponent, ManifestError: As in `sign`, or a file cannot be read or written.
    """
    path = Path(component)
    data = sign(read_component(path), key, name=name, version=version, now=now)
    write_atomically(signature_path(path), data)
    return signature_path(path)


def signature_path(component: Path) -> Path:
    """Where the signature of a component's file is."""
    return component.parent / f"{component.name}.sig"


def read_signature(component: Path) -> bytes | None:
    """The signature beside a component's file; `None` where there is none.

    Raises:
        ConfigError: It cannot be read, or is too long.
    """
    return find_file(signature_path(component), MAX_SIGNATURE_BYTES)


def parse_signature(data: bytes, *, plugin: str = "") -> SignedStatement:
    """Read a signature without verifying it.

    Raises:
        MalformedSignature: It is no signature; the message says why.
    """
    try:
        if len(data) > MAX_SIGNATURE_BYTES:
            raise ValueError(f"it is longer than {MAX_SIGNATURE_BYTES} bytes")
        file = _EnvelopeFile.model_validate_json(data)
        if file.payloadType != PAYLOAD_TYPE:
            raise ValueError(f"it signs {file.payloadType[:80]!r}, not {PAYLOAD_TYPE!r}")
        payload = base64.b64decode(file.payload.encode("ascii"), validate=True)
        statement = Statement.model_validate_json(payload)
        signatures: dict[str, Signature] = {}
        for entry in file.signatures:
            if entry.keyid in signatures:
                raise ValueError(f"the key {entry.keyid} is there twice")
            raw = base64.b64decode(entry.sig.encode("ascii"), validate=True)
            signatures[entry.keyid] = Signature(entry.keyid, raw.hex())
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "it"
        raise MalformedSignature(f"the signature is malformed: {place}: {first['msg']}", plugin=plugin) from error
    except (ValueError, binascii.Error) as error:
        raise MalformedSignature(f"the signature is malformed: {error}", plugin=plugin) from error
    return SignedStatement(statement, Envelope(payload, PAYLOAD_TYPE, signatures))


def _canonical(statement: Statement) -> bytes:
    return json.dumps(statement.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode()
