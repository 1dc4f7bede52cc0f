"""`dataflare discover`: what a source can read, or a destination can do, with a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from dataflare.cli.options import (
    AsJson,
    CacheDir,
    Config,
    GrantWords,
    LimitWords,
    compiled_folder,
    load_plugin,
    parse_plugin,
)
from dataflare.cli.output import printed_errors, write_json
from dataflare.cli.screen import stdout
from dataflare.errors import ConfigError
from dataflare.runtime.datasets import Dataset
from dataflare.runtime.destination import Destination
from dataflare.runtime.host import Host
from dataflare.runtime.source import Source
from dataflare.security.settings import Security

__all__ = ["command"]


def command(
    security: Security,
    component: Annotated[Path, typer.Argument(help="A source or a destination (.wasm).", show_default=False)],
    config: Config = "{}",
    grant: GrantWords = None,
    limit: LimitWords = None,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """List the datasets of a source with their columns, keys and reading modes, or what a destination can do.

    Exit codes: 0 listed; 1 the plugin answered with an error; 2 the command line or the configuration is wrong; 3 no
    plugin; 4 it needs a grant.
    """
    with printed_errors(as_json=as_json), Host(cache_dir=compiled_folder(cache_dir), security=security) as host:
        plugin = load_plugin(host, component, parse_plugin(config, grant, limit))
        if isinstance(plugin, Source):
            datasets = plugin.discover()
            if as_json:
                write_json({"datasets": [_document(each) for each in datasets]})
            else:
                _show(datasets)
        elif isinstance(plugin, Destination):
            abilities = sorted(plugin.abilities())
            if as_json:
                write_json({"abilities": abilities})
            else:
                stdout().say(", ".join(abilities))
        else:
            raise ConfigError(f"is a {plugin.kind}, which has no datasets", where=str(component))


def _document(dataset: Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name.name,
        "namespace": dataset.name.namespace,
        "description": dataset.description,
        "columns": [{"name": each.name, "type": str(each.type), "nullable": each.nullable} for each in dataset.schema],
        "key": list(dataset.key),
        "cursors": list(dataset.cursors),
        "modes": sorted(dataset.modes),
    }


def _show(datasets: list[Dataset]) -> None:
    console = stdout()
    for dataset in datasets:
        console.say(f"{dataset.name} ({', '.join(sorted(dataset.modes))}) {dataset.description}".rstrip())
        table = Table(box=None, show_header=False, padding=(0, 1))
        for each in dataset.schema:
            key = "key" if each.name in dataset.key else ""
            cursor = "cursor" if each.name in dataset.cursors else ""
            table.add_row(each.name, str(each.type), "" if each.nullable else "not null", key, cursor)
        console.print(table)
