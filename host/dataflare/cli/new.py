"""`dataflare new`: a new plugin's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dataflare.authoring.templates import new_plugin
from dataflare.cli.options import AsJson
from dataflare.cli.output import by_the_way, printed_errors, write_json
from dataflare.cli.screen import stdout

__all__ = ["command"]


def command(
    called: Annotated[
        str, typer.Argument(metavar="NAME", help="The plugin's name, such as clean-names.", show_default=False)
    ],
    kind: Annotated[
        str, typer.Option(help="The kind: source, destination, processor, transformer or validator.")
    ] = "processor",
    lang: Annotated[str, typer.Option("--lang", help="The language.")] = "python",
    into: Annotated[
        Path, typer.Option(help="The folder to make the plugin's folder in.", show_default="here")
    ] = Path(),
    as_json: AsJson = False,
) -> None:
    """Create the folder of a new plugin.

    It has a small plugin that works, its tests, and its `plugin.yaml`.

    Exit codes: 0 made; 2 the name cannot be one, there is no such kind or language, or it already exists.
    """
    with printed_errors(as_json=as_json):
        folder = Path.cwd() / into / called
        files = new_plugin(folder, kind=kind, language=lang)
        with by_the_way():
            if as_json:
                write_json({"folder": str(folder), "files": [each.as_posix() for each in files]})
            else:
                _show(into / called, kind, lang, files)


def _show(folder: Path, kind: str, language: str, files: list[Path]) -> None:
    stdout().say(f"{folder}: a {kind} in {language}")
    for each in files:
        stdout().say(f"  {each.as_posix()}")
    stdout().say(f"next: cd {folder} && dataflare test")
