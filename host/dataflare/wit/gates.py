"""Feature gates: items of features that are off are left out, and `@since` must not name a future version.

https://github.com/WebAssembly/component-model/blob/main/design/mvp/WIT.md#feature-gates
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from dataflare.wit.model import (
    Gate,
    Interface,
    Package,
    Position,
    Resource,
    TypeDefinition,
    WitError,
    World,
    WorldItem,
)
from dataflare.wit.versions import Version

__all__ = ["apply_gates", "features_of"]


class _Gated(Protocol):
    @property
    def gate(self) -> Gate: ...
    @property
    def position(self) -> Position: ...


_Item = TypeVar("_Item", bound=_Gated)


def apply_gates(package: Package, features: Collection[str], left_out: dict[str, str]) -> Package:
    """Return the package without the items of features that are off.

    Args:
        package: The package as it was parsed.
        features: The features that are on.
        left_out: Filled with the feature of each interface, world (`acme:shop/goods@1.0.0`) and type
            (`acme:shop/goods@1.0.0#item`) that is left out, so that an error can name it.

    Raises:
        WitError: `@since` or `@deprecated` names a version above the package's, or the package has none.
    """
    return _Gates(package, features, left_out).package()


def features_of(package: Package) -> set[str]:
    """Return all features that the gates of a package name."""
    found: set[str] = set()
    waiting: list[Any] = [*package.interfaces, *package.worlds]
    while waiting:
        each = waiting.pop()
        if each.gate.unstable is not None:
            found.add(each.gate.unstable)
        for members in ("types", "functions", "uses", "items", "includes"):
            waiting += getattr(each, members, ())
        if isinstance(each, WorldItem) and isinstance(each.item, Interface):
            waiting.append(each.item)
    return found


class _Gates:
    def __init__(self, package: Package, features: Collection[str], left_out: dict[str, str]) -> None:
        self._package = package
        self._version = None if package.name.version is None else Version.parse(package.name.version)
        self._features = features
        self._left_out = left_out

    def package(self) -> Package:
        name = self._package.name
        owners: tuple[Interface | World, ...] = (*self._package.interfaces, *self._package.worlds)
        for each in owners:
            if not self._is_on(each):
                self._left_out[name.item(each.name)] = str(each.gate.unstable)
                self._check_members(each, each.types if isinstance(each, Interface) else ())
        return replace(
            self._package,
            interfaces=tuple(
                self._interface(each, name.item(each.name)) for each in self._on(self._package.interfaces)
            ),
            worlds=tuple(self._world(each) for each in self._on(self._package.worlds)),
        )

    def _interface(self, interface: Interface, full: str) -> Interface:
        return replace(
            interface,
            types=self._types(interface.types, full),
            functions=self._on(interface.functions),
            uses=self._on(interface.uses),
        )

    def _world(self, world: World) -> World:
        full = self._package.name.item(world.name)
        return replace(
            world,
            items=tuple(self._world_item(each, full) for each in self._on(world.items)),
            includes=self._on(world.includes),
            uses=self._on(world.uses),
            types=self._types(world.types, full),
        )

    def _world_item(self, item: WorldItem, world: str) -> WorldItem:
        if isinstance(item.item, Interface):
            return replace(item, item=self._interface(item.item, f"{world}#{item.item.name}"))
        return item

    def _types(self, types: Iterable[TypeDefinition], owner: str) -> tuple[TypeDefinition, ...]:
        kept: list[TypeDefinition] = []
        for each in types:
            if not self._is_on(each):
                self._left_out[f"{owner}#{each.name}"] = str(each.gate.unstable)
                self._check_members(each, each.functions if isinstance(each, Resource) else ())
            elif isinstance(each, Resource):
                kept.append(replace(each, functions=self._on(each.functions)))
            else:
                kept.append(each)
        return tuple(kept)

    def _check_members(self, owner: _Gated, members: Iterable[_Gated]) -> None:
        """Refuse a type of an interface, or a function of a resource, that stays when its owner is left out."""
        for each in members:
            if self._is_on(each):
                raise WitError(
                    f"this has no gate, but what it is part of is left out: feature `{owner.gate.unstable}` is off",
                    position=each.position,
                    hint=f"gate it with @unstable(feature = {owner.gate.unstable}) too",
                )

    def _on(self, items: tuple[_Item, ...]) -> tuple[_Item, ...]:
        return tuple(each for each in items if self._is_on(each))

    def _is_on(self, item: Any) -> bool:
        gate: Gate = item.gate
        for noun, version in (("since", gate.since), ("deprecated", gate.deprecated)):
            if version is not None:
                self._check_version(noun, version, item.position)
        return gate.unstable is None or gate.unstable in self._features

    def _check_version(self, noun: str, version: str, position: Position) -> None:
        if self._version is None:
            raise WitError(
                f"`@{noun}` names a version, but the package `{self._package.name}` has none",
                position=position,
                hint=f"give the package a version: package {self._package.name}@{version};",
            )
        if noun == "since" and self._version < Version.parse(version):
            raise WitError(
                f"`@since` names version {version}, which is above the package's own: {self._package.name}",
                position=position,
                hint="use @unstable(feature = ...) for what is not released yet",
            )
