"""Comparing what plugins ask for with what they get, with what they used, and with what they asked for before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dataflare.errors import PermissionDenied
from dataflare.interfaces import SWITCHES
from dataflare.security.audit import AuditEvent
from dataflare.security.capability import Capability, Needs, capabilities_of
from dataflare.security.connectors import CONNECTOR_PREFIX
from dataflare.security.fields import default_limit
from dataflare.security.pipelines import PipelineBinding
from dataflare.security.policy import (
    ConnectorGrants,
    ConnectorPipelineRule,
    ConnectorRule,
    DirectoryRule,
    GrantRule,
    HttpRule,
    PipelineRule,
    PluginRule,
    Policy,
    PolicyDocument,
)

__all__ = ["LimitChange", "NeedsDiff", "PolicyReport", "check", "diff", "suggest"]


@dataclass(frozen=True, slots=True, order=True)
class LimitChange:
    """A limit: what it was or may be at most, and what is asked for; `None` where nothing is said."""

    name: str
    before: int | None
    asked: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyReport:
    """What a plugin asks for, and what a policy says to it.

    Attributes:
        plugin: Its name.
        pipeline: The pipeline's.
        asked: Everything that it asks for.
        granted: Everything that the policy gives it.
        missing: Asked for, but not granted.
        unused: Granted, but not asked for.
        limits_missing: Limits that it wants higher than the policy allows.
        reason: Why the policy has no rule for it; empty where it has one.
    """

    plugin: str
    pipeline: str
    asked: frozenset[Capability]
    granted: frozenset[Capability]
    missing: frozenset[Capability]
    unused: frozenset[Capability]
    limits_missing: tuple[LimitChange, ...] = ()
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether the plugin gets all that it asks for."""
        return not self.missing and not self.limits_missing

    def require(self) -> None:
        """Let a plugin pass only with all that it asks for.

        Raises:
            PermissionDenied: Something is missing; `capability` is the first of it.
        """
        if self.ok:
            return
        missing = [str(each) for each in _without_implied(self.missing)]
        missing += [f"{each.name} of {each.asked}, at most {each.before}" for each in self.limits_missing]
        raise PermissionDenied(
            f"in the pipeline {self.pipeline!r}, these are asked for but not granted: {', '.join(missing)}",
            plugin=self.plugin,
            capability=missing[0],
            hint=self.reason or "add them to the plugin's grants in the policy, or use another plugin",
        )


