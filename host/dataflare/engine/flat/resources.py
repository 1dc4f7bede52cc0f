"""The resources of a flattened component: which belong to the host or to the plugin, and the functions on them."""

from __future__ import annotations

from typing import Final

from dataflare.engine.abi.types import ComponentType
from dataflare.engine.flat.faults import LEAVE, fault
from dataflare.engine.flat.handles import HANDLES_NEEDED, TABLES_AT, Handles
from dataflare.engine.flat.wiring import CannotFlatten, HandleFunction, ImportedType, OwnResource, Wiring

__all__ = ["GUARD", "Resources", "destroy"]

GUARD: Final = f"(if (global.get $shut) (then {fault(LEAVE)}))"
"""The check before every call out of the plugin."""


class Resources:
    """Knows the resources of a component, except for WASI's.

    Attributes:
        own: The resources that the plugin exports, by their index in the component's type.
        handles: Writes the conversion of handles.
        present: Whether there are any resources.
        needed: The imports of a module that passes handles.

    Raises:
        CannotFlatten: The origin of a resource is unknown.
    """

    def __init__(self, shape: ComponentType, wiring: Wiring) -> None:
        self._shape = shape
        self.own = _own_resources(shape, wiring)
        hosted = {
            index: resource.imported
            for index, resource in enumerate(shape.resources)
            if index in self.own or (resource.imported and resource.interface not in shape.wasi)
        }
        self._tags = {index: _tag(index) for index in hosted}
        self.handles = Handles(hosted, self._tags)
        self.present = bool(hosted) or wiring.resources > 0
        self.needed = HANDLES_NEEDED if self.present else ""

    def is_wasi(self, resource: ImportedType | OwnResource) -> bool:
        """Whether a resource belongs to WASI; wasmtime keeps its handles."""
        if isinstance(resource, OwnResource):
            return False
        return self._shape.resources[self.index_of(resource)].interface in self._shape.wasi

    def index_of(self, resource: ImportedType) -> int:
        """Return an imported resource's index in the component's type."""
        of = self._shape.wasi if resource.interface in self._shape.wasi else self._shape.imports
        found = of.get(resource.interface)
        if found is None or resource.name not in found.resources:
            raise CannotFlatten(f"it has handles to {resource.name}, which is not known")
        return found.resources[resource.name]

    def function(self, function: HandleFunction, number: int) -> str:
        """Write a function on the plugin's handle table, exported under its number."""
        resource = function.resource
        if isinstance(resource, OwnResource):
            index = next((index for index, each in self.own.items() if each == resource), None)
            tag = self._tags[index] if index is not None else _tag(len(self._shape.resources) + resource.number)
        else:
            tag = self._tags[self.index_of(resource)]
        given = f"(i32.const {tag}) (local.get 0)"
        declared = "(param i32)" if function.does == "drop" else "(param i32) (result i32)"
        match function.does:
            case "new":
                body = f"{GUARD} (call $new (i32.const {TABLES_AT}) {given})"
            case "rep":
                body = f"(call $rep {given})"
            case _ if isinstance(resource, OwnResource):
                body = f"{GUARD} ({destroy(resource)} (call $drop {given}))"
            case _:
                body = f"{GUARD} (call $drop-hosted {given})"
        return f'(func (export "f{number}") {declared} {body})'


def destroy(resource: OwnResource) -> str:
    """Return the instruction that destroys one of the plugin's own resources."""
    return "drop" if resource.destructor is None else "call $destroy"


def _own_resources(shape: ComponentType, wiring: Wiring) -> dict[int, OwnResource]:
    found: dict[int, OwnResource] = {}
    for name, interface in shape.exports.items():
        items = wiring.exports.get(name) if name else wiring.exports
        for item, index in interface.resources.items():
            if shape.resources[index].imported:
                continue
            resource = items.get(item) if isinstance(items, dict) else None
            if not isinstance(resource, OwnResource):
                raise CannotFlatten(f"it exports the resource {item}, which is not one of its own")
            found[index] = resource
    if len(found) != sum(not resource.imported for resource in shape.resources):
        raise CannotFlatten("it uses a resource that it does not export")
    return found


def _tag(number: int) -> int:
    """Return the tag that identifies a resource in handles; the lowest bit means that a handle is borrowed."""
    return 2 * (number + 1)
