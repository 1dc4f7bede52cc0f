"""Attacks of people by commands that run plugins: grants beyond the policy, and options against the environment."""

from __future__ import annotations

import json
from typing import Any, Final
from unittest import mock

from arena import Arena, Mutation, answers, attack, bystander, key, probe
from attacks_capabilities import SET
from attacks_roles import command_line
from dataflare.cli import conformance
from dataflare.conformance import Subject
from dataflare.conformance.host_service import HostService
from dataflare.errors import ConfigError
from dataflare.runtime.arguments import ComponentFile
from dataflare.security.audit import read_audit
from dataflare.security.sections import append_section
from dataflare.security.settings import Security

POLICY: Final = {"version": 1, "plugins": {"plugin": {"grants": {"state": True}}}}
ENV: Final = {"DATAFLARE_POLICY": "policy.yaml", "DATAFLARE_AUDIT": "audit.jsonl"}
GRANTING: Final = {
    "check": ("plugin.wasm",),
    "discover": ("plugin.wasm",),
    "bench": ("plugin.wasm", "--seconds", "0.1"),
    "conformance run": ("plugin.wasm", "--case", "every/health"),
}
"""The commands with the option `--grant`, and how they are given."""


def with_plugin(arena: Arena, component: bytes) -> None:
    (arena.folder / "plugin.wasm").write_bytes(component)
    (arena.folder / "policy.yaml").write_text(json.dumps(POLICY))
    (arena.folder / "mine.yaml").write_text(
        json.dumps({"version": 1, "plugins": {"plugin": {"grants": {"state": True}}}})
    )


@attack("deny")
def grant_on_the_command_line_beyond_the_policy(arena: Arena) -> None:
    """Use `--grant`, in each command that has it, to give a plugin what the environment's policy does not allow."""
    with_plugin(arena, bystander().binary)
    for name, words in GRANTING.items():
        for grant in ("plugins:other", "files:write:out=.", "http:GET:https://evil.example", "secrets:token"):
            result = command_line(arena, *name.split(), *words, "--json", "--grant", grant, env=ENV)
            assert result.exit_code == 4, f"{name} --grant {grant} was let through: {result.output}"
            assert json.loads(result.stdout)["error"]["type"] == "PermissionDenied"
    denied = [each for each in read_audit(arena.folder / "audit.jsonl").events if each.decision == "deny"]
    assert len(denied) == 4 * len(GRANTING), denied


@attack("deny")
def plugin_without_a_rule_on_the_command_line(arena: Arena) -> None:
    """Run a plugin that the policy of the environment does not know, with each command that runs one."""
    with_plugin(arena, bystander().binary)
    (arena.folder / "policy.yaml").write_text('{"version": 1}')
    for name, words in GRANTING.items():
        result = command_line(arena, *name.split(), *words, env=ENV)
        assert result.exit_code == 4, f"{name} was let through: {result.output}"


@attack("audit")
def use_on_the_command_line_without_a_trace(arena: Arena) -> None:
    """Use a capability in a plugin that is only checked, so that nobody learns of it."""
    made = probe("state#set", SET)
    with_plugin(arena, made.binary)
    for name in ("check", "conformance run"):
        (arena.folder / "audit.jsonl").unlink(missing_ok=True)
        result = command_line(arena, *name.split(), *GRANTING[name], "--grant", "state", env=ENV)
        assert result.exit_code == 0, result.output
        assert (arena.folder / "audit.jsonl").exists(), "there is no log"
        events = read_audit(arena.folder / "audit.jsonl").events
        assert [each for each in events if (each.plugin, each.function) == ("plugin", "load")], events


@attack("signatures")
def unsigned_plugin_on_the_command_line(arena: Arena) -> None:
    """Run a plugin without a signature, where the environment says whose is needed."""
    with_plugin(arena, bystander().binary)
    (arena.folder / "trust.yaml").write_text(json.dumps({"version": 1, "keys": []}))
    for name, words in GRANTING.items():
        result = command_line(arena, *name.split(), *words, env={"DATAFLARE_TRUST": "trust.yaml"})
        assert result.exit_code in (3, 4) and "signature" in result.output, f"{name} was let through: {result.output}"


