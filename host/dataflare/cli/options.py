"""Options that several commands have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from dataflare.errors import ConfigError, PermissionDenied
from dataflare.interfaces import INTERFACES
from dataflare.permissions.words import parse_grants, parse_limits
from dataflare.user_files import read_file

if TYPE_CHECKING:
    from dataflare.runtime.host import Host
    from dataflare.runtime.options import LoadOptions
    from dataflare.runtime.plugin import Plugin

__all__ = [
    "AsJson",
    "CacheDir",
    "Config",
    "GrantWords",
    "LimitWords",
    "Quiet",
    "Verbose",
    "compiled_folder",
    "load_plugin",
    "parse_config",
    "parse_plugin",
]

Verbose: TypeAlias = Annotated[bool, typer.Option("--verbose", "-v", help="Show more about each node in the report.")]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="Only print errors, and the output of --json.")]
CacheDir: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Where compiled plugins are kept.", envvar="DATAFLARE_CACHE", show_default="~/.cache/dataflare"),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Write one JSON document to standard output.")]
Config: TypeAlias = Annotated[str, typer.Option(help="The configuration: a JSON object, or @FILE.")]
GrantWords: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--grant",
        help="What it may use: clock, files:NAME=DIR, files:write:NAME=DIR, http:GET:https://HOST, secrets:NAME and "
        "so on; with --policy, of what that gives it. May repeat.",
    ),
]
LimitWords: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--limit", help="A limit, such as memory=64MiB or call_timeout=30s. May repeat."),
]

_MAX_CONFIG_BYTES = 2**20


def compiled_folder(cache_dir: Path | None) -> Path | None:
    """Where below the cache folder compiled plugins are; `None` for the user's."""
    return None if cache_dir is None else cache_dir / "compiled"


def parse_config(text: str) -> dict[str, Any]:
    """Read a configuration: a JSON object, or `@file` with one.

    Raises:
        ConfigError: It is not a JSON object.
    """
    where = "--config"
    if text.startswith("@"):
        where = text[1:]
    try:
        value = json.loads(read_file(where, _MAX_CONFIG_BYTES) if text.startswith("@") else text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"is not JSON: {error}", where=where, hint="""such as '{"column": "x"}'""") from error
    if not isinstance(value, dict):
        raise ConfigError(f"is not a JSON object, but {type(value).__name__}", where=where)
    return value


def parse_plugin(config: str, grants: list[str] | None, limits: list[str] | None) -> LoadOptions:
    """Read how a plugin is loaded: `--config`, `--grant` and `--limit`. Without any, it gets what a policy gives.

    Raises:
        ConfigError: One of them is wrong.
    """
    return {
        "config": parse_config(config),
        "grants": parse_grants(grants) if grants else None,
        "limits": parse_limits(limits) if limits else None,
    }


def load_plugin(host: Host, component: Path | bytes, given: LoadOptions) -> Plugin:
    """Load a plugin as the command line says.

    Raises:
        PermissionDenied: It imports what is not granted to it; the hint has the options that are missing.
        DataflareError: As `Host.load`.
    """
    try:
        return host.load(component, **given)
    except PermissionDenied as error:
        if error.missing:
            words = (INTERFACES[name].word.partition(" or ")[0] or name for name in error.missing)
            error.hint = f"if it may use it, give {' '.join(f'--grant {word}' for word in words)}"
        raise
