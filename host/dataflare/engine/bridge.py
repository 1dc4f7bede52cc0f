"""Bridges: what stands between a plugin's typed functions and the host, which reads and writes memory.

For each component two bridges are generated. The *imports bridge* gives the plugin its typed imports; each of them
puts its arguments into the bridge's memory, in the canonical ABI's layout, and calls the host with a number. The
*exports bridge* has one function, `call`: it takes the arguments of the plugin's export with that number from its
memory, and leaves the result there. What lies in a plugin's memory gets into a bridge's, and back, through wasmtime's
own adapters. The two cannot be one, since a component that is on the stack cannot be entered again.

Everything is written as text around a placeholder for the plugin, whose bytes are then put in unchanged.

A memory has `MEMORY_PAGES` pages. The lower half belongs to the bridge: a header, space for one call's arguments or
result, and a heap that is emptied at each call. The upper half is the host's, which writes arguments and results there.

Handles of the host's resources are numbers of the host's choosing within memory, and become real handles on the way
into the plugin. Handles of the plugin's own resources are the exports bridge's, and are numbers to the host.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from typing import Final

import wasmtime

from dataflare.engine.binary import COMPONENT_HEADER, section, sections, u32
from dataflare.engine.types import (
    MAX_FLAT_PARAMS,
    MAX_FLAT_RESULTS,
    BorrowT,
    FuncT,
    Interface,
    OwnT,
    Shape,
    Type,
    align_up,
    flatten,
    has_handles,
    size,
)
from dataflare.engine.wat import Function, Walkers, named_types, value_type
from dataflare.errors import UnsupportedComponent

__all__ = [
    "CALL_EXPORT",
    "DROPPED_CAPACITY",
    "DROPPED_COUNT_AT",
    "DROPPED_LIST_AT",
    "FRAME_AT",
    "HOST_HALF_AT",
    "HOST_IMPORT",
    "MEMORY_BYTES",
    "MEMORY_PAGES",
    "OVERFLOW_AT",
    "POINTER_AT",
    "Link",
    "compose",
    "export_links",
    "import_links",
]

HOST_IMPORT: Final = "dataflare:raw/host"
CALL_EXPORT: Final = "call"

MEMORY_PAGES: Final = 16_384
MEMORY_BYTES: Final = MEMORY_PAGES * 65_536
HOST_HALF_AT: Final = MEMORY_BYTES // 2

OVERFLOW_AT: Final = 0
"""1 when the heap was too small."""
POINTER_AT: Final = 8
"""Where the arguments of a host function are (written by the bridge), then where its result is (written by the
host).
"""
DROPPED_COUNT_AT: Final = 16
"""How many of the host's handles were dropped since the host last looked."""
DROPPED_LIST_AT: Final = 64
DROPPED_CAPACITY: Final = 1000
FRAME_AT: Final = 4096
"""Arguments of a host function, or the result of an export."""


@dataclass(frozen=True, slots=True)
class Link:
    """One function that goes through a bridge; its number is its place in the list of links."""

    interface: str
    name: str
    func: FuncT


def import_links(shape: Shape) -> list[Link]:
    """The host's functions, by number."""
    return [Link(i, n, f) for i, interface in shape.imports.items() for n, f in interface.funcs.items()]


def export_links(shape: Shape) -> list[Link]:
    """The plugin's functions, by number; those that drop its resources are `[resource-drop]NAME`."""
    links = [Link(i, n, f) for i, interface in shape.exports.items() for n, f in interface.funcs.items()]
    for index, resource in enumerate(shape.resources):
        if not resource.imported:
            links.append(
                Link(resource.interface, f"[resource-drop]{resource.name}", FuncT((("self", OwnT(index)),), None))
            )
    return links


def compose(plugin: bytes, shape: Shape, *, component: str) -> bytes:
    """Join a plugin with its bridges.

    Returns:
        A component that imports `HOST_IMPORT` and WASI, and exports `CALL_EXPORT`.

    Raises:
        UnsupportedComponent: It has something that cannot be bridged.
    """
    text = _Composition(shape, component).text()
    try:
        frame = bytes(wasmtime.wat2wasm(text))
    except wasmtime.WasmtimeError as error:
        raise UnsupportedComponent(f"cannot be bridged: {str(error).splitlines()[0]}", component=component) from error
    return _put_plugin(frame, plugin)


