"""Signatures of plugins: DSSE envelopes over a statement that identifies the component.

A signature is a file beside the component, with the component's name and `.sig`. The statement has the digest of the
component without its manifest, the digest of its manifest, its name and its version. A manifest has only one valid
place and encoding (`dataflare.security.manifest`), so the two digests cover every byte of the file. Each signature
contains its public key, so anyone can check whether it is genuine. This module does not decide which keys are trusted;
`dataflare.security.trust` does. The format: https://github.com/secure-systems-lab/dsse
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import AwareDatetime, ValidationError
from securesystemslib.dsse import Envelope

from dataflare.documents.models import Name, StrictModel
from dataflare.errors import ConfigError, PermissionDenied
from dataflare.security import manifest as manifests
from dataflare.security.atomic_files import write_atomically
from dataflare.security.audit import utc_now
from dataflare.security.envelopes import (
    MAX_ENVELOPE_BYTES,
    MAX_SIGNATURES,
    canonical_json,
    envelope_bytes,
    is_made_by,
    parse_envelope,
    problem_of,
)
from dataflare.security.identifiers import Digest, VersionText
from dataflare.security.keys import PrivateKey, PublicKey
from dataflare.user_files import as_path, find_file, read_component

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
MAX_SIGNATURE_BYTES: Final = MAX_ENVELOPE_BYTES


class SignatureRefused(PermissionDenied):
    """A plugin's signature does not let it run. `plugin` is the component's name, as far as it is known."""

    def __init__(self, message: str, *, plugin: str = "", hint: str = "") -> None:
        super().__init__(message, plugin=plugin, hint=hint)


class Unsigned(SignatureRefused):
    """There is no signature."""


class MalformedSignature(SignatureRefused):
    """The signature is not an envelope, or not one of a plugin."""


class SignatureInvalid(SignatureRefused):
    """A trusted key's name is on it, but the key did not make it: the statement was changed, or it is forged."""


class UntrustedKey(SignatureRefused):
    """No key that the trust policy knows, or knows for this plugin, has signed."""


class SigningKeyExpired(SignatureRefused):
    """The key is no longer trusted."""


class Revoked(SignatureRefused):
    """The key, or this component, was revoked."""


class DigestMismatch(SignatureRefused):
    """The signature is another component's, or the component was changed after it was signed."""


class Statement(StrictModel):
    """What is signed.

    Attributes:
        format: The statement's own version.
        name: The plugin's name.
        version: The plugin's version.
        component: Digest of the component without its manifest.
        manifest: Digest of its manifest; `None` where it has none.
        signed_at: When; for people, since anyone who signs could write anything.
    """

    format: Literal[1]
    name: Name
    version: VersionText
    component: Digest
    manifest: Digest | None
    signed_at: AwareDatetime


class SignedStatement:
    """A well-formed statement and its signatures, not verified.

    Attributes:
        statement: The signed statement. Do not rely on it before verification.
        envelope: The envelope, as an object of securesystemslib.
    """

    def __init__(self, statement: Statement, envelope: Envelope) -> None:
        self.statement = statement
        self.envelope = envelope

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of the keys that are named as signers; not verified."""
        return tuple(self.envelope.signatures)

    def sign(self, key: PrivateKey) -> None:
        """Add the signature of a key; replaces an earlier signature of the same key."""
        self.envelope.sign(key.signer()).unrecognized_fields["key"] = str(key.public)

    def require_genuine(self, *, plugin: str = "") -> None:
        """Require that each signature was made by the key that it contains. Trust in the keys is checked elsewhere.

        Raises:
            SignatureInvalid: A signature has no key, a key of another id, or was not made by its key.
        """
        for key_id, signature in self.envelope.signatures.items():
            try:
                key = PublicKey.parse(str(signature.unrecognized_fields.get("key", "")))
            except ConfigError as error:
                raise SignatureInvalid(
                    f"the signature of the key {key_id} carries no public key by which it could be verified",
                    plugin=plugin,
                    hint="sign it again, without --add",
                ) from error
            if key.id != key_id:
                raise SignatureInvalid(
                    f"the signature of the key {key_id} carries another key, {key.id}", plugin=plugin
                )
            self._require_made_by(key, plugin)

    def _require_made_by(self, key: PublicKey, plugin: str) -> None:
        if not is_made_by(self.envelope, key):
            raise SignatureInvalid(
                f"the signature of the key {key.id} is not genuine: what it signs was changed, or it is forged",
                plugin=plugin,
                hint="get the signature from its publisher again",
            )

    def to_bytes(self) -> bytes:
        """Return the contents of the signature's file."""
        return envelope_bytes(self.envelope)


