"""WIT value types as the engine sees them, and their layout in the canonical ABI.

Sizes, alignments and flattening follow the canonical ABI of the component model
(https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md). Addresses are 32 bits wide.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, Flag
from functools import lru_cache
from typing import Any, Final, TypeAlias

__all__ = [
    "MAX_FLAT_PARAMS",
    "MAX_FLAT_RESULTS",
    "PRIMITIVES",
    "BorrowT",
    "ComponentType",
    "EnumT",
    "FlagsT",
    "FuncT",
    "Interface",
    "ListT",
    "OptionT",
    "OwnT",
    "PrimT",
    "RecordT",
    "Resource",
    "ResultT",
    "TupleT",
    "Type",
    "VariantT",
    "align_up",
    "alignment",
    "cases_of",
    "discriminant_size",
    "fields_of",
    "flatten",
    "has_handles",
    "has_pointers",
    "offsets",
    "payload_offset",
    "size",
]

MAX_FLAT_PARAMS: Final = 16
"""More flat parameters than this are passed as one address."""
MAX_FLAT_RESULTS: Final = 1
"""More flat results than this are returned as one address."""

PRIMITIVES: Final = {
    # name: (bytes, flat core type)
    "bool": (1, "i32"),
    "s8": (1, "i32"),
    "u8": (1, "i32"),
    "s16": (2, "i32"),
    "u16": (2, "i32"),
    "s32": (4, "i32"),
    "u32": (4, "i32"),
    "s64": (8, "i64"),
    "u64": (8, "i64"),
    "f32": (4, "f32"),
    "f64": (8, "f64"),
    "char": (4, "i32"),
    "string": (8, ""),
}


@dataclass(frozen=True, slots=True)
class PrimT:
    """A primitive: one of the keys of `PRIMITIVES`."""

    name: str


@dataclass(frozen=True, slots=True)
class ListT:
    """`list<element>`."""

    element: Type


@dataclass(frozen=True, slots=True)
class OptionT:
    """`option<inner>`."""

    inner: Type


@dataclass(frozen=True, slots=True)
class ResultT:
    """`result<ok, err>`; `None` stands for `_`."""

    ok: Type | None
    err: Type | None


@dataclass(frozen=True, slots=True)
class TupleT:
    """`tuple<items...>`."""

    items: tuple[Type, ...]


@dataclass(frozen=True, slots=True)
class RecordT:
    """`record { fields }`, names in kebab case. `made`: the Python class with these fields, in this order, as slots
    that `__match_args__` names; `None` for a class that the engine makes."""

    fields: tuple[tuple[str, Type], ...]
    made: type[Any] | None = None


@dataclass(frozen=True, slots=True)
class VariantT:
    """`variant { cases }`; `None` for a case without payload. `made`: a Python class for each case, which takes its
    payload, and has it as `value`; `None` for `dataflare.values.Variant`."""

    cases: tuple[tuple[str, Type | None], ...]
    made: tuple[type[Any], ...] | None = None


@dataclass(frozen=True, slots=True)
class EnumT:
    """`enum { names }`. `made`: the Python enumeration with a member for each, in this order; `None` for texts."""

    names: tuple[str, ...]
    made: type[Enum] | None = None


@dataclass(frozen=True, slots=True)
class FlagsT:
    """`flags { names }`, at most 32 of them. `made`: the Python flags with a bit for each; `None` for sets of texts."""

    names: tuple[str, ...]
    made: type[Flag] | None = None


@dataclass(frozen=True, slots=True)
class OwnT:
    """`own<resource>`; `resource` is an index into `ComponentType.resources`.

    `made`, for a plugin's resource: a class that wraps a `GuestResource` as `_resource`; `None` for `GuestResource`
    itself. For a resource of the host: an object whose `check` refuses values that do not fit; `None` accepts any
    object.
    """

    resource: int
    made: Any = None


@dataclass(frozen=True, slots=True)
class BorrowT:
    """`borrow<resource>`; `resource` is an index into `ComponentType.resources`. `made` is as in `OwnT`."""

    resource: int
    made: Any = None


Type: TypeAlias = PrimT | ListT | OptionT | ResultT | TupleT | RecordT | VariantT | EnumT | FlagsT | OwnT | BorrowT


@dataclass(frozen=True, slots=True)
class FuncT:
    """A function's parameters, with their names, and its result (`None` if there is none)."""

    params: tuple[tuple[str, Type], ...]
    result: Type | None

    @property
    def args(self) -> TupleT:
        """All parameters as one tuple."""
        return TupleT(tuple(ty for _, ty in self.params))


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource type: its WIT name, the interface that it comes from, and whether the host provides it."""

    name: str
    interface: str
    imported: bool


@dataclass(slots=True)
class Interface:
    """The items of an instance: resources (name to index into `ComponentType.resources`), named types and functions."""

    resources: dict[str, int] = field(default_factory=dict)
    types: dict[str, Type] = field(default_factory=dict)
    funcs: dict[str, FuncT] = field(default_factory=dict)


@dataclass(slots=True)
class ComponentType:
    """What a component imports and exports.

    Items of the world itself, outside any interface, are under the name `""`. `wasi` holds the imports that wasmtime
    itself provides; they are passed through, and their resources cannot appear in other interfaces. `world_types` are
    the types that the world itself imports.
    """

    imports: dict[str, Interface] = field(default_factory=dict)
    exports: dict[str, Interface] = field(default_factory=dict)
    resources: list[Resource] = field(default_factory=list)
    wasi: dict[str, Interface] = field(default_factory=dict)
    world_types: dict[str, Type] = field(default_factory=dict)

    @property
    def passthrough(self) -> tuple[str, ...]:
        """Names of the imports that wasmtime itself provides."""
        return tuple(self.wasi)


def align_up(offset: int, to: int) -> int:
    """Round up to a multiple of `to`, a power of two."""
    return (offset + to - 1) & -to


def discriminant_size(cases: int) -> int:
    """Return the bytes of the discriminant of a variant with this many cases."""
    return 1 if cases <= 1 << 8 else 2 if cases <= 1 << 16 else 4


def fields_of(ty: RecordT | TupleT) -> tuple[Type, ...]:
    """Return the types of the fields of a record or a tuple."""
    return ty.items if isinstance(ty, TupleT) else tuple(t for _, t in ty.fields)


def cases_of(ty: VariantT | OptionT | ResultT | EnumT) -> tuple[Type | None, ...]:
    """Return the payload types of a type that is laid out as a variant; `None` for a case without payload."""
    match ty:
        case VariantT():
            return tuple(t for _, t in ty.cases)
        case OptionT():
            return (None, ty.inner)
        case ResultT():
            return (ty.ok, ty.err)
        case EnumT():
            return (None,) * len(ty.names)


@lru_cache(maxsize=4096)
def alignment(ty: Type) -> int:
    """Return the alignment of a type in bytes."""
    match ty:
        case PrimT("string"):
            return 4
        case PrimT():
            return PRIMITIVES[ty.name][0]
        case RecordT() | TupleT():
            return max((alignment(t) for t in fields_of(ty)), default=1)
        case VariantT() | OptionT() | ResultT() | EnumT():
            cases = cases_of(ty)
            return max([discriminant_size(len(cases)), *(alignment(t) for t in cases if t is not None)])
        case FlagsT():
            return 1 if len(ty.names) <= 8 else 2 if len(ty.names) <= 16 else 4
        case ListT() | OwnT() | BorrowT():
            return 4


@lru_cache(maxsize=4096)
def size(ty: Type) -> int:
    """Return the bytes that a value takes in memory, without the memory that it points to."""
    match ty:
        case PrimT():
            return PRIMITIVES[ty.name][0]
        case RecordT() | TupleT():
            end = 0
            for t in fields_of(ty):
                end = align_up(end, alignment(t)) + size(t)
            return align_up(end, alignment(ty))
        case VariantT() | OptionT() | ResultT() | EnumT():
            payload = max((size(t) for t in cases_of(ty) if t is not None), default=0)
            return align_up(payload_offset(ty) + payload, alignment(ty))
        case FlagsT():
            return alignment(ty)
        case ListT():
            return 8
        case OwnT() | BorrowT():
            return 4


def offsets(ty: RecordT | TupleT) -> Iterator[tuple[int, Type]]:
    """Yield the offset in bytes and the type of each field."""
    end = 0
    for t in fields_of(ty):
        end = align_up(end, alignment(t))
        yield end, t
        end += size(t)


def payload_offset(ty: VariantT | OptionT | ResultT | EnumT) -> int:
    """Return the offset of a variant's payload in bytes."""
    cases = cases_of(ty)
    return align_up(discriminant_size(len(cases)), max((alignment(t) for t in cases if t is not None), default=1))