def _put_plugin(frame: bytes, plugin: bytes) -> bytes:
    out = [COMPONENT_HEADER]
    found = 0
    for part in sections(memoryview(frame)):
        if part.id == 4 and all(inner.id == 0 for inner in sections(part.payload)):
            found += 1
            out += [b"\x04", u32(len(plugin)), plugin]
        elif part.id != 0:
            out.append(section(part.id, part.payload))
    if found != 1:
        raise AssertionError(f"{found} placeholders in the bridge")
    return b"".join(out)


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _drop_body() -> str:
    """Note a dropped handle; the host looks at the list when it is next called."""
    return f"""
      (if (global.get $moving) (then (return)))
      (if (i32.ge_u (i32.load offset={DROPPED_COUNT_AT} (i32.const 0)) (i32.const {DROPPED_CAPACITY}))
        (then (call $full)))
      (i32.store offset={DROPPED_LIST_AT}
        (i32.shl (i32.load offset={DROPPED_COUNT_AT} (i32.const 0)) (i32.const 2)) (local.get $rep))
      (i32.store offset={DROPPED_COUNT_AT} (i32.const 0)
        (i32.add (i32.load offset={DROPPED_COUNT_AT} (i32.const 0)) (i32.const 1)))"""


def _memory(heap_at: int) -> str:
    """A memory, and an allocator that only goes forward and is set back at each call."""
    return f"""
    (memory (export "memory") {MEMORY_PAGES} {MEMORY_PAGES})
    (global $top (export "top") (mut i32) (i32.const {heap_at}))
    (func (export "realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32) (result i32)
      (local $at i32)
      ;; Long contents begin at 64 bytes, as Arrow likes it.
      (if (i32.ge_u (local.get $new) (i32.const 1024)) (then (local.set $align (i32.const 64))))
      (local.set $at (i32.and
        (i32.add (global.get $top) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
      (if (i32.gt_u (local.get $new) (i32.sub (i32.const {HOST_HALF_AT}) (local.get $at))) (then
        (i32.store offset={OVERFLOW_AT} (i32.const 0) (i32.const 1))
        (unreachable)))
      (global.set $top (i32.add (local.get $at) (local.get $new)))
      (if (local.get $old) (then (memory.copy (local.get $at) (local.get $old)
        (select (local.get $size) (local.get $new) (i32.lt_u (local.get $size) (local.get $new))))))
      (local.get $at))"""


