"""The types of a world, as the engine has them and as text of components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from dataflare.engine.abi.types import (
    BorrowT,
    EnumT,
    FlagsT,
    FuncT,
    ListT,
    OptionT,
    OwnT,
    PrimT,
    RecordT,
    ResultT,
    TupleT,
    Type,
    VariantT,
)
from dataflare.wit import model as wit
from dataflare.wit.catalog import Catalog

__all__ = ["EchoFunction", "Key", "WorldTypes", "functions_of", "quoted"]

Key: TypeAlias = tuple[str, str, bool]
"""A type: its owner, its name, and whether it is the exported one."""


class WorldTypes:
    """The types of one world. A type has an identifier for each scope of a component; `ids` are those of one scope.

    Args:
        catalog: The resolved packages.
        name: The world's full name.
    """

    def __init__(self, catalog: Catalog, name: str) -> None:
        self._catalog = catalog
        self._world = catalog.world(name)
        self._name = name
        source = dict(catalog.worlds())[name]
        self._own = source.types
        self.resources: list[Key] = []
        """The resources, by their numbers."""
        self._owners: dict[int, str] = {}
        self._definitions: dict[tuple[str, str], wit.TypeDefinition] = {}
        for full, world in catalog.worlds():
            for each in world.types:
                self._definitions[full, each.name] = each
            for item in world.items:
                if isinstance(item.item, wit.Interface):
                    owner = f"{full}#{item.item.name}{'!' if item.exported else ''}"
                    self._owners[id(item.item.types)] = owner
                    for each in item.item.types:
                        self._definitions[owner, each.name] = each
        for full, interface in catalog.interfaces():
            for each in interface.types:
                self._definitions[full, each.name] = each
        self._exported = {
            self._owner(key, each) for key, each in self._world.exports.items() if isinstance(each, wit.Interface)
        }
        self._types: dict[Key, Type] = {}
        self._ids: dict[Key, str] = {}

    def _owner(self, name: str, interface: wit.Interface) -> str:
        return self._owners.get(id(interface.types), name) if interface.types else name

    def key(self, named: wit.Named, exported: bool) -> Key:
        """The type that a name means on one side."""
        return named.owner, named.name, exported and named.owner in self._exported

    def type(self, value: wit.Type, exported: bool) -> Type:
        """A type as the engine has it."""

        def sub(inner: wit.Type) -> Type:
            return self.type(inner, exported)

        def maybe(inner: wit.Type | None) -> Type | None:
            return None if inner is None else sub(inner)

        match value:
            case wit.Primitive(name=name):
                return PrimT(name)
            case wit.ListOf(element=element):
                return ListT(sub(element))
            case wit.OptionOf(some=some):
                return OptionT(sub(some))
            case wit.ResultOf(ok=ok, error=error):
                return ResultT(maybe(ok), maybe(error))
            case wit.TupleOf(items=items):
                return TupleT(tuple(map(sub, items)))
            case wit.Own(resource=resource):
                return self.type(resource, exported)
            case wit.Borrow(resource=resource):
                owned = self.type(resource, exported)
                assert isinstance(owned, OwnT)
                return BorrowT(owned.resource)
            case wit.Named():
                key = self.key(value, exported)
                if key not in self._types:
                    self._types[key] = self._defined(self._definitions[key[:2]], key, exported)
                return self._types[key]

    def _defined(self, definition: wit.TypeDefinition, key: Key, exported: bool) -> Type:
        match definition:
            case wit.Record(fields=fields):
                return RecordT(tuple((each.name, self.type(each.type, exported)) for each in fields))
            case wit.Variant(cases=cases):
                return VariantT(
                    tuple((c.name, None if c.payload is None else self.type(c.payload, exported)) for c in cases)
                )
            case wit.Enum(cases=cases):
                return EnumT(tuple(each.name for each in cases))
            case wit.Flags(flags=cases):
                return FlagsT(tuple(each.name for each in cases))
            case wit.Alias(type=aliased):
                return self.type(aliased, exported)
            case wit.Resource():
                self.resources.append(key)
                return OwnT(len(self.resources) - 1)

    def reference(self, value: wit.Type | None, exported: bool, ids: dict[Key, str]) -> str:
        """A type as text, with the identifiers of one scope."""

        def sub(inner: wit.Type | None) -> str:
            return self.reference(inner, exported, ids)

        match value:
            case wit.Primitive(name=name):
                return name
            case wit.ListOf(element=element):
                return f"(list {sub(element)})"
            case wit.OptionOf(some=some):
                return f"(option {sub(some)})"
            case wit.ResultOf(ok=ok, error=error):
                good = "" if ok is None else f" {sub(ok)}"
                return f"(result{good}{'' if error is None else f' (error {sub(error)})'})"
            case wit.TupleOf(items=items):
                return f"(tuple {' '.join(map(sub, items))})"
            case wit.Borrow(resource=resource):
                return f"(borrow {ids[self._resource_key(resource, exported)]})"
            case wit.Own(resource=resource):
                return f"(own {ids[self._resource_key(resource, exported)]})"
            case wit.Named():
                found = self._definitions[value.owner, value.name]
                if isinstance(found, wit.Resource):
                    return f"(own {ids[self.key(value, exported)]})"
                if self._is_resource(value):
                    return f"(own {ids[self._resource_key(value, exported)]})"
                return ids[self.key(value, exported)]
            case None:
                raise TypeError("nothing has no text")

    def _is_resource(self, named: wit.Named) -> bool:
        definition = self._definitions[named.owner, named.name]
        while isinstance(definition, wit.Alias) and isinstance(definition.type, wit.Named):
            definition = self._definitions[definition.type.owner, definition.type.name]
        return isinstance(definition, wit.Resource)

    def _resource_key(self, named: wit.Named, exported: bool) -> Key:
        while isinstance(definition := self._definitions[named.owner, named.name], wit.Alias):
            assert isinstance(definition.type, wit.Named)
            named = definition.type
        return self.key(named, exported)

    def definition(self, named: wit.Named, exported: bool, ids: dict[Key, str]) -> str:
        """A type's definition as text; empty for a resource."""
        found = self._definitions[named.owner, named.name]
        match found:
            case wit.Record(fields=fields):
                inner = (f'(field "{each.name}" {self.reference(each.type, exported, ids)})' for each in fields)
                return f"(record {' '.join(inner)})"
            case wit.Variant(cases=cases):
                return f"(variant {' '.join(self._case(each, exported, ids) for each in cases)})"
            case wit.Enum(cases=cases):
                return f"(enum {' '.join(quoted(each.name) for each in cases)})"
            case wit.Flags(flags=cases):
                return f"(flags {' '.join(quoted(each.name) for each in cases)})"
            case wit.Alias(type=aliased):
                return self.reference(aliased, exported, ids)
            case wit.Resource():
                return ""

    def _case(self, case: wit.Case, exported: bool, ids: dict[Key, str]) -> str:
        payload = "" if case.payload is None else f" {self.reference(case.payload, exported, ids)}"
        return f"(case {quoted(case.name)}{payload})"

    def signature(self, function: EchoFunction, exported: bool, ids: dict[Key, str]) -> str:
        parts = [f"(param {quoted(name)} {self.reference(ty, exported, ids)})" for name, ty in function.parameters]
        if function.result is not None:
            parts.append(f"(result {self.reference(function.result, exported, ids)})")
        return " ".join(parts)

    def func(self, function: EchoFunction, exported: bool) -> FuncT:
        result = None if function.result is None else self.type(function.result, exported)
        return FuncT(tuple((name, self.type(ty, exported)) for name, ty in function.parameters), result)

    def _needed(self, types: list[wit.Type], exported: bool) -> list[wit.Named]:
        """The names that types are made of, inner ones first."""
        done: dict[Key, wit.Named] = {}

        def visit(value: wit.Type) -> None:
            for inner in wit.inner_types(value):
                if isinstance(inner, wit.Named) and self.key(inner, exported) not in done:
                    found = self._definitions[inner.owner, inner.name]
                    if not isinstance(found, wit.Resource):
                        for each in wit.definition_types(found):
                            visit(each)
                    done[self.key(inner, exported)] = inner

        for each in types:
            visit(each)
        return list(done.values())

    def _form(self, named: wit.Named, exported: bool, ids: dict[Key, str]) -> tuple[str, str]:
        """How a type is declared: `resource`, `alias` with what it is equal to, or `type` with its definition."""
        found = self._definitions[named.owner, named.name]
        if isinstance(found, wit.Resource):
            return "resource", ""
        if isinstance(found, wit.Alias) and isinstance(found.type, wit.Named):
            return "alias", ids[self.key(found.type, exported)]
        return "type", self.definition(named, exported, ids)

    def _outer_name(self, named: wit.Named, otherwise: str) -> str:
        """What an imported type is called in the component itself; resources by their numbers."""
        found = self.type(named, False)
        return f"$r{found.resource}" if self._form_is_resource(named) and isinstance(found, OwnT) else f"${otherwise}"

    def _form_is_resource(self, named: wit.Named) -> bool:
        return isinstance(self._definitions[named.owner, named.name], wit.Resource)

    def _origin(self, source: str, name: str) -> wit.Named:
        """The definition behind a name that an interface uses, through the uses of others."""
        while (source, name) not in self._definitions:
            interface = dict(self._catalog.interfaces())[source]
            source, name = next(
                (str(u.source), there) for u in interface.uses for there, here in u.names if here == name
            )
        return wit.Named(name, source)

    def _uses(self, interface: wit.Interface) -> list[tuple[str, wit.Named]]:
        """What an interface uses of others, by the names that it has here."""
        return [(here, self._origin(str(use.source), there)) for use in interface.uses for there, here in use.names]


@dataclass(frozen=True, slots=True)
class EchoFunction:
    """A function by its name in a component, with a method's handle among its parameters."""

    name: str
    parameters: list[tuple[str, wit.Type]]
    result: wit.Type | None

    @classmethod
    def plain(cls, name: str, function: wit.Function) -> EchoFunction:
        """One that belongs to no resource."""
        return cls(name, [(each.name, each.type) for each in function.parameters], function.result)


def functions_of(interface: wit.Interface, owner: str) -> list[EchoFunction]:
    found = []
    for each in interface.types:
        if isinstance(each, wit.Resource):
            handle = wit.Named(each.name, owner)
            for function in each.functions:
                parameters = [(p.name, p.type) for p in function.parameters]
                if function.kind == "constructor":
                    name, result = f"[constructor]{each.name}", function.result or handle
                else:
                    name, result = f"[{function.kind}]{each.name}.{function.name}", function.result
                if function.kind == "method":
                    parameters.insert(0, ("self", wit.Borrow(handle)))
                found.append(EchoFunction(name, parameters, result))
    found += [EchoFunction.plain(f.name, f) for f in interface.functions]
    return found


def quoted(text: str) -> str:
    return f'"{text}"'
