"""The check that a component's functions have the types of the standard."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import TypeAlias

from dataflare.engine.abi import types as actual
from dataflare.wit import model as wit
from dataflare.wit.catalog import Catalog
from dataflare.wit.standard import standard

__all__ = ["Comparison", "Signatures", "standard_signatures"]

_Sides: TypeAlias = tuple[wit.Type | None, actual.Type | None, str]
_SHOWN = 8


@cache
def standard_signatures() -> Signatures:
    """Return the functions of the standard. The first call in a process takes about 10 milliseconds."""
    return Signatures(standard())


class Signatures:
    """The functions of a catalog's interfaces. Immutable: any thread may use it."""

    def __init__(self, catalog: Catalog) -> None:
        self._definitions: dict[tuple[str, str], wit.TypeDefinition] = {}
        self._functions: dict[str, dict[str, wit.Function]] = {}
        for interface_name, interface in catalog.interfaces():
            functions = {function.name: function for function in interface.functions}
            for definition in interface.types:
                self._definitions[interface_name, definition.name] = definition
                if isinstance(definition, wit.Resource):
                    functions |= dict(_methods(interface_name, definition))
            self._functions[interface_name] = functions

    def __contains__(self, interface: str) -> bool:
        return interface in self._functions

    def functions(self, interface: str) -> frozenset[str]:
        """Return the names of an interface's functions in the canonical ABI, such as `[method]batch.slice`."""
        return frozenset(self._functions[interface])

    def compared_with(self, shape: actual.ComponentType) -> Comparison:
        """Return a comparison of a component's functions with these; for one thread."""
        return Comparison(self._definitions, self._functions, shape)


class Comparison:
    """Compares the functions of one component with a catalog's. Made by `Signatures.compared_with`."""

    def __init__(
        self,
        definitions: Mapping[tuple[str, str], wit.TypeDefinition],
        functions: Mapping[str, Mapping[str, wit.Function]],
        shape: actual.ComponentType,
    ) -> None:
        self._definitions = definitions
        self._functions = functions
        self._shape = shape
        # Types that functions share are compared once. The component's type keeps them alive, so their ids stay unique.
        self._same: set[tuple[str, str, int]] = set()

    def difference(self, interface: str, function: str, found: actual.FuncT) -> str:
        """Describe where a function differs from the catalog's; empty if it is the same.

        Args:
            interface: The interface's full name.
            function: One of `functions(interface)`.
            found: The type that the component gives the function.
        """
        expected = self._functions[interface][function]
        names = [parameter.name for parameter in expected.parameters]
        if names != [name for name, _ in found.params]:
            return f"it takes {_list(name for name, _ in found.params)}, not {_list(names)}"
        sides: list[_Sides] = [
            (parameter.type, found_type, f"`{parameter.name}`")
            for parameter, (_, found_type) in zip(expected.parameters, found.params, strict=True)
        ]
        return self._first((*sides, (expected.result, found.result, "the result")))

    def _first(self, sides: Iterable[_Sides]) -> str:
        return next((text for each in sides if (text := self._compare(*each))), "")

    def _compare(self, expected: wit.Type | None, found: actual.Type | None, path: str) -> str:
        match expected, found:
            case None, None:
                return ""
            case wit.Primitive(name=name), actual.PrimT(name=other) if name == other:
                return ""
            case wit.ListOf(element=element, length=None), actual.ListT(element=other_element):
                return self._compare(element, other_element, f"{path}[]")
            case wit.OptionOf(some=some), actual.OptionT(inner=inner):
                return self._compare(some, inner, path)
            case wit.ResultOf(ok=ok, error=error), actual.ResultT(ok=other_ok, err=other_error):
                return self._first(((ok, other_ok, f"{path}.ok"), (error, other_error, f"{path}.err")))
            case wit.TupleOf(items=items), actual.TupleT(items=others) if len(items) == len(others):
                pairs = zip(items, others, strict=True)
                return self._first(((a, b, f"{path}.{index}") for index, (a, b) in enumerate(pairs)))
            case wit.Named(), actual.OwnT(resource=index):
                return self._handle(expected, index, path)
            case wit.Borrow(resource=resource), actual.BorrowT(resource=index):
                return self._handle(resource, index, path)
            case wit.Named(owner=owner, name=name), _:
                if (key := (owner, name, id(found))) in self._same:
                    return ""
                text = self._defined(self._definitions[owner, name], expected, found, path)
                if not text:
                    self._same.add(key)
                return text
        return _differs(path, expected, found, self._shape)

    def _handle(self, expected: wit.Named, index: int, path: str) -> str:
        definition = self._definitions[expected.owner, expected.name]
        if isinstance(definition, wit.Alias):
            return self._compare(definition.type, actual.OwnT(index), path)
        resource = self._shape.resources[index]
        if isinstance(definition, wit.Resource) and (resource.interface, resource.name, resource.imported) == (
            expected.owner,
            expected.name,
            True,
        ):
            return ""
        return f"{path} is a handle to `{resource.name}` of {resource.interface}, not {expected} of {expected.owner}"

    def _defined(
        self,
        definition: wit.TypeDefinition,
        expected: wit.Named,
        found: actual.Type | None,
        path: str,
    ) -> str:
        parts: list[_Sides]
        match definition, found:
            case wit.Alias(type=aliased), _:
                return self._compare(aliased, found, path)
            case wit.Record(fields=fields), actual.RecordT(fields=others):
                names, other_names = [each.name for each in fields], [name for name, _ in others]
                types = [other for _, other in others]
                parts = [(a.type, b, f"{path}.{a.name}") for a, b in zip(fields, types, strict=False)]
            case wit.Variant(cases=cases), actual.VariantT(cases=other_cases):
                names, other_names = [each.name for each in cases], [name for name, _ in other_cases]
                payloads = [other for _, other in other_cases]
                parts = [(a.payload, b, f"{path}.{a.name}") for a, b in zip(cases, payloads, strict=False)]
            case (wit.Enum(cases=plain), actual.EnumT(names=found_names)) | (
                wit.Flags(flags=plain),
                actual.FlagsT(names=found_names),
            ):
                names, other_names, parts = [each.name for each in plain], list(found_names), []
            case _:
                return _differs(path, expected, found, self._shape)
        if names != other_names:
            return f"{path} has {_list(other_names)}, where `{expected}` has {_list(names)}"
        return self._first(parts)


