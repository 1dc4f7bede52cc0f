"""Options that several commands have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from dataflare.errors import ConfigError
from dataflare.grants import DirectoryGrant, Grants, switched
from dataflare.interfaces import FLAGS
from dataflare.user_files import read_file

__all__ = ["AsJson", "CacheDir", "Config", "GrantWords", "compiled_folder", "parse_config", "parse_grants"]

CacheDir: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Where compiled plugins are kept.", envvar="DATAFLARE_CACHE", show_default="~/.cache/dataflare"),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Write one JSON document to standard output.")]
Config: TypeAlias = Annotated[str, typer.Option(help="Its configuration: a JSON object, or @FILE.")]
GrantWords: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--grant", help="What it may use: clock, state, ..., files:NAME=PATH or files:NAME=PATH:rw. May repeat."
    ),
]

_MAX_CONFIG_BYTES = 2**20


def compiled_folder(cache_dir: Path | None) -> Path | None:
    """Where below the cache folder compiled plugins are; `None` for the user's."""
    return None if cache_dir is None else cache_dir / "compiled"


def parse_config(text: str) -> dict[str, Any]:
    """Read a configuration: a JSON object, or `@file` with one.

    Raises:
        ConfigError: It is none.
    """
    where = "--config"
    if text.startswith("@"):
        where = text[1:]
    try:
        value = json.loads(read_file(where, _MAX_CONFIG_BYTES) if text.startswith("@") else text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"is no JSON: {error}", where=where, hint="""such as '{"column": "x"}'""") from error
    if not isinstance(value, dict):
        raise ConfigError(f"is no JSON object, but {type(value).__name__}", where=where)
    return value


def parse_grants(words: list[str]) -> Grants:
    """Read grants: `clock`, `state` and so on, `files:NAME=PATH` to read, `files:NAME=PATH:rw` to read and write.

    Raises:
        ConfigError: A word is none of these.
    """
    flags: set[str] = set()
    files: dict[str, DirectoryGrant] = {}
    for word in words:
        kind, colon, rest = word.partition(":")
        name, equals, path = rest.partition("=")
        if kind == "files" and name and equals and path:
            writable = path.endswith(":rw")
            files[name] = DirectoryGrant(path=Path(path.removesuffix(":rw")), writable=writable)
        elif kind in FLAGS and not colon:
            flags.add(kind)
        else:
            raise ConfigError(
                f"{word!r} is no grant",
                where="--grant",
                hint=f"one of {', '.join(FLAGS)}, or files:NAME=PATH, or files:NAME=PATH:rw",
            )
    return Grants(files=files, **switched(flags))
