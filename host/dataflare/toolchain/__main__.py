"""`python -m dataflare.toolchain`: `build [NAME...]` builds guests, `callbacks` the engine's native code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dataflare.errors import ConfigError, DataflareError
from dataflare.toolchain import callbacks
from dataflare.toolchain.build import build, check
from dataflare.toolchain.guests import find_root, load_project
from dataflare.toolchain.run_tool import ToolchainMissing

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Those after the program's name; `None` takes this process's.

    Returns:
        The exit code: 0; 1 when a build or a comparison failed; 2 for wrong arguments.
    """
    parser = argparse.ArgumentParser(prog="python -m dataflare.toolchain", description="Build guests into components.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("build", help="build guests of the folder guest-sdks")
    command.add_argument("names", nargs="*", metavar="NAME", help="the guests to build")
    command.add_argument("--all", action="store_true", help="all guests; with --check, all that are committed")
    mode = command.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="build committed components again and compare their bytes")
    mode.add_argument(
        "--local", action="store_true", help="build even what is committed into build/guests, with any toolchain"
    )
    command.add_argument("--root", type=Path, help="the repository (default: found from the current folder upwards)")
    commands.add_parser("callbacks", help="compile the engine's callbacks.c")
    options = parser.parse_args(arguments)
    if options.command == "callbacks":
        return _compile_callbacks()
    if bool(options.names) == options.all:
        command.error("give names of guests, or --all")
    try:
        project = load_project(options.root or find_root(Path.cwd()))
        guests = project.select(options.names or list(project.guests))
        if options.all and options.check:
            guests = [guest for guest in guests if guest.committed]
        for guest in map(project.locally, guests) if options.local else guests:
            try:
                done = check(guest) if options.check else build(guest)
            except ToolchainMissing as missing:
                # Anyone who asks for everything gets what can be had, except where it must be everything.
                if not options.all or os.environ.get("CI") == "true":
                    raise
                sys.stderr.write(f"{guest.name}: skipped: {missing}\n")
                continue
            sys.stdout.write(f"{guest.name}: {done.how}, {done.size_bytes:,} bytes, {done.seconds:.1f} s\n")
            sys.stdout.flush()
    except DataflareError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 2 if isinstance(exc, ConfigError) else 1
    return 0


def _compile_callbacks() -> int:
    try:
        sys.stdout.write(f"{callbacks.write()}\n")
    except DataflareError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
