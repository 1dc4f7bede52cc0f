"""The exports bridge: exposes a plugin's typed exports to the host as one function, `call`, over numbers and memory.

The arguments are one tuple at the beginning of the host's half of the memory. The result is written to `FRAME_AT`.
"""

from __future__ import annotations

from dataflare.engine.abi.layout import FRAME_AT, HOST_HALF_AT, MEMORY_PAGES
from dataflare.engine.abi.types import MAX_FLAT_PARAMS, MAX_FLAT_RESULTS, BorrowT, ComponentType, OwnT, Type, flatten
from dataflare.engine.bridges.allocator import heap_after, memory_text
from dataflare.engine.bridges.call_table import Link, export_links
from dataflare.engine.bridges.type_names import TypeNames
from dataflare.engine.bridges.wat import Function, Walkers, in_place

__all__ = ["ExportsBridge"]


class ExportsBridge:
    """Writes the bridge as a separate component `$bridge`.

    So it can be entered while the plugin and the outer component are not.

    Args:
        names: The outer component's names.
        hosted: Resource types of the host.
        own: Resource types of the plugin. This bridge holds their handles; the host knows them as numbers.
        nominal: The types that need names.
    """

    def __init__(
        self, shape: ComponentType, names: TypeNames, hosted: list[int], own: list[int], nominal: list[Type]
    ) -> None:
        self._outer = names
        self._hosted = hosted
        self._ready = [*hosted, *own]
        self._nominal = nominal
        self._links = export_links(shape)
        self._heap_at = heap_after(link.func.result for link in self._links if link.func.result is not None)
        self._inner = TypeNames(names.resource)

    def text(self) -> list[str]:
        """Write the bridge and its instance `$e`; the plugin's functions are `$pf` and their number."""
        inner = [f'(import "r{i}" (type {self._inner.resource(i)} (sub resource)))' for i in self._ready]
        inner += self._inner.define(self._nominal, self._ready, imported=True)
        given = [f'(with "r{i}" (type {self._inner.resource(i)}))' for i in self._ready]
        given += self._outer.given_to(self._inner)
        for i in self._hosted:
            handle = f"(own {self._inner.resource(i)})"
            inner.append(f'(import "adopt{i}" (func $adopt{i} (param "rep" u32) (result {handle})))')
            inner.append(f'(import "release{i}" (func $release{i} (param "handle" {handle}) (result u32)))')
            given.append(f'(with "adopt{i}" (func $adopt{i})) (with "release{i}" (func $release{i}))')
        for number, link in self._typed():
            inner.append(f'(import "f{number}" (func $f{number} {self._inner.signature(link.func)}))')
            given.append(f'(with "f{number}" (func $pf{number}))')
        inner += self._code()
        return [
            f"(component $bridge {chr(10).join(inner)})",
            f"(instance $e (instantiate $bridge {' '.join(given)}))",
        ]

    def _typed(self) -> list[tuple[int, Link]]:
        return [(number, link) for number, link in enumerate(self._links) if not link.drops]

    def _code(self) -> list[str]:
        out = [
            f"(core module $mbase {memory_text(self._heap_at)}) (core instance $base (instantiate $mbase))",
            '(alias core export $base "memory" (core memory $mem))',
            '(alias core export $base "realloc" (core func $realloc))',
            '(alias core export $base "top" (core global $gtop))',
        ]
        given, needed = [], []
        for i in self._hosted:
            for op in ("adopt", "release"):
                out.append(f"(core func $c{op}{i} (canon lower (func ${op}{i})))")
                given.append(f'(export "{op}{i}" (func $c{op}{i}))')
                needed.append(f'(import "h" "{op}{i}" (func ${op}{i} (param i32) (result i32)))')
        for i in self._ready:
            out.append(f"(core func $cdrop{i} (canon resource.drop {self._inner.resource(i)}))")
            given.append(f'(export "drop{i}" (func $cdrop{i}))')
            needed.append(f'(import "h" "drop{i}" (func $drop{i} (param i32)))')
        hosted = set(self._hosted)
        # On the way in, numbers become handles; after the call, lent ones are dropped; on the way out, handles become
        # numbers.
        lend = Walkers("lend", lambda h: in_place(f"$adopt{h.resource}") if h.resource in hosted else None)
        end = Walkers("end", lambda h: _drop(h) if isinstance(h, BorrowT) and h.resource in hosted else None)
        back = Walkers(
            "back",
            lambda h: in_place(f"$release{h.resource}") if isinstance(h, OwnT) and h.resource in hosted else None,
        )
        bodies = []
        for number, link in enumerate(self._links):
            if link.drops:
                bodies.append(f"(func $e{number} {_drop(link.func.params[0][1], HOST_HALF_AT)})")
                continue
            out.append(f"(core func $cf{number} (canon lower (func $f{number}) (memory $mem) (realloc $realloc)))")
            given.append(f'(export "f{number}" (func $cf{number}))')
            body, signature = _function(number, link, lend, end, back)
            needed.append(f'(import "h" "f{number}" (func $f{number} {signature}))')
            bodies.append(body)
        elements = " ".join(f"$e{number}" for number in range(len(self._links)))
        code = " ".join([*lend.texts, *end.texts, *back.texts, *bodies])
        out += [
            f"""(core module $mexports
              (import "h" "memory" (memory {MEMORY_PAGES})) (import "h" "top" (global $top (mut i32)))
              {" ".join(needed)} {code}
              (type $t (func)) (table {len(self._links)} funcref) (elem (i32.const 0) {elements})
              (func (export "call") (param i32)
                (global.set $top (i32.const {self._heap_at}))
                (call_indirect (type $t) (local.get 0))))""",
            f"""(core instance $x (instantiate $mexports (with "h" (instance
              (export "memory" (memory $mem)) (export "top" (global $gtop)) {" ".join(given)}))))""",
            '(alias core export $x "call" (core func $ccall))',
            '(func $call (param "index" u32) (canon lift (core func $ccall))) (export "call" (func $call))',
        ]
        return out


def _drop(handle: Type, address: int | None = None) -> str:
    assert isinstance(handle, OwnT | BorrowT)
    where = "(local.get $p)" if address is None else f"(i32.const {address})"
    return f"(call $drop{handle.resource} (i32.load {where}))"


def _function(number: int, link: Link, lend: Walkers, end: Walkers, back: Walkers) -> tuple[str, str]:
    """Return the body for one export, and the core signature of the export itself."""
    func = link.func
    flat = flatten(func.args)
    spilled = len(flat) > MAX_FLAT_PARAMS
    arguments = f"(i32.const {HOST_HALF_AT})"
    frame = f"(i32.const {FRAME_AT})"
    body = Function()
    body.emit(lend.call(func.args, arguments))
    given = [arguments] if spilled else body.load(func.args, arguments, 0)
    signature = [f"(param {' '.join(['i32'] if spilled else flat)})"] if flat else []
    if func.result is None:
        body.emit(f"(call $f{number} {' '.join(given)})")
    elif len(flatten(func.result)) > MAX_FLAT_RESULTS:
        signature.append("(param i32)")
        body.emit(f"(call $f{number} {' '.join([*given, frame])})")
    else:
        (core,) = flatten(func.result)
        signature.append(f"(result {core})")
        value = body.local(core)
        body.emit(f"(local.set {value} (call $f{number} {' '.join(given)}))")
        body.store(func.result, frame, 0, [f"(local.get {value})"])
    body.emit(end.call(func.args, arguments))
    if func.result is not None:
        body.emit(back.call(func.result, frame))
    return f"(func $e{number} {body.text()})", " ".join(signature)
