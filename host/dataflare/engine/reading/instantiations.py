"""How often the components within a component are instantiated, counted before wasmtime sees them.

A component may instantiate an inner one twice, which instantiates another one twice, and so on: a file of 2 KB makes
wasmtime 50 use all time and memory. So such a component must not reach it.

The format: https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from dataflare.component_binary import Truncated, sections
from dataflare.engine.reading.labels import TypeReader, UnknownForm
from dataflare.errors import UnsupportedComponent

__all__ = ["MAX_ITEMS", "check_instantiations"]

MAX_ITEMS: Final = 100_000
"""Instances, imports, exports and aliases of all components, each counted as often as its component is instantiated."""

_CORE_INSTANCE, _COMPONENT, _INSTANCE, _ALIAS, _IMPORT, _EXPORT = 2, 4, 5, 6, 10, 11
_CORE_SORT, _COMPONENT_SORT, _INSTANCE_SORT = 0x00, 0x04, 0x05
_MAX_NESTING: Final = 64


def check_instantiations(component: bytes, name: str) -> None:
    """Refuse a component that is made of too many parts once all of them are instantiated.

    Args:
        component: The bytes, whose header was checked.
        name: The component's name, for errors.

    Raises:
        UnsupportedComponent: It is.
        NotAComponent: The file ends within a section.
    """
    try:
        _instantiate(memoryview(component), [], {}, _Count(), 0)
    except _TooMany:
        raise UnsupportedComponent(
            f"has inner components that are instantiated too often: it is made of more than {MAX_ITEMS:,} parts",
            component=name,
            hint="instantiate its inner components fewer times",
        ) from None
    except (Truncated, UnicodeDecodeError, IndexError, UnknownForm):
        # wasmtime refuses it, too, while it validates: before it instantiates anything.
        return


class _TooMany(Exception):
    """There are too many items, or they are nested too deeply."""


class _Count:
    """How many items there have been."""

    def __init__(self) -> None:
        self._items = 0

    def add(self) -> None:
        self._items += 1
        if self._items > MAX_ITEMS:
            raise _TooMany


@dataclass(slots=True)
class _Spaces:
    """The components and instances of one component, by index; `None` for those that are not known."""

    components: list[_Inner | None] = field(default_factory=list)
    instances: list[_Exports | None] = field(default_factory=list)

    def of(self, sort: int) -> list[_Inner | None] | list[_Exports | None]:
        return self.components if sort == _COMPONENT_SORT else self.instances


@dataclass(frozen=True, slots=True, eq=False)
class _Inner:
    """A component, and the index spaces around it, the nearest first."""

    binary: memoryview
    around: list[_Spaces]


_Exports: TypeAlias = "Mapping[str, _Inner | _Exports | None]"


def _instantiate(
    data: memoryview, around: list[_Spaces], given: _Exports, count: _Count, depth: int
) -> dict[str, _Inner | _Exports | None]:
    if depth > _MAX_NESTING:
        raise _TooMany
    spaces = [_Spaces(), *around]
    exports: dict[str, _Inner | _Exports | None] = {}
    for part in sections(data):
        if part.id == _COMPONENT:
            count.add()
            spaces[0].components.append(_Inner(part.payload, spaces))
        elif part.id in (_CORE_INSTANCE, _INSTANCE, _ALIAS, _IMPORT, _EXPORT):
            _Reader(part.payload, spaces, given, exports, count, depth).read(part.id)
    return exports


class _Reader(TypeReader):
    """Reads one section."""

    def __init__(
        self,
        data: memoryview,
        spaces: list[_Spaces],
        given: _Exports,
        exports: dict[str, _Inner | _Exports | None],
        count: _Count,
        depth: int,
    ) -> None:
        super().__init__(data, lambda _: None)
        self._spaces = spaces
        self._given = given
        self._exports = exports
        self._count = count
        self._nesting = depth

    def read(self, section_id: int) -> None:
        step = {
            _CORE_INSTANCE: self._core_instance,
            _INSTANCE: self._instance,
            _ALIAS: self._item_alias,
            _IMPORT: self._import,
            _EXPORT: self._export,
        }[section_id]
        for _ in range(self._u32()):
            self._count.add()
            step()

    def _sort(self) -> int:
        sort = self._byte()
        if sort == _CORE_SORT:
            self._byte()
        return sort

    def _item(self, sort: int) -> _Inner | _Exports | None:
        index = self._u32()
        return self._spaces[0].of(sort)[index] if sort in (_COMPONENT_SORT, _INSTANCE_SORT) else None

    def _add(self, sort: int, item: _Inner | _Exports | None) -> None:
        if sort == _COMPONENT_SORT:
            self._spaces[0].components.append(item if isinstance(item, _Inner) else None)
        elif sort == _INSTANCE_SORT:
            self._spaces[0].instances.append(None if isinstance(item, _Inner) else item)

    def _items(self, *, plain: bool) -> dict[str, _Inner | _Exports | None]:
        """Read named items; `plain` names have no form before them."""
        items = {}
        for _ in range(self._u32()):
            self._count.add()
            if not plain:
                self._byte()
            name = self._name()
            items[name] = self._item(self._sort())
        return items

    def _core_instance(self) -> None:
        arguments = self._byte() == 0
        if arguments:
            self._u32()
        for _ in range(self._u32()):
            self._count.add()
            self._name()
            self._byte()
            self._u32()

    def _instance(self) -> None:
        if self._byte():
            self._add(_INSTANCE_SORT, self._items(plain=False))
            return
        inner = self._spaces[0].components[self._u32()]
        given = self._items(plain=True)
        made = None
        if inner is not None:
            made = _instantiate(inner.binary, inner.around, given, self._count, self._nesting + 1)
        self._add(_INSTANCE_SORT, made)

    def _item_alias(self) -> None:
        sort = self._sort()
        if self._byte() == 0x02:
            spaces, index = self._spaces[self._u32()], self._u32()
            self._add(sort, spaces.of(sort)[index] if sort == _COMPONENT_SORT else None)
            return
        index, name = self._u32(), self._name()
        instance = self._spaces[0].instances[index] if sort in (_COMPONENT_SORT, _INSTANCE_SORT) else None
        self._add(sort, None if instance is None else instance.get(name))

    def _import(self) -> None:
        self._byte()
        name = self._name()
        sort = self._data[self._at]
        self._external()
        self._add(sort, self._given.get(name))

    def _export(self) -> None:
        self._byte()
        name = self._name()
        sort = self._sort()
        item = self._exports[name] = self._item(sort)
        if self._byte():
            self._external()
        self._add(sort, item)
