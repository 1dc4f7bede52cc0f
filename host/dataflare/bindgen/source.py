"""The source of a world: a folder of WIT, or a component."""

from __future__ import annotations

import os
from pathlib import Path

from dataflare.errors import ConfigError
from dataflare.suggestions import close_matches
from dataflare.user_files import read_component
from dataflare.wit.catalog import Catalog
from dataflare.wit.resolve import load

__all__ = ["choose_world", "read_component_world", "read_wit"]


def read_wit(folder: Path, *, features: tuple[str, ...] = ()) -> Catalog:
    """Read a WIT file, or all packages of a folder.

    Raises:
        WitError: The WIT is not valid (with file, line and column), or a file cannot be read.
    """
    return load(folder, features=features)


def read_component_world(file: Path) -> tuple[Catalog, str]:
    """Read the world of a component: its packages, and the world's full name. None of its code is compiled or run.

    Raises:
        NotAComponent: It is not a component.
        UnsupportedComponent: It has something that the engine does not support, or a type without a name.
        ConfigError: The file cannot be read, or is WIT.
    """
    # Imported here, since it loads wasmtime, which reading WIT does not need.
    from dataflare.bindgen.reflected import reflected_catalog
    from dataflare.engine.engine import Engine

    if file.suffix == ".wit" or (os.path.isdir(file) and any(each.endswith(".wit") for each in os.listdir(file))):
        raise ConfigError("is WIT, not a component", where=str(file), hint=f"give it with --wit {file}")
    contents = read_component(file)
    with Engine() as engine:
        shape = engine.shape(contents, name=str(file))
    return reflected_catalog(shape, component=str(file), name=file.name.removesuffix(".wasm"))


def choose_world(catalog: Catalog, name: str | None, *, where: str) -> str:
    """Return the full name of the requested world.

    Args:
        catalog: The packages.
        name: The world's name: full, without version, or plain; `None` if there is only one world.
        where: The file or folder that was read, for errors.

    Raises:
        ConfigError: No world has that name, or several have it.
    """
    worlds = [full for full, _ in catalog.worlds()]
    if not worlds:
        raise ConfigError("has no world", where=where, hint="bindings are written for a world: world NAME { ... }")
    if name is None:
        if len(worlds) > 1:
            raise ConfigError(f"has {len(worlds)} worlds", where=where, hint=f"--world is one of {', '.join(worlds)}")
        return worlds[0]
    bare = {full: full.partition("@")[0] for full in worlds}
    for spelled in (
        {full: full for full in worlds},
        bare,
        {full: each.rpartition("/")[2] for full, each in bare.items()},
    ):
        found = [full for full, text in spelled.items() if text == name]
        if len(found) == 1:
            return found[0]
        if found:
            raise ConfigError(f"has {len(found)} worlds {name!r}", where=where, hint=f"one of {', '.join(found)}")
    close = close_matches(name, [*worlds, *(each.rpartition("/")[2] for each in bare.values())], 3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"one of {', '.join(sorted(worlds)[:20])}"
    raise ConfigError(f"has no world {name!r}", where=where, hint=hint)
