"""Writes a flattened component: the plugin's core modules, unchanged, wired to the host's generated code.

The result has the same protocol as a plugin composed with bridges (`engine/bridges/compose.py`): two memories of the
host, `call` with a number in each direction, the same memory layout. The difference: the functions of `movers`, not
wasmtime's adapters, copy values between these memories and the plugin's. wasmtime validates and compiles everything,
and provides WASI.

The wiring names the plugin's memory, and wasmtime validates it. Generated wasm code reads and writes it. Only for long
values does the host itself access it (`in_place`).
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import wasmtime

from dataflare.component_binary import COMPONENT_HEADER, section, sections, u32
from dataflare.engine.abi.layout import (
    FRAME_AT,
    HOST_HALF_AT,
    LEFT_COUNT_AT,
    MARK_AT,
    MEMORY_PAGES,
    OWED_AT,
    OWES_AT,
    POINTER_AT,
)
from dataflare.engine.abi.types import (
    MAX_FLAT_PARAMS,
    MAX_FLAT_RESULTS,
    ComponentType,
    FuncT,
    OwnT,
    alignment,
    flatten,
    has_handles,
    has_pointers,
    size,
)
from dataflare.engine.bridges.allocator import heap_after, memory_text
from dataflare.engine.bridges.call_table import Link, export_links, import_links
from dataflare.engine.bridges.compose import HOST_IMPORT
from dataflare.engine.bridges.poll import PollImports
from dataflare.engine.bridges.wasi import WasiImports
from dataflare.engine.bridges.wat import quote
from dataflare.engine.flat.handles import HANDLES_TEXT, TABLES_AT
from dataflare.engine.flat.movers import OPEN, SHUT, CheckedFunction, Movers, helpers
from dataflare.engine.flat.protocol import (
    FILL_EXPORTS,
    FILL_IMPORTS,
    FLAT_EXPORT,
    MARK,
    MARK_BYTES,
    MARKS_EXPORT,
    SETTLE,
    UNMARK,
)
from dataflare.engine.flat.resources import GUARD, Resources, destroy
from dataflare.engine.flat.wiring import (
    CannotFlatten,
    CoreExport,
    HandleFunction,
    ImportedType,
    Lift,
    Lower,
    OwnResource,
    Wiring,
    read_wiring,
)

__all__ = ["flatten_component"]

_Key: TypeAlias = tuple[CoreExport | None, CoreExport | None, Any]
"""The plugin's memory, its allocator and a destructor; functions with the same key are in one module."""
_MARKS: Final = f"""
  (func (export "mark") (if (memory.size $plugin) (then
    (memory.copy 0 $plugin (i32.const {FRAME_AT}) (i32.const 0) (i32.const {MARK_BYTES}))
    (memory.copy $plugin 0 (i32.const 0) (i32.const {MARK_AT}) (i32.const {MARK_BYTES})))))
  (func (export "unmark") (if (memory.size $plugin) (then
    (memory.copy $plugin 0 (i32.const 0) (i32.const {FRAME_AT}) (i32.const {MARK_BYTES})))))"""
_NOTHING_LEFT: Final = f"(i32.store offset={LEFT_COUNT_AT} (i32.const 0) (i32.const 0))"


def flatten_component(plugin: bytes, shape: ComponentType) -> bytes:
    """Flatten a component.

    Args:
        plugin: The component, already validated.
        shape: What it imports and exports, with WASI's interfaces in full.

    Returns:
        A component that imports `HOST_IMPORT` and WASI, and exports `FLAT_EXPORT`.

    Raises:
        CannotFlatten: It has something that only bridges carry.
    """
    wiring = read_wiring(plugin)
    text = "(component\n" + "\n".join(_Writer(shape, wiring).text()) + "\n)"
    try:
        frame = bytes(wasmtime.wat2wasm(text))
    except wasmtime.WasmtimeError as error:
        raise CannotFlatten(f"its text is not valid: {str(error).splitlines()[0][:200]}") from error
    return _put_modules(frame, wiring)


