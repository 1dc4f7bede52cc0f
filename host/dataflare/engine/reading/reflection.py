"""What a component imports and exports, as wasmtime reports it."""

from __future__ import annotations

from typing import Any, Final

import wasmtime
from wasmtime import _ffi as ffi
from wasmtime import component as wc
from wasmtime.component import _types as wt

from dataflare.component_binary import check_header, hollow
from dataflare.engine.abi.types import (
    BorrowT,
    ComponentType,
    EnumT,
    FlagsT,
    FuncT,
    Interface,
    ListT,
    OptionT,
    OwnT,
    PrimT,
    RecordT,
    Resource,
    ResultT,
    TupleT,
    Type,
    VariantT,
)
from dataflare.engine.reading.features import causes_of, refusal
from dataflare.engine.reading.instantiations import check_instantiations
from dataflare.engine.reading.labels import check_labels
from dataflare.engine.reading.lowered import check_lowered
from dataflare.engine.reading.world_types import WorldItems, read_world, with_types_shown
from dataflare.errors import NotAComponent, UnsupportedComponent
from dataflare.interfaces import is_wasi
from dataflare.interruptible import interruptible

__all__ = ["error_of", "not_carried", "reflect"]

_PRIMITIVES: Final[dict[type, PrimT]] = {
    wt.Bool: PrimT("bool"),
    wt.S8: PrimT("s8"),
    wt.U8: PrimT("u8"),
    wt.S16: PrimT("s16"),
    wt.U16: PrimT("u16"),
    wt.S32: PrimT("s32"),
    wt.U32: PrimT("u32"),
    wt.S64: PrimT("s64"),
    wt.U64: PrimT("u64"),
    wt.F32: PrimT("f32"),
    wt.F64: PrimT("f64"),
    wt.Char: PrimT("char"),
    wt.String: PrimT("string"),
}
_MAX_DEPTH: Final = 100
_MAX_PARTS: Final = 100_000
"""Parts of all types together, each counted wherever it is used: a file of 400 bytes can have a million."""


def reflect(
    engine: wasmtime.Engine, binary: bytes, component: str, *, hosted: frozenset[str] = frozenset()
) -> ComponentType:
    """Return what a component imports and exports, without compiling its code.

    Args:
        engine: Any engine with the component model on.
        binary: The component.
        component: Its name, for errors.
        hosted: WASI interfaces that the caller provides instead of wasmtime.

    Raises:
        NotAComponent: The bytes are not a valid component.
        UnsupportedComponent: It has an import or export that the engine cannot carry.
    """
    check_header(binary, component)
    check_labels(binary, component)
    check_lowered(binary, component)
    check_instantiations(binary, component)
    try:
        empty = hollow(binary)
        compiled = interruptible(lambda: wc.Component(engine, empty))
        items = read_world(empty, component)
        shown = ""
    except NotAComponent as error:
        raise NotAComponent(error.message, component=component) from None
    except wasmtime.WasmtimeError as error:
        raise refusal(error_of(engine, binary) or error, component, binary) from error
    if items.types:
        empty, shown = with_types_shown(empty, items)
        try:
            compiled = interruptible(lambda: wc.Component(engine, empty))
        except wasmtime.WasmtimeError as error:
            raise not_carried(error, component) from error
    return _Reflection(engine, component, hosted).shape(compiled.type, items, shown)


def error_of(engine: wasmtime.Engine, binary: bytes) -> wasmtime.WasmtimeError | None:
    """Compile a component for its error alone, with positions in its own file; `None` if it is valid."""
    try:
        interruptible(lambda: wc.Component(engine, binary))
    except wasmtime.WasmtimeError as error:
        return error
    return None


def not_carried(error: wasmtime.WasmtimeError, component: str) -> UnsupportedComponent:
    """Make the error for a valid component that wasmtime refuses in the form that the engine gives it."""
    return UnsupportedComponent(
        f"is valid, but has something that the engine cannot carry: {causes_of(error)[-1][:300]}",
        component=component,
        hint="report it, with the component",
    )