def _methods(interface: str, resource: wit.Resource) -> Iterator[tuple[str, wit.Function]]:
    """Yield a resource's functions in the form of the canonical ABI: with the handle as a parameter or as the
    result."""
    handle = wit.Named(resource.name, interface)
    for function in resource.functions:
        parameters, result = function.parameters, function.result
        if function.kind == "method":
            parameters = (wit.Parameter(name="self", type=wit.Borrow(handle)), *parameters)
        if function.kind == "constructor":
            name, result = f"[constructor]{resource.name}", result or handle
        else:
            name = f"[{function.kind}]{resource.name}.{function.name}"
        yield name, wit.Function(name=name, parameters=parameters, result=result, kind=function.kind)


def _differs(path: str, expected: wit.Type | None, found: actual.Type | None, shape: actual.ComponentType) -> str:
    return f"{path} is {_text(found, shape)}, not {'nothing' if expected is None else expected}"


def _text(ty: actual.Type | None, shape: actual.ComponentType) -> str:
    match ty:
        case None:
            return "nothing"
        case actual.PrimT(name=name):
            return name
        case actual.ListT(element=element):
            return f"list<{_text(element, shape)}>"
        case actual.OptionT(inner=inner):
            return f"option<{_text(inner, shape)}>"
        case actual.ResultT(ok=ok, err=err):
            return f"result<{_text(ok, shape)}, {_text(err, shape)}>".replace("nothing", "_")
        case actual.TupleT(items=items):
            return f"tuple<{', '.join(_text(item, shape) for item in items)}>"
        case actual.RecordT(fields=fields):
            return f"a record of {_list(name for name, _ in fields)}"
        case actual.VariantT(cases=cases):
            return f"a variant of {_list(name for name, _ in cases)}"
        case actual.EnumT(names=names):
            return f"an enum of {_list(names)}"
        case actual.FlagsT(names=names):
            return f"flags of {_list(names)}"
        case actual.OwnT(resource=index):
            return f"own<{shape.resources[index].name}>"
        case actual.BorrowT(resource=index):
            return f"borrow<{shape.resources[index].name}>"


def _list(names: Iterable[str]) -> str:
    shown = [f"`{name}`" for name in names]
    if len(shown) > _SHOWN:
        shown = [*shown[:_SHOWN], f"{len(shown) - _SHOWN} more"]
    return ", ".join(shown) or "nothing"
