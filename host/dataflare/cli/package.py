"""`dataflare package`: put a manifest into a component, or make one file of a plugin's folder."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer

from dataflare.authoring.building import build_plugin
from dataflare.cli.figures import byte_count
from dataflare.cli.needs import bill_file
from dataflare.cli.options import AsJson, CacheDir, compiled_folder
from dataflare.cli.output import by_the_way, printed_errors, write_json
from dataflare.cli.screen import stdout
from dataflare.documents.models import validate_document
from dataflare.documents.reader import read_document
from dataflare.errors import ConfigError
from dataflare.limits import Limits
from dataflare.runtime.host import Host
from dataflare.runtime.inspection import Inspection
from dataflare.security.atomic_files import write_atomically
from dataflare.security.capability import needed_by_imports
from dataflare.security.manifest import Manifest, component_digest, embed
from dataflare.toolchain.manifest_file import PLUGIN_FILE
from dataflare.toolchain.materials import bill_of_materials
from dataflare.user_files import read_component
from dataflare.user_folders import make_folder
from dataflare.wit_types.types import Metadata

__all__ = ["command"]

_LIMITS = Limits(call_timeout_s=10)


def command(
    component: Annotated[
        Path, typer.Argument(help="A component (.wasm), or a folder with a plugin.yaml.", show_default="here")
    ] = Path(),
    manifest: Annotated[
        Path | None, typer.Option("--manifest", "-m", help="The manifest (YAML).", show_default="the plugin.yaml's")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The packaged component.", show_default="dist/NAME-VERSION.wasm"),
    ] = None,
    static: Annotated[
        bool, typer.Option("--static", help="Run none of its code: do not compare with its own metadata.")
    ] = False,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Put a manifest into a component, in place of one that it may have.

    A folder is built first, and its plugin.yaml is the manifest. Its bill of materials (CycloneDX) is written beside
    the component, as NAME-VERSION.cdx.json, and the manifest has its digest. The manifest says who the plugin is and
    what it asks for. It has to fit the component: its kind, its name and version in its own metadata (asked for in an
    instance that may use nothing), and exactly the interfaces that it imports.

    Exit codes: 0 written; 1 its metadata could not be read; 2 the manifest is wrong or does not fit; 3 no plugin.
    """
    with printed_errors(as_json=as_json), Host(cache_dir=compiled_folder(cache_dir)) as host:
        where = str(manifest or component / PLUGIN_FILE)
        component, wanted, output, bill = _inputs(component, manifest, output, host)
        inspection = host.inspect(component)
        metadata = None if static or inspection.kind is None else host.metadata(component, limits=_LIMITS)
        problems = misfits(wanted, inspection, metadata)
        if problems:
            rest = "".join(f"\n{each}" for each in problems[1:])
            raise ConfigError(problems[0] + rest, where=where, hint="make the manifest fit the component")
        if bill is not None:
            wanted = wanted.model_copy(update={"sbom": f"sha256:{sha256(bill).hexdigest()}"})
            write_atomically(bill_file(output), bill)
        packaged = embed(read_component(component), wanted)
        write_atomically(output, packaged)
        with by_the_way():
            _show(output, wanted, packaged, as_json=as_json)


def _inputs(
    component: Path, manifest: Path | None, output: Path | None, host: Host
) -> tuple[Path, Manifest, Path, bytes | None]:
    """Find the component, which is built if a plugin's folder is named, its manifest, and where the result goes.

    For a folder, also its bill of materials.
    """
    if os.path.isdir(component) and manifest is None:
        built, file = build_plugin(component, host)
        wanted = file.manifest()
        if output is None:
            output = make_folder(component, "dist") / f"{wanted.name}-{wanted.version}.wasm"
        return built.guest.output, wanted, output, bill_of_materials(built.guest)
    if manifest is None or output is None:
        missing = "--manifest" if manifest is None else "--output"
        hint = "name a manifest file; only for a plugin's folder it is its plugin.yaml"
        raise ConfigError("it is missing", where=missing, hint=hint)
    return component, validate_document(read_document(manifest), Manifest), output, None


def _show(file: Path, manifest: Manifest, packaged: bytes, *, as_json: bool) -> None:
    digest = component_digest(packaged)
    if as_json:
        identity = {"name": manifest.name, "version": manifest.version, "kind": manifest.kind}
        write_json({"file": str(file), **identity, "digest": digest, "size_bytes": len(packaged)})
    else:
        what = f"{manifest.name} {manifest.version}, a {manifest.kind}"
        stdout().say(f"{file}: {what}, {byte_count(len(packaged))}, {digest}")


def misfits(manifest: Manifest, inspection: Inspection, metadata: Metadata | None) -> list[str]:
    """Why a manifest does not fit a component, in words; empty if it does."""
    if inspection.kind is None:
        return [f"the component fits no world: {inspection.problems[0]}"]
    found = []
    if manifest.kind != inspection.kind:
        found.append(f"kind: the manifest says {manifest.kind}, the component is a {inspection.kind}")
    if metadata is not None:
        for what in ("name", "version"):
            said, own = getattr(manifest, what), getattr(metadata, what)
            if said != own:
                found.append(f"{what}: the manifest says {said!r}, the component's metadata {own!r}")
    imported = needed_by_imports(inspection.imports)
    asked = {each.whole for each in manifest.needs().capabilities}
    found += [
        f"asks: the component imports {each}, which the manifest does not ask for" for each in sorted(imported - asked)
    ]
    found += [
        f"asks: the manifest asks for {each}, which the component does not import" for each in sorted(asked - imported)
    ]
    return found
