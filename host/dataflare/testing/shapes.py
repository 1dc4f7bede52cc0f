"""Shapes of components that import and export whole interfaces of the standard."""

from __future__ import annotations

from collections.abc import Iterable

from dataflare.engine.abi import types as t
from dataflare.interfaces import FREE, interface_name
from dataflare.wit import model as wit
from dataflare.wit.standard import standard

__all__ = ["ShapeMaker", "plugin_shape"]


def plugin_shape(kind: str, needs: Iterable[str] = ()) -> t.ComponentType:
    """The shape of a plugin that imports the free interfaces and those that it needs."""
    maker = ShapeMaker()
    for short in ("schemas", "batches", *sorted({*FREE, *needs} - {"schemas", "batches"})):
        maker.add_import(interface_name(short))
    maker.shape.imports["dataflare:plugin/types@1.0.0"] = t.Interface()
    for name in ("lifecycle", kind):
        maker.add_export(f"dataflare:plugin/{name}@1.0.0")
    return maker.shape


class ShapeMaker:
    """Builds the shape of a component from whole interfaces of the standard's own WIT."""

    def __init__(self) -> None:
        self.shape = t.ComponentType()
        self._numbers: dict[tuple[str, str], int] = {}
        self._definitions = {
            (name, each.name): each for name, interface in standard().interfaces() for each in interface.types
        }

    def add_import(self, name: str) -> None:
        """Let it import an interface, with resources of the host."""
        for each in standard().interface(name).types:
            if isinstance(each, wit.Resource):
                self._numbers[name, each.name] = len(self.shape.resources)
                self.shape.resources.append(t.Resource(each.name, name, True))
        self.shape.imports[name] = self._interface(name)

    def add_export(self, name: str) -> None:
        """Let it export an interface."""
        self.shape.exports[name] = self._interface(name)

    def _interface(self, name: str) -> t.Interface:
        made = t.Interface()
        interface = standard().interface(name)
        for each in interface.types:
            if isinstance(each, wit.Resource):
                made.resources[each.name] = self._numbers[name, each.name]
                handle = t.BorrowT(self._numbers[name, each.name])
                for function in each.functions:
                    made.funcs[f"[method]{each.name}.{function.name}"] = self._function(function, ("self", handle))
        for function in interface.functions:
            made.funcs[function.name] = self._function(function)
        return made

    def _function(self, function: wit.Function, *first: tuple[str, t.Type]) -> t.FuncT:
        parameters = tuple((each.name, self._type(each.type)) for each in function.parameters)
        return t.FuncT((*first, *parameters), self._maybe(function.result))

    def _maybe(self, value: wit.Type | None) -> t.Type | None:
        return None if value is None else self._type(value)

    def _type(self, value: wit.Type) -> t.Type:
        match value:
            case wit.Primitive(name=name):
                return t.PrimT(name)
            case wit.ListOf(element=element):
                return t.ListT(self._type(element))
            case wit.OptionOf(some=some):
                return t.OptionT(self._type(some))
            case wit.ResultOf(ok=ok, error=error):
                return t.ResultT(self._maybe(ok), self._maybe(error))
            case wit.TupleOf(items=items):
                return t.TupleT(tuple(map(self._type, items)))
            case wit.Borrow(resource=resource):
                return t.BorrowT(self._numbers[resource.owner, resource.name])
            case wit.Named(owner=owner, name=name):
                return self._definition(owner, self._definitions[owner, name])
        raise TypeError(value)

    def _definition(self, owner: str, value: wit.TypeDefinition) -> t.Type:
        match value:
            case wit.Record(fields=fields):
                return t.RecordT(tuple((each.name, self._type(each.type)) for each in fields))
            case wit.Variant(cases=cases):
                return t.VariantT(tuple((each.name, self._maybe(each.payload)) for each in cases))
            case wit.Enum(cases=cases):
                return t.EnumT(tuple(each.name for each in cases))
            case wit.Flags(flags=flags):
                return t.FlagsT(tuple(each.name for each in flags))
            case wit.Alias(type=aliased):
                return self._type(aliased)
            case wit.Resource(name=name):
                return t.OwnT(self._numbers[owner, name])
        raise TypeError(value)