def check(needs: Needs, policy: Policy, *, pipeline: str = "") -> PolicyReport:
    """Compare what a plugin asks for with what a policy gives it in a pipeline."""
    granted = capabilities_of(policy.grants_for(needs, pipeline))
    # Namespaces beyond the plugin's own are in the policy, but in no `Grants`.
    granted |= {Capability("state", name) for name in policy.rule_for(needs, pipeline).state}
    ceilings = policy.ceilings(needs, pipeline)
    over = []
    for name, asked in sorted(needs.limits.items()):
        most = ceilings[name]
        if most is not None and asked > most:
            over.append(LimitChange(name, most, asked))
    return PolicyReport(
        plugin=needs.plugin,
        pipeline=pipeline,
        asked=needs.capabilities,
        granted=granted,
        missing=needs.capabilities - granted,
        unused=granted - needs.capabilities,
        limits_missing=tuple(over),
        reason=policy.refusal(needs),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedsDiff:
    """What another version of a plugin asks for, compared with the one before.

    Attributes:
        added: Asked for by the new one alone.
        removed: Asked for by the old one alone.
        limits_raised: Limits that the new one wants higher.
        limits_lowered: Limits that the new one wants lower.
        widened: Whether the new one asks for anything that the old one did not: an operator should look at it again.
    """

    added: frozenset[Capability]
    removed: frozenset[Capability]
    limits_raised: tuple[LimitChange, ...] = ()
    limits_lowered: tuple[LimitChange, ...] = ()

    @property
    def widened(self) -> bool:
        return bool(self.added or self.limits_raised)


def diff(old: Needs, new: Needs) -> NeedsDiff:
    """Compare what two versions of a plugin ask for. A limit that is not said counts as the default."""
    raised, lowered = [], []
    for name in sorted(old.limits.keys() | new.limits.keys()):
        change = LimitChange(name, old.limits.get(name), new.limits.get(name))
        before, after = _or_default(old.limits, name), _or_default(new.limits, name)
        if after > before:
            raised.append(change)
        elif after < before:
            lowered.append(change)
    return NeedsDiff(
        added=new.capabilities - old.capabilities,
        removed=old.capabilities - new.capabilities,
        limits_raised=tuple(raised),
        limits_lowered=tuple(lowered),
    )


def suggest(events: Iterable[AuditEvent], *, base: Policy | None = None, include_denied: bool = False) -> Policy:
    """The least policy under which what was used would be allowed again, pipeline by pipeline.

    An audit log knows neither where directories are nor which headers, sizes and rates a request needed: those come
    from `base`, where it has them. A directory that `base` does not know gets its own name as path, and a pipeline
    `NAME.yaml` as its file, for the operator to set.

    Args:
        events: What was used, from `dataflare.security.audit`.
        base: The policy under which it was used; its pins are kept.
        include_denied: Whether to grant also what was refused, to learn what a new plugin wants.
    """
    used: dict[str, dict[str, set[Capability]]] = {}
    for event in events:
        if event.decision == "allow" or include_denied:
            capability = event.used()
            if capability is not None:
                used.setdefault(event.plugin, {}).setdefault(event.pipeline, set()).add(capability)
    rules: dict[str, PluginRule] = {}
    connectors: dict[str, set[Capability]] = {}
    bindings: dict[str, PipelineBinding] = {}
    for plugin, pipelines in sorted(used.items()):
        for name in sorted(pipelines):
            if name:
                known_as = base.document.pipelines.get(name) if base else None
                bindings[name] = known_as or PipelineBinding(file=f"{name}.yaml")
        if plugin.startswith(CONNECTOR_PREFIX):
            for name, each in pipelines.items():
                connectors.setdefault(name, set()).update(each)
            continue
        old = base.document.plugins.get(plugin, PluginRule()) if base else PluginRule()
        known = {name: old.grants.merged(each.grants) for name, each in old.pipelines.items()}
        # Events of no pipeline come from calls outside of any: what they need holds in each.
        outside = pipelines.get("", set())
        grants = {name: _rule(each | outside, known.get(name, old.grants)) for name, each in sorted(pipelines.items())}
        rules[plugin] = PluginRule(
            versions=old.versions,
            digests=old.digests,
            grants=grants.pop("", GrantRule()),
            pipelines={name: PipelineRule(grants=each) for name, each in grants.items()},
        )
    document = PolicyDocument(
        version=1, pipelines=bindings, plugins=rules, connectors=_connector_rule(connectors, base)
    )
    return Policy(document=document, base_dir=base.base_dir if base else Path(), source="suggested policy")


def _connector_rule(used: Mapping[str, set[Capability]], base: Policy | None) -> ConnectorRule:
    old = base.document.connectors if base else ConnectorRule()

    def grants(name: str, capabilities: set[Capability]) -> ConnectorGrants:
        extra = old.pipelines.get(name, ConnectorPipelineRule())
        return ConnectorGrants(
            directories=_directories(capabilities, {**old.grants.directories, **extra.grants.directories})
        )

    return ConnectorRule(
        pipelines={
            name: ConnectorPipelineRule(grants=grants(name, each)) for name, each in sorted(used.items()) if name
        }
    )


def _directories(used: Iterable[Capability], base: Mapping[str, DirectoryRule]) -> dict[str, DirectoryRule]:
    actions: dict[str, set[str]] = {}
    for each in used:
        if each.kind == "directory":
            actions.setdefault(each.object, set()).add(each.action)
    return {
        name: DirectoryRule(path=base[name].path if name in base else name, access=_access(chosen))
        for name, chosen in sorted(actions.items())
    }


def _rule(used: set[Capability], base: GrantRule) -> GrantRule:
    values: dict[str, Any] = {"limits": base.limits}
    shared: dict[str, set[str]] = {}
    http: dict[str, set[str]] = {}
    for each in used:
        if each.kind in ("shared", "http"):
            chosen = {"shared": shared, "http": http}[each.kind]
            chosen.setdefault(each.object, set()).add(each.action)
    values["directories"] = _directories(used, base.directories)
    values["shared"] = {name: _access(actions) for name, actions in sorted(shared.items())}
    values["http"] = {
        origin: base.http[origin].model_copy(update={"methods": frozenset(methods)})
        if origin in base.http
        else HttpRule(methods=frozenset(methods))
        for origin, methods in sorted(http.items())
    }
    for kind, key in (("state", "state"), ("secret", "secrets"), ("plugin", "plugins")):
        values[key] = frozenset(each.object for each in used if each.kind == kind)
    values["interfaces"] = SWITCHES & {each.object for each in used if each.kind == "interface"}
    return GrantRule(**values)


def _access(actions: set[str]) -> Literal["read", "write"]:
    return "write" if "write" in actions else "read"


def _or_default(limits: Mapping[str, int], name: str) -> float:
    value = limits.get(name, default_limit(name))
    return float("inf") if value is None else value


def _without_implied(capabilities: frozenset[Capability]) -> list[Capability]:
    """What is left when an interface is not said beside things of it."""
    implied = {each.interface for each in capabilities if each.kind != "interface"}
    return sorted(each for each in capabilities if each.kind != "interface" or each.object not in implied)
