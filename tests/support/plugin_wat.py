"""Hostile processors, written as WebAssembly text.

A component made here is a whole plugin: `process` takes a text whose first letter chooses what it does, the rest of the
text is its argument. Everything else is well behaved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import wasmtime

from dataflare.engine.abi.types import (
    MAX_FLAT_PARAMS,
    MAX_FLAT_RESULTS,
    ComponentType,
    FuncT,
    Interface,
    ResultT,
    VariantT,
    flatten,
    has_handles,
    payload_offset,
)
from dataflare.engine.bridges.type_names import TypeNames, nominal_types
from dataflare.engine.bridges.wat import quote
from dataflare.interfaces import interface_name
from dataflare.testing.shapes import ShapeMaker

LIFECYCLE = "dataflare:plugin/lifecycle@1.0.0"
PROCESSOR = "dataflare:plugin/processor@1.0.0"
KINDS = ("source", "destination", "processor", "transformer", "validator")

ZEROS = 64  # never written: a result of zeros is `ok` with nothing in it
RESULT = 512  # where functions of the host put their results
ANSWER = 768  # what `process` answers
NAME = 1024
DATA = 4096  # where the data of a component begins

_LIBC = """
  (core module $libc-code
    (memory (export "memory") (memory $pages))
    (global $next (mut i32) (i32.const 0x200000))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32) (local $end i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 63)) (i32.const -64)))
      (local.set $end (i32.add (local.get $at) (local.get 3)))
      (if (i32.gt_u (local.get $end) (i32.mul (memory.size) (i32.const 65536)))
        (then (if (i32.eq (i32.const -1) (memory.grow (i32.add (i32.const 1) (i32.div_u
                    (i32.sub (local.get $end) (i32.mul (memory.size) (i32.const 65536))) (i32.const 65536)))))
                (then unreachable))))
      (global.set $next (local.get $end))
      (local.get $at)))
  (core instance $libc (instantiate $libc-code))
  (alias core export $libc "memory" (core memory $mem))
  (alias core export $libc "realloc" (core func $alloc))"""


@dataclass(frozen=True)
class Hostile:
    """A component, and the letters of what it can do."""

    binary: bytes
    letters: Mapping[str, str]
    shape: ComponentType

    def order(self, action: str, argument: str = "") -> str:
        """The input of `process` that makes it do something."""
        return self.letters[action] + argument

    def outcome(self, function: str, answer: str | None) -> str:
        """What a function of the host answered: `ok`, or the name of the error's case."""
        assert answer is not None
        if answer[0] == "0":
            return "ok"
        short, _, name = function.partition("#")
        result = self.shape.imports[interface_name(short)].funcs[name].result
        assert isinstance(result, ResultT) and isinstance(result.err, VariantT)
        return result.err.cases[ord(answer[1]) - ord("0")][0]


def hostile(
    actions: Mapping[str, str],
    *,
    uses: Iterable[str] = (),
    data: bytes = b"",
    extra: str = "",
    metadata: str = "",
    batch_result: str = "(local.get 0)",
    bodies: Mapping[str, str] | None = None,
    memory_pages: int = 40,
    beside: str = "",
    kind: str = "processor",
) -> Hostile:
    """Make a component.

    Args:
        actions: Core instructions by name; `$p` and `$n` are where the argument is and how long it is. They may call
            `$libc`'s functions and those of `uses`, and end with nothing on the stack.
        uses: Functions of the host, such as `files#open`; core code calls them by that name.
        data: What lies at `DATA`.
        extra: More of the core module.
        metadata: Core instructions that run before metadata is returned.
        batch_result: What `process-batch` returns: a handle to a batch.
        bodies: Bodies of exports, by name, in place of the well-behaved ones.
        memory_pages: How large its memory is at the start.
        beside: More of the component.
        kind: What it is. Plugins of other kinds than `processor` do nothing, but for `bodies`.
    """
    shape = shape_with(uses, kind)
    letters = {name: chr(ord("a") + index) for index, name in enumerate(actions)}
    assert len(letters) <= 26
    core = _core(shape, actions, data, extra, metadata, batch_result, bodies or {}, KINDS.index(kind))
    text = _component(shape, core, beside).replace("(memory $pages)", str(memory_pages))
    return Hostile(bytes(wasmtime.wat2wasm(text)), letters, shape)


def answer_outcome(function: str, shape: ComponentType) -> str:
    """Instructions that answer with a result's tag and, for an error, its case."""
    short, _, name = function.partition("#")
    result = shape.imports[interface_name(short)].funcs[name].result
    assert result is not None
    return (
        f"(call $answer-outcome (i32.load8_u (i32.const {RESULT})) "
        f"(i32.load8_u (i32.const {RESULT + payload_offset(result)})))"  # type: ignore[arg-type]
    )


def shape_with(uses: Iterable[str], kind: str = "processor") -> ComponentType:
    """The shape of a component of a kind that uses these functions of the host."""
    return _shape([*uses, "batches#new-batch"], f"dataflare:plugin/{kind}@1.0.0")


