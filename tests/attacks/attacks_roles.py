"""Attacks of people: commands without a role, options that take others back, the state of others' files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from typer.testing import CliRunner, Result

from arena import Arena, Mutation, answers, attack, probe
from attacks_capabilities import SET
from attacks_connectors import Place
from cli_commands import commands
from dataflare.capabilities.state import MemoryStateStore
from dataflare.cli.app import app
from dataflare.grants import Grants
from dataflare.pipeline.specification import load_specification
from dataflare.security.audit import read_audit

MEMBERS = "version: 1\nmembers: {vera: [viewer], ann: [author], otto: [operator]}\n"
ARGUMENTS = {
    "package": ("plugin.wasm", "-m", "manifest.yaml", "-o", "out.wasm"),
    "sign": ("plugin.wasm", "--key", "release.key"),
    "verify": ("plugin.wasm", "--trust", "trust.yaml"),
    "run": ("pipeline.yaml",),
    "state import": ("pipeline.yaml", "state.json"),
    "dead-letter show": ("dead.jsonl",),
    "conformance run": ("plugin.wasm",),
    "conformance host": (),
    "conformance host --adapter true": (),
    "conformance adapter": (),
    "conformance verify": ("plugin.wasm", "--trusted-key", "release.pub"),
    "policy check": ("policy.yaml", "plugin.wasm"),
    "policy suggest": ("audit.jsonl", "-o", "policy.yaml"),
    "policy diff": ("old.wasm", "new.wasm"),
    "cache list": (),
    "conformance list": (),
    "doctor": (),
    "cache clear": (),
    "key generate": ("new.key",),
}


def command_line(arena: Arena, *words: str, env: dict[str, str] | None = None) -> Result:
    """Give a command in the arena's folder, whose roles are in `access.yaml`."""
    (arena.folder / "access.yaml").write_text(MEMBERS)
    clean = {f"DATAFLARE_{name}": None for name in ("POLICY", "TRUST", "AUDIT", "ACCESS", "PRINCIPAL", "KEY")}
    with inside(arena.folder):
        return CliRunner().invoke(app, list(words), env={**clean, "DATAFLARE_CACHE": "cache", **(env or {})})


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def assert_refused(result: Result) -> None:
    """The command was refused for the roles, before anything else was found wrong."""
    assert result.exit_code == 4, f"it was let through: {result.output}"
    assert json.loads(result.stdout)["error"]["type"] == "PermissionDenied"


@attack("roles")
def command_given_without_a_role(arena: Arena) -> None:
    """Give each command of the command line, one after the other, as somebody without any role."""
    for name, _ in commands():
        words = (*name.split(), *ARGUMENTS.get(name, ("file",)), "--access", "access.yaml", "--principal", "mallory")
        if name == "conformance adapter":  # its standard output is for the runner
            assert command_line(arena, *words).exit_code == 4
        else:
            assert_refused(command_line(arena, *words, "--json"))
    assert [each.name for each in arena.folder.iterdir()] == ["access.yaml"], "something was written"


@attack("roles")
def command_given_with_a_role_for_others(arena: Arena) -> None:
    """Sign, write a policy, read the audit log, clear the cache, each with a role that allows something else."""
    for principal, name in (
        *(("vera", each) for each in ("run", "bench", "package", "sign", "key generate", "cache clear", "audit")),
        *(("vera", each) for each in ("build", "test", "conformance host --adapter true")),
        *(("ann", each) for each in ("audit", "policy suggest", "cache clear")),
        *(("otto", each) for each in ("package", "sign", "key generate")),
    ):
        words = (*name.split(), *ARGUMENTS.get(name, ("file",)))
        assert_refused(command_line(arena, *words, "--json", "--access", "access.yaml", "--principal", principal))
    assert command_line(arena, "cache", "clear", "--access", "access.yaml", "--principal", "otto").exit_code == 0


@attack("roles")
def roles_of_the_environment_not_mentioned(arena: Arena) -> None:
    """Leave `--access` or `--principal` out, where the roles come from the environment."""
    env = {"DATAFLARE_ACCESS": "access.yaml", "DATAFLARE_PRINCIPAL": "mallory"}
    assert_refused(command_line(arena, "cache", "clear", "--json", env=env))
    nobody = command_line(arena, "cache", "clear", env={"DATAFLARE_ACCESS": "access.yaml"})
    assert nobody.exit_code == 2, f"it was let through: {nobody.output}"


@attack("roles")
def option_that_takes_an_earlier_one_back(arena: Arena) -> None:
    """Append another principal, roles or policy to a command line that has them already."""
    (arena.folder / "own.yaml").write_text("version: 1\nmembers: {mallory: [admin]}\n")
    given = ("cache", "clear", "--access", "access.yaml", "--principal", "mallory")
    for more in (("--principal", "otto"), ("--access=own.yaml",)):
        result = command_line(arena, *given, *more)
        assert result.exit_code == 2, f"it was let through: {result.output}"
        assert "is given twice" in result.stderr
    policies = ("run", "pipeline.yaml", "--policy", "policy.yaml", "--policy", "own.yaml")
    assert "is given twice" in command_line(arena, *policies).stderr


@attack("audit")
def command_refused_without_a_trace(arena: Arena) -> None:
    """Give a command that one may not, so that nobody learns of it."""
    env = {"DATAFLARE_AUDIT": "audit.jsonl"}
    words = ("policy", "diff", "a.wasm", "b.wasm", "--json", "--access", "access.yaml", "--principal", "mallory")
    assert_refused(command_line(arena, *words, env=env))
    (event,) = read_audit(arena.folder / "audit.jsonl").events
    assert (event.capability, event.function, event.object, event.decision) == ("access", "read", "plugins", "deny")


class Watched(MemoryStateStore):
    """Remembers where it was written to."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    def set(self, namespace: str, key: str, value: bytes) -> None:
        self.written.append(namespace)
        super().set(namespace, key, value)


@attack("neighbours")
def state_of_a_pipeline_of_the_same_name(arena: Arena) -> None:
    """Call one's own pipeline like another that no policy knows, to get at the state of its plugins."""
    store = Watched()
    place = Place(arena, None)
    place.host = arena.host(state_store=store)
    made = probe("state#set", SET)
    victim, own = place.pipeline(), place.folder / "mine.yaml"
    own.write_bytes(victim.read_bytes())
    for file in (victim, own, victim):
        admitted = place.host.admit_pipeline("copy", load_specification(file).identity)
        plugin = arena.load(made.binary, place.host, name="p", grants=Grants(state=True), pipeline=admitted)
        arena.answers_with("ok", plugin, made, "state#set", "key")
        plugin.close()
        admitted.close()
    first, second, again = store.written
    assert first == again and first != second, f"one wrote to the other's: {store.written}"


MUTATIONS = [
    Mutation(
        "dataflare.security.commands:admit_command",
        answers(None),
        (
            *("command_given_without_a_role", "roles_of_the_environment_not_mentioned"),
            "command_refused_without_a_trace",
        ),
    ),
    Mutation("dataflare.security.commands:needs_of", answers(()), ("command_given_with_a_role_for_others",)),
    Mutation("dataflare.cli.security_options:_require_once", answers(None), ("option_that_takes_an_earlier_one_back",)),
    Mutation(
        "dataflare.security.pipelines:PipelineFile.scope",
        lambda _, name, bound: bound or name,
        ("state_of_a_pipeline_of_the_same_name",),
    ),
]
