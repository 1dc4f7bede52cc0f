"""What a component asks for, for the commands about policies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dataflare.runtime.arguments import default_name
from dataflare.runtime.host import Host
from dataflare.security import manifest as manifests
from dataflare.security.capability import Capability, Needs, needed_by_imports
from dataflare.security.manifest import Manifest, component_digest
from dataflare.security.review import LimitChange
from dataflare.user_files import read_component

__all__ = ["bill_file", "limit_json", "limit_text", "names", "needs_of", "read_manifest"]


def read_manifest(component: Path) -> Manifest | None:
    """A component's manifest; `None` where it has none.

    Raises:
        ComponentError: It is not a component, or its manifest cannot be used.
    """
    return manifests.read(read_component(component), name=str(component))


def bill_file(component: Path) -> Path:
    """Where a component's bill of materials is: beside it."""
    return component.with_suffix(".cdx.json")


def needs_of(host: Host, component: Path) -> Needs:
    """What a component's manifest asks for; without one, the interfaces that it imports.

    Raises:
        ComponentError: It is not a component, or its manifest cannot be used.
        ConfigError: The file cannot be read.
    """
    imports = host.inspect(component).imports
    digest = component_digest(read_component(component))
    manifest = read_manifest(component)
    if manifest is not None:
        return manifest.needs(digest=digest)
    return Needs(plugin=default_name(component), digest=digest, capabilities=needed_by_imports(imports))


def names(capabilities: frozenset[Capability]) -> list[str]:
    """Capabilities as texts, sorted."""
    return [str(each) for each in sorted(capabilities)]


def limit_json(change: LimitChange) -> dict[str, Any]:
    """A limit as JSON."""
    return {"name": change.name, "before": change.written(change.before), "asked": change.written(change.asked)}


def limit_text(change: LimitChange) -> str:
    """A limit in words."""
    return f"{change.name}: {change.written(change.before)} -> {change.written(change.asked)}"