def _shape(uses: Iterable[str], kind: str) -> ComponentType:
    maker = ShapeMaker()
    wanted: dict[str, set[str]] = {}
    for each in uses:
        short, _, name = each.partition("#")
        wanted.setdefault(interface_name(short), set()).add(name)
    # `batches` first: others use its resource.
    for interface in sorted(wanted, key=lambda each: "batches" not in each):
        maker.add_import(interface)
        found = maker.shape.imports[interface]
        found.funcs = {name: func for name, func in found.funcs.items() if name in wanted[interface]}
        assert set(found.funcs) == wanted[interface], wanted[interface] - set(found.funcs)
    maker.add_export(LIFECYCLE)
    maker.add_export(kind)
    return maker.shape


def _component(shape: ComponentType, core: str, beside: str) -> str:
    lines = ["(component", beside]
    for number, (name, interface) in enumerate(shape.imports.items()):
        lines += _import(number, name, interface, shape)
    lines.append(_LIBC)
    given = []
    for number, interface in enumerate(shape.imports.values()):
        short = list(shape.imports)[number].rpartition("/")[2].partition("@")[0]
        for name in interface.funcs:
            lines.append(f"  (alias export $i{number} {quote(name)} (func $f-{number}-{_id(name)}))")
            lines.append(
                f"  (core func $c-{number}-{_id(name)} (canon lower (func $f-{number}-{_id(name)})"
                " (memory $mem) (realloc $alloc)))"
            )
            given.append(f"(export {quote(f'{short}#{name}')} (func $c-{number}-{_id(name)}))")
    for index in range(len(shape.resources)):
        lines.append(f"  (core func $drop-{index} (canon resource.drop $r{index}))")
        given.append(f'(export "drop-{index}" (func $drop-{index}))')
    lines.append(core)
    lines.append(
        '  (core instance $code (instantiate $module (with "libc" (instance $libc))'
        f' (with "host" (instance {" ".join(given)}))))'
    )
    for number, (name, interface) in enumerate(shape.exports.items()):
        lines += _export(number, name, interface)
    return "\n".join([*lines, ")"])


def _id(name: str) -> str:
    return name.replace("[", "").replace("]", "-")


def _handles(interface: Interface) -> set[int]:
    types = [t for func in interface.funcs.values() for t in (*(p for _, p in func.params), func.result)]
    return {index for ty in types if ty is not None for _, index in has_handles(ty)}


def _import(number: int, name: str, interface: Interface, shape: ComponentType) -> list[str]:
    names = TypeNames(lambda index: f"$l{index}")
    inner = []
    own = set(interface.resources.values())
    for item, index in interface.resources.items():
        inner.append(f"(export {quote(item)} (type $l{index} (sub resource)))")
    for index in sorted(_handles(interface) - own):
        inner.append(f"(alias outer 1 $r{index} (type $o{index}))")
        inner.append(f"(export {quote(shape.resources[index].name)} (type $l{index} (eq $o{index})))")
    for place, ty in enumerate(nominal_types([interface])):
        inner.append(f"(type $d{place} {names.definition(ty)})")
        inner.append(f'(export "t{place}" (type $n{place} (eq $d{place})))')
        names.names[ty] = f"$n{place}"
    inner += [f"(export {quote(each)} (func {names.signature(func)}))" for each, func in interface.funcs.items()]
    lines = [f"  (import {quote(name)} (instance $i{number} {' '.join(inner)}))"]
    lines += [f"  (alias export $i{number} {quote(i)} (type $r{index}))" for i, index in interface.resources.items()]
    return lines


def _export(number: int, name: str, interface: Interface) -> list[str]:
    outer, inner, shown = (TypeNames(lambda index, mark=mark: f"${mark}{index}") for mark in ("r", "j", "e"))
    lines, shim, given = [], [], []
    for index in sorted(_handles(interface)):
        shim.append(f'(import "r{index}" (type $j{index} (sub resource)))')
        given.append(f'(with "r{index}" (type $r{index}))')
    types = nominal_types([interface])
    for place, ty in enumerate(types):
        lines.append(f"  (type $x{number}-{place} {outer.definition(ty)})")
        shim.append(f"(type $q{place} {inner.definition(ty)})")
        shim.append(f'(import "t{place}" (type $m{place} (eq $q{place})))')
        given.append(f'(with "t{place}" (type $x{number}-{place}))')
        outer.names[ty], inner.names[ty] = f"$x{number}-{place}", f"$m{place}"
    for each, func in interface.funcs.items():
        lines.append(f"  (alias core export $code {quote(each)} (core func $core-{each}))")
        lines.append(
            f"  (func $lift-{each} {outer.signature(func)}"
            f" (canon lift (core func $core-{each}) (memory $mem) (realloc $alloc)))"
        )
        shim.append(f'(import "f-{each}" (func $f-{each} {inner.signature(func)}))')
        given.append(f'(with "f-{each}" (func $lift-{each}))')
    for index in sorted(_handles(interface)):
        shim.append(f'(export $e{index} "r{index}" (type $j{index}))')
    for place, ty in enumerate(types):
        shim.append(f"(type $v{place} {shown.definition(ty)})")
        shim.append(f'(export $w{place} "t{place}" (type $v{place}))')
        shown.names[ty] = f"$w{place}"
    for each, func in interface.funcs.items():
        shim.append(f"(export {quote(each)} (func $f-{each}) (func {shown.signature(func)}))")
    lines.append(f"  (component $shim{number} {' '.join(shim)})")
    lines.append(f"  (instance $api{number} (instantiate $shim{number} {' '.join(given)}))")
    lines.append(f"  (export {quote(name)} (instance $api{number}))")
    return lines


