"""Compares what plugins ask for with what they get, what they used, and what an earlier version asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dataflare.errors import PermissionDenied
from dataflare.grants import Access, DatasetGrants
from dataflare.interfaces import SWITCHES
from dataflare.limits import LIMITS, Limits, LimitValue, is_above
from dataflare.permissions.grant_keys import DirectoryModel, GrantsModel, HttpModel
from dataflare.permissions.limit_keys import write_limit
from dataflare.security.audit import AuditEvent
from dataflare.security.capability import Capability, Needs, capabilities_of
from dataflare.security.connectors import CONNECTOR_PREFIX
from dataflare.security.narrowing import dataset_excess
from dataflare.security.pipelines import PipelineBinding
from dataflare.security.policy import (
    ConnectorGrants,
    ConnectorPipelineRule,
    ConnectorRule,
    PipelineRule,
    PluginRule,
    Policy,
    PolicyDocument,
)

__all__ = ["LimitChange", "NeedsDiff", "PolicyReport", "check", "diff", "suggest"]

_DEFAULTS: Final = Limits()


@dataclass(frozen=True, slots=True, order=True)
class LimitChange:
    """A limit, by its name in `LIMITS`: its earlier value or ceiling, and the requested value; `None` means no
    limit."""

    name: str
    before: LimitValue
    asked: LimitValue

    def written(self, value: LimitValue) -> str:
        """Write a value of the limit, such as `64MiB`."""
        return write_limit(LIMITS[self.name], value)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyReport:
    """What a plugin asks for, and what a policy gives it.

    Attributes:
        plugin: Its name.
        pipeline: The pipeline's.
        asked: Everything that it asks for.
        granted: Everything that the policy gives it.
        missing: Asked for, but not granted.
        unused: Granted, but not asked for.
        limits_missing: Limits that it needs higher than the policy allows.
        datasets_missing: Datasets and columns that it needs, but does not get: `datasets:NAME`, `datasets:NAME.COLUMN`.
        reason: Why the policy has no rule for it; empty if it has one.
    """

    plugin: str
    pipeline: str
    asked: frozenset[Capability]
    granted: frozenset[Capability]
    missing: frozenset[Capability]
    unused: frozenset[Capability]
    limits_missing: tuple[LimitChange, ...] = ()
    datasets_missing: tuple[str, ...] = ()
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether the plugin gets everything that it asks for."""
        return not (self.missing or self.limits_missing or self.datasets_missing)

    def require(self) -> None:
        """Refuse a plugin that does not get everything that it asks for.

        Raises:
            PermissionDenied: Something is missing; `capability` is the first missing one.
        """
        if self.ok:
            return
        missing = [*map(str, _without_implied(self.missing)), *self.datasets_missing]
        missing += [
            f"{each.name} of {each.written(each.asked)}, at most {each.written(each.before)}"
            for each in self.limits_missing
        ]
        raise PermissionDenied(
            f"in the pipeline {self.pipeline!r}, these are asked for but not granted: {', '.join(missing)}",
            plugin=self.plugin,
            capability=missing[0],
            hint=self.reason or "add them to the plugin's grants in the policy, or use another plugin",
        )


