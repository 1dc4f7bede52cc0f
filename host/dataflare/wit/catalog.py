"""Resolved packages, and worlds with all their includes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeVar

from dataflare.wit.model import (
    Function,
    Include,
    Interface,
    InterfaceRef,
    Package,
    WitError,
    World,
    WorldItem,
    uniqueness,
)

__all__ = ["Catalog", "UnfoldedWorld"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfoldedWorld:
    """A world with its includes merged in.

    `imports` and `exports` map names to interfaces and functions: full names of interfaces
    (`dataflare:data/batches@1.0.0`), and plain names of functions and interfaces that are defined in the world itself.
    Interfaces whose types the others use are imported too, as in a component that targets the world.
    """

    name: str
    imports: Mapping[str, Interface | Function]
    exports: Mapping[str, Interface | Function]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Resolved packages, by their full names (`dataflare:data@1.0.0`), in the order in which they were given."""

    packages: Mapping[str, Package]

    def interfaces(self) -> Iterator[tuple[str, Interface]]:
        """Yield every interface with its full name."""
        for package in self.packages.values():
            for interface in package.interfaces:
                yield package.name.item(interface.name), interface

    def worlds(self) -> Iterator[tuple[str, World]]:
        """Yield every world, as it is written, with its full name."""
        for package in self.packages.values():
            for world in package.worlds:
                yield package.name.item(world.name), world

    def interface(self, name: str) -> Interface:
        """Return the interface with this full name.

        Raises:
            WitError: There is none.
        """
        return _lookup(dict(self.interfaces()), name, "interface")

    def world(self, name: str) -> UnfoldedWorld:
        """Return the world with this full name, with its includes merged in.

        Raises:
            WitError: There is none.
        """
        _lookup(dict(self.worlds()), name, "world")
        return _Unfolder(self).unfold(name)


_Value = TypeVar("_Value")


def _lookup(values: Mapping[str, _Value], name: str, noun: str) -> _Value:
    try:
        return values[name]
    except KeyError:
        known = ", ".join(sorted(values)) or "nothing"
        raise WitError(f"there is no {noun} `{name}`", hint=f"there is: {known}") from None


class _Unfolder:
    def __init__(self, catalog: Catalog) -> None:
        self._interfaces = dict(catalog.interfaces())
        self._worlds = dict(catalog.worlds())
        self._items: dict[str, list[dict[str, WorldItem]]] = {}

    def unfold(self, name: str) -> UnfoldedWorld:
        imports, exports = self._collect(name, ())
        exported = {key: self._content(item) for key, item in exports.items()}
        imported = {key: self._content(item) for key, item in imports.items()}
        world = self._worlds[name]
        needed: dict[str, Interface | Function] = {}
        for use in world.uses:
            self._need(str(use.source), needed, ())
        for value in imported.values():
            self._needs(value, needed, ())
        # If an exported interface uses types of another exported one, it takes them from the export.
        for value in exported.values():
            self._needs(value, needed, exported)
        for key, value in exported.items():
            self._check_sources(key, value, exported, world)
        order = [*needed, *(key for key in imported if key not in needed)]
        merged = {**needed, **imported}
        return UnfoldedWorld(
            name=name,
            imports=MappingProxyType({key: merged[key] for key in order}),
            exports=MappingProxyType(exported),
        )

    def _content(self, item: WorldItem) -> Interface | Function:
        return self._interfaces[str(item.item)] if isinstance(item.item, InterfaceRef) else item.item

    def _needs(self, value: Interface | Function, needed: dict[str, Interface | Function], but: Iterable[str]) -> None:
        if isinstance(value, Interface):
            for use in value.uses:
                self._need(str(use.source), needed, but)

    def _need(self, name: str, needed: dict[str, Interface | Function], but: Iterable[str]) -> None:
        """Add an interface after those whose types it uses. Not recursive: a chain of uses may be long."""
        waiting = [name]
        while waiting:
            name = waiting[-1]
            uses = [str(use.source) for use in self._interfaces[name].uses] if name not in but else []
            missing = [source for source in uses if source not in needed and source not in but]
            if missing and name not in needed:
                waiting += missing
                continue
            waiting.pop()
            if name not in but:
                needed.setdefault(name, self._interfaces[name])

    def _check_sources(
        self, name: str, value: Interface | Function, exported: Mapping[str, Interface | Function], world: World
    ) -> None:
        """Refuse an export that would take the same type from both an import and an export.

        Its own uses refer to the exported interface if there is one. But an imported interface that it uses refers to
        imports only.
        """
        if not isinstance(value, Interface):
            return
        waiting = [str(use.source) for use in value.uses if str(use.source) not in exported]
        seen = set(waiting)
        while waiting:
            through = waiting.pop()
            for source in (str(use.source) for use in self._interfaces[through].uses):
                if source in exported:
                    raise WitError(
                        f"the export `{name}` depends on `{source}`, which is exported, and on `{through}`, "
                        f"which is imported and uses `{source}` too",
                        position=world.position,
                        hint=f"export `{through}` too",
                    )
                if source not in seen:
                    seen.add(source)
                    waiting.append(source)

    def _collect(self, name: str, path: tuple[str, ...]) -> list[dict[str, WorldItem]]:
        """Return the world's imports and exports by name, with includes merged in."""
        if name in self._items:
            return self._items[name]
        world = self._worlds[name]
        if name in path:
            raise WitError(f"the world `{world.name}` includes itself", position=world.position)
        if len(path) > 100:
            raise WitError("worlds include each other more than 100 deep", position=world.position)
        both: list[dict[str, WorldItem]] = [{}, {}]
        for include in world.includes:
            included = self._collect(str(include.world), (*path, name))
            _rename_into(both, included, include, {each.name for each in self._worlds[str(include.world)].types})
        # An item may repeat an interface of an include, but not another item of the world itself.
        taken = [{uniqueness(key) for key, item in items.items() if _is_plain(item)} for items in both]
        taken[False] |= {uniqueness(each.name) for each in world.types}
        for item in world.items:
            unique = uniqueness(item.name)
            if unique in taken[item.exported]:
                raise WitError(f"`{item.name}` is there twice", position=item.position)
            taken[item.exported].add(unique)
            both[item.exported][item.name] = item
        self._items[name] = both
        return both


def _rename_into(
    both: list[dict[str, WorldItem]], included: list[dict[str, WorldItem]], include: Include, types: set[str]
) -> None:
    renames = dict(include.renames)
    for original in renames:
        if original not in types and not any(original in items for items in included):
            raise WitError(f"`{include.world}` has no plain name `{original}`", position=include.position)
    for target, items in zip(both, included, strict=True):
        for key, item in items.items():
            if isinstance(item.item, InterfaceRef):
                target[key] = item
                continue
            new = renames.get(key, key)
            if any(uniqueness(new) == uniqueness(other) for other in target):
                raise WitError(
                    f"`{new}` is there twice",
                    position=include.position,
                    hint=f"include {include.world} with {{ {key} as another-name }}",
                )
            target[new] = replace(item, item=replace(item.item, name=new))


def _is_plain(item: WorldItem) -> bool:
    """Whether the item has a plain name: a function or an interface that is defined in the world."""
    return not isinstance(item.item, InterfaceRef)
