"""Attacks on policies, grants and the files that say them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import yaml
from pydantic import ConfigDict

from arena import Arena, Mutation, answers, attack, bystander, probe
from dataflare.documents.models import Frozen
from dataflare.documents.reader import Document
from dataflare.errors import ConfigError, PermissionDenied
from dataflare.grants import DirectoryGrant, Grants, HttpGrant
from dataflare.limits import Limits
from dataflare.runtime.host import Host
from dataflare.security.policy import PluginRule, Policy, PolicyDocument
from plugin_wat import hostile

ORIGIN = "https://api.example.com"


def secret_user() -> bytes:
    return probe("secrets#get", "(local.get $p) (local.get $n) (i32.const 512)").binary


@attack("deny")
def import_that_was_not_granted(arena: Arena) -> None:
    """Import a capability, and hope to get it unasked."""
    arena.refused_load(PermissionDenied, lambda: arena.load(secret_user()), says="secrets")


@attack("deny")
def plugin_without_a_rule(arena: Arena) -> None:
    """Be a plugin that the policy knows nothing of."""
    host = arena.host(policy=arena.policy(name="another"))
    arena.refused_load(PermissionDenied, lambda: arena.load(arena.package().binary, host), says="no rule")


@attack("deny")
def manifest_that_asks_for_more_than_the_policy_gives(arena: Arena) -> None:
    """Ask for a secret in the manifest that the policy does not give."""
    package = arena.package(asks={"secrets": ["token"]})
    host = arena.host(policy=arena.policy(clock=True))
    error = arena.refused_load(PermissionDenied, lambda: arena.load(package.binary, host))
    assert "secrets:token" in str(error)


@attack("deny")
def import_that_the_manifest_hides(arena: Arena) -> None:
    """Ask for nothing in the manifest, and import secrets all the same."""
    package = arena.package(secret_user())
    host = arena.host(policy=arena.policy(secrets=["token"]))
    arena.refused_load(PermissionDenied, lambda: arena.load(package.binary, host), says="manifest does not ask")


@attack("deny")
def grants_of_another_pipeline(arena: Arena) -> None:
    """Use in one pipeline what the policy gives in another."""
    package = arena.package(secret_user(), asks={"secrets": ["token"]})
    rule = {"pipelines": {"nightly": {"grants": {"secrets": ["token"]}}}}
    host = arena.host(policy=arena.policy(rule))
    arena.load(package.binary, host, pipeline="nightly").close()
    arena.refused_load(PermissionDenied, lambda: arena.load(package.binary, host, pipeline="hourly"))


def widened(arena: Arena, grants: Grants, says: str, **policy: object) -> None:
    host = arena.host(policy=arena.policy(**policy))
    package = arena.package()
    error = arena.refused_load(PermissionDenied, lambda: arena.load(package.binary, host, grants=grants))
    assert says in error.capability, error.capability


@attack("deny")
def pipeline_that_grants_a_secret_itself(arena: Arena) -> None:
    """Write a grant into the pipeline that the policy does not give."""
    widened(arena, Grants(secrets=frozenset({"token"})), "secrets:token", secrets=["other"])


@attack("deny")
def pipeline_that_makes_a_directory_writable(arena: Arena) -> None:
    """Turn reading into writing, in the pipeline."""
    folder = arena.folder / "data"
    folder.mkdir()
    grants = Grants(files={"data": DirectoryGrant(path=folder, access="write")})
    widened(arena, grants, "files:write:data", files={"data": {"path": "data"}})


@attack("deny")
def pipeline_that_moves_a_directory(arena: Arena) -> None:
    """Let a granted name stand for a directory further up."""
    folder = arena.folder / "data" / "inner"
    folder.mkdir(parents=True)
    grants = Grants(files={"data": DirectoryGrant(path=arena.folder / "data")})
    widened(arena, grants, "files:read:data", files={"data": {"path": "data/inner"}})


@attack("deny")
def pipeline_that_leads_a_directory_away_by_a_link(arena: Arena) -> None:
    """Name a symbolic link within the granted directory that leads out of it."""
    folder, outside = arena.folder / "data", arena.folder / "outside"
    folder.mkdir()
    outside.mkdir()
    (folder / "link").symlink_to(outside)
    grants = Grants(files={"data": DirectoryGrant(path=folder / "link")})
    widened(arena, grants, "files:read:data", files={"data": {"path": "data"}})


@attack("deny")
def pipeline_that_adds_a_method(arena: Arena) -> None:
    """Turn reading an API into writing to it."""
    grants = Grants(http={ORIGIN: HttpGrant(methods=frozenset({"DELETE"}))})
    widened(arena, grants, f"http:DELETE:{ORIGIN}", http={ORIGIN: {"methods": ["GET"]}})


@attack("deny")
def pipeline_that_adds_a_private_address(arena: Arena) -> None:
    """Open the way to the internal network, in the pipeline."""
    grants = Grants(http={ORIGIN: HttpGrant(methods=frozenset({"GET"}), addresses=frozenset({"10.0.0.0/8"}))})
    widened(arena, grants, "addresses 10.0.0.0/8", http={ORIGIN: {"methods": ["GET"]}})


@attack("secrets")
def pipeline_that_injects_another_secret(arena: Arena) -> None:
    """Have the host add a secret to requests that the policy adds no such secret to."""
    grants = Grants(http={ORIGIN: HttpGrant(methods=frozenset({"GET"}), secrets={"x-key": "token"})})
    widened(arena, grants, "secrets.x-key", http={ORIGIN: {"methods": ["GET"]}})


@attack("limits")
def pipeline_that_raises_limits(arena: Arena) -> None:
    """Raise limits in the pipeline above those of the policy."""
    made = hostile({"loop": "(loop $x (br $x))"})
    host = arena.host(policy=arena.policy(limits={"call_timeout": "100ms", "memory": "8MiB"}))
    package = arena.package(made.binary)
    plugin = arena.load(package.binary, host, limits=Limits(call_timeout_s=3, memory_bytes=2**30))
    assert plugin._parts.limits.call_timeout_s == 0.1 and plugin._parts.limits.memory_bytes == 8 * 2**20


@attack("limits")
def manifest_that_asks_for_higher_limits(arena: Arena) -> None:
    """Ask for more memory than the policy's ceiling."""
    package = arena.package(limits={"memory": "1024GiB"})
    host = arena.host(policy=arena.policy(limits={"memory": "128MiB"}))
    arena.refused_load(PermissionDenied, lambda: arena.load(package.binary, host), says="memory of 1024GiB")


