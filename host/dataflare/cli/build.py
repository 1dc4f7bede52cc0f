"""`dataflare build`: a plugin's folder into a component."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dataflare.authoring.building import build_plugin
from dataflare.cli.figures import byte_count
from dataflare.cli.options import AsJson, CacheDir, compiled_folder
from dataflare.cli.output import by_the_way, printed_errors, write_json
from dataflare.cli.screen import stdout
from dataflare.runtime.host import Host

__all__ = ["command"]


def command(
    folder: Annotated[Path, typer.Argument(help="A folder with a plugin.yaml.", show_default="here")] = Path(),
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Build the plugin of a folder.

    The component is `build/NAME.wasm`. What did not change is not built again.

    Exit codes: 0 built, or up to date; 1 the build failed, or a tool is missing; 2 the plugin.yaml is wrong.
    """
    with printed_errors(as_json=as_json), Host(cache_dir=compiled_folder(cache_dir)) as host:
        built, file = build_plugin(folder, host)
        with by_the_way():
            if as_json:
                document = {"file": str(built.guest.output), "name": file.name, "version": file.version}
                write_json({**document, "how": built.how, "size_bytes": built.size_bytes, "seconds": built.seconds})
            else:
                _show(built.guest.output, built.how, built.size_bytes, built.seconds)


def _show(file: Path, how: str, size_bytes: int, seconds: float) -> None:
    stdout().say(f"{file}: {how}, {byte_count(size_bytes)}, {seconds:.1f} s")