class _Reflection:
    """One component's reflection: keeps track of which resource types are the same."""

    def __init__(self, engine: wasmtime.Engine, component: str, hosted: frozenset[str]) -> None:
        self._engine = engine
        self._hosted = hosted
        self._component = component
        self._shape = ComponentType()
        self._handles: list[Any] = []
        self._parts = 0
        self._in_wasi = False
        """Whether what is described is an interface that wasmtime itself provides."""

    def shape(self, ty: wc.ComponentType, items: WorldItems, types: str) -> ComponentType:
        """Describe a component.

        Args:
            ty: wasmtime's type of the component.
            items: The items of its world.
            types: The export that shows the types that the world imports; empty if it imports none.
        """
        for name, extern in ty.imports(self._engine).items():
            passed = self._is_wasmtimes(name) and isinstance(extern.ty, wt.ComponentInstanceType)
            into = self._shape.wasi if passed else self._shape.imports
            self._extern(into, name, extern, imported=True)
        for name, extern in ty.exports(self._engine).items():
            if name in items.type_exports and not isinstance(extern.ty, wt.ValType | wc.ResourceType):
                raise self._unsupported(name, "the type of a function, an instance or a component")
            if name == types:
                into = {name: Interface(types=self._shape.world_types)}
                self._extern(into, name, extern, imported=True)
            else:
                self._extern(self._shape.exports, name, extern, imported=False, shown=items.shown.get(name))
        return self._shape

    def _extern(
        self,
        into: dict[str, Interface],
        name: str,
        extern: Any,
        *,
        imported: bool,
        shown: frozenset[str] | None = None,
    ) -> None:
        item = extern.ty
        self._in_wasi = into is self._shape.wasi
        if isinstance(item, wt.ComponentInstanceType):
            interface = into.setdefault(name, Interface())
            for inner, inner_extern in item.exports(self._engine).items():
                if shown is None or inner in shown:
                    self._item(interface, name, inner, inner_extern, imported=imported)
        else:
            self._item(into.setdefault("", Interface()), "", name, extern, imported=imported)

    def _item(self, interface: Interface, where: str, name: str, extern: Any, *, imported: bool) -> None:
        item = extern.ty
        path = f"{where}#{name}" if where else name
        if isinstance(item, wt.FuncType):
            interface.funcs[name] = self._func(item, path)
        elif isinstance(item, wc.ResourceType):
            interface.resources[name] = self._resource(item, name, where, imported=imported)
        elif isinstance(item, wt.ValType):
            interface.types[name] = self._type(item, path, 0)
        else:
            raise self._unsupported(path, f"a {type(item).__name__}")

    def _unsupported(self, path: str, what: str) -> UnsupportedComponent:
        return UnsupportedComponent(
            f"{path} has {what}, which the engine cannot carry",
            component=self._component,
            hint="use records, variants, lists, options, results, resources and plain functions",
        )

    def _resource(self, ty: Any, name: str, where: str, *, imported: bool) -> int:
        for index, known in enumerate(self._handles):
            if known == ty:
                return index
        self._handles.append(ty)
        self._shape.resources.append(Resource(name, where, imported))
        return len(self._handles) - 1

    def _handle(self, ty: Any, path: str) -> int:
        for index, known in enumerate(self._handles):
            if known == ty:
                home = self._shape.resources[index]
                if (home.imported and home.interface in self._shape.wasi) == self._in_wasi:
                    return index
                if self._in_wasi:
                    interface = path.partition("#")[0]
                    raise UnsupportedComponent(
                        f"{path} has a handle to a resource of {home.interface or 'the world'}, which you provide",
                        component=self._component,
                        hint=f"provide {interface} yourself as well",
                    )
                break
        raise self._unsupported(path, "a handle to a resource of an interface that is not bridged (such as WASI's)")

    def _is_wasmtimes(self, name: str) -> bool:
        return is_wasi(name) and name not in self._hosted

    def _func(self, ty: Any, path: str) -> FuncT:
        if ffi.wasmtime_component_func_type_async(ty.ptr()):
            raise self._unsupported(path, "the type of an async function")
        params = tuple((name, self._type(t, f"{path}({name})", 0)) for name, t in ty.params)
        result = ty.result
        return FuncT(params, None if result is None else self._type(result, f"{path} result", 0))

    def _type(self, ty: Any, path: str, depth: int) -> Type:
        if depth > _MAX_DEPTH:
            raise self._unsupported(path, f"a type nested more than {_MAX_DEPTH} deep")
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise self._unsupported(path, f"a type with which the types have more than {_MAX_PARTS:,} parts together")
        primitive = _PRIMITIVES.get(type(ty))
        if primitive is not None:
            return primitive

        def sub(inner: Any) -> Type:
            return self._type(inner, path, depth + 1)

        def maybe(inner: Any) -> Type | None:
            return None if inner is None else sub(inner)

        match ty:
            case wt.ListType():
                return ListT(sub(ty.element))
            case wt.RecordType():
                return RecordT(tuple((n, sub(t)) for n, t in ty.fields))
            case wt.TupleType():
                return TupleT(tuple(sub(t) for t in ty.elements))
            case wt.VariantType():
                return VariantT(tuple((n, maybe(t)) for n, t in ty.cases))
            case wt.EnumType():
                return EnumT(tuple(ty.names))
            case wt.OptionType():
                return OptionT(sub(ty.payload))
            case wt.ResultType():
                return ResultT(maybe(ty.ok), maybe(ty.err))
            case wt.FlagsType():
                names = tuple(ty.names)
                if len(names) > 32:
                    raise self._unsupported(path, "more than 32 flags in one type")
                return FlagsT(names)
            case wt.OwnType():
                return OwnT(self._handle(ty.ty, path))
            case wt.BorrowType():
                return BorrowT(self._handle(ty.ty, path))
            case _:
                raise self._unsupported(path, f"a {type(ty).__name__.removesuffix('Type').lower()}")
