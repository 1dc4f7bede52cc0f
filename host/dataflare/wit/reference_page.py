"""Write a reference of WIT packages in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from dataflare.wit.catalog import Catalog
from dataflare.wit.model import (
    Alias,
    Case,
    Enum,
    Flags,
    Function,
    Gate,
    Interface,
    InterfaceRef,
    Named,
    Package,
    Record,
    Resource,
    Type,
    TypeDefinition,
    Variant,
    World,
    definition_types,
    function_types,
    inner_types,
)

__all__ = ["reference"]

_HEAD = """\
# The WIT reference

Written by `python -m dataflare.wit reference` from the `.wit` files of this folder: change those, not this.

Types are those of [WIT](https://component-model.bytecodealliance.org/design/wit.html). What is published never changes
([versioning](../docs/adr/0014-versions-of-the-standard.md)); every item says since when it is there.
"""


def reference(catalog: Catalog) -> str:
    """Write the reference of all packages of a catalog as one Markdown text. The same catalog gives the same text."""
    return "\n".join(_Writer(catalog).lines()) + "\n"


class _Writer:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def lines(self) -> Iterator[str]:
        yield from _HEAD.splitlines()
        for package in self._catalog.packages.values():
            yield ""
            yield f"- **[`{package.name}`](#{_anchor(str(package.name))})**"
            for interface in package.interfaces:
                full = package.name.item(interface.name)
                yield f"  - [`{interface.name}`](#{_anchor(full)}): {_first_sentence(interface.docs)}"
            for world in package.worlds:
                full = package.name.item(world.name)
                yield f"  - world [`{world.name}`](#{_anchor(full)}): {_first_sentence(world.docs)}"
        for package in self._catalog.packages.values():
            yield from self._package(package)

    def _package(self, package: Package) -> Iterator[str]:
        yield from ("", _mark(str(package.name)), f"## {package.name}")
        if package.docs:
            yield from ("", package.docs)
        for interface in package.interfaces:
            yield from self._interface(package, interface)
        for world in package.worlds:
            yield from self._world(package, world)

    def _interface(self, package: Package, interface: Interface) -> Iterator[str]:
        full = package.name.item(interface.name)
        yield from ("", _mark(full), f"### interface {interface.name}", "", f"`{full}`{_gate(interface.gate)}")
        yield from ("", interface.docs)
        for function in interface.functions:
            yield from self._function(full, function, function.name)
        for definition in interface.types:
            yield from self._definition(full, definition)

    def _world(self, package: Package, world: World) -> Iterator[str]:
        full = package.name.item(world.name)
        yield from ("", _mark(full), f"### world {world.name}", "", f"`{full}`{_gate(world.gate)}")
        yield from ("", world.docs)
        unfolded = self._catalog.world(full)
        for title, items in (("Imports", unfolded.imports), ("Exports", unfolded.exports)):
            if items:
                links = [
                    f"[`{name}`](#{_anchor(name)})" if "/" in name else f"`{item}`" for name, item in items.items()
                ]
                yield from ("", f"{title}: {', '.join(links)}.")
        own = [str(each.item.name) for each in world.items if isinstance(each.item, InterfaceRef) and not each.exported]
        if world.includes:
            included = (f"[`{each.world.name}`](#{_anchor(str(each.world))})" for each in world.includes)
            yield from ("", f"Includes {', '.join(included)}" + (f" and adds {', '.join(own)}." if own else "."))

    def _function(self, owner: str, function: Function, name: str) -> Iterator[str]:
        yield from ("", _mark(f"{owner}.{name}"), f"#### `{name}`", "", "```wit", str(function), "```")
        yield from ("", function.docs)
        yield from self._mentions(function_types(function), owner)

    def _definition(self, owner: str, definition: TypeDefinition) -> Iterator[str]:
        noun = "type" if isinstance(definition, Alias) else type(definition).__name__.lower()
        yield from ("", _mark(f"{owner}.{definition.name}"), f"#### {noun} `{definition.name}`", "", definition.docs)
        match definition:
            case Record(fields=fields):
                yield from ("", "| field | type | |", "| --- | --- | --- |")
                for each in fields:
                    yield f"| `{each.name}` | `{each.type}` | {_cell(each.docs)} |"
            case Variant(cases=cases):
                yield from _case_table(cases)
            case Enum(cases=cases) | Flags(flags=cases):
                yield from _case_table(cases)
            case Alias(type=aliased):
                yield from ("", f"`{aliased}`")
            case Resource(functions=functions):
                for function in functions:
                    yield from self._function(owner, function, f"{definition.name}.{function.name}")
                return
        yield from self._mentions(definition_types(definition), owner)

    def _mentions(self, types: Iterator[Type], owner: str) -> Iterator[str]:
        """Yield links to the types that are used, each once, in order."""
        links: dict[str, None] = {}
        for value in types:
            for each in inner_types(value):
                if isinstance(each, Named):
                    where = "" if each.owner == owner else f"{each.owner.partition('/')[2].partition('@')[0]}."
                    links[f"[`{where}{each.name}`](#{_anchor(f'{each.owner}.{each.name}')})"] = None
        if links:
            yield from ("", f"See {', '.join(links)}.")


def _case_table(cases: tuple[Case, ...]) -> Iterator[str]:
    yield from ("", "| case | |", "| --- | --- |")
    for case in cases:
        payload = "" if case.payload is None else f"({case.payload})"
        yield f"| `{case.name}{payload}` | {_cell(case.docs)} |"


def _gate(gate: Gate) -> str:
    parts = [f"since {gate.since}"] if gate.since else []
    if gate.unstable:
        parts.append(f"unstable, feature `{gate.unstable}`")
    if gate.deprecated:
        parts.append(f"deprecated since {gate.deprecated}")
    return f" · {', '.join(parts)}" if parts else ""


def _anchor(name: str) -> str:
    return "".join(char if char.isalnum() else "-" for char in name)


def _mark(name: str) -> str:
    return f'<a id="{_anchor(name)}"></a>'


def _cell(docs: str) -> str:
    return " ".join(docs.split()).replace("|", "\\|")


def _first_sentence(docs: str) -> str:
    text = " ".join(docs.split("\n\n")[0].split())
    sentence, period, _ = text.partition(". ")
    return sentence + "." if period else text
