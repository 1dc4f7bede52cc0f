"""`dataflare inspect`: what a component is, and what it can ask for."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from dataflare.cli.figures import byte_count
from dataflare.cli.needs import bill_file, names, read_manifest
from dataflare.cli.options import AsJson, CacheDir, compiled_folder
from dataflare.cli.output import printed_errors, write_json
from dataflare.cli.screen import stdout
from dataflare.errors import ConfigError
from dataflare.limits import Limits
from dataflare.printable import printable
from dataflare.runtime.host import Host
from dataflare.runtime.inspection import Inspection
from dataflare.security.capability import requested_capabilities
from dataflare.security.manifest import Manifest
from dataflare.user_files import find_file
from dataflare.wit_types.types import Metadata

__all__ = ["command"]

_LIMITS = Limits(call_timeout_s=10)
_MAX_BILL_BYTES = 64 * 2**20


def command(
    component: Annotated[Path, typer.Argument(help="A component (.wasm).", show_default=False)],
    as_json: AsJson = False,
    static: Annotated[
        bool, typer.Option("--static", help="Run none of its code: leave its own metadata out, compile nothing.")
    ] = False,
    cache_dir: CacheDir = None,
) -> None:
    """Describe a component: kind, world, metadata, manifest, imports, what it needs, exports, size.

    Its metadata is asked for in an instance that may use nothing. Exit codes: 0 a plugin; 3 no component, or a
    component for none of the worlds; 1 its metadata could not be read; 2 the command line is wrong.
    """
    with (
        printed_errors(as_json=as_json),
        Host(cache_dir=compiled_folder(cache_dir)) as host,
    ):
        inspection = host.inspect(component, reached=True)
        manifest = read_manifest(component)
        metadata = None
        if inspection.kind is not None and not static:
            metadata = host.metadata(component, limits=_LIMITS)
        if as_json:
            write_json(_document(component, inspection, metadata, manifest))
        else:
            _show(component, inspection, metadata, manifest)
        if inspection.kind is None:
            raise typer.Exit(3)


def _document(
    file: Path, inspection: Inspection, metadata: Metadata | None, manifest: Manifest | None
) -> dict[str, Any]:
    return {
        "file": str(file),
        "kind": inspection.kind,
        "worlds": list(inspection.worlds),
        "problems": list(inspection.problems),
        "metadata": None
        if metadata is None
        else {
            "name": metadata.name,
            "version": metadata.version,
            "kind": metadata.kind,
            "description": metadata.description,
            "config_schema": metadata.config_schema,
        },
        "manifest": None if manifest is None else manifest.model_dump(mode="json", exclude_defaults=True),
        "capabilities": list(inspection.capabilities),
        "imports": list(inspection.imports),
        "wasi": list(inspection.wasi),
        "exports": list(inspection.exports),
        "flattened": not inspection.why_bridges,
        "why_bridges": inspection.why_bridges,
        "size_bytes": inspection.size_bytes,
        "digest": inspection.digest,
    }


def _show(file: Path, inspection: Inspection, metadata: Metadata | None, manifest: Manifest | None) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("file", str(file))
    table.add_row("kind", inspection.kind or Text("a plugin of no world", style="red"))
    for problem in inspection.problems:
        table.add_row("problem", problem)
    for world in inspection.worlds:
        table.add_row("world", world)
    if metadata is not None:
        table.add_row("name", f"{metadata.name} {metadata.version}")
        table.add_row("description", metadata.description)
        table.add_row("configuration", "has a JSON Schema (see --json)" if metadata.config_schema else "none")
    if manifest is not None:
        publisher = f", by {manifest.publisher} (as it says itself)" if manifest.publisher else ""
        table.add_row("manifest", f"{manifest.name} {manifest.version}, a {manifest.kind}{publisher}")
        limits = manifest.limits.model_dump(exclude_none=True)
        asked = [*names(requested_capabilities(manifest.asks)), *(f"{name} {value}" for name, value in limits.items())]
        for name, columns in (manifest.asks.datasets or {}).items():
            asked.append(f"datasets:{name}" if columns == "any" else f"datasets:{name}={','.join(sorted(columns))}")
        table.add_row("asks for", _lines(asked))
        if manifest.sbom is not None:
            table.add_row("materials", _bill(file, manifest.sbom))
    table.add_row("needs", ", ".join(inspection.capabilities) or "nothing that must be granted")
    for name, items in (("imports", inspection.imports), ("exports", inspection.exports)):
        table.add_row(name, _lines(items))
    wasi = f"{len(inspection.wasi)} interfaces, all empty here" if inspection.wasi else "none"
    table.add_row("WASI", wasi)
    table.add_row("reached", f"through bridges: {inspection.why_bridges}" if inspection.why_bridges else "flattened")
    table.add_row("size", f"{byte_count(inspection.size_bytes)} ({inspection.size_bytes:,} bytes)")
    table.add_row("digest", inspection.digest)
    stdout().print(table)


def _bill(file: Path, digest: str) -> str:
    """A bill of materials, and whether the file beside the component is it."""
    beside = bill_file(file)
    try:
        found = find_file(beside, _MAX_BILL_BYTES)
    except ConfigError:
        found = None
    if found is None:
        return f"{digest} (CycloneDX)"
    same = f"sha256:{sha256(found).hexdigest()}" == digest
    return f"{digest}: {beside.name}" if same else f"{digest}, and {beside.name} is another file"


def _lines(items: Sequence[str]) -> Text:
    return Text("\n").join(Text(printable(each)) for each in items) if items else Text("nothing")
