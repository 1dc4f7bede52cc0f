"""The world of a component, as WIT without documentation: what it imports and exports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from dataflare.bindgen.names import require_plain
from dataflare.engine.abi import types as abi
from dataflare.errors import UnsupportedComponent
from dataflare.wit.catalog import Catalog
from dataflare.wit.model import Package
from dataflare.wit.parser import parse
from dataflare.wit.resolve import resolve

__all__ = ["reflected_catalog"]

_PACKAGE: Final = "root:component"
_FULL_NAME: Final = re.compile(r"([^/]+)/([^/@]+)(@.+)?")
_FUNCTION: Final = re.compile(r"\[(constructor|method|static)\]([^.]+)(?:\.(.+))?")
_NAMED: Final = abi.RecordT | abi.VariantT | abi.EnumT | abi.FlagsT
_MAX_CHARS: Final = 4 * 2**20


def reflected_catalog(shape: abi.ComponentType, *, component: str, name: str) -> tuple[Catalog, str]:
    """Reconstruct the WIT of a component from what it imports and exports.

    Types of the same name and structure in several interfaces are treated as one.

    Args:
        shape: The component's type.
        component: The component's name in errors.
        name: The name of the world.

    Returns:
        The packages, and the world's full name.

    Raises:
        UnsupportedComponent: It has a type without a name, or its WIT would be longer than 4 MiB.
        WitError, ConfigError: A name is not a WIT name.
    """
    world = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    world = world if world and world[0].isalpha() else f"component-{world}".rstrip("-")
    text = _Writer(shape, component).text(require_plain(world, component))
    if len(text) > _MAX_CHARS:
        raise UnsupportedComponent(
            f"its types take more than {_MAX_CHARS:,} characters of WIT",
            component=component,
            hint="write the bindings from its WIT: dataflare bindgen --wit DIR",
        )
    document = parse(text, file=component)
    assert document.name is not None
    root = Package(name=document.name, worlds=document.worlds, uses=document.uses)
    return resolve([root, *document.nested]), f"{_PACKAGE}/{world}"


class _Writer:
    def __init__(self, shape: abi.ComponentType, component: str) -> None:
        self._shape = shape
        self._component = component
        # An exported interface is complete; a component may have only a part of an imported one.
        self._interfaces = {name: each for name, each in shape.imports.items() if name} | {
            name: each for name, each in shape.exports.items() if name
        }
        self._homes: dict[tuple[str, abi.Type], str] = {}
        """The interface that defines each type, by the type's name and structure."""

    def text(self, world: str) -> str:
        packages: dict[str, list[str]] = {}
        for name, interface in self._interfaces.items():
            match = _FULL_NAME.fullmatch(name)
            if match is not None:
                package = match[1] + (match[3] or "")
                lines = self._interface(name, interface)
                packages.setdefault(package, []).extend([f"interface %{match[2]} {{", *lines, "}"])
        parts = [f"package {_PACKAGE};", f"world %{world} {{"]
        for side, items in (("import", self._shape.imports), ("export", self._shape.exports)):
            for name, interface in items.items():
                if not name:
                    parts += self._world_functions(side, interface)
                elif _FULL_NAME.fullmatch(name) is None:  # its own interface, even if the other side has the name too
                    parts += [f"{side} %{name}: interface {{", *self._interface(name, interface), "}"]
                else:
                    parts.append(f"{side} {name};")
        parts.append("}")
        for package, lines in packages.items():
            parts += [f"package {package} {{", *lines, "}"]
        return "\n".join(parts)

    def _interface(self, name: str, interface: abi.Interface) -> list[str]:
        lines: list[str] = []
        names: dict[abi.Type | None, str] = {}
        for resource, index in interface.resources.items():
            home = self._shape.resources[index]
            if home.interface != name and home.interface in self._interfaces:
                lines.append(_use(home.interface, home.name, resource))
        defined: list[tuple[str, abi.Type]] = []
        here = {ty for ty in interface.types.values() if isinstance(ty, _NAMED)} | {*interface.resources.values()}
        for type_name, ty in interface.types.items():
            home_name = self._homes.get((type_name, ty))
            used = type_name
            if not _parts_with_names(ty) <= here:
                # It is used from elsewhere, since its parts have no names here; perhaps under another name.
                if home_name is None:
                    used, home_name = next(
                        ((each, home) for (each, other), home in self._homes.items() if other == ty), (type_name, None)
                    )
            elif not isinstance(ty, _NAMED):
                home_name = None
            if home_name is not None:
                lines.append(_use(home_name, used, type_name))
                names.setdefault(ty, type_name)
            else:
                if _FULL_NAME.fullmatch(name):  # nothing can `use` the others
                    self._homes[type_name, ty] = name
                defined.append((type_name, ty))
                if isinstance(ty, _NAMED):
                    names.setdefault(ty, type_name)
        for type_name, ty in defined:
            lines.append(self._definition(type_name, ty, names, name))
        for resource, index in interface.resources.items():
            home = self._shape.resources[index]
            if home.interface == name or home.interface not in self._interfaces:
                lines += [f"resource %{resource} {{", *self._methods(resource, interface, names, name), "}"]
        for function, func in interface.funcs.items():
            if not function.startswith("["):
                lines.append(f"%{function}: func{self._signature(func.params, func.result, names, name)};")
        return lines

    def _definition(self, name: str, ty: abi.Type, names: dict[abi.Type | None, str], where: str) -> str:
        if isinstance(ty, _NAMED) and names[ty] != name:
            return f"type %{name} = %{names[ty]};"
        match ty:
            case abi.RecordT(fields=fields):
                members = (f"%{each}: {self._type(t, names, where)}" for each, t in fields)
                return f"record %{name} {{ {', '.join(members)} }}"
            case abi.VariantT(cases=cases):
                options = (f"%{each}" + (f"({self._type(t, names, where)})" if t else "") for each, t in cases)
                return f"variant %{name} {{ {', '.join(options)} }}"
            case abi.EnumT(names=labels):
                return f"enum %{name} {{ {', '.join(f'%{each}' for each in labels)} }}"
            case abi.FlagsT(names=labels):
                return f"flags %{name} {{ {', '.join(f'%{each}' for each in labels)} }}"
            case _:
                return f"type %{name} = {self._type(ty, names, where)};"

    def _methods(
        self, resource: str, interface: abi.Interface, names: dict[abi.Type | None, str], where: str
    ) -> Iterator[str]:
        for function, ty in interface.funcs.items():
            match = _FUNCTION.fullmatch(function)
            if match is None or match[2] != resource:
                continue
            if match[1] == "constructor":
                plain = isinstance(ty.result, abi.OwnT)
                yield f"constructor{self._signature(ty.params, None if plain else ty.result, names, where)};"
            else:
                params = ty.params[1:] if match[1] == "method" else ty.params
                static = "static " if match[1] == "static" else ""
                yield f"%{match[3]}: {static}func{self._signature(params, ty.result, names, where)};"

    def _world_functions(self, side: str, interface: abi.Interface) -> Iterator[str]:
        names = {ty: name for (name, ty), _ in self._homes.items() if isinstance(ty, _NAMED)}
        used = {each for func in interface.funcs.values() for part in _parts(func) for each in _named_in(part)}
        for each in sorted((each for each in names if each in used), key=lambda each: names[each]):
            yield _use(self._homes[names[each], each], names[each], names[each])
        for resource, index in interface.resources.items():
            home = self._shape.resources[index].interface
            if home in self._interfaces:
                yield _use(home, self._shape.resources[index].name, resource)
            else:
                yield f"resource %{resource} {{"
                yield from self._methods(resource, interface, names, "")
                yield "}"
        for function, func in interface.funcs.items():
            if not function.startswith("["):
                yield f"{side} %{function}: func{self._signature(func.params, func.result, names, '')};"

    def _signature(
        self,
        params: tuple[tuple[str, abi.Type], ...],
        result: abi.Type | None,
        names: dict[abi.Type | None, str],
        where: str,
    ) -> str:
        inner = ", ".join(f"%{name}: {self._type(ty, names, where)}" for name, ty in params)
        return f"({inner})" + (f" -> {self._type(result, names, where)}" if result is not None else "")

    def _type(self, ty: abi.Type | None, names: dict[abi.Type | None, str], where: str) -> str:
        if ty in names:
            return f"%{names[ty]}"
        match ty:
            case None:
                return "_"
            case abi.PrimT(name=name):
                return name
            case abi.ListT(element=element):
                return f"list<{self._type(element, names, where)}>"
            case abi.OptionT(inner=inner):
                return f"option<{self._type(inner, names, where)}>"
            case abi.ResultT(ok=None, err=None):
                return "result"
            case abi.ResultT(ok=ok, err=None):
                return f"result<{self._type(ok, names, where)}>"
            case abi.ResultT(ok=ok, err=err):
                return f"result<{self._type(ok, names, where)}, {self._type(err, names, where)}>"
            case abi.TupleT(items=items):
                return f"tuple<{', '.join(self._type(each, names, where) for each in items)}>"
            case abi.OwnT(resource=index) | abi.BorrowT(resource=index):
                resource = self._shape.resources[index]
                interface = self._interfaces.get(where)
                local = interface.resources if interface is not None else {}
                name = next((each for each, i in local.items() if i == index), resource.name)
                return f"{'own' if isinstance(ty, abi.OwnT) else 'borrow'}<%{name}>"
            case _:
                kind = type(ty).__name__.removesuffix("T").lower()
                raise UnsupportedComponent(
                    f"{where or 'its world'} has a {kind} without a name",
                    component=self._component,
                    hint="write the bindings from its WIT: dataflare bindgen --wit DIR",
                )