def _put_modules(frame: bytes, wiring: Wiring) -> bytes:
    """Replace the empty modules by the plugin's modules."""
    out = [COMPONENT_HEADER]
    left = iter(wiring.modules)
    for part in sections(memoryview(frame)):
        if part.id == 1 and all(inner.id == 0 for inner in sections(part.payload)):
            module = next(left)
            out += [b"\x01", u32(len(module)), bytes(module)]
        elif part.id != 0:
            out.append(section(part.id, part.payload))
    if next(left, None) is not None:
        raise AssertionError("a module has no place")
    return b"".join(out)


def _results(func: FuncT) -> tuple[str, ...]:
    return flatten(func.result) if func.result is not None else ()


def _parameters(func: FuncT) -> list[str]:
    flat = flatten(func.args)
    return ["i32"] if len(flat) > MAX_FLAT_PARAMS else list(flat)


def _imported_signature(func: FuncT) -> tuple[list[str], str]:
    """Return the core parameters and result of a lowered function."""
    results = _results(func)
    spilled = len(results) > MAX_FLAT_RESULTS
    return [*_parameters(func), *(["i32"] if spilled else [])], "" if spilled or not results else results[0]


def _key(function: Lower | Lift | HandleFunction) -> _Key:
    if isinstance(function, HandleFunction):
        destructor = function.resource.destructor if isinstance(function.resource, OwnResource) else None
        return None, None, destructor if function.does == "drop" else None
    return function.memory, function.realloc, None


def _declared(parameters: list[str], result: str) -> str:
    return (f"(param {' '.join(parameters)}) " if parameters else "") + (f"(result {result})" if result else "")


