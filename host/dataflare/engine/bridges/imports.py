"""The imports bridge: gives the plugin its typed imports, and forwards each call to the host as a number.

Arguments and results are in memory. The bridge also defines the host's resource types. A handle's representation is the
number that the host gave the object. A dropped handle is put on a list, which the host reads at the next call.
"""

from __future__ import annotations

from typing import Final

from dataflare.engine.abi.layout import (
    DROPPED_CAPACITY,
    DROPPED_COUNT_AT,
    DROPPED_LIST_AT,
    FRAME_AT,
    MEMORY_PAGES,
    POINTER_AT,
)
from dataflare.engine.abi.types import (
    MAX_FLAT_PARAMS,
    MAX_FLAT_RESULTS,
    BorrowT,
    ComponentType,
    Interface,
    OwnT,
    flatten,
)
from dataflare.engine.bridges.allocator import heap_after, memory_text
from dataflare.engine.bridges.call_table import Link, import_links
from dataflare.engine.bridges.type_names import TypeNames, nominal_types
from dataflare.engine.bridges.wat import Function, Walkers, in_place, quote

__all__ = ["ImportsBridge"]

_DROPPED_COUNT: Final = f"(i32.load offset={DROPPED_COUNT_AT} (i32.const 0))"
_DESTRUCTOR: Final = f"""
  (if (global.get $moving) (then (return)))
  (if (i32.ge_u {_DROPPED_COUNT} (i32.const {DROPPED_CAPACITY})) (then (call $full)))
  (i32.store offset={DROPPED_LIST_AT} (i32.shl {_DROPPED_COUNT} (i32.const 2)) (local.get $rep))
  (i32.store offset={DROPPED_COUNT_AT} (i32.const 0) (i32.add {_DROPPED_COUNT} (i32.const 1)))"""