def _parts(func: abi.FuncT) -> list[abi.Type]:
    return [*(ty for _, ty in func.params), *([] if func.result is None else [func.result])]


def _named_in(ty: abi.Type) -> set[abi.Type | int]:
    """Return the named types that are used, only the outermost ones, and the numbers of the resources."""
    match ty:
        case abi.ListT(element=inner) | abi.OptionT(inner=inner):
            return _named_in(inner)
        case abi.ResultT(ok=ok, err=err):
            return {found for each in (ok, err) if each is not None for found in _named_in(each)}
        case abi.TupleT(items=items):
            return {found for each in items for found in _named_in(each)}
        case abi.OwnT(resource=resource) | abi.BorrowT(resource=resource):
            return {resource}
        case _:
            return {ty} if isinstance(ty, _NAMED) else set()


def _parts_with_names(ty: abi.Type) -> set[abi.Type | int]:
    """Return the named types of which a type consists, only the outermost ones, and the numbers of its resources."""
    match ty:
        case abi.RecordT(fields=parts) | abi.VariantT(cases=parts):
            return {found for _, each in parts if each is not None for found in _named_in(each)}
        case _:
            return _named_in(ty)


def _use(interface: str, name: str, alias: str) -> str:
    return f"use {interface}.{{%{name}{f' as %{alias}' if alias != name else ''}}};"