def sign(
    component: bytes,
    key: PrivateKey,
    *,
    name: str = "",
    version: str = "",
    file: str = "",
    now: Callable[[], datetime] = utc_now,
) -> bytes:
    """Sign a component.

    Args:
        component: The component.
        key: The key that signs.
        name: The plugin's name; required if the component has no manifest.
        version: The plugin's version; required if the component has no manifest.
        file: The component's name, for errors.
        now: The clock.

    Returns:
        The contents of the `.sig` file.

    Raises:
        NotAComponent: Not a component, truncated or damaged.
        ManifestError: Its manifest cannot be used.
        ConfigError: Name or version are missing, not valid, or differ from the manifest's.
    """
    name, version = _identity(component, name, version, file or name)
    try:
        statement = Statement(
            format=1,
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
    signed = SignedStatement(statement, Envelope(canonical_json(statement), PAYLOAD_TYPE, {}))
    signed.sign(key)
    return signed.to_bytes()


def add_signature(
    component: bytes, signature: bytes, key: PrivateKey, *, name: str = "", version: str = "", file: str = ""
) -> bytes:
    """Add a signature to others, for operators who require more than one.

    A signer is responsible for the whole statement, so all of it is verified first.

    Args:
        component: The component.
        signature: The contents of its `.sig` file.
        key: The key that signs.
        name: The plugin's name; required if the component has no manifest.
        version: The plugin's version; required if the component has no manifest.
        file: The component's name, for errors.

    Returns:
        The new contents of the `.sig` file.

    Raises:
        NotAComponent: Not a component, truncated or damaged.
        ManifestError: Its manifest cannot be used.
        MalformedSignature: It is not a signature file, or already has the maximum number of signatures.
        DigestMismatch: It is for another name or version.
        SignatureInvalid: One of the signatures is not genuine.
        ConfigError: It is for another component; or name or version are missing, or differ from the manifest's.
    """
    signed = parse_signature(signature, plugin=file)
    statement = signed.statement
    digests = (manifests.component_digest(component), manifests.manifest_digest(component, name=file))
    if (statement.component, statement.manifest) != digests:
        raise ConfigError(
            "the signature beside it is another component's, or the component was changed since",
            where=file,
            hint="sign it again, without --add",
        )
    name, version = _identity(component, name, version, file)
    if not name or not version:
        raise ConfigError(
            "the component has no manifest, so its name and version have to be given",
            where=file,
            hint=f"--name {statement.name} --version {statement.version}, if that is what you vouch for",
        )
    if (statement.name, statement.version) != (name, version):
        raise DigestMismatch(
            f"the signature beside it is for {statement.name} {statement.version}, not for {name} {version}",
            plugin=file,
            hint="sign it again, without --add",
        )
    signed.require_genuine(plugin=file)
    signed.sign(key)
    if len(signed.key_ids) > MAX_SIGNATURES:
        raise MalformedSignature(f"a file holds at most {MAX_SIGNATURES} signatures", plugin=file)
    return signed.to_bytes()


def _identity(component: bytes, name: str, version: str, file: str) -> tuple[str, str]:
    """Return the plugin's name and version: those of its manifest, otherwise the given ones."""
    manifest = manifests.read(component, name=file)
    if manifest is None:
        return name, version
    for what, given, own in (("name", name, manifest.name), ("version", version, manifest.version)):
        if given not in ("", own):
            raise ConfigError(f"the {what} {given!r} is not the manifest's, {own!r}", hint=f"leave the {what} out")
    return manifest.name, manifest.version


def sign_file(
    component: str | os.PathLike[str],
    key: PrivateKey,
    *,
    name: str = "",
    version: str = "",
    now: Callable[[], datetime] = utc_now,
) -> Path:
    """Sign a component's file; return the path of the `.sig` file, which is written atomically.

    Raises:
        ConfigError, NotAComponent, ManifestError: Under the conditions of `sign`, or if a file cannot be read or
            written.
    """
    path = as_path(component, where="component")
    data = sign(read_component(path), key, name=name, version=version, file=str(path), now=now)
    write_atomically(signature_path(path), data)
    return signature_path(path)


def signature_path(component: Path) -> Path:
    """Return the path of the signature of a component's file."""
    return component.parent / f"{component.name}.sig"


def read_signature(component: Path) -> bytes | None:
    """Read the signature beside a component's file; `None` if there is none.

    Raises:
        ConfigError: It cannot be read, or is too long.
    """
    return find_file(signature_path(component), MAX_SIGNATURE_BYTES)


def parse_signature(data: bytes, *, plugin: str = "") -> SignedStatement:
    """Read a signature without verifying it.

    Raises:
        MalformedSignature: It is not a signature; the message says why.
    """
    try:
        statement, envelope = parse_envelope(data, Statement, payload_type=PAYLOAD_TYPE)
    except (ValueError, RecursionError) as error:
        raise MalformedSignature(f"the signature is malformed: {problem_of(error)}", plugin=plugin) from error
    return SignedStatement(statement, envelope)
