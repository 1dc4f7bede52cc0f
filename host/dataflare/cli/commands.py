"""The subcommands: one module each, imported when it is called.

A module has either `command`, a function, or `app`, a group of commands. The summaries are repeated here, so that
`dataflare --help` imports none of the modules; a test compares them with the modules.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import typer.main

from dataflare.cli.security_options import GuardedGroup, GuardedTyper

__all__ = ["COMMANDS", "Command", "CommandGroup", "preload", "read"]


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand: its name, the module that has it, and one line about it."""

    name: str
    module: str
    summary: str


_WORDS_BEFORE: Final = 3
"""The words among which the command is: `--log-level debug` may stand before it."""

COMMANDS: Final = (
    Command("run", "run", "Run a pipeline to its end, or leave no output."),
    Command("plan", "plan", "Show what a run would do, before any row moves."),
    Command("state", "state", "Show and change the saved positions of a pipeline's sources."),
    Command("runs", "runs", "List and show the runs of a pipeline that keeps a state."),
    Command("dead-letter", "dead_letter", "Show and replay rows on which a plugin failed."),
    Command("inspect", "inspect", "Describe a component."),
    Command("check", "check", "Configure and initialize a plugin, and check its health."),
    Command("discover", "discover", "List the datasets of a source with their columns, keys and reading modes."),
    Command("schema", "schema", "Show the columns of files as a pipeline would read them."),
    Command("compile", "compile", "Compile components into the cache."),
    Command("bench", "bench", "Measure a plugin."),
    Command("bindgen", "bindgen", "Write typed Python that runs the components of a WIT world."),
    Command("new", "new", "Create the folder of a new plugin."),
    Command("build", "build", "Build the plugin of a folder."),
    Command("test", "test", "Test the plugin of a folder."),
    Command("dev", "dev", "Build, load and try the plugin of a folder again after each change."),
    Command("conformance", "conformance", "Prove that a plugin or a host keeps the standard."),
    Command("doctor", "doctor", "Show which languages plugins can be built in on this machine."),
    Command("package", "package", "Put a manifest into a component."),
    Command("sign", "sign", "Sign a component."),
    Command("verify", "verify", "Verify a component's signature."),
    Command("audit", "audit", "Show what plugins used, how often, and what was refused."),
    Command("policy", "policy", "Compare plugins with policies, derive policies from use."),
    Command("cache", "cache", "List and remove compiled plugins."),
    Command("key", "keys", "Create and show keys that sign plugins."),
)


class CommandGroup(GuardedGroup):
    """The group of all subcommands."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = _Loaded()  # type: ignore[assignment]  # typer only reads it

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(each.name, each.summary) for each in COMMANDS])


class _Loaded(Mapping[str, Any]):
    """typer's commands by name, each made when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        for each in COMMANDS:
            if each.name == name:
                return _load(each)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (each.name for each in COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


def preload(arguments: list[str]) -> None:
    """Import what a command line is about to need, while an interrupt can still end the process without a traceback.

    Args:
        arguments: The words of the command line. Only their first command is looked at: this decides nothing.
    """
    for each in COMMANDS:
        if each.name in arguments[:_WORDS_BEFORE]:
            for name in (f"dataflare.cli.{each.module}", "dataflare.cli.output", "dataflare.security.commands"):
                importlib.import_module(name)


def read(command: Command) -> GuardedTyper:
    """Import a subcommand's module; returns its group, or a group of nothing but its command."""
    module = importlib.import_module(f"dataflare.cli.{command.module}")
    group: GuardedTyper | None = getattr(module, "app", None)
    if group is None:
        group = GuardedTyper()
        group.command(command.name)(module.command)
    return group


def _load(command: Command) -> Any:
    made = typer.main.get_command(read(command))
    made.name = command.name
    return made
