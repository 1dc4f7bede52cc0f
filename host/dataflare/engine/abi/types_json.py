"""A component's type as JSON, for the cache."""

from __future__ import annotations

from typing import Any

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

__all__ = ["shape_from_json", "shape_to_json"]


def shape_to_json(shape: ComponentType) -> dict[str, Any]:
    """Convert to values for `json.dumps`; equal types are written once, in a table to which others refer."""
    table: dict[Type, int] = {}
    rows: list[Any] = []

    def put(ty: Type | None) -> int | None:
        if ty is None:
            return None
        if ty not in table:
            row = _row(ty, put)
            table[ty] = len(rows)
            rows.append(row)
        return table[ty]

    def interface(item: Interface) -> list[Any]:
        functions = {n: [[[p, put(t)] for p, t in f.params], put(f.result)] for n, f in item.funcs.items()}
        return [item.resources, {n: put(t) for n, t in item.types.items()}, functions]

    return {
        "imports": {n: interface(i) for n, i in shape.imports.items()},
        "exports": {n: interface(i) for n, i in shape.exports.items()},
        # wasmtime provides these, and the component is already composed: only the names are needed.
        "wasi": list(shape.wasi),
        "world": {n: put(t) for n, t in shape.world_types.items()},
        "resources": [[r.name, r.interface, r.imported] for r in shape.resources],
        "types": rows,
    }


def shape_from_json(data: dict[str, Any]) -> ComponentType:
    """Read a type that `shape_to_json` wrote; WASI's interfaces have only their names.

    Raises:
        KeyError, TypeError, ValueError, IndexError: The data was not written by `shape_to_json`.
    """
    types: list[Type] = []
    for row in data["types"]:
        types.append(_type(row, types))

    def at(index: int | None) -> Type | None:
        return None if index is None else types[index]

    def interface(item: list[Any]) -> Interface:
        resources, named, functions = item
        funcs = {
            n: FuncT(tuple((p, types[t]) for p, t in params), at(result)) for n, (params, result) in functions.items()
        }
        return Interface(resources, {n: types[t] for n, t in named.items()}, funcs)

    return ComponentType(
        {n: interface(i) for n, i in data["imports"].items()},
        {n: interface(i) for n, i in data["exports"].items()},
        [Resource(*row) for row in data["resources"]],
        {name: Interface() for name in data["wasi"]},
        {n: types[t] for n, t in data["world"].items()},
    )


def _row(ty: Type, put: Any) -> list[Any]:
    match ty:
        case PrimT():
            return ["prim", ty.name]
        case ListT():
            return ["list", put(ty.element)]
        case OptionT():
            return ["option", put(ty.inner)]
        case ResultT():
            return ["result", put(ty.ok), put(ty.err)]
        case TupleT():
            return ["tuple", [put(t) for t in ty.items]]
        case RecordT():
            return ["record", [[n, put(t)] for n, t in ty.fields]]
        case VariantT():
            return ["variant", [[n, put(t)] for n, t in ty.cases]]
        case EnumT():
            return ["enum", list(ty.names)]
        case FlagsT():
            return ["flags", list(ty.names)]
        case OwnT():
            return ["own", ty.resource]
        case BorrowT():
            return ["borrow", ty.resource]


def _type(row: list[Any], types: list[Type]) -> Type:
    kind, *rest = row

    def at(index: int | None) -> Type | None:
        return None if index is None else types[index]

    match kind:
        case "prim":
            return PrimT(rest[0])
        case "list":
            return ListT(types[rest[0]])
        case "option":
            return OptionT(types[rest[0]])
        case "result":
            return ResultT(at(rest[0]), at(rest[1]))
        case "tuple":
            return TupleT(tuple(types[t] for t in rest[0]))
        case "record":
            return RecordT(tuple((n, types[t]) for n, t in rest[0]))
        case "variant":
            return VariantT(tuple((n, at(t)) for n, t in rest[0]))
        case "enum":
            return EnumT(tuple(rest[0]))
        case "flags":
            return FlagsT(tuple(rest[0]))
        case "own":
            return OwnT(rest[0])
        case "borrow":
            return BorrowT(rest[0])
        case _:
            raise ValueError(f"no type {kind!r}")
