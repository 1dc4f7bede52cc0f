"""What wasmtime's reflection leaves out of a component: types that its world imports, and what an export hides.

A world may import a type (`use other.{pair}`, or `enum` in the world itself), and an export may show only part of an
instance. Both are read from the component's own index spaces.

The format: https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from dataflare.component_binary import Truncated, read_name, section, sections, u32
from dataflare.component_binary import name as name_bytes
from dataflare.engine.reading.labels import TypeReader, UnknownForm
from dataflare.errors import UnsupportedComponent

__all__ = ["WorldItems", "read_world", "with_types_shown"]

_INSTANCE_SECTION, _ALIAS, _TYPE, _IMPORT, _EXPORT = 5, 6, 7, 10, 11
_CORE_SORT: Final = 0x00
_TYPE_SORT: Final = 0x03
_INSTANCE_SORT: Final = 0x05


@dataclass(slots=True)
class WorldItems:
    """The items at the top level of a component.

    Attributes:
        types: The types that the world imports, by name, as indices of types.
        instances: How many instances there are.
        exports: The names of all exports.
        type_exports: The names of those that are types.
        shown: The items that an export shows if it states a type, by the export's name.
    """

    types: dict[str, int] = field(default_factory=dict)
    instances: int = 0
    exports: set[str] = field(default_factory=set)
    type_exports: set[str] = field(default_factory=set)
    shown: dict[str, frozenset[str]] = field(default_factory=dict)


def read_world(component: bytes, name: str) -> WorldItems:
    """Read the top level of a component that wasmtime has validated.

    Args:
        component: The bytes.
        name: The component's name, for errors.

    Raises:
        UnsupportedComponent: It has names or types of an unknown form.
    """
    items = WorldItems()
    types: list[frozenset[str] | None] = []
    try:
        for part in sections(memoryview(component)):
            if part.id in (_INSTANCE_SECTION, _ALIAS, _TYPE, _IMPORT, _EXPORT):
                _Reader(part.payload, items, types).read(part.id)
    except (UnknownForm, Truncated, UnicodeDecodeError, IndexError) as error:
        raise UnsupportedComponent(
            f"has something in its world that cannot be read ({error})", component=name
        ) from None
    return items


def with_types_shown(component: bytes, items: WorldItems) -> tuple[bytes, str]:
    """Add an export to a component, an instance of the types that its world imports; return it with the export's
    name."""
    export = "dataflare:world/types"
    while export in items.exports:
        export += "-x"
    shown = b"".join(b"\0" + name_bytes(each) + bytes([_TYPE_SORT]) + u32(index) for each, index in items.types.items())
    instance = b"\x01\x01" + u32(len(items.types)) + shown
    exported = b"\x01\0" + name_bytes(export) + bytes([_INSTANCE_SORT]) + u32(items.instances) + b"\0"
    return component + section(_INSTANCE_SECTION, instance) + section(_EXPORT, exported), export


class _Reader(TypeReader):
    """Reads one section; `types` has, for each type's index, what an instance of it shows, or `None`."""

    def __init__(self, data: memoryview, items: WorldItems, types: list[frozenset[str] | None]) -> None:
        super().__init__(data, lambda _: None)
        self._items = items
        self._types = types
        self._names: set[str] | None = None

    def read(self, section_id: int) -> None:
        count = self._u32()
        if section_id == _INSTANCE_SECTION:
            self._items.instances += count
            return
        step = {_ALIAS: self._count_alias, _TYPE: self._count_type, _IMPORT: self._import, _EXPORT: self._export}
        for _ in range(count):
            step[section_id]()

    def _count(self, sort: int, shown: frozenset[str] | None = None) -> None:
        """Count one more item of a sort."""
        if sort == _TYPE_SORT:
            self._types.append(shown)
        elif sort == _INSTANCE_SORT:
            self._items.instances += 1

    def _count_alias(self) -> None:
        sort = self._data[self._at]
        self._alias()
        self._count(sort)

    def _count_type(self) -> None:
        is_instance = self._data[self._at] == 0x42
        self._names = set()
        self._type(0)
        self._types.append(frozenset(self._names) if is_instance else None)

    def _declaration(self, depth: int) -> None:
        if depth == 0 and self._names is not None and self._data[self._at] == 0x04:
            self._names.add(read_name(self._data, self._at + 2)[0])
        super()._declaration(depth)

    def _named_item(self) -> str:
        start = self._at
        self._external_name()
        return read_name(self._data, start + 1)[0]

    def _import(self) -> None:
        imported = self._named_item()
        sort, equal, start = self._data[self._at], self._data[self._at + 1] == 0, self._at
        self._external()
        shown = None
        if sort == _TYPE_SORT and equal:
            end, self._at = self._at, start + 2
            shown = self._types[self._u32()]
            self._at = end
            self._items.types[imported] = len(self._types)
        self._count(sort, shown)

    def _export(self) -> None:
        exported = self._named_item()
        self._items.exports.add(exported)
        sort = self._byte()
        if sort == _CORE_SORT:
            self._byte()
        if sort == _TYPE_SORT:
            self._items.type_exports.add(exported)
        index = self._u32()
        shown = self._types[index] if sort == _TYPE_SORT and index < len(self._types) else None
        if self._byte():
            start = self._at
            self._external()
            if sort == _INSTANCE_SORT:
                end, self._at = self._at, start + 1
                names = self._types[self._u32()]
                self._at = end
                if names is not None:
                    self._items.shown[exported] = names
        self._count(sort, shown)
