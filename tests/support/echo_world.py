"""Components for tests, written as text for any world: what they are called with, and what they return, can be asked.

Beside the world's own exports such a component exports `test:kit/api@1.0.0`, by which a test steers it:

- `call-N` calls the world's imported function N and returns what it got;
- `answer-N` says what the exported function N returns from now on, `seen-N` returns what it was called with last; there
  a borrowed handle is the number that `make-N` was given, or nothing of interest;
- `make-N` makes a resource of the component's own, whose number `rep-N` tells.

The types come from the WIT itself, so that a mistake in generated bindings cannot be in the component too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import wasmtime

from dataflare.engine.abi.types import (
    MAX_FLAT_PARAMS,
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
    alignment,
    cases_of,
    discriminant_size,
    flatten,
    offsets,
    payload_offset,
    size,
)
from dataflare.interfaces import is_wasi
from dataflare.wit import model as wit
from dataflare.wit.catalog import Catalog
from echo_types import EchoFunction, Key, WorldTypes, functions_of, quoted
from wat_kit import OPTIONS, CoreCode, area, core_type, definition, named_types, shim, signature

__all__ = ["EchoWorld", "Steered"]

_LIBC: Final = """
  (core module $libc-code
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 64))
    (func (export "reset"))
    (func (export "realloc") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
      (local $at i32) (local $end i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.sub (local.get $align) (i32.const 1)))
                              (i32.sub (i32.const 0) (local.get $align))))
      (local.set $end (i32.add (local.get $at) (local.get $size)))
      (if (i32.gt_u (local.get $end) (i32.mul (memory.size) (i32.const 65536)))
        (then (drop (memory.grow (i32.add (i32.const 1) (i32.div_u
                    (i32.sub (local.get $end) (i32.mul (memory.size) (i32.const 65536))) (i32.const 65536)))))))
      (memory.copy (local.get $at) (local.get $old)
        (select (local.get $old-size) (local.get $size) (i32.lt_u (local.get $old-size) (local.get $size))))
      (global.set $next (local.get $end))
      (local.get $at)))
  (core instance $libc (instantiate $libc-code))
  (alias core export $libc "memory" (core memory $mem))
  (alias core export $libc "realloc" (core func $alloc))"""

_STORES: Final = {1: "i32.store8", 2: "i32.store16", 4: "i32.store"}
_CONVERSIONS: Final = {
    ("i32", "f32"): "(f32.reinterpret_i32 {})",
    ("i64", "i32"): "(i32.wrap_i64 {})",
    ("i64", "f32"): "(f32.reinterpret_i32 (i32.wrap_i64 {}))",
    ("i64", "f64"): "(f64.reinterpret_i64 {})",
}


@dataclass(frozen=True, slots=True)
class Steered:
    """A function of the world that a test can steer, by its number."""

    number: int
    interface: str
    name: str
    exported: bool
    type: FuncT


class EchoWorld(WorldTypes):
    """Writes the component of one world.

    Args:
        catalog: The resolved packages.
        name: The world's full name.
        implemented: The interfaces that the embedder implements, of those that the host could serve too.
    """

    def __init__(self, catalog: Catalog, name: str, implemented: frozenset[str]) -> None:
        super().__init__(catalog, name)
        self._implemented = implemented
        self.steered: list[Steered] = []
        self._numbers = itertools.count()

    def binary(self) -> bytes:
        """The component."""
        return bytes(wasmtime.wat2wasm(self.text()))

    # The component.

    def text(self) -> str:
        """The component as text."""
        lines = ["(component"]
        relays: dict[str, FuncT] = {}
        lowered: list[tuple[str, str, str]] = []
        plain: list[tuple[str, wit.Function]] = []
        for number, (name, item) in enumerate(self._world.imports.items()):
            if isinstance(item, wit.Function):
                plain.append((name, item))
                continue
            lines += self._import(number, name, item)
            if is_wasi(name) and name not in self._implemented:
                continue
            for each in functions_of(item, self._owner(name, item)):
                lowered.append((each.name, self._steer(name, each, exported=False), f"$imp{number}"))
        for named in self._needed([wit.Named(each.name, self._name) for each in self._own], False):
            if named.owner == self._name:
                lines += self._world_type(named)
        for each in self._world_methods():
            lines.append(f'(import "{each.name}" (func $w-{len(lowered)} {self.signature(each, False, self._ids)}))')
            lowered.append((f"$w-{len(lowered)}", self._steer("", each, exported=False), ""))
        for name, function in plain:
            each = EchoFunction.plain(name, function)
            lines.append(f'(import "{name}" (func $w-{len(lowered)} {self.signature(each, False, self._ids)}))')
            lowered.append((f"$w-{len(lowered)}", self._steer("", each, exported=False), ""))
        relays = {f"call-{each.number}": each.type for each in self.steered}
        exports = self._sorted_exports()
        for name, interface in exports:
            for defined in interface.types:
                self.type(wit.Named(defined.name, self._owner(name, interface)), True)
            for each in functions_of(interface, self._owner(name, interface)):
                self._steer(name, each, exported=True)
        for name, item in self._world.exports.items():
            if isinstance(item, wit.Function):
                each = EchoFunction.plain(name, item)
                self._steer("", each, exported=True)
        lines.append(_LIBC)
        given: list[str] = []
        for name, relay, instance in lowered:
            if instance:
                lines.append(f"(alias export {instance} {quoted(name)} (func $f-{relay}))")
            function = f"$f-{relay}" if instance else name
            lines.append(f"(core func $low-{relay} (canon lower (func {function}) {OPTIONS}))")
            given.append(f'(export "{relay}" (func $low-{relay}))')
        resources: list[str] = []
        for number, key in enumerate(self.resources):
            if key[2]:
                self._ids[key] = f"$r{number}"
                lines.append(f"(type $r{number} (resource (rep i32)))")
                lines.append(f"(core func $new-{number} (canon resource.new $r{number}))")
                given.append(f'(export "new-{number}" (func $new-{number}))')
            lines.append(f"(core func $drop-{number} (canon resource.drop {self._ids[key]}))")
            given.append(f'(export "drop-{number}" (func $drop-{number}))')
            resources.append(f"r{number}")
        controls = dict(relays)
        lines.append(self._code(relays, controls))
        lines.append(
            f'(core instance $code (instantiate $module (with "libc" (instance $libc)) (with "host" (instance'
            f" {' '.join(given)}))))"
        )
        for name, interface in exports:
            lines += self._export(name, interface)
        for each in self.steered:
            if each.exported and not each.interface:  # type: ignore[attr-defined]
                function = self._world.exports[each.name]
                assert isinstance(function, wit.Function)
                plain_function = EchoFunction(
                    each.name, [(p.name, p.type) for p in function.parameters], function.result
                )
                lines += self._lift(each, self.signature(plain_function, False, self._ids))
                lines.append(f"(export {quoted(each.name)} (func $lift-{each.number}))")  # type: ignore[attr-defined]
        named = named_types(
            t for ty in controls.values() for t in (*(p for _, p in ty.params), ty.result) if t is not None
        )
        for ty, name in named.items():  # type: ignore[attr-defined]
            lines.append(f"(type ${name} {definition(ty, named, '', resources)})")
        for name, ty in controls.items():
            lines.append(f'(alias core export $code "{name}" (core func $core-{name}))')
            lines.append(
                f"(func $lift-{name} {signature(ty, named, '', resources)}"
                f" (canon lift (core func $core-{name}) {OPTIONS}))"
            )
        lines.append(shim(controls, named, resources))
        return "\n".join([*lines, ")"])

    def _steer(self, interface: str, function: EchoFunction, *, exported: bool) -> str:
        side = exported and bool(interface)
        each = Steered(len(self.steered), interface, function.name, exported, self.func(function, side))
        self.steered.append(each)
        return f"call-{each.number}"

    def _world_methods(self) -> Iterator[EchoFunction]:
        yield from functions_of(wit.Interface(name="", types=self._own), self._name)

    def _world_type(self, named: wit.Named) -> list[str]:
        kind, text = self._form(named, False, self._ids)
        ident = self._ids[self.key(named, False)] = self._outer_name(named, f"W-{named.name}")
        if kind == "resource":
            return [f"(import {quoted(named.name)} (type {ident} (sub resource)))"]
        if kind == "alias":
            return [f"(import {quoted(named.name)} (type {ident} (eq {text})))"]
        return [f"(type $D-{named.name} {text})", f"(import {quoted(named.name)} (type {ident} (eq $D-{named.name})))"]

    def _import(self, number: int, name: str, interface: wit.Interface) -> list[str]:
        ids = dict(self._ids)
        owner = self._owner(name, interface)
        inner: list[str] = []
        own: list[wit.Named] = []
        for here, origin in self._uses(interface):
            inner.append(f"(export {quoted(here)} (type (eq {ids[self.key(origin, False)]})))")
        for named in self._needed([wit.Named(each.name, owner) for each in interface.types], False):
            if named.owner != owner:
                continue
            own.append(named)
            kind, text = self._form(named, False, ids)
            ids[self.key(named, False)] = f"$t-{named.name}"
            bound = {"resource": "(sub resource)", "alias": f"(eq {text})", "type": f"(eq $d-{named.name})"}[kind]
            if kind == "type":
                inner.append(f"(type $d-{named.name} {text})")
            inner.append(f"(export {quoted(named.name)} (type $t-{named.name} {bound}))")
        if not is_wasi(name) or name in self._implemented:
            for each in functions_of(interface, owner):
                inner.append(f"(export {quoted(each.name)} (func {self.signature(each, False, ids)}))")
        lines = [f"(import {quoted(name)} (instance $imp{number} {' '.join(inner)}))"]
        for named in own:
            ident = self._ids[self.key(named, False)] = self._outer_name(named, f"I{number}-{named.name}")
            lines.append(f"(alias export $imp{number} {quoted(named.name)} (type {ident}))")
        return lines

    def _sorted_exports(self) -> list[tuple[str, wit.Interface]]:
        """The exported interfaces, each after those whose types it uses."""
        found = {name: each for name, each in self._world.exports.items() if isinstance(each, wit.Interface)}
        done: dict[str, wit.Interface] = {}

        def visit(name: str) -> None:
            for use in found[name].uses:
                if str(use.source) in found and str(use.source) not in done:
                    visit(str(use.source))
            done[name] = found[name]

        for name in found:
            if name not in done:
                visit(name)
        return list(done.items())

    def _export(self, name: str, interface: wit.Interface) -> list[str]:
        lines: list[str] = []
        owner = self._owner(name, interface)
        number = next(self._numbers)
        functions = functions_of(interface, owner)
        uses = self._uses(interface)
        types: list[wit.Type] = [*(origin for _, origin in uses), *(wit.Named(e.name, owner) for e in interface.types)]
        types += [ty for each in functions for ty in (*(p for _, p in each.parameters), each.result) if ty is not None]
        needed = self._needed(types, True)
        inside: dict[Key, str] = {}
        inner: list[str] = []
        given: list[str] = []
        for place, named in enumerate(needed):
            key = self.key(named, True)
            kind, text = self._form(named, True, inside)
            if key not in self._ids:
                _, outer = self._form(named, True, self._ids)
                if kind == "type":
                    lines.append(f"(type $o{number}-{place} {outer})")
                self._ids[key] = outer if kind == "alias" else f"$o{number}-{place}"
            inside[key] = f"$i{place}"
            bound = {"resource": "(sub resource)", "alias": f"(eq {text})", "type": f"(eq $d{place})"}[kind]
            if kind == "type":
                inner.append(f"(type $d{place} {text})")
            inner.append(f'(import "t{place}" (type $i{place} {bound}))')
            given.append(f'(with "t{place}" (type {self._ids[key]}))')
        steered = [each for each in self.steered if each.exported and each.interface == name]
        for each, function in zip(steered, functions, strict=True):
            lines += self._lift(each, self.signature(function, True, self._ids))
            inner.append(f'(import "f{each.number}" (func $f{each.number} {self.signature(function, True, inside)}))')
            given.append(f'(with "f{each.number}" (func $lift-{each.number}))')
        outside = dict(inside)
        for place, named in enumerate(needed):
            if named.owner != owner:
                continue
            kind, text = self._form(named, True, outside)
            if kind == "type":
                inner.append(f"(type $x{place} {text})")
            shown = {"resource": f"$i{place}", "alias": text, "type": f"$x{place}"}[kind]
            inner.append(f"(export $e{place} {quoted(named.name)} (type {shown}))")
            outside[self.key(named, True)] = f"$e{place}"
        for here, origin in uses:
            inner.append(f"(export {quoted(here)} (type {outside[self.key(origin, True)]}))")
        for each, function in zip(steered, functions, strict=True):
            typed = self.signature(function, True, outside)
            inner.append(f"(export {quoted(each.name)} (func $f{each.number}) (func {typed}))")
        lines += [
            f"(component $shim{number} {' '.join(inner)})",
            f"(instance $made{number} (instantiate $shim{number} {' '.join(given)}))",
            f"(export $exp{number} {quoted(name)} (instance $made{number}))",
        ]
        for named in needed:
            if named.owner == owner:
                ident = self._ids[self.key(named, True)] = f"$E{number}-{named.name}"
                lines.append(f"(alias export $exp{number} {quoted(named.name)} (type {ident}))")
        return lines

    def _lift(self, each: Steered, typed: str) -> list[str]:
        return [
            f'(alias core export $code "f-{each.number}" (core func $core-f-{each.number}))',
            f"(func $lift-{each.number} {typed} (canon lift (core func $core-f-{each.number}) {OPTIONS}))",
        ]

    # The core module.

    def seen_type(self, each: Steered) -> TupleT:
        """What `seen-N` returns: the arguments without borrowed handles, and a number."""
        return TupleT((*(self._unborrowed(ty) for _, ty in each.type.params), PrimT("u32")))

    def _unborrowed(self, ty: Type, *, own_only: bool = False) -> Type:
        def sub(inner: Type) -> Type:
            return self._unborrowed(inner, own_only=own_only)

        def maybe(inner: Type | None) -> Type | None:
            return None if inner is None else sub(inner)

        match ty:
            case BorrowT():
                return ty if own_only and not self.resources[ty.resource][2] else PrimT("u32")
            case ListT():
                return ListT(sub(ty.element))
            case OptionT():
                return OptionT(sub(ty.inner))
            case ResultT():
                return ResultT(maybe(ty.ok), maybe(ty.err))
            case TupleT():
                return TupleT(tuple(map(sub, ty.items)))
            case RecordT():
                return RecordT(tuple((name, sub(t)) for name, t in ty.fields))
            case VariantT():
                return VariantT(tuple((name, maybe(t)) for name, t in ty.cases))
            case _:
                return ty

    def _code(self, relays: dict[str, FuncT], controls: dict[str, FuncT]) -> str:
        """The core module; adds to the controls."""
        code = CoreCode(relays, {})
        imports: list[str] = []
        functions: list[str] = []
        for number, key in enumerate(self.resources):
            if key[2]:
                imports.append(f'(import "host" "new-{number}" (func $new-{number} (param i32) (result i32)))')
                functions.append(
                    f'(func (export "make-{number}") (param i32) (result i32) (call $new-{number} (local.get 0)))'
                )
                functions.append(f'(func (export "rep-{number}") (param i32) (result i32) (local.get 0))')
                controls[f"make-{number}"] = FuncT((("rep", PrimT("u32")),), OwnT(number))
                controls[f"rep-{number}"] = FuncT((("it", BorrowT(number)),), PrimT("u32"))
        for each in self.steered:
            if each.exported:
                functions += self._exported_code(each, code, controls)
        return code.module(len(self.resources), [*imports, *functions])

    def _exported_code(self, each: Steered, code: CoreCode, controls: dict[str, FuncT]) -> list[str]:
        number, ty = each.number, each.type
        lines: list[str] = []
        params, result, direct = core_type(ty)
        body = []
        local = len(params)
        if ty.params:
            seen = self.seen_type(each)
            controls[f"seen-{number}"] = FuncT((), seen)
            lines.append(f"(global $seen-{number} (mut i32) (i32.const 0))")
            flat = flatten(ty.args)
            body.append(f"(local.set {local} {area(alignment(seen), size(seen))})")
            if len(flat) > MAX_FLAT_PARAMS:
                body.append(f"(memory.copy (local.get {local}) (local.get 0) (i32.const {size(ty.args)}))")
            else:
                body.append(_store(ty.args, [(f"(local.get {i})", core) for i, core in enumerate(flat)], local, 0))
            body.append(f"(global.set $seen-{number} (local.get {local}))")
            body.append(code.drops(TupleT(tuple(self._unborrowed(t, own_only=True) for _, t in ty.params))))
            lines.append(f'(func (export "seen-{number}") (result i32) (global.get $seen-{number}))')
        if ty.result is not None:
            takes = FuncT((("x", ty.result),), None)
            controls[f"answer-{number}"] = takes
            flat = flatten(ty.result)
            core = result if direct else "i32"
            lines.append(f"(global $answer-{number} (mut {core}) ({core}.const 0))")
            head = f'(func (export "answer-{number}") (param {" ".join(core_type(takes)[0])}) (local i32)'
            if direct or len(flat) > MAX_FLAT_PARAMS:
                lines.append(f"{head} (global.set $answer-{number} (local.get 0)))")
            else:
                at = len(flat)
                kept = _store(ty.result, [(f"(local.get {i})", c) for i, c in enumerate(flat)], at, 0)
                place = area(alignment(ty.result), size(ty.result))
                lines.append(f"{head} (local.set {at} {place}) {kept} (global.set $answer-{number} (local.get {at})))")
            body.append(f"(global.get $answer-{number})")
        returns = f" (result {result})" if result else ""
        lines.append(f'(func (export "f-{number}") (param {" ".join(params)}){returns} (local i32) {" ".join(body)})')
        return lines


def _store(ty: Type, flat: list[tuple[str, str]], base: int, at: int) -> str:
    """Code that writes a flat value into memory, at an offset from the address in a local."""

    def put(op: str, value: str, offset: int) -> str:
        return f"({op} offset={offset} (local.get {base}) {value})"

    def taken(core: str, index: int = 0) -> str:
        value, has = flat[index]
        return value if has == core else _CONVERSIONS[has, core].format(value)

    match ty:
        case PrimT("string") | ListT():
            return put("i32.store", taken("i32"), at) + put("i32.store", taken("i32", 1), at + 4)
        case PrimT():
            (core,) = flatten(ty)
            return put(_STORES[size(ty)] if core == "i32" else f"{core}.store", taken(core), at)
        case RecordT() | TupleT():
            parts = []
            for offset, inner in offsets(ty):
                width = len(flatten(inner))
                parts.append(_store(inner, flat[:width], base, at + offset))
                flat = flat[width:]
            return " ".join(parts)
        case VariantT() | OptionT() | ResultT() | EnumT():
            cases = cases_of(ty)
            parts = [put(_STORES[discriminant_size(len(cases))], taken("i32"), at)]
            for index, payload in enumerate(cases):
                if payload is not None:
                    inside = _store(payload, flat[1:], base, at + payload_offset(ty))
                    parts.append(f"(if (i32.eq {taken('i32')} (i32.const {index})) (then {inside}))")
            return " ".join(parts)
        case FlagsT():
            return put(_STORES[size(ty)], taken("i32"), at)
        case OwnT() | BorrowT():
            return put("i32.store", taken("i32"), at)
