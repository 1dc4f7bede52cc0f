"""The commands of the command line, one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import typer

from dataflare.cli.app import app


def commands(group: typer.Typer = app, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Each command's name, such as `policy check`, and its function."""
    for command in group.registered_commands:
        assert command.name and command.callback
        yield " ".join((*path, command.name)), command.callback
    for each in group.registered_groups:
        assert each.typer_instance and isinstance(each.name, str)
        yield from commands(each.typer_instance, (*path, each.name))