class _Writer:
    """Writes one component."""

    def __init__(self, shape: ComponentType, wiring: Wiring) -> None:
        self._shape = shape
        self._wiring = wiring
        self._poll = PollImports(shape)
        self._wasi = {name: number for number, name in enumerate(shape.wasi)}
        self._links = import_links(shape)
        self._numbers = {(link.interface, link.name): number for number, link in enumerate(self._links)}
        self._out: list[str] = []
        self._core: dict[CoreExport, str] = {}
        self._groups: dict[_Key, str] = {}
        self._lowered: dict[Lower | HandleFunction, int] = {}
        for lower in wiring.lowers:
            self._lowered.setdefault(lower, len(self._lowered))
        self._heap_at = heap_after(link.func.args for link in self._links)
        self._resources = Resources(shape, wiring)

    def text(self) -> list[str]:
        out = self._out
        out += WasiImports(self._shape).text()
        out += self._poll.imports()
        out.append(
            f'(import "{HOST_IMPORT}" (instance $host'
            ' (export "call" (func (param "index" u32))) (export "release" (func))))'
        )
        # The first of all memories; the last one is that of the exports.
        shut = '(global (export "shut") (mut i32) (i32.const 0))'
        if self._resources.present:
            out.append('(core func $hfull (canon lower (func $host "release")))')
            self._base(
                "i",
                memory_text(self._heap_at, TABLES_AT) + shut + HANDLES_TEXT,
                '(import "h" "full" (func $full))',
                '(with "h" (instance (export "full" (func $hfull))))',
            )
        else:
            self._base("i", memory_text(self._heap_at) + shut)
        out.append('(core func $hcall (canon lower (func $host "call")))')
        out += self._poll.instances()
        out += [f"(core module $m{number})" for number in range(len(self._wiring.modules))]
        for number, instance in enumerate(self._wiring.instances):
            given = []
            for name, argument in instance.arguments.items():
                if isinstance(argument, int):
                    given.append(f"(with {quote(name)} (instance $c{argument}))")
                else:
                    items = "".join(f"(export {quote(n)} {self._reference(x)})" for n, x in argument.items.items())
                    given.append(f"(with {quote(name)} (instance {items}))")
            out.append(f"(core instance $c{number} (instantiate $m{instance.module} {' '.join(given)}))")
        self._exports()
        return out

    def _base(self, name: str, text: str, needed: str = "", given: str = "") -> None:
        self._out.append(
            f"(core module $base-{name} {needed} {text}) (core instance $b{name} (instantiate $base-{name} {given}))"
        )

    # References to core items.

    def _reference(self, item: Any) -> str:
        if isinstance(item, CoreExport):
            return f"({item.sort} {self._alias(item)})"
        if isinstance(item, (Lower, HandleFunction)):
            group = self._group(_key(item))
            return f'(func {group} "f{self._lowered[item]}")'
        raise CannotFlatten("a module is given something of an unknown form")

    def _alias(self, item: CoreExport) -> str:
        if item not in self._core:
            self._core[item] = f"$a{len(self._core)}"
            self._out.append(
                f"(alias core export $c{item.instance} {quote(item.name)} (core {item.sort} {self._core[item]}))"
            )
        return self._core[item]

    def _plugin(self, key: _Key) -> tuple[str, str]:
        """Return a host module's imports from the plugin, and the arguments that satisfy them."""
        memory, realloc, destructor = key
        needed, given = "", []
        if destructor is not None:
            needed += '(import "p" "destroy" (func $destroy (param i32)))'
            given.append(f'(export "destroy" {self._reference(destructor)})')
        if memory is not None:
            needed += '(import "p" "memory" (memory $plugin 0))'
            given.append(f'(export "memory" (memory {self._alias(memory)}))')
        if realloc is not None:
            needed += '(import "p" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))'
            given.append(f'(export "realloc" (func {self._alias(realloc)}))')
        return needed, f'(with "p" (instance {"".join(given)}))' if given else ""

    # What the plugin imports.

    def _group(self, key: _Key) -> str:
        """Return the instance with all imports for one memory and allocator; written at its first use."""
        if key in self._groups:
            return self._groups[key]
        name = self._groups[key] = f"$g{len(self._groups)}"
        needed, satisfied = self._plugin(key)
        movers = Movers(self._resources.handles)
        functions, given = [], []
        for lower, number in self._lowered.items():
            if _key(lower) != key:
                continue
            if isinstance(lower, HandleFunction) and not self._resources.is_wasi(lower.resource):
                functions.append(self._resources.function(lower, number))
            elif isinstance(lower, HandleFunction) or lower.function.interface in self._wasi:
                core, declared, parameters = self._handed_through(lower, number)
                needed += f'(import "w" "f{number}" (func $w{number} {declared}))'
                given.append(f'(export "f{number}" (func {core}))')
                passed = " ".join(f"(local.get {i})" for i in range(parameters))
                # WASI runs no code of the plugin but `realloc`, for its result.
                handed = f"{GUARD} {SHUT} (call $w{number} {passed}) {OPEN}"
                functions.append(f'(func (export "f{number}") {declared} {handed})')
            else:
                functions.append(self._import(lower, number, movers))
        self._out.append(
            f"""(core module {name}-code
              (import "b" "memory" (memory {MEMORY_PAGES} {MEMORY_PAGES})) (import "b" "top" (global $top (mut i32)))
              (import "b" "shut" (global $shut (mut i32)))
              (import "b" "realloc" (func $take (param i32 i32 i32 i32) (result i32)))
              (import "h" "call" (func $call (param i32))) {self._resources.needed} {needed}
              {helpers(memory=key[0] is not None, realloc=key[1] is not None, fill=FILL_IMPORTS)}
              {" ".join(movers.texts)} {" ".join(functions)})
            (core instance {name} (instantiate {name}-code (with "b" (instance $bi)) (with "i" (instance $bi))
              (with "h" (instance (export "call" (func $hcall)))) {satisfied}
              (with "w" (instance {"".join(given)}))))"""
        )
        return name

    def _handed_through(self, lower: Lower | HandleFunction, number: int) -> tuple[str, str, int]:
        """Lower a WASI function, or the drop of a WASI resource."""
        if isinstance(lower, HandleFunction):
            assert isinstance(lower.resource, ImportedType)
            self._out.append(
                f"(core func $w{number} (canon resource.drop $w{self._resources.index_of(lower.resource)}))"
            )
            return f"$w{number}", "(param i32)", 1
        wasi = self._wasi[lower.function.interface]
        options = "".join(
            f" ({option} {self._alias(item)})"
            for option, item in (("memory", lower.memory), ("realloc", lower.realloc))
            if item is not None
        )
        self._out.append(
            f"(core func $w{number} (canon lower"
            f" (func {self._poll.instance_of(wasi)} {quote(lower.function.name)}){options}))"
        )
        func = self._shape.wasi[lower.function.interface].funcs[lower.function.name]
        parameters, result = _imported_signature(func)
        return f"$w{number}", _declared(parameters, result), len(parameters)

    def _import(self, lower: Lower, number: int, movers: Movers) -> str:
        link_number = self._numbers[lower.function.interface, lower.function.name]
        func = self._links[link_number].func
        parameters, result = _imported_signature(func)
        body = CheckedFunction()
        body.emit(GUARD)
        frame = f"(i32.const {FRAME_AT})"
        flat = flatten(func.args)
        if len(flat) > MAX_FLAT_PARAMS:
            _pull_fixed(body, func.args, "(local.get 0)")
        else:
            body.store(func.args, frame, 0, [f"(local.get {i})" for i in range(len(flat))])
        if has_pointers(func.args):
            body.emit(_NOTHING_LEFT)
        body.emit(movers.pull(func.args, frame))
        if has_handles(func.args):
            body.emit("(call $lent)")
        body.emit(f"(i32.store offset={POINTER_AT} (i32.const 0) {frame})")
        body.emit(f"(call $call (i32.const {link_number}))")
        body.emit(f"(global.set $top (i32.const {self._heap_at}))")
        if func.result is not None:
            where = body.local("i32")
            body.emit(f"(local.set {where} (i32.load offset={POINTER_AT} (i32.const 0)))")
            area = f"(local.get {len(parameters) - 1})"
            if not result:
                body.emit(f"(call $within {area} (i64.const {size(func.result)}) (i32.const {alignment(func.result)}))")
            body.emit(movers.push(func.result, f"(local.get {where})"))
            if result:
                body.emit(body.load(func.result, f"(local.get {where})", 0)[0])
            else:
                body.emit(f"(memory.copy $plugin 0 {area} (local.get {where}) (i32.const {size(func.result)}))")
        return f'(func (export "f{number}") {_declared(parameters, result)} {body.text()})'

    # What the plugin exports.

    def _exports(self) -> None:
        links = export_links(self._shape)
        lifts = [self._destructor(link) if link.drops else self._lift(link) for link in links]
        heap_at = heap_after(link.func.result for link in links if link.func.result is not None)
        self._base("e", memory_text(heap_at))
        keys = [_key(lift) for lift in lifts]
        place_of = {key: place for place, key in enumerate(dict.fromkeys(keys))}
        self._known = self._only_memory(keys)
        self._marker = next((f"$x{place}" for key, place in place_of.items() if key[0] == self._known), "")
        for key, place in place_of.items():
            self._export_group(
                f"$x{place}", key, [(n, links[n], lifts[n]) for n in range(len(links)) if keys[n] == key]
            )
        entries = {f"e{n}": (n, place_of[key]) for n, key in enumerate(keys)}
        if self._known is not None:
            place = next(place for key, place in place_of.items() if key[0] == self._known)
            entries |= {"mark": (len(links) + MARK, place), "unmark": (len(links) + UNMARK, place)}
        for n, (link, lift) in enumerate(zip(links, lifts, strict=True)):
            if isinstance(lift, Lift) and lift.post_return is not None and _may_owe(link.func):
                entries[f"s{n}"] = (len(links) + SETTLE + n, place_of[keys[n]])
        needed = "".join(f'(import "f" "{name}" (func ${name}))' for name in entries)
        given = "".join(f'(export "{name}" (func $x{place} "{name}"))' for name, (_, place) in entries.items())
        elements = " ".join(f"(elem (i32.const {at}) ${name})" for name, (at, _) in entries.items())
        self._out.append(
            f"""(core module $dispatch-code (import "b" "top" (global $top (mut i32))) {needed}
              (type $t (func)) (table {2 * len(links) + SETTLE} funcref) {elements}
              (func (export "call") (param i32)
                (global.set $top (i32.const {heap_at}))
                (call_indirect (type $t) (local.get 0))))
            (core instance $dispatch (instantiate $dispatch-code (with "b" (instance $be))
              (with "f" (instance {given}))))
            (alias core export $dispatch "call" (core func $dispatched))
            (func $call (param "index" u32) (canon lift (core func $dispatched)))
            (export "{FLAT_EXPORT}" (func $call))"""
        )
        if self._known is not None:
            self._out.append(f'(export "{MARKS_EXPORT}" (func $call))')

    def _lift(self, link: Link) -> Lift:
        found = self._wiring.exports.get(link.interface or link.name)
        if link.interface and isinstance(found, dict):
            found = found.get(link.name)
        if not isinstance(found, Lift):
            raise CannotFlatten(f"it exports {link.name}, which is not a function of its own")
        return found

    def _only_memory(self, exports: list[_Key]) -> CoreExport | None:
        """Return the plugin's memory if the host's values use only one; otherwise `None`."""
        imports = [_key(lower) for lower in self._lowered if isinstance(lower, Lower)]
        found = {key[0] for key in (*imports, *exports) if key[0] is not None}
        known = next(iter(found), None) if len(found) == 1 else None
        return known if any(key[0] == known for key in exports) else None

    def _destructor(self, link: Link) -> HandleFunction:
        """Return the function that drops a resource of the plugin for the host."""
        handle = link.func.params[0][1]
        assert isinstance(handle, OwnT)
        return HandleFunction("drop", self._resources.own[handle.resource])

    def _export_group(self, name: str, key: _Key, members: list[tuple[int, Link, Lift | HandleFunction]]) -> None:
        needed, satisfied = self._plugin(key)
        movers = Movers(self._resources.handles)
        functions, given = [], []
        for number, link, lift in members:
            func = link.func
            if isinstance(lift, HandleFunction):
                functions.append(self._give_up(number, func, lift))
                continue
            results = _results(func)
            result = "i32" if len(results) > MAX_FLAT_RESULTS else results[0] if results else ""
            needed += f'(import "f" "f{number}" (func $f{number} {_declared(_parameters(func), result)}))'
            given.append(f'(export "f{number}" {self._reference(lift.core)})')
            if lift.post_return is not None:
                needed += f'(import "f" "p{number}" (func $p{number} {_declared([result] if result else [], "")}))'
                given.append(f'(export "p{number}" {self._reference(lift.post_return)})')
            functions.append(self._export(number, func, lift, result, movers))
        if key[0] is not None and key[0] == self._known and name == self._marker:
            functions.append(_MARKS)
        self._out.append(
            f"""(core module {name}-code
              (import "b" "memory" (memory {MEMORY_PAGES} {MEMORY_PAGES}))
              (import "b" "realloc" (func $take (param i32 i32 i32 i32) (result i32)))
              (import "h" "call" (func $call (param i32)))
              (import "i" "shut" (global $shut (mut i32))) {self._resources.needed} {needed}
              {helpers(memory=key[0] is not None, realloc=key[1] is not None, fill=FILL_EXPORTS)}
              {" ".join(movers.texts)} {" ".join(functions)})
            (core instance {name} (instantiate {name}-code (with "b" (instance $be)) (with "i" (instance $bi))
              (with "h" (instance (export "call" (func $hcall)))) {satisfied}
              (with "f" (instance {"".join(given)}))))"""
        )

    def _give_up(self, number: int, func: FuncT, drop: HandleFunction) -> str:
        handle = func.params[0][1]
        assert isinstance(handle, OwnT) and isinstance(drop.resource, OwnResource)
        given_up = self._resources.handles.given_up(handle.resource, HOST_HALF_AT)
        return f'(func (export "e{number}") ({destroy(drop.resource)} {given_up}))'

    def _export(self, number: int, func: FuncT, lift: Lift, result: str, movers: Movers) -> str:
        body = CheckedFunction()
        arguments, frame = f"(i32.const {HOST_HALF_AT})", f"(i32.const {FRAME_AT})"
        flat = flatten(func.args)
        if len(flat) > MAX_FLAT_PARAMS:
            spilled = body.local("i32")
            total = size(func.args)
            body.emit(f"(local.set {spilled} (call $room (i32.const {total}) (i32.const {alignment(func.args)})))")
            body.emit(movers.push(func.args, arguments))
            body.emit(f"(memory.copy $plugin 0 (local.get {spilled}) {arguments} (i32.const {total}))")
            given = [f"(local.get {spilled})"]
        else:
            body.emit(movers.push(func.args, arguments))
            given = body.load(func.args, arguments, 0)
        if has_handles(func.args):
            body.emit("(call $lent)")
        call = f"(call $f{number} {' '.join(given)})"
        returned = ""
        if result:
            value = body.local(result)
            returned = f"(local.get {value})"
            call = f"(local.set {value} {call})"
        body.emit(call)
        if func.result is not None and result:
            if len(flatten(func.result)) > MAX_FLAT_RESULTS:
                _pull_fixed(body, func.result, returned)
            else:
                body.store(func.result, frame, 0, [returned])
            if has_pointers(func.result):
                body.emit(_NOTHING_LEFT)
            body.emit(movers.pull(func.result, frame))
        if any(how == "borrow" for how, _ in has_handles(func.args)):
            body.emit("(call $returned)")
        if lift.post_return is None:
            return f'(func $e{number} (export "e{number}") {body.text()})'
        post = f"{SHUT} (call $p{{}} {{}}) {OPEN}".format
        if not _may_owe(func):
            body.emit(post(number, returned))
            return f'(func $e{number} (export "e{number}") {body.text()})'
        # The host reads the values that stay in the plugin's memory, and then has the plugin free them.
        body.emit(
            f"""(if (i32.load offset={LEFT_COUNT_AT} (i32.const 0))
              (then
                (i32.store offset={OWED_AT} (i32.const 0) {returned})
                (i32.store offset={OWES_AT} (i32.const 0) (i32.const 1)))
              (else {post(number, returned)}))"""
        )
        owed = f"(i32.load offset={OWED_AT} (i32.const 0))"
        return f"""(func $e{number} (export "e{number}") {body.text()})
          (func (export "s{number}") (i32.store offset={OWES_AT} (i32.const 0) (i32.const 0)) {post(number, owed)})"""


def _may_owe(func: FuncT) -> bool:
    """Whether a result may stay in the plugin's memory until the host has read it."""
    return func.result is not None and has_pointers(func.result)


def _pull_fixed(body: CheckedFunction, ty: Any, address: str) -> None:
    """Copy the fixed part of a plugin's value into the frame."""
    body.emit(f"(call $within {address} (i64.const {size(ty)}) (i32.const {alignment(ty)}))")
    body.emit(f"(memory.copy 0 $plugin (i32.const {FRAME_AT}) {address} (i32.const {size(ty)}))")
