"""`dataflare check`: whether a plugin takes a configuration and gets ready with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

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
from dataflare.runtime.destination import Destination
from dataflare.runtime.host import Host
from dataflare.runtime.source import Source
from dataflare.security.settings import Security

__all__ = ["command"]


def command(
    security: Security,
    component: Annotated[Path, typer.Argument(help="A plugin (.wasm).", show_default=False)],
    config: Config = "{}",
    grant: GrantWords = None,
    limit: LimitWords = None,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Configure and initialize a plugin, and check its health. Also list datasets or abilities.

    Exit codes: 0 it is ready; 1 it answered with an error, or is not healthy; 2 the command line is wrong; 3 no plugin;
    4 it needs a grant.
    """
    with printed_errors(as_json=as_json), Host(cache_dir=compiled_folder(cache_dir), security=security) as host:
        plugin = load_plugin(host, component, parse_plugin(config, grant, limit)).start()
        found: dict[str, Any] = {"name": plugin.metadata.name, "version": plugin.metadata.version, "kind": plugin.kind}
        if isinstance(plugin, Source):
            found["datasets"] = [str(each.name) for each in plugin.discover()]
        elif isinstance(plugin, Destination):
            found["abilities"] = sorted(plugin.abilities())
        health = plugin.health()
        found |= {"health": health.status, "message": health.message}
        if as_json:
            write_json(found)
        else:
            _show(found)
        if health.status == "unhealthy":
            raise typer.Exit(1)


def _show(found: dict[str, Any]) -> None:
    console = stdout()
    message = f": {found['message']}" if found["message"] else ""
    console.say(f"{found['name']} {found['version']}, a {found['kind']}, is {found['health']}{message}")
    for key in ("datasets", "abilities"):
        if key in found:
            console.say(f"{key}: {', '.join(found[key]) or 'none'}")
