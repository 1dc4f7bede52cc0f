"""`plugin.yaml`, the one file that says what a plugin is: its world and its component's manifest follow from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from dataflare.documents.models import FrozenSet, StrictModel, nearest, validate_document
from dataflare.documents.reader import read_document
from dataflare.errors import ConfigError
from dataflare.interfaces import INTERFACES, NEEDS_GRANT
from dataflare.permissions.grant_keys import AsksModel
from dataflare.permissions.limit_keys import LimitsModel
from dataflare.security.capability import requested_capabilities
from dataflare.security.identifiers import VersionText
from dataflare.security.manifest import (
    DescriptionText,
    LicenceText,
    Manifest,
    PluginKind,
    PublisherText,
    check_datasets,
)
from dataflare.toolchain import languages

__all__ = ["PLUGIN_FILE", "WORLD", "PluginFile", "read_plugin_file"]

PLUGIN_FILE: Final = "plugin.yaml"
WORLD: Final = "component"
"""The name of every plugin's world; its package is `plugin:component`."""


def _need(name: str) -> str:
    if name not in NEEDS_GRANT:
        raise ValueError(f"the host has no interface {name[:100]!r}: {nearest(name, NEEDS_GRANT)}")
    return name


def _language(name: str) -> str:
    known = languages.names()
    if name not in known:
        raise ValueError(f"there is no language {name[:100]!r}: {nearest(name, known)}")
    return name


Need = Annotated[str, AfterValidator(_need), WithJsonSchema({"type": "string", "enum": sorted(NEEDS_GRANT)})]
Language = Annotated[str, AfterValidator(_language)]
PluginName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=64)]


class PluginFile(StrictModel):
    """What a plugin is.

    Attributes:
        name: The plugin's name: words of small letters and digits, with hyphens between them.
        version: The plugin's version, major.minor.patch.
        kind: What it does.
        language: What it is written in.
        description: One line that says what it does.
        license: Its licence, as an SPDX expression such as `Apache-2.0`.
        publisher: The publisher, as the file says; only a signature proves it.
        needs: The host interfaces that it calls, apart from those that every plugin may use.
        asks: Which parts of these it asks for, such as directories and origins; `needs` alone leaves that open.
        limits: The ceilings that it needs.
    """

    name: PluginName
    version: VersionText
    kind: PluginKind
    language: Language
    description: DescriptionText = ""
    license: LicenceText | None = None
    publisher: PublisherText | None = None
    needs: FrozenSet[Need] = frozenset()
    asks: AsksModel = AsksModel()
    limits: LimitsModel = LimitsModel()

    @model_validator(mode="after")
    def _check_datasets(self) -> Self:
        check_datasets(self.asks, self.kind)
        return self

    def interfaces(self) -> tuple[str, ...]:
        """The short names of all host interfaces that it needs, sorted."""
        return tuple(sorted({*self.needs, *(each.interface for each in requested_capabilities(self.asks))}))

    def world(self) -> str:
        """The plugin's world, as WIT."""
        imports = "".join(f"  import {INTERFACES[name].full_name};\n" for name in self.interfaces())
        include = f"  include dataflare:plugin/{self.kind}-plugin@1.0.0;\n"
        return f"package plugin:{WORLD};\n\nworld {WORLD} {{\n{include}{imports}}}\n"

    def manifest(self) -> Manifest:
        """What `dataflare package` puts into the component."""
        return Manifest(
            name=self.name,
            version=self.version,
            kind=self.kind,
            publisher=self.publisher,
            license=self.license,
            description=self.description,
            asks=self.asks.also(self.needs),
            limits=self.limits,
        )


def read_plugin_file(folder: Path) -> PluginFile:
    """Read the `plugin.yaml` of a plugin's folder.

    Raises:
        ConfigError: There is none, or it is wrong; the error names file, line and key.
    """
    path = folder / PLUGIN_FILE
    if not path.exists():
        raise ConfigError(
            f"there is no {PLUGIN_FILE}", where=str(folder), hint="`dataflare new NAME` makes a plugin's folder"
        )
    return validate_document(read_document(path), PluginFile)
