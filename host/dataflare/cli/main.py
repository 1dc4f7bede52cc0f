"""The command `dataflare`."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from dataflare.cli import audit, bench, cache, compile, inspect, keys, package, policy, run, sign
from dataflare.cli.output import stderr

__all__ = ["app", "main"]

app = typer.Typer(
    name="dataflare",
    help="Run data pipelines of sandboxed plugins, written in any language that makes WebAssembly components.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("run")(run.command)
app.command("inspect")(inspect.command)
app.command("compile")(compile.command)
app.command("bench")(bench.command)
app.command("package")(package.command)
app.command("sign")(sign.sign_command)
app.command("verify")(sign.verify_command)
app.command("audit")(audit.command)
app.add_typer(policy.app, name="policy")
app.add_typer(cache.app, name="cache")
app.add_typer(keys.app, name="key")


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"dataflare {installed_version('dataflare')}\n")
        raise typer.Exit


@app.callback()
def _options(
    log_level: Annotated[
        str,
        typer.Option(help="Write log events of this level or above to standard error: debug, info, warning, error."),
    ] = "warning",
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    number = logging.getLevelNamesMapping().get(log_level.upper())
    if number is None:
        raise typer.BadParameter(f"{log_level!r} is none of debug, info, warning, error", param_hint="--log-level")
    handler = logging.StreamHandler(stderr().file)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=number, handlers=[handler])


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