class _Composition:
    """Writes one component."""

    def __init__(self, shape: Shape, component: str) -> None:
        self._shape = shape
        self._component = component
        self._imports = import_links(shape)
        self._exports = export_links(shape)
        self._out: list[str] = []
        self._names: dict[Type, str] = {}
        self._wasi_types: dict[Type, str] = {}

    def text(self) -> str:
        for name, interface in self._shape.wasi.items():
            self._wasi_import(name, interface)
        self._host_import()
        self._define_types()
        self._imports_bridge()
        self._instantiate_plugin()
        self._exports_bridge()
        self._instantiate_exports_bridge()
        return f"(component\n{chr(10).join(self._out)}\n)"

    # Resources: `$w..` are WASI's, `$r..` the host's, `$g..` the plugin's own.

    def _resource(self, index: int) -> str:
        resource = self._shape.resources[index]
        if not resource.imported:
            return f"$g{index}"
        return f"$w{index}" if resource.interface in self._shape.wasi else f"$r{index}"

    def _type(self, ty: Type) -> str:
        return value_type(ty, self._names, self._resource)

    def _signature(self, func: FuncT) -> str:
        return _signature(func, self._names, self._resource)

    def _wasi_import(self, name: str, interface: Interface) -> None:
        """Declare an import that wasmtime satisfies, with the types that the plugin's own import has."""
        number = list(self._shape.wasi).index(name)
        if not name:
            raise UnsupportedComponent("imports WASI functions outside of an interface", component=self._component)
        inner: list[str] = []
        local: dict[int, str] = {}
        names: dict[Type, str] = {}
        fresh: list[int] = []

        def resource(index: int) -> str:
            return local[index]

        for item, index in interface.resources.items():
            if self._shape.resources[index].interface == name and index not in fresh and index not in local:
                inner.append(f"(export {_quote(item)} (type $l{index} (sub resource)))")
                fresh.append(index)
            else:
                inner.append(f"(alias outer 1 {self._resource(index)} (type $o{len(inner)}))")
                inner.append(f"(export {_quote(item)} (type $l{index} (eq $o{len(inner) - 1})))")
            local[index] = f"$l{index}"
        own = set(interface.types.values())
        for ty in {t: None for used in _types_of(interface) for t in named_types(used) if t not in own}:
            # The interface uses a type that holds this one, whose name only another interface has.
            inner.append(f"(alias outer 1 {self._wasi_types[ty]} (type $o{len(inner)}))")
            names[ty] = f"$o{len(inner) - 1}"
        for item, ty in sorted(interface.types.items(), key=lambda item: len(named_types(item[1]))):
            text = value_type(ty, names, resource, define=True)
            inner.append(f"(type $d{len(inner)} {text})")
            inner.append(f"(export {_quote(item)} (type $n{len(inner)} (eq $d{len(inner) - 1})))")
            names[ty] = f"$n{len(inner) - 1}"
        for item, func in interface.funcs.items():
            inner.append(f"(export {_quote(item)} (func {_signature(func, names, resource)}))")
        self._out.append(f"(import {_quote(name)} (instance $wasi{number} {' '.join(inner)}))")
        for index in fresh:
            item = next(n for n, i in interface.resources.items() if i == index)
            self._out.append(f"(alias export $wasi{number} {_quote(item)} (type $w{index}))")
        for item, ty in interface.types.items():
            if ty not in self._wasi_types:
                self._wasi_types[ty] = name_here = f"$wt{len(self._wasi_types)}"
                self._out.append(f"(alias export $wasi{number} {_quote(item)} (type {name_here}))")

    def _host_import(self) -> None:
        self._out.append(
            f'(import "{HOST_IMPORT}" (instance $host'
            ' (export "call" (func (param "index" u32))) (export "release" (func))))'
        )

    def _define_types(self) -> None:
        interfaces = [*self._shape.imports.values(), *self._shape.exports.values()]
        self._nominal = list({t: None for i in interfaces for ty in _types_of(i) for t in named_types(ty)})

    def _define(
        self,
        names: dict[Type, str],
        ready: set[int],
        into: list[str],
        *,
        imported: bool,
        only: Container[Type] | None = None,
    ) -> None:
        """Define the named types that need no resource but those that are there already."""
        for ty in self._nominal:
            if ty in names or not {r for _, r in has_handles(ty)} <= ready or (only is not None and ty not in only):
                continue
            number = len(names)
            text = value_type(ty, names, self._resource, define=True)
            if imported:
                into.append(f"(type $d{number} {text})")
                into.append(f'(import "t{number}" (type $t{number} (eq $d{number})))')
            else:
                into.append(f"(type $t{number} {text})")
            names[ty] = f"$t{number}"

    # The imports bridge.

    def _imports_bridge(self) -> None:
        out = self._out
        hosted = [i for i, r in enumerate(self._shape.resources) if self._resource(i).startswith("$r") and r.imported]
        frame = max([size(link.func.args) for link in self._imports], default=0)
        out += [
            '(alias export $host "call" (func $hcall)) (core func $ccall (canon lower (func $hcall)))',
            '(alias export $host "release" (func $hfull)) (core func $cfull (canon lower (func $hfull)))',
            f"""(core module $mbase (import "h" "full" (func $full)) {_memory(align_up(FRAME_AT + frame, 64))}
              (global $moving (export "moving") (mut i32) (i32.const 0))
              (func (export "dtor") (param $rep i32) {_drop_body()}))""",
            '(core instance $base (instantiate $mbase (with "h" (instance (export "full" (func $cfull))))))',
            '(alias core export $base "memory" (core memory $imem)) (alias core export $base "realloc" (core func $irealloc))',
            '(alias core export $base "dtor" (core func $dtor))',
        ]
        for i in hosted:
            out.append(f"(type $r{i} (resource (rep i32) (dtor (core func $dtor))))")
            out.append(f"(core func $new{i} (canon resource.new $r{i})) (core func $rep{i} (canon resource.rep $r{i}))")
            out.append(f"(core func $drop{i} (canon resource.drop $r{i}))")
        self._define(self._names, set(hosted), out, imported=False)

        def move_out(i: int) -> str:
            return (
                f"(local.set $h (call $rep{i} (local.get $x))) (global.set $moving (i32.const 1))"
                f" (call $drop{i} (local.get $x)) (global.set $moving (i32.const 0)) (local.get $h)"
            )

        take = Walkers("take", lambda h: _in_place(f"$move{h.resource}") if isinstance(h, OwnT) else None)
        give = Walkers("give", lambda h: _in_place(f"$new{h.resource}") if isinstance(h, OwnT) else None)
        functions = [self._import_function(number, link, take, give) for number, link in enumerate(self._imports)]
        moves = [
            f'(func $move{i} (export "move{i}") (param $x i32) (result i32) (local $h i32) {move_out(i)})'
            for i in hosted
        ]
        host_functions = "".join(
            f'(import "h" "{op}{i}" (func ${op}{i} (param i32){"" if op == "drop" else " (result i32)"}))'
            for i in hosted
            for op in ("new", "rep", "drop")
        )
        out.append(
            f"""(core module $mimports
              (import "h" "memory" (memory {MEMORY_PAGES}))
              (import "h" "top" (global $top (mut i32))) (import "h" "moving" (global $moving (mut i32)))
              (import "h" "call" (func $call (param i32))) {host_functions}
              {" ".join(moves)} {" ".join(take.texts)} {" ".join(give.texts)} {" ".join(functions)})"""
        )
        given = "".join(f'(export "{op}{i}" (func ${op}{i}))' for i in hosted for op in ("new", "rep", "drop"))
        out.append(
            f"""(core instance $imports (instantiate $mimports (with "h" (instance
              (export "memory" (memory $imem)) (export "top" (global $gtop)) (export "moving" (global $gmoving))
              (export "call" (func $ccall)) {given}))))"""
        )
        out.insert(
            -1,
            '(alias core export $base "top" (core global $gtop)) (alias core export $base "moving" (core global $gmoving))',
        )
        for number, link in enumerate(self._imports):
            out.append(f'(alias core export $imports "f{number}" (core func $if{number}))')
            out.append(
                f"(func $l{number} {self._signature(link.func)}"
                f" (canon lift (core func $if{number}) (memory $imem) (realloc $irealloc)))"
            )
        for i in hosted:
            out.append(f'(alias core export $imports "move{i}" (core func $cmove{i}))')
            out.append(f'(func $adopt{i} (param "rep" u32) (result (own $r{i})) (canon lift (core func $new{i})))')
            out.append(
                f'(func $release{i} (param "handle" (own $r{i})) (result u32) (canon lift (core func $cmove{i})))'
            )
        self._hosted = hosted

    def _import_function(self, number: int, link: Link, take: Walkers, give: Walkers) -> str:
        func = link.func
        flat = flatten(func.args)
        spilled = len(flat) > MAX_FLAT_PARAMS
        params = ["i32"] if spilled else list(flat)
        body = Function()
        if spilled:
            address = "(local.get 0)"
        else:
            address = f"(i32.const {FRAME_AT})"
            body.store(func.args, address, 0, [f"(local.get {i})" for i in range(len(params))])
        body.emit(take.call(func.args, address))
        body.emit(f"(i32.store offset={POINTER_AT} (i32.const 0) {address})")
        body.emit(f"(call $call (i32.const {number}))")
        body.emit(f"(global.set $top (i32.const {self._import_heap()}))")
        result = ""
        if func.result is not None:
            where = body.local("i32")
            body.emit(f"(local.set {where} (i32.load offset={POINTER_AT} (i32.const 0)))")
            body.emit(give.call(func.result, f"(local.get {where})"))
            flat_result = flatten(func.result)
            if len(flat_result) > MAX_FLAT_RESULTS:
                result = "(result i32)"
                body.emit(f"(local.get {where})")
            elif flat_result:
                result = f"(result {flat_result[0]})"
                body.emit(body.load(func.result, f"(local.get {where})", 0)[0])
        declared = f"(param {' '.join(params)})" if params else ""
        return f'(func (export "f{number}") {declared} {result} {body.text()})'

    def _import_heap(self) -> int:
        frame = max([size(link.func.args) for link in self._imports], default=0)
        return align_up(FRAME_AT + frame, 64)

    # The plugin between them.

    def _instantiate_plugin(self) -> None:
        out = self._out
        arguments = []
        for number, name in enumerate(self._shape.wasi):
            arguments.append(f"(with {_quote(name)} (instance $wasi{number}))")
        numbers = {(link.interface, link.name): number for number, link in enumerate(self._imports)}
        for number, (name, interface) in enumerate(self._shape.imports.items()):
            if name:
                self._provide(number, name, interface, numbers)
                arguments.append(f"(with {_quote(name)} (instance $i{number}))")
            else:
                arguments += [f"(with {_quote(n)} (type {self._resource(i)}))" for n, i in interface.resources.items()]
                arguments += [f"(with {_quote(n)} (type {self._type_index(t)}))" for n, t in interface.types.items()]
                arguments += [f"(with {_quote(n)} (func $l{numbers[name, n]}))" for n in interface.funcs]
        out.append("(component $plugin)")
        out.append(f"(instance $p (instantiate $plugin {' '.join(arguments)}))")
        own: set[int] = set()
        for number, (name, interface) in enumerate(self._shape.exports.items()):
            holder = "$p"
            if name:
                holder = f"$pe{number}"
                out.append(f"(alias export $p {_quote(name)} (instance {holder}))")
            for n, index in interface.resources.items():
                if not self._shape.resources[index].imported and index not in own:
                    out.append(f"(alias export {holder} {_quote(n)} (type $g{index}))")
                    own.add(index)
        self._own = sorted(own)
        if len(own) != sum(not r.imported for r in self._shape.resources):
            raise UnsupportedComponent("uses a resource that it does not export", component=self._component)
        self._define(self._names, {*self._hosted, *own}, out, imported=False)
        for number, link in enumerate(self._exports):
            if not link.name.startswith("[resource-drop]"):
                place = list(self._shape.exports).index(link.interface)
                holder = f"$pe{place}" if link.interface else "$p"
                out.append(f"(alias export {holder} {_quote(link.name)} (func $pf{number}))")

    def _provide(self, number: int, name: str, interface: Interface, numbers: dict[tuple[str, str], int]) -> None:
        """Make the instance that satisfies one of the plugin's imports.

        A component of its own exports the functions, since only an export gives a resource the name that methods
        refer to.
        """
        inner: list[str] = []
        given: list[str] = []
        names: dict[Type, str] = {}
        for i in self._hosted:
            inner.append(f'(import "r{i}" (type {self._resource(i)} (sub resource)))')
            given.append(f'(with "r{i}" (type {self._resource(i)}))')
        wanted = {t: None for ty in _types_of(interface) for t in named_types(ty)}
        self._define(names, set(self._hosted), inner, imported=True, only=wanted)
        given += [f'(with "{name[1:]}" (type {self._names[ty]}))' for ty, name in names.items()]
        outer, self._names = self._names, names
        for n in interface.funcs:
            inner.append(
                f'(import "f{numbers[name, n]}" (func $f{numbers[name, n]} {self._signature(interface.funcs[n])}))'
            )
            given.append(f'(with "f{numbers[name, n]}" (func $l{numbers[name, n]}))')
        exported = dict(names)
        resources = {}
        for n, i in interface.resources.items():
            resources[i] = f"$x{i}"
            inner.append(f"(export $x{i} {_quote(n)} (type {self._resource(i)}))")
        for place, (n, ty) in enumerate(interface.types.items()):
            inner.append(f"(export $n{place} {_quote(n)} (type {self._type(ty)}))")
            exported[ty] = f"$n{place}"
        for n, func in interface.funcs.items():
            inner.append(
                f"(export {_quote(n)} (func $f{numbers[name, n]}) (func {_signature(func, exported, resources.__getitem__)}))"
            )
        self._names = outer
        self._out.append(f"(component $P{number} {chr(10).join(inner)})")
        self._out.append(f"(instance $i{number} (instantiate $P{number} {' '.join(given)}))")

    def _type_index(self, ty: Type) -> str:
        if ty not in self._names:
            self._names[ty] = name = f"$a{len(self._names)}"
            self._out.append(f"(type {name} {value_type(ty, self._names, self._resource, define=True)})")
        return self._names[ty]

    # The exports bridge.

    def _exports_bridge(self) -> None:
        out: list[str] = []
        ready = [*self._hosted, *self._own]
        for i in ready:
            out.append(f'(import "r{i}" (type {self._resource(i)} (sub resource)))')
        inner: dict[Type, str] = {}
        self._define(inner, set(ready), out, imported=True)
        self._outer_names, self._names = self._names, inner
        for i in self._hosted:
            out.append(f'(import "adopt{i}" (func $adopt{i} (param "rep" u32) (result (own $r{i}))))')
            out.append(f'(import "release{i}" (func $release{i} (param "handle" (own $r{i})) (result u32)))')
        for number, link in enumerate(self._exports):
            if not link.name.startswith("[resource-drop]"):
                out.append(f'(import "f{number}" (func $f{number} {self._signature(link.func)}))')
        heap = max([size(link.func.result) for link in self._exports if link.func.result is not None], default=0)
        heap_at = align_up(FRAME_AT + heap, 64)
        out.append(f"(core module $mbase {_memory(heap_at)}) (core instance $base (instantiate $mbase))")
        out.append(
            '(alias core export $base "memory" (core memory $mem)) (alias core export $base "realloc" (core func $ra))'
        )
        given: list[str] = []
        needed: list[str] = []
        for i in self._hosted:
            out.append(f"(core func $cadopt{i} (canon lower (func $adopt{i})))")
            out.append(f"(core func $crelease{i} (canon lower (func $release{i})))")
            for op in ("adopt", "release"):
                given.append(f'(export "{op}{i}" (func $c{op}{i}))')
                needed.append(f'(import "h" "{op}{i}" (func ${op}{i} (param i32) (result i32)))')
        for i in ready:
            out.append(f"(core func $cdrop{i} (canon resource.drop {self._resource(i)}))")
            given.append(f'(export "drop{i}" (func $cdrop{i}))')
            needed.append(f'(import "h" "drop{i}" (func $drop{i} (param i32)))')
        hosted = set(self._hosted)
        lend = Walkers("lend", lambda h: _in_place(f"$adopt{h.resource}") if h.resource in hosted else None)
        end = Walkers(
            "end",
            lambda h: (
                f"(call $drop{h.resource} (i32.load (local.get $p)))"
                if isinstance(h, BorrowT) and h.resource in hosted
                else None
            ),
        )
        back = Walkers(
            "back",
            lambda h: _in_place(f"$release{h.resource}") if isinstance(h, OwnT) and h.resource in hosted else None,
        )
        bodies = []
        for number, link in enumerate(self._exports):
            if link.name.startswith("[resource-drop]"):
                owned = link.func.params[0][1]
                assert isinstance(owned, OwnT)
                bodies.append(f"(func $e{number} (call $drop{owned.resource} (i32.load (i32.const {HOST_HALF_AT}))))")
                continue
            out.append(f"(core func $cf{number} (canon lower (func $f{number}) (memory $mem) (realloc $ra)))")
            given.append(f'(export "f{number}" (func $cf{number}))')
            body, signature = self._export_function(number, link, lend, end, back)
            needed.append(f'(import "h" "f{number}" (func $f{number} {signature}))')
            bodies.append(body)
        elements = " ".join(f"$e{number}" for number in range(len(self._exports)))
        out.append(
            f"""(core module $mexports (import "h" "memory" (memory {MEMORY_PAGES})) (import "h" "top" (global $top (mut i32)))
              {" ".join(needed)} (type $t (func)) (table {len(self._exports)} funcref) (elem (i32.const 0) {elements})
              {" ".join(lend.texts)} {" ".join(end.texts)} {" ".join(back.texts)} {" ".join(bodies)}
              (func (export "call") (param i32) (global.set $top (i32.const {heap_at}))
                (call_indirect (type $t) (local.get 0))))"""
        )
        out.append(
            f"""(alias core export $base "top" (core global $gtop))
              (core instance $x (instantiate $mexports (with "h" (instance (export "memory" (memory $mem))
              (export "top" (global $gtop)) {" ".join(given)}))))"""
        )
        out.append('(alias core export $x "call" (core func $ccall))')
        out.append('(func $call (param "index" u32) (canon lift (core func $ccall))) (export "call" (func $call))')
        self._out.append(f"(component $E {chr(10).join(out)})")

    def _export_function(self, number: int, link: Link, lend: Walkers, end: Walkers, back: Walkers) -> tuple[str, str]:
        func = link.func
        flat = flatten(func.args)
        spilled = len(flat) > MAX_FLAT_PARAMS
        arguments = f"(i32.const {HOST_HALF_AT})"
        body = Function()
        body.emit(lend.call(func.args, arguments))
        given = [arguments] if spilled else body.load(func.args, arguments, 0)
        signature = [f"(param {' '.join(['i32'] if spilled else flat)})"] if flat else []
        frame = f"(i32.const {FRAME_AT})"
        flat_result = flatten(func.result) if func.result is not None else ()
        if len(flat_result) > MAX_FLAT_RESULTS:
            signature.append("(param i32)")
            body.emit(f"(call $f{number} {' '.join([*given, frame])})")
        elif flat_result and func.result is not None:
            signature.append(f"(result {flat_result[0]})")
            value = body.local(flat_result[0])
            body.emit(f"(local.set {value} (call $f{number} {' '.join(given)}))")
            body.store(func.result, frame, 0, [f"(local.get {value})"])
        else:
            body.emit(f"(call $f{number} {' '.join(given)})")
        body.emit(end.call(func.args, arguments))
        if func.result is not None:
            body.emit(back.call(func.result, frame))
        return f"(func $e{number} {body.text()})", " ".join(signature)

    def _instantiate_exports_bridge(self) -> None:
        arguments = [f'(with "r{i}" (type {self._resource(i)}))' for i in (*self._hosted, *self._own)]
        for ty, name in self._names.items():
            arguments.append(f'(with "{name[1:]}" (type {self._outer_names[ty]}))')
        for i in self._hosted:
            arguments.append(f'(with "adopt{i}" (func $adopt{i})) (with "release{i}" (func $release{i}))')
        for number, link in enumerate(self._exports):
            if not link.name.startswith("[resource-drop]"):
                arguments.append(f'(with "f{number}" (func $pf{number}))')
        self._out.append(f"(instance $e (instantiate $E {' '.join(arguments)}))")
        self._out.append(f'(alias export $e "call" (func $ecall)) (export "{CALL_EXPORT}" (func $ecall))')


def _types_of(interface: Interface) -> Iterator[Type]:
    """Every type that an interface names or uses."""
    yield from interface.types.values()
    for func in interface.funcs.values():
        yield from (ty for _, ty in func.params)
        if func.result is not None:
            yield func.result


def _signature(func: FuncT, names: dict[Type, str], resources: Callable[[int], str]) -> str:
    params = " ".join(f"(param {_quote(n)} {value_type(t, names, resources)})" for n, t in func.params)
    result = f" (result {value_type(func.result, names, resources)})" if func.result is not None else ""
    return params + result


def _in_place(function: str) -> str:
    """Replace the handle at `$p` by what a function makes of it."""
    return f"(i32.store (local.get $p) (call {function} (i32.load (local.get $p))))"