class ImportsBridge:
    """Writes the bridge into the outer component, where types need no names.

    It defines in the outer component: the resource types `$r` and index; the functions `$adopt` and `$release` and
    index, which convert a number to a handle and back; the instances `$i0`, `$i1` and so on, one for each imported
    interface.
    """

    def __init__(self, shape: ComponentType, names: TypeNames, hosted: list[int]) -> None:
        self._shape = shape
        self._names = names
        self._hosted = hosted
        self._links = import_links(shape)
        self._numbers = {(link.interface, link.name): number for number, link in enumerate(self._links)}
        self._heap_at = heap_after(link.func.args for link in self._links)

    def text(self) -> list[str]:
        """Write the bridge."""
        return [*self._base(), *self._code(), *self._lifted()]

    def instances(self) -> list[str]:
        """Write the instances that satisfy the plugin's imports."""
        return [
            line
            for place, (name, interface) in enumerate(self._shape.imports.items())
            if name
            for line in self._provide(place, name, interface)
        ]

    def arguments(self) -> list[str]:
        """Write the arguments with which the plugin is instantiated."""
        out = []
        for place, (name, interface) in enumerate(self._shape.imports.items()):
            if name:
                out.append(f"(with {quote(name)} (instance $i{place}))")
                continue
            names = self._names
            out += [f"(with {quote(n)} (type {names.resource(i)}))" for n, i in interface.resources.items()]
            out += [f"(with {quote(n)} (func $l{self._numbers[name, n]}))" for n in interface.funcs]
        out += [f"(with {quote(n)} (type {self._names.names[t]}))" for n, t in self._shape.world_types.items()]
        return out

    def _base(self) -> list[str]:
        out = [
            '(alias export $host "call" (func $hcall)) (core func $ccall (canon lower (func $hcall)))',
            '(alias export $host "release" (func $hfull)) (core func $cfull (canon lower (func $hfull)))',
            f"""(core module $mbase (import "h" "full" (func $full)) {memory_text(self._heap_at)}
              (global $moving (export "moving") (mut i32) (i32.const 0))
              (func (export "dtor") (param $rep i32) {_DESTRUCTOR}))""",
            '(core instance $base (instantiate $mbase (with "h" (instance (export "full" (func $cfull))))))',
            '(alias core export $base "memory" (core memory $imem))',
            '(alias core export $base "realloc" (core func $irealloc))',
            '(alias core export $base "dtor" (core func $dtor))',
            '(alias core export $base "top" (core global $gtop))',
            '(alias core export $base "moving" (core global $gmoving))',
        ]
        for i in self._hosted:
            out.append(f"(type $r{i} (resource (rep i32) (dtor (core func $dtor))))")
            out.append(f"(core func $new{i} (canon resource.new $r{i})) (core func $rep{i} (canon resource.rep $r{i}))")
            out.append(f"(core func $drop{i} (canon resource.drop $r{i}))")
        # Types that have no name in the world need none here, but the world's own types must have one.
        world = Interface(types=self._shape.world_types)
        nominal = nominal_types([*self._shape.imports.values(), world])
        named = [t for i in (*self._shape.imports.values(), world) for t in i.types.values()]
        return out + self._names.define([*nominal, *named], set(self._hosted), imported=False)

    def _code(self) -> list[str]:
        take = Walkers("take", lambda h: in_place(f"$move{h.resource}") if isinstance(h, OwnT) else None)
        give = Walkers("give", lambda h: in_place(f"$new{h.resource}") if isinstance(h, OwnT) else None)
        functions = [self._function(number, link, take, give) for number, link in enumerate(self._links)]
        # A handle that comes to the host loses its table entry, but no destructor runs: the object lives on.
        moves = [
            f"""(func $move{i} (export "move{i}") (param $handle i32) (result i32) (local $rep i32)
              (local.set $rep (call $rep{i} (local.get $handle)))
              (global.set $moving (i32.const 1)) (call $drop{i} (local.get $handle)) (global.set $moving (i32.const 0))
              (local.get $rep))"""
            for i in self._hosted
        ]
        canon = [(op, i) for i in self._hosted for op in ("new", "rep", "drop")]
        needed = "".join(
            f'(import "h" "{op}{i}" (func ${op}{i} (param i32){"" if op == "drop" else " (result i32)"}))'
            for op, i in canon
        )
        given = "".join(f'(export "{op}{i}" (func ${op}{i}))' for op, i in canon)
        code = " ".join([*moves, *take.texts, *give.texts, *functions])
        return [
            f"""(core module $mimports
              (import "h" "memory" (memory {MEMORY_PAGES}))
              (import "h" "top" (global $top (mut i32))) (import "h" "moving" (global $moving (mut i32)))
              (import "h" "call" (func $call (param i32))) {needed} {code})""",
            f"""(core instance $imports (instantiate $mimports (with "h" (instance
              (export "memory" (memory $imem)) (export "top" (global $gtop)) (export "moving" (global $gmoving))
              (export "call" (func $ccall)) {given}))))""",
        ]

    def _function(self, number: int, link: Link, take: Walkers, give: Walkers) -> str:
        func = link.func
        flat = flatten(func.args)
        spilled = len(flat) > MAX_FLAT_PARAMS
        params = ["i32"] if spilled else list(flat)
        body = Function()
        address = "(local.get 0)" if spilled else f"(i32.const {FRAME_AT})"
        if not spilled:
            body.store(func.args, address, 0, [f"(local.get {i})" for i in range(len(params))])
        body.emit(take.call(func.args, address))
        body.emit(f"(i32.store offset={POINTER_AT} (i32.const 0) {address})")
        body.emit(f"(call $call (i32.const {number}))")
        # The arguments have been read, and the result is in the host's half.
        body.emit(f"(global.set $top (i32.const {self._heap_at}))")
        result = ""
        if func.result is not None:
            where = body.local("i32")
            body.emit(f"(local.set {where} (i32.load offset={POINTER_AT} (i32.const 0)))")
            body.emit(give.call(func.result, f"(local.get {where})"))
            flat_result = flatten(func.result)
            if len(flat_result) > MAX_FLAT_RESULTS:
                result = "(result i32)"
                body.emit(f"(local.get {where})")
            else:
                result = f"(result {flat_result[0]})"
                body.emit(body.load(func.result, f"(local.get {where})", 0)[0])
        declared = f"(param {' '.join(params)})" if params else ""
        return f'(func (export "f{number}") {declared} {result} {body.text()})'

    def _lifted(self) -> list[str]:
        out = []
        for number, link in enumerate(self._links):
            out.append(f'(alias core export $imports "f{number}" (core func $if{number}))')
            out.append(
                f"(func $l{number} {self._names.signature(link.func)}"
                f" (canon lift (core func $if{number}) (memory $imem) (realloc $irealloc)))"
            )
        for i in self._hosted:
            out.append(f'(alias core export $imports "move{i}" (core func $cmove{i}))')
            out.append(f'(func $adopt{i} (param "rep" u32) (result (own $r{i})) (canon lift (core func $new{i})))')
            out.append(
                f'(func $release{i} (param "handle" (own $r{i})) (result u32) (canon lift (core func $cmove{i})))'
            )
        return out

    def _provide(self, place: int, name: str, interface: Interface) -> list[str]:
        """Make the instance of one interface.

        A separate component exports the functions, since only an export gives a resource the name to which methods
        refer. A resource may have several names: the others are aliases.
        """
        if interface == Interface():
            return [f"(instance $i{place})"]
        names = TypeNames(self._names.resource)
        inner = [f'(import "r{i}" (type $r{i} (sub resource)))' for i in self._hosted]
        given = [f'(with "r{i}" (type $r{i}))' for i in self._hosted]
        inner += names.define(nominal_types([interface]), self._hosted, imported=True)
        given += self._names.given_to(names)
        for n, func in interface.funcs.items():
            number = self._numbers[name, n]
            inner.append(f'(import "f{number}" (func $f{number} {names.signature(func)}))')
            given.append(f'(with "f{number}" (func $l{number}))')
        main = _main_names(interface)
        outside = TypeNames(lambda i: f"$x{i}" if i in main else self._names.resource(i))
        outside.names = dict(names.names)
        inner += [f"(export $x{i} {quote(n)} (type $r{i}))" for i, n in main.items()]
        inner += [f"(export {quote(n)} (type $x{i}))" for n, i in interface.resources.items() if n != main[i]]
        for number, (n, ty) in enumerate(interface.types.items()):
            if ty not in names.names:
                inner.append(f"(type $e{number} {outside.definition(ty)})")
            inner.append(f"(export $n{number} {quote(n)} (type {names.names.get(ty, f'$e{number}')}))")
            if not isinstance(ty, (OwnT, BorrowT)):  # these are written out: methods take no other name of theirs
                outside.names[ty] = f"$n{number}"
        for n, func in interface.funcs.items():
            inner.append(f"(export {quote(n)} (func $f{self._numbers[name, n]}) (func {outside.signature(func)}))")
        return [
            f"(component $provide{place} {chr(10).join(inner)})",
            f"(instance $i{place} (instantiate $provide{place} {' '.join(given)}))",
        ]


def _main_names(interface: Interface) -> dict[int, str]:
    """Return the name of each resource, by its index; if it has methods, the name that they use."""
    main: dict[int, str] = {}
    for name, index in interface.resources.items():
        if index not in main or any(_belongs(function, name) for function in interface.funcs):
            main[index] = name
    return main


def _belongs(function: str, resource: str) -> bool:
    kind, _, rest = function.partition("]")
    return kind in ("[constructor", "[method", "[static") and rest.partition(".")[0] == resource
