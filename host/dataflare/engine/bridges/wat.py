"""WebAssembly text for moving values between the canonical ABI's two forms: flat core values, and memory.

A component function is called with flat core values (integers and floats; a variant's cases share them), but the host
reads and writes memory. These emitters convert between the two, and convert the handles in a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from dataflare.engine.abi.types import (
    BorrowT,
    EnumT,
    FlagsT,
    ListT,
    OptionT,
    OwnT,
    PrimT,
    RecordT,
    ResultT,
    TupleT,
    Type,
    VariantT,
    cases_of,
    discriminant_size,
    flatten,
    has_handles,
    offsets,
    payload_offset,
    size,
)

__all__ = ["Function", "Walkers", "in_place", "named_types", "quote", "value_type"]

_STORES: Final = {1: "i32.store8", 2: "i32.store16", 4: "i32.store"}
_LOADS: Final = {1: "i32.load8_u", 2: "i32.load16_u", 4: "i32.load"}
_SIGNED_LOADS: Final = {"s8": "i32.load8_s", "s16": "i32.load16_s"}
_WIDE: Final = {"s64": "i64", "u64": "i64", "f32": "f32", "f64": "f64"}

# How a value of one core type is carried in a slot of another, and taken out again.
_WIDEN: Final = {
    ("f32", "i32"): "(i32.reinterpret_f32 {})",
    ("i32", "i64"): "(i64.extend_i32_u {})",
    ("f32", "i64"): "(i64.extend_i32_u (i32.reinterpret_f32 {}))",
    ("f64", "i64"): "(i64.reinterpret_f64 {})",
}
_NARROW: Final = {
    ("i32", "f32"): "(f32.reinterpret_i32 {})",
    ("i64", "i32"): "(i32.wrap_i64 {})",
    ("i64", "f32"): "(f32.reinterpret_i32 (i32.wrap_i64 {}))",
    ("i64", "f64"): "(f64.reinterpret_i64 {})",
}


_ESCAPED: Final = re.compile(r"[^ !#-\[\]-~]")
"""All but printable ASCII: the text format has no control characters and no marks of direction."""


def quote(text: str) -> str:
    """Write a text as a WebAssembly string."""
    return '"' + _ESCAPED.sub(lambda found: f"\\u{{{ord(found[0]):x}}}", text) + '"'


def named_types(ty: Type) -> list[Type]:
    """List the types within a type that the component model requires to have names, inner ones first, each once."""
    found: dict[Type, None] = {}

    def visit(t: Type) -> None:
        match t:
            case ListT():
                visit(t.element)
            case OptionT():
                visit(t.inner)
            case TupleT():
                for item in t.items:
                    visit(item)
            case RecordT():
                for _, item in t.fields:
                    visit(item)
            case VariantT() | ResultT():
                for case in cases_of(t):
                    if case is not None:
                        visit(case)
            case _:
                pass
        if isinstance(t, RecordT | VariantT | EnumT | FlagsT):
            found.setdefault(t)

    visit(ty)
    return list(found)


def value_type(ty: Type, names: dict[Type, str], resources: Callable[[int], str], *, define: bool = False) -> str:
    """Write a type as text.

    Args:
        names: The names of types here.
        resources: Gives the name of a resource type here, by its index.
        define: Write the definition of the type itself, even if it has a name.
    """
    if not define and ty in names:
        return names[ty]

    def sub(t: Type) -> str:
        return value_type(t, names, resources)

    match ty:
        case PrimT():
            return ty.name
        case ListT():
            return f"(list {sub(ty.element)})"
        case OptionT():
            return f"(option {sub(ty.inner)})"
        case ResultT():
            ok = f" {sub(ty.ok)}" if ty.ok is not None else ""
            err = f" (error {sub(ty.err)})" if ty.err is not None else ""
            return f"(result{ok}{err})"
        case TupleT():
            return f"(tuple {' '.join(sub(t) for t in ty.items)})"
        case RecordT():
            return f"(record {' '.join(f'(field {quote(n)} {sub(t)})' for n, t in ty.fields)})"
        case VariantT():
            cases = (f"(case {quote(n)}{f' {sub(t)}' if t is not None else ''})" for n, t in ty.cases)
            return f"(variant {' '.join(cases)})"
        case EnumT():
            return f"(enum {' '.join(map(quote, ty.names))})"
        case FlagsT():
            return f"(flags {' '.join(map(quote, ty.names))})"
        case OwnT():
            return f"(own {resources(ty.resource)})"
        case BorrowT():
            return f"(borrow {resources(ty.resource)})"


def in_place(function: str) -> str:
    """Write the instruction that replaces the handle at `$p` by a function's result for it."""
    return f"(i32.store (local.get $p) (call {function} (i32.load (local.get $p))))"


