"""The functions that go through a component's bridges, each known to both sides by its number."""

from __future__ import annotations

from dataclasses import dataclass

from dataflare.engine.abi.types import ComponentType, FuncT, OwnT

__all__ = ["Link", "export_links", "import_links"]

_DROP = "[resource-drop]"


@dataclass(frozen=True, slots=True)
class Link:
    """One function; its number is its place in the list of links."""

    interface: str
    name: str
    func: FuncT

    @property
    def full_name(self) -> str:
        """Its name after that of its interface, if it has one."""
        return f"{self.interface}#{self.name}" if self.interface else self.name

    @property
    def drops(self) -> bool:
        """Whether it only drops a resource of the plugin; such a function is not in the WIT."""
        return self.name.startswith(_DROP)


def import_links(shape: ComponentType) -> list[Link]:
    """List the host's functions, by number."""
    return [Link(i, n, f) for i, interface in shape.imports.items() for n, f in interface.funcs.items()]


def export_links(shape: ComponentType) -> list[Link]:
    """List the plugin's functions, by number; those that drop its resources are `[resource-drop]NAME`."""
    links = [Link(i, n, f) for i, interface in shape.exports.items() for n, f in interface.funcs.items()]
    for index, resource in enumerate(shape.resources):
        if not resource.imported:
            links.append(Link(resource.interface, _DROP + resource.name, FuncT((("self", OwnT(index)),), None)))
    return links
