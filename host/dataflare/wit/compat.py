"""What a package's new version may change: semantic versioning, applied to WIT.

| change | level |
| --- | --- |
| a new interface, type, world or import of a world; a new function in an interface that no world exports | additive |
| anything removed; a type or a signature changed, down to a parameter's name | breaking |
| a new export of a world; a new function in an interface that a world exports | breaking |
| documentation, comments, the order of types and functions | no change |

The provider of a function decides. A new import is additive, since a component need not use it. A new export is
breaking, since existing components do not have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from dataflare.wit.canonical import by_track, interface_gates, interface_members, world_members
from dataflare.wit.catalog import Catalog
from dataflare.wit.model import Interface, Package, WitError
from dataflare.wit.versions import Version

__all__ = ["Change", "Comparison", "Level", "compare"]


class Level(IntEnum):
    """The level of a change, from the least to the most severe."""

    SAME = 0
    ADDITIVE = 1
    BREAKING = 2


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `where` names an interface or a world and a member, such as `batches: func batch.slice`."""

    level: Level
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.level.name.lower()}: {self.where}: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A comparison of two versions of a package. `faults` says why the new version number does not fit the changes."""

    old: Package
    new: Package
    changes: tuple[Change, ...]
    faults: tuple[str, ...]

    @property
    def level(self) -> Level:
        """The level of the most severe change."""
        return max((change.level for change in self.changes), default=Level.SAME)


def compare(old: Catalog, new: Catalog, name: str) -> Comparison:
    """Compare one package of two catalogs.

    Args:
        old: The catalog with the older version.
        new: The catalog with the newer version.
        name: The package without its version, such as `dataflare:data`.

    Raises:
        WitError: A catalog has no such package, several versions of it, or one without a version.
    """
    before, after = _find(old, name), _find(new, name)
    changes: list[Change] = []
    young: list[str] = []
    old_interfaces = {each.name: each for each in before.interfaces}
    new_interfaces = {each.name: each for each in after.interfaces}
    changes += _differences("", _labels(old_interfaces, "interface"), _labels(new_interfaces, "interface"))
    exported = {key for full, _ in old.worlds() for key in old.world(full).exports}
    for each in old_interfaces.keys() & new_interfaces.keys():
        lacking = "func " if before.name.item(each) in exported else None
        members_before = interface_members(old_interfaces[each], by_track)
        members_after = interface_members(new_interfaces[each], by_track)
        changes += _differences(f"{each}: ", members_before, members_after, lacking)
        gates = interface_gates(new_interfaces[each])
        young += [
            f"{each}: {key} is new, but not `@since(version = {after.name.version})`"
            for key in members_after.keys() - members_before.keys()
            if gates[key].since != after.name.version
        ]
    old_worlds = {each.name for each in before.worlds}
    new_worlds = {each.name for each in after.worlds}
    changes += _differences("", _labels(old_worlds, "world"), _labels(new_worlds, "world"))
    for each in old_worlds & new_worlds:
        members_before = world_members(old.world(before.name.item(each)), by_track)
        members_after = world_members(new.world(after.name.item(each)), by_track)
        changes += _differences(f"world {each}: ", members_before, members_after, "export ")
    young += [
        f"interface {each} is new, but not `@since(version = {after.name.version})`"
        for each in new_interfaces.keys() - old_interfaces.keys()
        if new_interfaces[each].gate.since != after.name.version
    ]
    ordered = tuple(sorted(changes, key=lambda change: (-change.level, change.where)))
    faults = _version_faults(before, after, max((each.level for each in changes), default=Level.SAME))
    return Comparison(old=before, new=after, changes=ordered, faults=(*faults, *sorted(young)))


def _find(catalog: Catalog, name: str) -> Package:
    found = [each for each in catalog.packages.values() if f"{each.name.namespace}:{each.name.name}" == name]
    if len(found) != 1:
        raise WitError(f"{len(found)} packages are called `{name}`, not one")
    if found[0].name.version is None:
        raise WitError(f"the package `{name}` has no version")
    return found[0]


def _labels(names: Mapping[str, Interface] | set[str], noun: str) -> dict[str, str]:
    return {f"{noun} {name}": "" for name in names}


def _differences(
    prefix: str, before: Mapping[str, str], after: Mapping[str, str], lacking: str | None = None
) -> list[Change]:
    """List the changes of members; a new member whose key starts with `lacking` is missing in existing components."""
    changes = [Change(Level.BREAKING, prefix + key, "removed") for key in before.keys() - after.keys()]
    for key in after.keys() - before.keys():
        level = Level.BREAKING if lacking is not None and key.startswith(lacking) else Level.ADDITIVE
        changes.append(Change(level, prefix + key, "added"))
    for key in before.keys() & after.keys():
        if before[key] != after[key]:
            text = f"changed from `{before[key]}` to `{after[key]}`"
            changes.append(Change(Level.BREAKING, prefix + key, text))
    return changes


def _version_faults(before: Package, after: Package, level: Level) -> list[str]:
    old, new = Version.parse(str(before.name.version)), Version.parse(str(after.name.version))
    if new < old:
        return [f"{new} is older than {old}"]
    if level is Level.SAME:
        return []
    if not old < new:
        return [f"{old} is published: a change needs a new version"]
    if level is Level.BREAKING and old.track == new.track:
        return [f"a breaking change from {old} needs a version that is not compatible with it, and {new} is"]
    if level is Level.ADDITIVE and old.major and (old.major, old.minor) == (new.major, new.minor):
        return [f"an addition to {old} needs a new minor version, and {new} is a patch"]
    return []