def _core(
    shape: ComponentType,
    actions: Mapping[str, str],
    data: bytes,
    extra: str,
    metadata: str,
    batch_result: str,
    changed: Mapping[str, str],
    kind: int,
) -> str:
    lines = [
        '(import "libc" "memory" (memory 40))',
        '(import "libc" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))',
    ]
    for interface_, interface in shape.imports.items():
        short = interface_.rpartition("/")[2].partition("@")[0]
        for name, func in interface.funcs.items():
            lines.append(
                f'(import "host" {quote(f"{short}#{name}")} (func ${_id(f"{short}#{name}")} {_lowered(func)}))'
            )
    lines += [f'(import "host" "drop-{i}" (func $drop-{i} (param i32)))' for i in range(len(shape.resources))]
    lines.append("(global $answer (mut i32) (i32.const 64))")
    lines.append('(table $table (export "table") 1 funcref)')
    lines.append(
        f"""(func $say (param $at i32) (param $size i32)
      (i32.store (i32.const {ANSWER}) (i32.const 0)) (i32.store offset=4 (i32.const {ANSWER}) (i32.const 1))
      (i32.store offset=8 (i32.const {ANSWER}) (local.get $at))
      (i32.store offset=12 (i32.const {ANSWER}) (local.get $size))
      (global.set $answer (i32.const {ANSWER})))
    (func $answer-outcome (param $tag i32) (param $case i32)
      (i32.store8 (i32.const {ANSWER + 32}) (i32.add (local.get $tag) (i32.const 48)))
      (i32.store8 (i32.const {ANSWER + 33}) (i32.add (i32.and (local.get $case) (i32.const 15)) (i32.const 48)))
      (call $say (i32.const {ANSWER + 32}) (i32.const 2)))"""
    )
    if extra:
        lines.append(extra)
    for name, body in actions.items():
        lines.append(f"(func $do-{name} (param $p i32) (param $n i32) (local $i i32) (local $j i32) {body})")
    cases = "".join(
        f"(if (i32.eq (i32.load8_u (local.get 0)) (i32.const {ord('a') + index}))"
        f" (then (call $do-{name} (i32.add (local.get 0) (i32.const 1)) (i32.sub (local.get 1) (i32.const 1)))))"
        for index, name in enumerate(actions)
    )
    bodies = {
        "process": f"(global.set $answer (i32.const {ZEROS})) {cases} (global.get $answer)",
        "process-batch": f"(i32.store (i32.const {ANSWER}) (i32.const 0))"
        f" (i32.store offset=4 (i32.const {ANSWER}) {batch_result}) (i32.const {ANSWER})",
        # name, version, kind, and two empty texts
        "get-metadata": f"{metadata} (i32.store (i32.const {ANSWER}) (i32.const {NAME}))"
        f" (i32.store offset=4 (i32.const {ANSWER}) (i32.const 7))"
        f" (i32.store offset=8 (i32.const {ANSWER}) (i32.const {NAME + 8}))"
        f" (i32.store offset=12 (i32.const {ANSWER}) (i32.const 5))"
        f" (i32.store offset=16 (i32.const {ANSWER}) (i32.const {kind}))"
        f" (i64.store offset=20 align=4 (i32.const {ANSWER}) (i64.const 0))"
        f" (i64.store offset=28 align=4 (i32.const {ANSWER}) (i64.const 0)) (i32.const {ANSWER})",
    }
    bodies |= changed
    for interface in shape.exports.values():
        for name, func in interface.funcs.items():
            params = " ".join(flatten(func.args))
            body = bodies.get(name, f"(i32.const {ZEROS})")
            lines.append(f"(func (export {quote(name)}) (param {params}) (result i32) {body})")
    lines.append(f'(data (i32.const {NAME}) "hostile\\001.0.0")')
    if data:
        written = "".join(f"\\{byte:02x}" for byte in data)
        lines.append(f'(data (i32.const {DATA}) "{written}")')
    return "  (core module $module\n" + "\n".join(f"    {line}" for line in lines) + ")"


def _lowered(func: FuncT) -> str:
    params: Sequence[str] = flatten(func.args)
    if len(params) > MAX_FLAT_PARAMS:
        params = ("i32",)
    results: Sequence[str] = () if func.result is None else flatten(func.result)
    if len(results) > MAX_FLAT_RESULTS:
        params, results = (*params, "i32"), ()
    return f"(param {' '.join(params)})" + (f" (result {' '.join(results)})" if results else "")
