from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any, Final

import pytest
import typer.main

from dataflare.cli.app import app
from dataflare.cli.commands import COMMANDS as LISTED
from dataflare.cli.commands import read
from dataflare.errors import ConfigError, PermissionDenied
from dataflare.security.access import ACTIONS, Access
from dataflare.security.commands import COMMANDS, admit_command, needs_of


def command_names(command: Any, path: tuple[str, ...] = ()) -> list[str]:
    inner = getattr(command, "commands", None)
    if inner is None:
        return [" ".join(path)]
    return [name for each in inner.values() for name in command_names(each, (*path, each.name))]


def parameters_of(command: Any, words: list[str]) -> dict[str, Any]:
    for word in words:
        command = command.commands[word]
    return {each.name: each for each in command.params}


def test_every_command_says_what_it_needs():
    assert {name.partition(" --")[0] for name in COMMANDS} == set(command_names(typer.main.get_command(app)))


def test_every_command_has_the_options_of_roles():
    root = typer.main.get_command(app)
    for name in command_names(root):
        found = parameters_of(root, name.split())
        assert {"access", "principal"} <= set(found), name
        assert (found["access"].envvar, found["principal"].envvar) == ("DATAFLARE_ACCESS", "DATAFLARE_PRINCIPAL")


def test_every_option_that_needs_something_else_is_one():
    root = typer.main.get_command(app)
    for entry in COMMANDS:
        name, _, option = entry.partition(" --")
        assert not option or option in parameters_of(root, name.split()), entry


def test_every_need_is_an_action_that_roles_can_allow():
    for name, rule in COMMANDS.items():
        assert rule.needs, name
        assert all(each.action in ACTIONS[each.kind] for each in rule.needs), name


def functions_of_commands() -> dict[str, Any]:
    """The function of each command, by its name."""
    found = {}
    for command in LISTED:
        group = read(command)
        for each in group.registered_commands:
            inner = f" {each.name}" if command.name != each.name else ""
            found[f"{command.name}{inner}"] = inspect.unwrap(each.callback)  # type: ignore[arg-type]
    return found


def hosts_made_in(function: Any) -> list[ast.Call]:
    """The calls in a function that make a host."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    calls = (each for each in ast.walk(tree) if isinstance(each, ast.Call))
    return [each for each in calls if getattr(each.func, "id", "") in ("Host", "HostService", "execute")]


LOOKS: Final = {"build", "policy check", "policy diff"}
"""Commands that make a host to look at components, and run none of their code."""


def test_every_command_that_makes_a_host_says_what_it_gives_to_plugins():
    functions = functions_of_commands()
    assert set(functions) == {name.partition(" --")[0] for name in COMMANDS}
    for name, function in functions.items():
        assert bool(hosts_made_in(function)) == (COMMANDS[name].gives != "none" or name in LOOKS), name


def test_every_command_that_gives_grants_is_within_the_policy():
    root = typer.main.get_command(app)
    for name, function in functions_of_commands().items():
        options = parameters_of(root, name.split())
        gives = COMMANDS[name].gives == "grants"
        assert ("security" in inspect.signature(function).parameters) == gives, name
        assert not gives or {"policy", "trust", "audit"} <= set(options), name
        assert gives or "grant" not in options, name
        assert not gives or all("security" in ast.unparse(each) for each in hosts_made_in(function)), name


def test_command_that_nobody_decided_about_is_refused():
    with pytest.raises(LookupError):
        admit_command("fly", (), access=None, principal=None, audit=None)


def test_option_takes_the_place_of_what_its_command_needs():
    assert needs_of("run", ["verbose"]) == COMMANDS["run"].needs
    assert needs_of("run", ["verbose", "check"]) == COMMANDS["run --check"].needs


def test_roles_and_principal_are_given_together(tmp_path):
    (tmp_path / "access.yaml").write_text("version: 1\n")
    for given in ({"access": tmp_path / "access.yaml", "principal": None}, {"access": None, "principal": "ada"}):
        with pytest.raises(ConfigError, match=r"without a principal|has no roles"):
            admit_command("inspect", (), audit=None, **given)


def test_role_for_one_pipeline_is_enough_to_begin_a_run(tmp_path):
    (tmp_path / "access.yaml").write_text(
        "version: 1\nroles: {night: {allows: {pipelines/nightly: [run]}}}\nmembers: {nell: [night]}\n"
    )
    admit_command("run", (), access=tmp_path / "access.yaml", principal="nell", audit=None)
    for command in ("bench", "run --check", "inspect"):
        name, _, option = command.partition(" --")
        with pytest.raises(PermissionDenied):
            admit_command(name, [option], access=tmp_path / "access.yaml", principal="nell", audit=None)


def test_some_of_a_kind_is_not_some_of_another():
    access = Access.parse("version: 1\nroles: {r: {allows: {plugins/pipelines: [read]}}}\nmembers: {nell: [r]}\n")
    access.require("nell", "read", "plugins", of_some=True)
    with pytest.raises(PermissionDenied):
        access.require("nell", "read", "pipelines", of_some=True)
