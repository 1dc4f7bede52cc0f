"""The commands of the command line, one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from dataflare.cli.commands import COMMANDS, read


def commands() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Each command's name, such as `policy check`, and its function."""
    for each in COMMANDS:
        for command in read(each).registered_commands:
            assert command.name and command.callback
            yield each.name if command.name == each.name else f"{each.name} {command.name}", command.callback
