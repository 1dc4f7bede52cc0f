from __future__ import annotations

from typing import Any

import pytest
import typer.main

from dataflare.cli.app import app
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
    for name, needs in COMMANDS.items():
        assert needs, name
        assert all(each.action in ACTIONS[each.kind] for each in needs), name


def test_command_that_nobody_decided_about_is_refused():
    with pytest.raises(LookupError):
        admit_command("fly", (), access=None, principal=None, audit=None)


def test_option_takes_the_place_of_what_its_command_needs():
    assert needs_of("run", ["verbose"]) == COMMANDS["run"]
    assert needs_of("run", ["verbose", "check"]) == COMMANDS["run --check"]


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
