"""The manifest: what a plugin says about itself and asks for, inside its component.

The manifest is canonical JSON in a custom section, `dataflare:manifest`. It must be the component's last section, with
its lengths in the shortest encoding. So the digests of the component and of the manifest together cover every byte of
the file. The manifest only asks; the operator's policy decides what a plugin gets (`dataflare.security.policy`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256
from typing import Annotated, Any, Final, Literal, Self

from pydantic import StringConstraints, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from dataflare.documents.models import Name, StrictModel, describe_problems
from dataflare.errors import ComponentError, NotAComponent
from dataflare.permissions.grant_keys import AsksModel
from dataflare.permissions.limit_keys import LimitsModel
from dataflare.security.capability import Capability, Needs, needed_by_imports, requested_capabilities
from dataflare.security.identifiers import Digest, VersionText
from dataflare.security.sections import append_section, custom_sections, digest_without, without_sections

__all__ = [
    "MANIFEST_SECTION",
    "MAX_MANIFEST_BYTES",
    "DescriptionText",
    "DuplicateManifest",
    "LicenceText",
    "MalformedManifest",
    "Manifest",
    "ManifestError",
    "ManifestTooLarge",
    "PluginKind",
    "PublisherText",
    "check_datasets",
    "component_digest",
    "embed",
    "manifest_digest",
    "parse_manifest",
    "read",
    "read_raw",
    "undeclared",
    "unique_keys",
]

MANIFEST_SECTION: Final = "dataflare:manifest"
MAX_MANIFEST_BYTES: Final = 64 * 2**10

PluginKind = Literal["source", "destination", "processor", "transformer", "validator"]
PublisherText = Annotated[str, StringConstraints(min_length=1, max_length=200)]
LicenceText = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 .+()-]{0,199}$")]
DescriptionText = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]


class ManifestError(ComponentError):
    """A component's manifest cannot be used."""


class DuplicateManifest(ManifestError):
    """A component has more than one manifest: which one holds would depend on the reader."""


class ManifestTooLarge(ManifestError):
    """A manifest is longer than `MAX_MANIFEST_BYTES`."""


class MalformedManifest(ManifestError):
    """A manifest is not JSON, has an unknown or repeated key, lacks one, or has a value out of its form."""


class Manifest(StrictModel):
    """What a plugin says about itself.

    Attributes:
        format: The manifest's own version.
        name: The plugin's name.
        version: The plugin's version, major.minor.patch.
        kind: What it does.
        publisher: The publisher, as the manifest says; only a signature proves it.
        license: Its licence, as an SPDX expression such as `Apache-2.0`.
        description: One line that says what it does.
        asks: What it asks for.
        limits: The ceilings that it needs.
        sbom: The digest of its bill of materials, a file in CycloneDX's JSON.
    """

    format: Literal[1] = 1
    name: Name
    version: VersionText
    kind: PluginKind
    publisher: PublisherText | None = None
    license: LicenceText | None = None
    description: DescriptionText = ""
    asks: AsksModel = AsksModel()
    limits: LimitsModel = LimitsModel()
    sbom: Digest | None = None

    def canonical(self) -> bytes:
        """Write the manifest as JSON: keys sorted, no spaces, no defaults."""
        value = {"format": self.format, **self.model_dump(mode="json", exclude_defaults=True)}
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def needs(self, *, digest: str | None = None) -> Needs:
        """Return what it asks for, to compare with a policy or another version; `digest` is its component's digest."""
        return Needs(
            plugin=self.name,
            version=self.version,
            digest=digest,
            capabilities=requested_capabilities(self.asks),
            limits=self.limits.given(),
            datasets=self.asks.datasets,
        )

    @model_validator(mode="after")
    def _check_datasets(self) -> Self:
        check_datasets(self.asks, self.kind)
        return self


def check_datasets(asks: AsksModel, kind: PluginKind) -> None:
    """Refuse datasets of a plugin whose kind has none.

    Raises:
        PydanticCustomError: It asks for some.
    """
    if asks.datasets is not None and kind not in ("source", "destination"):
        context = {"key": "datasets", "hint": "leave it out"}
        raise PydanticCustomError("asks", "only a source or a destination has datasets", context)