def _join(a: str, b: str) -> str:
    if a == b:
        return a
    return "i32" if {a, b} == {"i32", "f32"} else "i64"


@lru_cache(maxsize=4096)
def flatten(ty: Type) -> tuple[str, ...]:
    """Return the core types as which a value is passed."""
    match ty:
        case PrimT("string") | ListT():
            return ("i32", "i32")
        case PrimT():
            return (PRIMITIVES[ty.name][1],)
        case RecordT() | TupleT():
            return tuple(core for t in fields_of(ty) for core in flatten(t))
        case VariantT() | OptionT() | ResultT() | EnumT():
            joined: list[str] = []
            for t in cases_of(ty):
                for i, core in enumerate(flatten(t) if t is not None else ()):
                    if i < len(joined):
                        joined[i] = _join(joined[i], core)
                    else:
                        joined.append(core)
            return ("i32", *joined)
        case FlagsT() | OwnT() | BorrowT():
            return ("i32",)


def _children(ty: Type) -> tuple[Type, ...]:
    match ty:
        case ListT():
            return (ty.element,)
        case RecordT() | TupleT():
            return fields_of(ty)
        case VariantT() | OptionT() | ResultT():
            return tuple(t for t in cases_of(ty) if t is not None)
        case _:
            return ()


@lru_cache(maxsize=4096)
def has_handles(ty: Type) -> frozenset[tuple[str, int]]:
    """Return the handles in a type, at any depth, as `("own" or "borrow", resource)`."""
    if isinstance(ty, OwnT):
        return frozenset({("own", ty.resource)})
    if isinstance(ty, BorrowT):
        return frozenset({("borrow", ty.resource)})
    return frozenset().union(*(has_handles(t) for t in _children(ty)))


@lru_cache(maxsize=4096)
def has_pointers(ty: Type) -> bool:
    """Whether a value points to further memory (strings and lists)."""
    return ty == PrimT("string") or isinstance(ty, ListT) or any(has_pointers(t) for t in _children(ty))
