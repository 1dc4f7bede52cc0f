"""The types of a world with their Python classes, and the check of a component against them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, Flag
from typing import Any, Final

from dataflare.engine.abi import types as abi
from dataflare.engine.abi.types import (
    EnumT,
    FlagsT,
    FuncT,
    ListT,
    OptionT,
    PrimT,
    RecordT,
    ResultT,
    TupleT,
    VariantT,
)
from dataflare.errors import WorldMismatch

__all__ = [
    "BOOL",
    "CHAR",
    "F32",
    "F64",
    "S8",
    "S16",
    "S32",
    "S64",
    "STRING",
    "U8",
    "U16",
    "U32",
    "U64",
    "Func",
    "InterfaceType",
    "WorldType",
    "borrow",
    "enum",
    "flags",
    "list_",
    "option",
    "own",
    "record",
    "result",
    "tuple_",
    "variant",
]

_REBUILD: Final = "build the component for this world, or write the bindings again: dataflare bindgen"


@dataclass(frozen=True, slots=True, eq=False)
class Handle:
    """`own` or `borrow` of a resource, which is identified by its interface and its name."""

    owned: bool
    interface: str
    name: str
    imported: bool
    made: Any


BOOL, CHAR, STRING = PrimT("bool"), PrimT("char"), PrimT("string")
S8, S16, S32, S64 = PrimT("s8"), PrimT("s16"), PrimT("s32"), PrimT("s64")
U8, U16, U32, U64 = PrimT("u8"), PrimT("u16"), PrimT("u32"), PrimT("u64")
F32, F64 = PrimT("f32"), PrimT("f64")


def list_(element: Any) -> ListT:
    """`list<element>`."""
    return ListT(element)


def option(inner: Any) -> OptionT:
    """`option<inner>`."""
    return OptionT(inner)


def result(ok: Any, err: Any) -> ResultT:
    """`result<ok, err>`."""
    return ResultT(ok, err)


def tuple_(*items: Any) -> TupleT:
    """`tuple<items>`."""
    return TupleT(items)


def record(made: type[Any], *fields: tuple[str, Any]) -> RecordT:
    """Make a record type; its class has the fields in this order."""
    return RecordT(fields, made)


def variant(*cases: tuple[str, Any, type[Any]]) -> VariantT:
    """Make a variant type, from the name, payload type and class of each case."""
    return VariantT(tuple((name, ty) for name, ty, _ in cases), tuple(made for _, _, made in cases))


def enum(made: type[Enum], *names: str) -> EnumT:
    """Make an enum type; its class has the members in this order."""
    return EnumT(names, made)


def flags(made: type[Flag], *names: str) -> FlagsT:
    """Make a flags type; its class has the members in this order."""
    return FlagsT(names, made)


def own(interface: str, name: str, made: Any, *, imported: bool = False) -> Handle:
    """Make the type of a handle that passes ownership."""
    return Handle(True, interface, name, imported, made)


def borrow(interface: str, name: str, made: Any, *, imported: bool = False) -> Handle:
    """Make the type of a handle that is lent for one call."""
    return Handle(False, interface, name, imported, made)


class Func:
    """A function of a world: its types, its Python name, and the exception for the error of its result.

    Args:
        python: The Python name.
        parameters: Name and type of each parameter, without a method's handle.
        result: The type of the result; `None` if there is none.
        error: The exception; `None` if the result is not a WIT `result`.
    """

    def __init__(
        self,
        python: str,
        *parameters: tuple[str, Any],
        result: Any = None,
        error: type[Exception] | None = None,
    ) -> None:
        self.python = python
        self.parameters = parameters
        self.result = result
        self.error = error


@dataclass(frozen=True, slots=True)
class InterfaceType:
    """An interface of a world: its attribute name in Python, and its functions by their names in the WIT."""

    python: str
    functions: Mapping[str, Func]


@dataclass(frozen=True, slots=True)
class WorldType:
    """A world with the Python classes of its types.

    Args:
        name: Its full name.
        imports: What components of this world may import from the embedding program.
        exports: What they must export.
        offered: What they may also import from the host itself.
    """

    name: str
    imports: Mapping[str, InterfaceType] = field(default_factory=dict)
    exports: Mapping[str, InterfaceType] = field(default_factory=dict)
    offered: Mapping[str, InterfaceType] = field(default_factory=dict)

    def fit(self, shape: abi.ComponentType, *, component: str) -> abi.ComponentType:
        """Check a component against this world; return its type with the Python classes of the world.

        Raises:
            WorldMismatch: The component imports something that the world does not have, an export is missing, or a type
                differs.
        """
        typed = abi.ComponentType(shape.imports.copy(), shape.exports.copy(), shape.resources, shape.wasi)
        fitter = _Fitter(shape, component, self.name)
        for name, interface in shape.imports.items():
            expected = self.imports.get(name) or self.offered.get(name)
            own = any(name and shape.resources[index].interface == name for index in interface.resources.values())
            if expected is None and (interface.funcs or own):
                raise fitter.mismatch(f"it imports {name or _names(interface.funcs)}, which the world does not have")
            if expected is not None:
                typed.imports[name] = fitter.imported(name, interface, expected)
        for name, expected in self.exports.items():
            found = shape.exports.get(name)
            if found is None:
                if not expected.functions:
                    continue
                exports = ", ".join(sorted(each for each in shape.exports if each)) or "nothing"
                what = name or _names(expected.functions)
                raise fitter.mismatch(f"it does not export {what}; it exports {exports}")
            typed.exports[name] = fitter.exported(name, found, expected)
        return typed


def _names(functions: Mapping[str, object]) -> str:
    return ", ".join(functions)


class _Fitter:
    """Walks the types of a component and of the world in parallel."""

    def __init__(self, shape: abi.ComponentType, component: str, world: str) -> None:
        self._shape = shape
        self._component = component
        self._world = world

    def mismatch(self, text: str) -> WorldMismatch:
        return WorldMismatch(f"does not fit {self._world}: {text}", component=self._component, hint=_REBUILD)

    def imported(self, name: str, found: abi.Interface, expected: InterfaceType) -> abi.Interface:
        """Return an imported interface with the world's classes; the component may use only a part of it."""
        funcs = dict(found.funcs)
        for function, ty in found.funcs.items():
            if function not in expected.functions:
                raise self.mismatch(f"it imports {_path(name, function)}, which the world does not have")
            funcs[function] = self._func(_path(name, function), ty, expected.functions[function])
        return abi.Interface(found.resources, found.types, funcs)

    def exported(self, name: str, found: abi.Interface, expected: InterfaceType) -> abi.Interface:
        """Return an exported interface with the world's classes; the component may have more."""
        funcs = dict(found.funcs)
        for function, ty in expected.functions.items():
            if function not in found.funcs:
                raise self.mismatch(f"it does not export {_path(name, function)}")
            funcs[function] = self._func(_path(name, function), found.funcs[function], ty)
        return abi.Interface(found.resources, found.types, funcs)

    def _func(self, path: str, found: FuncT, expected: Func) -> FuncT:
        # A method's handle has no name to compare.
        names = [name for name, _ in found.params]
        wanted = [name for name, _ in expected.parameters]
        if names != wanted:
            raise self.mismatch(f"{path} takes {_list(names)}, not {_list(wanted)}")
        params = tuple(
            (name, self._type(f"{path}({name})", ty, want))
            for (name, ty), (_, want) in zip(found.params, expected.parameters, strict=True)
        )
        return FuncT(params, self._maybe(f"{path} result", found.result, expected.result))

    def _maybe(self, path: str, found: abi.Type | None, expected: Any) -> abi.Type | None:
        if found is None or expected is None:
            if found is not expected:
                raise self._differs(path, found, expected)
            return None
        return self._type(path, found, expected)

    def _type(self, path: str, found: Any, expected: Any) -> abi.Type:
        match expected, found:
            case PrimT(), PrimT() if expected == found:
                return expected
            case ListT(), ListT():
                return ListT(self._type(path, found.element, expected.element))
            case OptionT(), OptionT():
                return OptionT(self._type(path, found.inner, expected.inner))
            case ResultT(), ResultT():
                return ResultT(
                    self._maybe(f"{path}.ok", found.ok, expected.ok),
                    self._maybe(f"{path}.err", found.err, expected.err),
                )
            case TupleT(), TupleT() if len(found.items) == len(expected.items):
                return TupleT(
                    tuple(
                        self._type(f"{path}[{i}]", a, b)
                        for i, (a, b) in enumerate(zip(found.items, expected.items, strict=True))
                    )
                )
            case RecordT(), RecordT():
                self._same_names(path, found.fields, expected.fields)
                pairs = zip(found.fields, expected.fields, strict=True)
                fields = tuple((name, self._type(f"{path}.{name}", a, b)) for (name, a), (_, b) in pairs)
                return RecordT(fields, expected.made)
            case VariantT(), VariantT():
                self._same_names(path, found.cases, expected.cases)
                both = zip(found.cases, expected.cases, strict=True)
                cases = tuple((name, self._maybe(f"{path}.{name}", a, b)) for (name, a), (_, b) in both)
                return VariantT(cases, expected.made)
            case (EnumT() | FlagsT(), EnumT() | FlagsT()) if type(found) is type(expected):
                if found.names != expected.names:
                    raise self.mismatch(f"{path} has {_list(found.names)}, not {_list(expected.names)}")
                return expected
            case Handle(owned=True), abi.OwnT():
                return abi.OwnT(self._resource(path, found.resource, expected), expected.made)
            case Handle(owned=False), abi.BorrowT():
                return abi.BorrowT(self._resource(path, found.resource, expected), expected.made)
        raise self._differs(path, found, expected)

    def _same_names(self, path: str, found: tuple[tuple[str, Any], ...], expected: tuple[tuple[str, Any], ...]) -> None:
        names, wanted = [name for name, _ in found], [name for name, _ in expected]
        if names != wanted:
            raise self.mismatch(f"{path} has {_list(names)}, not {_list(wanted)}")

    def _resource(self, path: str, index: int, expected: Handle) -> int:
        resource = self._shape.resources[index]
        if (resource.interface, resource.name, resource.imported) != (
            expected.interface,
            expected.name,
            expected.imported,
        ):
            have = _resource_text(resource.interface, resource.name, resource.imported)
            wanted = _resource_text(expected.interface, expected.name, expected.imported)
            raise self.mismatch(f"{path} is a handle to {have}, not {wanted}")
        return index

    def _differs(self, path: str, found: abi.Type | None, expected: Any) -> WorldMismatch:
        return self.mismatch(f"{path} is {_kind(found)}, not {_kind(expected)}")


def _resource_text(interface: str, name: str, imported: bool) -> str:
    return f"the {'imported' if imported else 'exported'} {name} of {interface or 'the world'}"


def _path(interface: str, function: str) -> str:
    return f"{interface}#{function}" if interface else function


def _list(names: Any) -> str:
    shown = [*names]
    more = f" and {len(shown) - 8} more" if len(shown) > 8 else ""
    return f"({', '.join(shown[:8])}{more})"


def _kind(ty: Any) -> str:
    match ty:
        case None:
            return "nothing"
        case PrimT():
            return ty.name
        case ListT():
            return f"list<{_kind(ty.element)}>"
        case OptionT():
            return f"option<{_kind(ty.inner)}>"
        case TupleT():
            return f"a tuple of {len(ty.items)}"
        case Handle():
            return f"{'own' if ty.owned else 'borrow'}<{ty.name}>"
        case abi.OwnT() | abi.BorrowT():
            return "a resource"
        case EnumT():
            return "an enum"
        case FlagsT():
            return "flags"
        case _:
            return f"a {type(ty).__name__.removesuffix('T').lower()}"