def wrong_policy(arena: Arena, text: str, says: str) -> None:
    error = arena.raises(ConfigError, lambda: Policy.parse(text), says=says)
    assert error.where.startswith("policy.yaml:")


@attack("deny")
def policy_with_a_wildcard(arena: Arena) -> None:
    """Slip `*` into a policy, hoping that it means everything."""
    wrong_policy(arena, 'version: 1\nplugins: {"*": {grants: {clock: true}}}\n', "not of the form")
    rule = {"version": 1, "plugins": {"p": {"grants": {"http": {"https://*.example.com": {"methods": ["GET"]}}}}}}
    wrong_policy(arena, json.dumps(rule), "host name")


@attack("files-in")
def policy_with_a_misspelt_key(arena: Arena) -> None:
    """Rely on a slip in a policy, such as `digest` for `digests`, being ignored."""
    wrong_policy(arena, "version: 1\nplugins: {p: {digest: []}}\n", "digest")


@attack("files-in")
def policy_with_a_repeated_key(arena: Arena) -> None:
    """Repeat a plugin's rule further down, so that the reviewer sees only the first."""
    wrong_policy(arena, "version: 1\nplugins:\n  p: {}\n  p: {grants: {clock: true}}\n", "p")


@attack("files-in")
def policy_that_is_a_yaml_bomb(arena: Arena) -> None:
    """Fill memory by aliases that double at each step."""
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    wrong_policy(arena, "\n".join(lines), "the anchor")


@attack("files-in")
def policy_that_makes_an_object(arena: Arena) -> None:
    """Have YAML call a Python function."""
    made = arena.folder / "made"
    text = f"version: !!python/object/apply:os.mkdir [{json.dumps(str(made))}]\n"
    error = arena.raises(ConfigError, lambda: Policy.parse(text))
    assert not made.exists() and "the tag" in error.message


@attack("deny")
def policy_replaced_by_a_broken_one(arena: Arena) -> None:
    """Replace a policy by one that cannot be read, hoping that none holds then."""
    host = arena.host(policy=arena.policy(name="another"))
    (arena.folder / "broken.yaml").write_text("version: 1\nplugins: [\n")
    arena.raises(ConfigError, lambda: host.set_policy(arena.folder / "broken.yaml"))
    arena.refused_load(PermissionDenied, lambda: arena.load(bystander().binary, host), says="no rule")


class _LooseRule(PluginRule):
    model_config = ConfigDict(extra="ignore")


class _LooseDocument(PolicyDocument):
    """Takes any key of a rule, and any text as a plugin's name."""

    plugins: Frozen[str, _LooseRule]


def _dropped_first(host: Host, policy: str | os.PathLike[str]) -> None:
    host._admission.policy = None
    host._admission.replace_policy(Policy.read(policy))


_RULE_FOR = Policy.rule_for
MUTATIONS = [
    Mutation(
        "dataflare.security.policy:Policy.rule_for",
        lambda policy, plugin, _: _RULE_FOR(policy, plugin, "nightly"),
        ("grants_of_another_pipeline",),
    ),
    Mutation("dataflare.grants:Path.resolve", Path.absolute, ("pipeline_that_leads_a_directory_away_by_a_link",)),
    Mutation(
        "dataflare.security.policy:Policy.ceilings",
        answers(Limits(memory_bytes=2**40)),
        ("manifest_that_asks_for_higher_limits",),
    ),
    Mutation(
        "dataflare.documents.reader:_parse",
        lambda text, name, _: Document(name, yaml.unsafe_load(text), {}),
        ("policy_with_a_repeated_key", "policy_that_is_a_yaml_bomb", "policy_that_makes_an_object"),
    ),
    Mutation(
        "dataflare.security.policy:PolicyDocument",
        _LooseDocument,
        ("policy_with_a_wildcard", "policy_with_a_misspelt_key"),
    ),
    Mutation("dataflare.runtime.host:Host.set_policy", _dropped_first, ("policy_replaced_by_a_broken_one",)),
]
