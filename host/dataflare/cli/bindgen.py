"""`dataflare bindgen`: typed Python for a WIT world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dataflare.bindgen.folder import differences, require_importable, write_folder
from dataflare.bindgen.generate import generate, generate_types
from dataflare.bindgen.guest import generate_guest
from dataflare.bindgen.source import choose_world, read_component_world, read_wit
from dataflare.cli.exit_codes import EXIT_FAILED
from dataflare.cli.options import AsJson
from dataflare.cli.output import by_the_way, printed_errors, write_json
from dataflare.cli.screen import stdout
from dataflare.errors import ConfigError
from dataflare.wit.catalog import Catalog

__all__ = ["command"]


def command(
    component: Annotated[
        Path | None, typer.Argument(help="A component (.wasm), if there is no WIT.", show_default=False)
    ] = None,
    wit: Annotated[
        Path | None, typer.Option("--wit", help="A WIT file, or a folder of packages.", show_default=False)
    ] = None,
    world: Annotated[
        str | None,
        typer.Option("--world", "-w", help="The world, such as acme:shop/till.", show_default="the only one"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder to write.", show_default=False)
    ] = None,
    feature: Annotated[
        list[str] | None, typer.Option("--feature", help="A feature whose @unstable items are kept; may be repeated.")
    ] = None,
    guest: Annotated[
        bool, typer.Option("--guest", help="Instead, write stubs for plugins in Python, as componentize-py has them.")
    ] = False,
    types: Annotated[
        bool, typer.Option("--types", help="Instead, write only the types, for calls without the class of a world.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if the folder is out of date.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write typed Python that runs the components of a WIT world.

    The folder is a package: a module for each interface, and the class of the world. All of it is written, or nothing.

    Exit codes: 0 written, or current; 1 not current (`--check`); 2 the WIT or the command line is wrong; 3 not a
    component.
    """
    with printed_errors(as_json=as_json):
        if (component is None) == (wit is None):
            raise ConfigError(
                "give a component, or --wit", where="COMPONENT", hint="dataflare bindgen --wit wit -o out"
            )
        if output is None:
            raise ConfigError("is missing", where="--output", hint="the folder that is written, such as -o bindings")
        if guest and types:
            raise ConfigError(
                "cannot be combined with --types", where="--guest", hint="write each into a folder of its own"
            )
        if not guest:  # that is a folder of packages, for MYPYPATH
            require_importable(output)
        if wit is not None:
            catalog = read_wit(wit, features=tuple(feature or ()))
            full = None if types and world is None else choose_world(catalog, world, where=str(wit))
        elif component is not None:
            if feature:
                raise ConfigError("is for --wit: a component has no gates", where="--feature", hint="leave it out")
            catalog, full = read_component_world(component)
            choose_world(catalog, world, where=str(component))
        files = _files(catalog, full, where=str(wit or component), guest=guest, types=types)
        stale = differences(output, files) if check else write_folder(output, files)
        with by_the_way():
            if as_json:
                write_json({"world": full, "folder": str(output), "files": sorted(files), "changed": sorted(stale)})
            else:
                what = f"{len(stale)} files are out of date" if check and stale else f"{len(files)} files"
                _say(output, what, full or f"types of {wit}")
        if check and stale:
            raise typer.Exit(EXIT_FAILED)


def _files(catalog: Catalog, world: str | None, *, where: str, guest: bool, types: bool) -> dict[str, str]:
    if types or world is None:
        return generate_types(catalog, world, where=where)
    return generate_guest(catalog, world) if guest else generate(catalog, world)


def _say(folder: Path, what: str, world: str) -> None:
    stdout().say(f"{folder}: {what}, {world}")