def embed(component: bytes, manifest: Manifest) -> bytes:
    """Return the component with this manifest; replaces an existing one.

    Raises:
        NotAComponent: Not a component, truncated or damaged.
        ManifestTooLarge: The manifest is too long.
    """
    payload = manifest.canonical()
    if len(payload) > MAX_MANIFEST_BYTES:
        raise ManifestTooLarge(f"the manifest has {len(payload)} bytes, more than {MAX_MANIFEST_BYTES}")
    return append_section(without_sections(component, {MANIFEST_SECTION}), MANIFEST_SECTION, payload)


def read(component: bytes, *, name: str = "") -> Manifest | None:
    """Return the component's manifest; `None` if it has none. `name` is the component's name in errors.

    Raises:
        NotAComponent: Not a component, truncated or damaged.
        ManifestError: One of its subclasses says what is wrong.
    """
    payload = read_raw(component, name=name)
    return None if payload is None else parse_manifest(payload, name=name)


def read_raw(component: bytes, *, name: str = "") -> bytes | None:
    """Return the manifest's raw bytes; `None` if there is none.

    Raises:
        NotAComponent: Not a component, truncated or damaged.
        DuplicateManifest: There are several manifests.
        MalformedManifest: It is not the last section, or its lengths are not in the shortest encoding.
    """
    try:
        found = [section for section in custom_sections(component) if section.name == MANIFEST_SECTION]
    except NotAComponent as error:
        if not name or error.component:
            raise
        raise NotAComponent(error.message, component=name, hint=error.hint) from None
    if len(found) > 1:
        raise DuplicateManifest(
            f"has {len(found)} manifests", component=name, hint="embed it again, which replaces them all by one"
        )
    if not found:
        return None
    (section,) = found
    if section.start + len(append_section(b"", section.name, section.payload)) != len(component):
        # No digest covers its position and the encoding of its lengths, so only one form is valid.
        raise MalformedManifest(
            "the manifest is not the last section, or its lengths are written in more bytes than they take",
            component=name,
            hint="package it again: nothing may be added behind a manifest",
        )
    return section.payload


def parse_manifest(payload: bytes, *, name: str = "") -> Manifest:
    """Read a manifest from JSON.

    Raises:
        ManifestTooLarge: It is too long.
        MalformedManifest: It is not a manifest.
    """
    if len(payload) > MAX_MANIFEST_BYTES:
        raise ManifestTooLarge(f"the manifest has {len(payload)} bytes, more than {MAX_MANIFEST_BYTES}", component=name)
    value: Any = None
    try:
        # Repeated keys are refused, since two readers may use different ones.
        value = json.loads(payload, object_pairs_hook=unique_keys)
        return Manifest.model_validate_json(payload)
    except ValidationError as error:
        problems = describe_problems(error, Manifest, value)
        raise MalformedManifest(f"the manifest is wrong: {problems}", component=name) from error
    except (ValueError, RecursionError) as error:
        raise MalformedManifest(f"the manifest is not JSON: {error}", component=name) from error


def component_digest(component: bytes) -> str:
    """Return `sha256:` and the digest of the component without its manifest, for signatures, pins and revocations.

    Everything else counts: sections of every kind and name, their order, and the encoding of their lengths.

    Raises:
        NotAComponent: Not a component, truncated or damaged.
    """
    return digest_without(component, {MANIFEST_SECTION})


def manifest_digest(component: bytes, *, name: str = "") -> str | None:
    """Return `sha256:` and the digest of the manifest's bytes; `None` if there is none.

    Raises:
        NotAComponent, DuplicateManifest, MalformedManifest: Under the conditions of `read_raw`.
    """
    payload = read_raw(component, name=name)
    return None if payload is None else f"sha256:{sha256(payload).hexdigest()}"


def undeclared(manifest: Manifest, imports: Iterable[str]) -> frozenset[Capability]:
    """Return what a component imports (by the full names of interfaces) although its manifest does not ask for it."""
    return needed_by_imports(imports) - manifest.needs().capabilities


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dictionary of a JSON object's pairs, for `object_pairs_hook`.

    Raises:
        ValueError: A key is repeated.
    """
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key is repeated")
    return result
