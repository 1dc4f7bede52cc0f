"""The keys that an operator trusts, and the verification of signatures. Nothing of a component is compiled for it.

```yaml
version: 1
threshold: 1                       # how many of the keys have to have signed
keys:
  - key: "ed25519:..."             # the line of a .pub file
    publisher: acme
    expires: 2027-01-01T00:00:00Z  # without it, never
    plugins: [rates]               # only these; without it, all of them
revoked:
  keys: {"<id of the key>": "stolen on 2026-03-01"}
  digests: {"sha256:...": "leaks rows"}   # of the component, as `dataflare sign` shows it; or of one file
```
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from dataflare.built_in_plugins import built_in_file
from dataflare.documents.models import Frozen, Names, StrictModel, validate_document
from dataflare.documents.reader import parse_document, read_document
from dataflare.errors import ConfigError
from dataflare.security import manifest as manifests
from dataflare.security.envelopes import is_made_by
from dataflare.security.identifiers import Digest
from dataflare.security.keys import PublicKey
from dataflare.security.signatures import (
    DigestMismatch,
    Revoked,
    SignatureInvalid,
    SignatureRefused,
    SignedStatement,
    SigningKeyExpired,
    Statement,
    Unsigned,
    UntrustedKey,
    parse_signature,
    read_signature,
)
from dataflare.user_files import as_path, read_component

__all__ = ["RevocationList", "TrustDocument", "TrustPolicy", "TrustedKey", "Verified"]


def _key(text: str) -> str:
    try:
        return str(PublicKey.parse(text))
    except ConfigError as error:
        raise ValueError(f"{error.message} ({error.hint})") from None


def _moment(value: Any) -> Any:
    # Times in documents are texts; a number or a plain date would leave the time zone open.
    if not isinstance(value, str):
        return value
    try:
        found = datetime.fromisoformat(value)
        if found.tzinfo is None:
            raise ValueError
    except ValueError:
        raise ValueError(f"{value[:40]!r} is not a moment with a time zone, such as 2027-01-01T00:00:00Z") from None
    return found


_KeyId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Reason = Annotated[str, StringConstraints(max_length=500)]


class TrustedKey(StrictModel):
    """A key that an operator trusts, for how long and for what.

    Attributes:
        key: The line of a `.pub` file.
        publisher: Whose it is.
        expires: When it ends, with a time zone, such as `2027-01-01T00:00:00Z`; left out, never.
        plugins: Only for plugins of these names; left out, for all of them.
    """

    key: Annotated[str, AfterValidator(_key)]
    publisher: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    expires: Annotated[AwareDatetime, BeforeValidator(_moment)] | None = None
    plugins: Names | None = None


class RevocationList(StrictModel):
    """Keys by their ids, and components by their digests, that are no longer valid, with the reason.

    Attributes:
        keys: The reason by the key's id, as `dataflare key show` tells it.
        digests: The reason by the digest: of a component without its manifest, or of a whole file.
    """

    keys: Frozen[_KeyId, _Reason] = Field(default_factory=dict)
    digests: Frozen[Digest, _Reason] = Field(default_factory=dict)


class TrustDocument(StrictModel):
    """The file as it is written.

    Attributes:
        version: The format's version.
        threshold: How many of the keys must have signed.
        keys: The keys that are trusted.
        revoked: Keys and components that are no longer valid.
    """

    version: Literal[1]
    threshold: Annotated[int, Field(ge=1, le=16)] = 1
    keys: Annotated[tuple[TrustedKey, ...], Field(strict=False)] = ()
    revoked: RevocationList = RevocationList()

    @field_validator("keys", mode="after")
    @classmethod
    def _distinct(cls, keys: tuple[TrustedKey, ...]) -> tuple[TrustedKey, ...]:
        seen: set[str] = set()
        for each in keys:
            if each.key in seen:
                raise ValueError(f"the key {each.key} is there twice")
            seen.add(each.key)
        return keys

    @model_validator(mode="after")
    def _can_be_met(self) -> TrustDocument:
        if self.keys and self.threshold > len(self.keys):
            raise ValueError(f"a threshold of {self.threshold} can never be met by {len(self.keys)} keys")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A component whose signature is good.

    Attributes:
        name: The plugin's name, as it was signed.
        version: Its version, as it was signed.
        digest: The component's digest, without its manifest.
        key_ids: The trusted keys that have signed, at least as many as the threshold.
        publishers: Whose keys they are, sorted.
        signed_at: When, by the signer's own words.
    """

    name: str
    version: str
    digest: str
    key_ids: tuple[str, ...]
    publishers: tuple[str, ...]
    signed_at: datetime


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """The keys that an operator trusts; none by default. Any thread may use it."""

    document: TrustDocument = field(default_factory=lambda: TrustDocument(version=1))
    source: str = "trust.yaml"
    file: Path | None = None
    """The file that it was read from; `None` for none."""

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> TrustPolicy:
        """Read a trust policy from a file.

        Raises:
            ConfigError: The file cannot be read or is not valid; `where` is `file:line`.
        """
        file = as_path(path, where="trust")
        return cls(validate_document(read_document(file), TrustDocument), str(file), file.absolute())

    @classmethod
    def parse(cls, text: str, *, source: str = "trust.yaml") -> TrustPolicy:
        """Read a trust policy from a text.

        Raises:
            ConfigError: The text is not valid; `where` is `file:line`.
        """
        return cls(validate_document(parse_document(text, name=source), TrustDocument), source)

    def verify_file(self, component: str | os.PathLike[str], *, now: datetime) -> Verified:
        """Verify a component's file by the `.sig` file beside it. The file may change afterwards.

        Raises:
            ConfigError: A file cannot be read.
            SignatureRefused, NotAComponent, ManifestError: Under the conditions of `verify`.
        """
        path = as_path(component, where="component")
        path = built_in_file(path) or path
        data = read_component(path)
        return self.verify(data, read_signature(path), now=now, name=path.name)

    def verify(self, component: bytes, signature: bytes | None, *, now: datetime, name: str = "") -> Verified:
        """Verify a component by its signature, before anything of it is compiled.

        Args:
            component: The component.
            signature: The contents of its `.sig` file; `None` if there is none.
            now: The current time, with a time zone; keys that have expired by then are refused.
            name: The component's name, for errors.

        Raises:
            NotAComponent: Not a component, truncated or damaged.
            ManifestError: Its manifest cannot be used.
            SignatureRefused: One of its subclasses says why: `Unsigned`, `MalformedSignature`, `UntrustedKey`,
                `SigningKeyExpired`, `Revoked`, `SignatureInvalid`, `DigestMismatch`.
        """
        digest = manifests.component_digest(component)
        self._check_digests(digest, component, name)
        if signature is None:
            raise Unsigned(
                "has no signature",
                plugin=name,
                hint="sign it (dataflare sign), or get its .sig file from its publisher",
            )
        signed = parse_signature(signature, plugin=name)
        keys = self._verified_keys(signed, now, name)
        # Only from here on can the statement be trusted.
        statement = signed.statement
        self._check_statement(statement.component, digest, "component", name)
        self._check_statement(statement.manifest, manifests.manifest_digest(component), "manifest", name)
        publishers = {each.publisher for each in keys.values()}
        self._check_manifest(manifests.read(component, name=name), statement, publishers, name)
        return Verified(
            name=statement.name,
            version=statement.version,
            digest=digest,
            key_ids=tuple(keys),
            publishers=tuple(sorted(publishers)),
            signed_at=statement.signed_at,
        )

    def _check_digests(self, digest: str, component: bytes, name: str) -> None:
        if not self.document.revoked.digests:
            return
        for each in (digest, f"sha256:{sha256(component).hexdigest()}"):
            reason = self.document.revoked.digests.get(each)
            if reason is not None:
                raise Revoked(f"the component {each} was revoked: {reason}", plugin=name)

    def _check_statement(self, signed: str | None, actual: str | None, what: str, name: str) -> None:
        if signed != actual:
            raise DigestMismatch(
                f"the signature is for the {what} {signed or 'none'}, not for this one, {actual or 'none'}",
                plugin=name,
                hint="the component was changed after it was signed, or the signature belongs to another one",
            )

    def _check_manifest(
        self, manifest: manifests.Manifest | None, statement: Statement, publishers: set[str], name: str
    ) -> None:
        if manifest is None:
            return
        if (manifest.name, manifest.version) != (statement.name, statement.version):
            raise DigestMismatch(
                f"is {manifest.name} {manifest.version} by its manifest, but what was signed is {statement.name} "
                f"{statement.version}",
                plugin=name,
            )
        if manifest.publisher is not None and manifest.publisher not in publishers:
            raise UntrustedKey(
                f"says to be published by {manifest.publisher!r}, but was signed by {', '.join(sorted(publishers))}",
                plugin=name,
            )

    def _verified_keys(self, signed: SignedStatement, now: datetime, name: str) -> dict[str, TrustedKey]:
        """Return the trusted keys that have signed, by id."""
        known = {PublicKey.parse(each.key).id: each for each in self.document.keys}
        good: dict[str, TrustedKey] = {}
        refusals: list[SignatureRefused] = []
        for key_id in signed.key_ids:
            refusal = self._refuse_key(key_id, known, signed, now, name)
            if refusal is None:
                good[key_id] = known[key_id]
            else:
                refusals.append(refusal)
        if len(good) >= self.document.threshold:
            return good
        if good or not refusals:
            raise UntrustedKey(
                f"{len(good)} trusted keys have signed, but {self.document.threshold} are needed", plugin=name
            )
        raise min(refusals, key=lambda each: _PRECEDENCE[type(each)])

    def _refuse_key(
        self, key_id: str, known: Mapping[str, TrustedKey], signed: SignedStatement, now: datetime, name: str
    ) -> SignatureRefused | None:
        context: dict[str, Any] = {"plugin": name}
        reason = self.document.revoked.keys.get(key_id)
        if reason is not None:
            return Revoked(f"the key {key_id} was revoked: {reason}", **context)
        key = known.get(key_id)
        if key is None:
            return UntrustedKey(
                f"it is signed by the key {key_id}, which {self.source} does not trust",
                hint="add the publisher's public key to the trust policy, if it is to be trusted",
                **context,
            )
        if not is_made_by(signed.envelope, PublicKey.parse(key.key)):
            return SignatureInvalid(
                f"the signature of the key {key_id} is not genuine: what it signs was changed, or it is forged",
                **context,
            )
        if key.expires is not None and now >= key.expires:
            return SigningKeyExpired(
                f"the key {key_id} of {key.publisher} is trusted until {key.expires.isoformat()} only",
                hint="sign it again with a current key",
                **context,
            )
        if key.plugins is not None and signed.statement.name not in key.plugins:
            return UntrustedKey(
                f"the key {key_id} of {key.publisher} is not trusted for a plugin named {signed.statement.name!r}",
                **context,
            )
        return None


_PRECEDENCE: dict[type[SignatureRefused], int] = {
    Revoked: 0,
    SignatureInvalid: 1,
    SigningKeyExpired: 2,
    UntrustedKey: 3,
}