@attack("signatures")
def component_exchanged_while_it_is_tested(arena: Arena) -> None:
    """Exchange the file once `conformance run` has verified it, and before the cases of the suite load it."""
    package = arena.package()
    (arena.folder / "plugin.wasm.sig").write_bytes(package.signature)
    trust = {"version": 1, "keys": [{"key": str(key("acme").public), "publisher": "acme"}]}
    (arena.folder / "trust.yaml").write_text(json.dumps(trust))
    tested = []

    def suite(subject: Subject, *_: object, **__: object) -> None:
        with_plugin(arena, append_section(package.binary, "bad", b"code"))
        tested.append(ComponentFile.read(subject.component).contents)
        raise ConfigError("the attack ends here")

    with_plugin(arena, package.binary)
    words = ("conformance", "run", *GRANTING["conformance run"], "--trust", "trust.yaml")
    with mock.patch.object(conformance, "run_suite", suite):
        result = command_line(arena, *words)
    assert "the attack ends here" in result.output, result.output
    assert tested == [package.binary], "what is tested is not what was verified"


@attack("roles")
def option_against_the_environment(arena: Arena) -> None:
    """Name another policy, log, trust file or principal, or other roles, than the environment does."""
    with_plugin(arena, bystander().binary)
    roles = {"DATAFLARE_ACCESS": "access.yaml", "DATAFLARE_PRINCIPAL": "mallory"}
    for env, option in (
        (ENV, ("--policy", "mine.yaml")),
        (ENV, ("--audit", "other.jsonl")),
        ({"DATAFLARE_TRUST": "trust.yaml"}, ("--trust", "mine.yaml")),
        (roles, ("--principal", "otto")),
        (roles, ("--access", "mine.yaml")),
    ):
        for name in ("check", "run", "dead-letter replay", "conformance run"):
            result = command_line(arena, *name.split(), "plugin.wasm", *option, env=env)
            assert result.exit_code == 2 and "leave the option out" in result.output, (
                f"{name} {option}: {result.output}"
            )
        assert not (arena.folder / "other.jsonl").exists()


@attack("deny")
def grant_that_a_runner_asks_an_adapter_for(arena: Arena) -> None:
    """Ask a host that is tested for a grant that its policy does not give."""
    with_plugin(arena, bystander().binary)
    service = HostService(security=Security(policy=arena.folder / "policy.yaml"))
    arena.at_close(service.close)
    component = str(arena.folder / "plugin.wasm")
    for grants in (["clock"], ["files:write:out=."]):
        reply = service.answer({"do": "load", "component": component, "name": "plugin", "grants": grants})
        assert reply.get("error", {}).get("kind") == "denied", reply
    assert "ok" in service.answer({"do": "load", "component": component, "name": "plugin", "grants": ["state"]})


class _Reread:
    """Leaves reading a component to each one that loads it."""

    @staticmethod
    def read(component: Any, **_: bool) -> ComponentFile:
        return ComponentFile(component, "")


MUTATIONS = [
    Mutation("dataflare.cli.conformance:ComponentFile", _Reread, ("component_exchanged_while_it_is_tested",)),
    Mutation(
        "dataflare.security.admission:narrowed_grants",
        lambda allowed, wanted, **_: wanted,
        ("grant_on_the_command_line_beyond_the_policy", "grant_that_a_runner_asks_an_adapter_for"),
    ),
    Mutation(
        "dataflare.security.settings:Security",
        lambda **_: Security(),
        (
            *("grant_on_the_command_line_beyond_the_policy", "plugin_without_a_rule_on_the_command_line"),
            *("use_on_the_command_line_without_a_trace", "unsigned_plugin_on_the_command_line"),
        ),
    ),
    Mutation("dataflare.cli.security_options:_require_environment", answers(None), ("option_against_the_environment",)),
]