def check(needs: Needs, policy: Policy, *, pipeline: str = "") -> PolicyReport:
    """Compare what a plugin asks for with what a policy gives it in a pipeline."""
    grants = policy.grants_for(needs, pipeline)
    granted = capabilities_of(grants)
    ceilings = policy.ceilings(needs, pipeline)
    over = []
    for name, row in sorted(LIMITS.items()):
        most = getattr(ceilings, row.field)
        asked = needs.limits.get(row.field, most)
        if is_above(asked, most):
            over.append(LimitChange(name, most, asked))
    return PolicyReport(
        plugin=needs.plugin,
        pipeline=pipeline,
        asked=needs.capabilities,
        granted=granted,
        missing=needs.capabilities - granted,
        unused=granted - needs.capabilities,
        limits_missing=tuple(over),
        datasets_missing=_more_datasets(grants.datasets, needs.datasets) if needs.datasets is not None else (),
        reason=policy.refusal(needs),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedsDiff:
    """What another version of a plugin asks for, compared with the one before.

    Attributes:
        added: Asked for only by the new version.
        removed: Asked for only by the old version.
        limits_raised: Limits that the new one needs higher.
        limits_lowered: Limits that the new one needs lower.
        datasets_added: Datasets and columns that the new one alone needs; `datasets` where only the old one said which.
        datasets_removed: The same of the old one.
        widened: Whether the new one asks for anything that the old one did not: an operator should look at it again.
    """

    added: frozenset[Capability]
    removed: frozenset[Capability]
    limits_raised: tuple[LimitChange, ...] = ()
    limits_lowered: tuple[LimitChange, ...] = ()
    datasets_added: tuple[str, ...] = ()
    datasets_removed: tuple[str, ...] = ()

    @property
    def widened(self) -> bool:
        return bool(self.added or self.limits_raised or self.datasets_added)


def diff(old: Needs, new: Needs) -> NeedsDiff:
    """Compare what two versions of a plugin ask for. A limit that is not given counts as the default."""
    raised, lowered = [], []
    for name, row in sorted(LIMITS.items()):
        before, after = (each.limits.get(row.field, getattr(_DEFAULTS, row.field)) for each in (old, new))
        if is_above(after, before):
            raised.append(LimitChange(name, before, after))
        elif is_above(before, after):
            lowered.append(LimitChange(name, before, after))
    return NeedsDiff(
        added=new.capabilities - old.capabilities,
        removed=old.capabilities - new.capabilities,
        limits_raised=tuple(raised),
        limits_lowered=tuple(lowered),
        datasets_added=_more_datasets(old.datasets, new.datasets),
        datasets_removed=_more_datasets(new.datasets, old.datasets),
    )


def _more_datasets(before: DatasetGrants | None, after: DatasetGrants | None) -> tuple[str, ...]:
    """Return what `after` has in addition to `before`; `None` means everything."""
    if before is None:
        return ()
    return ("datasets",) if after is None else tuple(sorted(dataset_excess(before, after)))


def suggest(events: Iterable[AuditEvent], *, base: Policy | None = None, include_denied: bool = False) -> Policy:
    """Return the smallest policy that allows the given uses, pipeline by pipeline.

    An audit log has neither the paths of directories nor the headers, sizes and rates of requests: these come from
    `base`, if it has them. A directory that `base` does not know gets its own name as path, and a pipeline gets
    `NAME.yaml` as its file; the operator must correct both.

    Args:
        events: The logged uses, from `dataflare.security.audit`.
        base: The policy in force at that time; its pins are kept.
        include_denied: Whether to also grant refused uses, to learn what a new plugin needs.
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
        # Events without a pipeline come from calls outside any: their grants apply in every pipeline.
        outside = pipelines.get("", set())
        everywhere = GrantsModel()
        single: dict[str, PipelineRule] = {}
        for name, each in sorted(pipelines.items()):
            known = old.pipelines.get(name, PipelineRule())
            grants = _grants(each | outside, old.grants.merged(known.grants))
            if name:
                single[name] = PipelineRule(grants=grants, limits=known.limits)
            else:
                everywhere = grants
        rules[plugin] = PluginRule(
            versions=old.versions, digests=old.digests, grants=everywhere, limits=old.limits, pipelines=single
        )
    document = PolicyDocument(
        version=1, pipelines=bindings, plugins=rules, connectors=_connector_rule(connectors, base)
    )
    return Policy(document=document, base_dir=base.base_dir if base else Path(), source="suggested policy")


def _connector_rule(used: Mapping[str, set[Capability]], base: Policy | None) -> ConnectorRule:
    old = base.document.connectors if base else ConnectorRule()

    def grants(name: str, capabilities: set[Capability]) -> ConnectorGrants:
        extra = old.pipelines.get(name, ConnectorPipelineRule())
        return ConnectorGrants(files=_directories(capabilities, {**old.grants.files, **extra.grants.files}))

    return ConnectorRule(
        pipelines={
            name: ConnectorPipelineRule(grants=grants(name, each)) for name, each in sorted(used.items()) if name
        }
    )


def _directories(used: Iterable[Capability], base: Mapping[str, DirectoryModel]) -> dict[str, DirectoryModel]:
    return {
        name: DirectoryModel(path=base[name].path if name in base else name, access=_access(actions))
        for name, actions in _by_object(used, "files").items()
    }


def _grants(used: set[Capability], base: GrantsModel) -> GrantsModel:
    http = {}
    for origin, methods in _by_object(used, "http").items():
        known = base.http.get(origin, HttpModel(methods=frozenset(methods)))
        http[origin] = known.model_copy(update={"methods": frozenset(methods)})
    whole = {each.interface for each in used} & set(SWITCHES)
    return GrantsModel(
        files=_directories(used, base.files),
        shared={name: _access(actions) for name, actions in _by_object(used, "shared").items()},
        http=http,
        secrets=frozenset(_by_object(used, "secrets")),
        plugins=frozenset(_by_object(used, "plugins")),
        random_seed=base.random_seed if "random" in whole else None,
        datasets=base.datasets,
        **dict.fromkeys(whole, True),
    )


def _by_object(used: Iterable[Capability], interface: str) -> dict[str, set[str]]:
    """Return the actions on each object of an interface, by its name."""
    actions: dict[str, set[str]] = {}
    for each in sorted(used):
        if each.interface == interface and each.object:
            actions.setdefault(each.object, set()).add(each.action)
    return actions


def _access(actions: set[str]) -> Access:
    return "write" if "write" in actions else "read"


def _without_implied(capabilities: frozenset[Capability]) -> list[Capability]:
    """Return the capabilities without whole interfaces that other capabilities already imply."""
    implied = {each.whole for each in capabilities if each.object}
    return sorted(capabilities - implied)