class Function:
    """The body of a core function under construction."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._locals: list[str] = []

    def local(self, core: str) -> str:
        """Declare a local, and return its name."""
        self._locals.append(core)
        return f"$v{len(self._locals) - 1}"

    def emit(self, line: str) -> None:
        """Add an instruction."""
        self._lines.append(line)

    def text(self) -> str:
        """The locals and the instructions."""
        declared = "".join(f"(local $v{i} {core})" for i, core in enumerate(self._locals))
        return declared + "\n".join(self._lines)

    def store(self, ty: Type, base: str, offset: int, flat: list[str]) -> None:
        """Store a flat value at `base + offset`; removes its expressions from the front of `flat`."""
        match ty:
            case PrimT("string") | ListT():
                self.emit(f"(i32.store offset={offset} {base} {flat.pop(0)})")
                self.emit(f"(i32.store offset={offset + 4} {base} {flat.pop(0)})")
            case PrimT() if ty.name in _WIDE:
                self.emit(f"({_WIDE[ty.name]}.store offset={offset} {base} {flat.pop(0)})")
            case PrimT() | FlagsT() | OwnT() | BorrowT():
                self.emit(f"({_STORES[size(ty)]} offset={offset} {base} {flat.pop(0)})")
            case RecordT() | TupleT():
                for at, t in offsets(ty):
                    self.store(t, base, offset + at, flat)
            case VariantT() | OptionT() | ResultT() | EnumT():
                cases = cases_of(ty)
                joined = flatten(ty)
                inside = offset + payload_offset(ty)
                mine = [flat.pop(0) for _ in joined]
                self.emit(f"({_STORES[discriminant_size(len(cases))]} offset={offset} {base} {mine[0]})")
                for number, payload in enumerate(cases):
                    if payload is None:
                        continue
                    values = [
                        _NARROW[have, want].format(value) if have != want else value
                        for have, want, value in zip(joined[1:], flatten(payload), mine[1:], strict=False)
                    ]
                    self.emit(f"(if (i32.eq {mine[0]} (i32.const {number})) (then")
                    self.store(payload, base, inside, values)
                    self.emit("))")

    def load(self, ty: Type, base: str, offset: int) -> list[str]:
        """Load a value from `base + offset`; return its flat expressions, which must be used before memory changes."""
        match ty:
            case PrimT("string") | ListT():
                return [f"(i32.load offset={offset} {base})", f"(i32.load offset={offset + 4} {base})"]
            case PrimT() if ty.name in _WIDE:
                return [f"({_WIDE[ty.name]}.load offset={offset} {base})"]
            case PrimT() | FlagsT() | OwnT() | BorrowT():
                signed = _SIGNED_LOADS.get(ty.name) if isinstance(ty, PrimT) else None
                return [f"({signed or _LOADS[size(ty)]} offset={offset} {base})"]
            case RecordT() | TupleT():
                return [value for at, t in offsets(ty) for value in self.load(t, base, offset + at)]
            case VariantT() | OptionT() | ResultT() | EnumT():
                cases = cases_of(ty)
                joined = flatten(ty)
                inside = offset + payload_offset(ty)
                slots = [self.local(core) for core in joined]
                self.emit(f"(local.set {slots[0]} ({_LOADS[discriminant_size(len(cases))]} offset={offset} {base}))")
                for number, payload in enumerate(cases):
                    if payload is None or not flatten(payload):
                        continue
                    self.emit(f"(if (i32.eq (local.get {slots[0]}) (i32.const {number})) (then")
                    values = self.load(payload, base, inside)
                    for have, want, value, slot in zip(flatten(payload), joined[1:], values, slots[1:], strict=False):
                        carried = _WIDEN[have, want].format(value) if have != want else value
                        self.emit(f"(local.set {slot} {carried})")
                    self.emit("))")
                return [f"(local.get {slot})" for slot in slots]


class Walkers:
    """Writes functions that walk a value in memory and convert each handle in place.

    Args:
        prefix: Begins the functions' names.
        convert: Returns the instructions for one handle, given its type; `(local.get $p)` is its address. `None` leaves
            the handle unchanged.
    """

    def __init__(self, prefix: str, convert: Callable[[OwnT | BorrowT], str | None]) -> None:
        self._prefix = prefix
        self._convert = convert
        self._names: dict[Type, str] = {}
        self.texts: list[str] = []

    def call(self, ty: Type, address: str) -> str:
        """Return the instruction that walks a value at an address; empty if there is nothing to convert."""
        name = self._function(ty)
        return f"(call {name} {address})" if name else ""

    def _function(self, ty: Type) -> str:
        if not any(self._convert(OwnT(r) if how == "own" else BorrowT(r)) for how, r in has_handles(ty)):
            return ""
        if ty not in self._names:
            self._names[ty] = name = f"${self._prefix}{len(self._names)}"
            self.texts.append(f"(func {name} (param $p i32) {self._body(ty)})")
        return self._names[ty]

    def _body(self, ty: Type) -> str:
        at = "(i32.add (local.get $p) (i32.const {}))".format
        match ty:
            case OwnT() | BorrowT():
                return self._convert(ty) or ""
            case RecordT() | TupleT():
                return "\n".join(self.call(t, at(o)) for o, t in offsets(ty))
            case VariantT() | OptionT() | ResultT():
                cases = cases_of(ty)
                load = f"({_LOADS[discriminant_size(len(cases))]} (local.get $p))"
                payload = at(payload_offset(ty))
                return "\n".join(
                    f"(if (i32.eq {load} (i32.const {number})) (then {self.call(t, payload)}))"
                    for number, t in enumerate(cases)
                    if t is not None and self._function(t)
                )
            case ListT():
                return f"""(local $i i32) (local $end i32)
                    (local.set $i (i32.load (local.get $p)))
                    (local.set $end (i32.add (local.get $i)
                      (i32.mul (i32.load offset=4 (local.get $p)) (i32.const {size(ty.element)}))))
                    (block $done (loop $next
                      (br_if $done (i32.ge_u (local.get $i) (local.get $end)))
                      {self.call(ty.element, "(local.get $i)")}
                      (local.set $i (i32.add (local.get $i) (i32.const {size(ty.element)})))
                      (br $next)))"""
            case _:
                return ""
