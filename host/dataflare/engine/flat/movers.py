"""WebAssembly that copies values between a plugin's memory and one of the host's.

These functions replace wasmtime's adapters between components: they follow the canonical ABI, and check everything that
comes from a plugin. Memory 0 belongs to the host, `$plugin` to the plugin. The fixed part of a value is in the host's
memory before these functions run. `pull` checks and copies what a plugin's pointers refer to. `push` allocates room in
the plugin for what the host's pointers refer to, and copies it there.

Handles are converted on the way (`handles`). Errors end the call with a fault (`faults`).
"""

from __future__ import annotations

from functools import reduce
from typing import Final

from dataflare.engine.abi.convert import DTYPES
from dataflare.engine.abi.layout import (
    FILLED_FROM_AT,
    FILLED_TO_AT,
    IN_PLACE_AT,
    IN_PLACE_BYTES,
    LEFT_CAPACITY,
    LEFT_COUNT_AT,
    LEFT_LIST_AT,
    MEMORY_BYTES,
)
from dataflare.engine.abi.types import (
    BorrowT,
    EnumT,
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
    has_handles,
    has_pointers,
    offsets,
    payload_offset,
    size,
)
from dataflare.engine.bridges.wat import Function
from dataflare.engine.flat.faults import ALIGNMENT, BOUNDS, CHAR, DISCRIMINANT, FAULT_TEXT, REALLOC, TEXT, fault
from dataflare.engine.flat.handles import Handles

__all__ = ["OPEN", "SHUT", "CheckedFunction", "Movers", "helpers"]

SHUT: Final = "(global.set $shut (i32.const 1))"
OPEN: Final = "(global.set $shut (i32.const 0))"
"""Between these two, the plugin's code must not call out."""

_LOADS: Final = {1: "i32.load8_u", 2: "i32.load16_u", 4: "i32.load"}


_HELPERS: Final = f"""{FAULT_TEXT}
  (func $scalar (param $c i32)
    (if (i32.or (i32.ge_u (local.get $c) (i32.const 0x110000))
                (i32.eq (i32.and (local.get $c) (i32.const 0xFFFFF800)) (i32.const 0xD800)))
      (then {fault(CHAR)})))"""


_MANY: Final = reduce("(i64.or {} {})".format, [f"(i64.load offset={at} (local.get $p))" for at in range(0, 64, 8)])
_UTF8: Final = f"""
  ;; Whether UTF-8 is valid, from $p on to before $end; 64 bytes of ASCII at a time.
  (func $utf8 (param $p i32) (param $end i32) (local $b i32) (local $n i32) (local $low i32) (local $high i32)
    (loop $next
      (if (i32.ge_u (local.get $p) (local.get $end)) (then (return)))
      (if (i32.ge_u (i32.sub (local.get $end) (local.get $p)) (i32.const 64)) (then
        (if (i64.eqz (i64.and {_MANY} (i64.const 0x8080808080808080))) (then
          (local.set $p (i32.add (local.get $p) (i32.const 64))) (br $next)))))
      (if (i32.ge_u (i32.sub (local.get $end) (local.get $p)) (i32.const 8)) (then
        (if (i64.eqz (i64.and (i64.load (local.get $p)) (i64.const 0x8080808080808080))) (then
          (local.set $p (i32.add (local.get $p) (i32.const 8))) (br $next)))))
      (local.set $b (i32.load8_u (local.get $p)))
      (local.set $p (i32.add (local.get $p) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $b) (i32.const 0x80)))
      ;; How many bytes follow, and the range of the first of them.
      (local.set $low (i32.const 0x80)) (local.set $high (i32.const 0xBF))
      (if (i32.or (i32.lt_u (local.get $b) (i32.const 0xC2)) (i32.gt_u (local.get $b) (i32.const 0xF4)))
        (then {fault(TEXT)}))
      (local.set $n (i32.add (i32.add (i32.const 1) (i32.ge_u (local.get $b) (i32.const 0xE0)))
        (i32.ge_u (local.get $b) (i32.const 0xF0))))
      (if (i32.eq (local.get $b) (i32.const 0xE0)) (then (local.set $low (i32.const 0xA0))))
      (if (i32.eq (local.get $b) (i32.const 0xED)) (then (local.set $high (i32.const 0x9F))))
      (if (i32.eq (local.get $b) (i32.const 0xF0)) (then (local.set $low (i32.const 0x90))))
      (if (i32.eq (local.get $b) (i32.const 0xF4)) (then (local.set $high (i32.const 0x8F))))
      (if (i32.gt_u (local.get $n) (i32.sub (local.get $end) (local.get $p))) (then {fault(TEXT)}))
      (loop $more
        (local.set $b (i32.load8_u (local.get $p)))
        (if (i32.or (i32.lt_u (local.get $b) (local.get $low)) (i32.gt_u (local.get $b) (local.get $high)))
          (then {fault(TEXT)}))
        (local.set $low (i32.const 0x80)) (local.set $high (i32.const 0xBF))
        (local.set $p (i32.add (local.get $p) (i32.const 1)))
        (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (br $next)))"""

_MEMORY_HELPERS: Final = f"""
  (func $within (param $at i32) (param $bytes i64) (param $align i32)
    (if (i32.and (local.get $at) (i32.sub (local.get $align) (i32.const 1))) (then {fault(ALIGNMENT)}))
    (if (i64.gt_u (i64.add (i64.extend_i32_u (local.get $at)) (local.get $bytes))
                  (i64.shl (i64.extend_i32_u (memory.size $plugin)) (i64.const 16)))
      (then {fault(BOUNDS)})))
  ;; Copies what the pointer at $p leads to into the host's memory, and makes it lead there.
  (func $pull (param $p i32) (param $bytes i64) (param $align i32) (result i32) (local $from i32) (local $to i32)
    (local.set $from (i32.load (local.get $p)))
    (call $within (local.get $from) (local.get $bytes) (local.get $align))
    (local.set $to (call $take (i32.const 0) (i32.const 0) (local.get $align) (i32.wrap_i64 (local.get $bytes))))
    (memory.copy 0 $plugin (local.get $to) (local.get $from) (i32.wrap_i64 (local.get $bytes)))
    (i32.store (local.get $p) (local.get $to))
    (local.get $to))
  ;; Whether what the pointer at $p leads to is long, and is left where it is, for the host to read there.
  (func $left (param $p i32) (param $bytes i64) (param $align i32) (result i32) (local $n i32)
    (if (i64.lt_u (local.get $bytes) (i64.const {IN_PLACE_BYTES})) (then (return (i32.const 0))))
    (if (i32.eqz (i32.load offset={IN_PLACE_AT} (i32.const 0))) (then (return (i32.const 0))))
    (local.set $n (i32.load offset={LEFT_COUNT_AT} (i32.const 0)))
    (if (i32.ge_u (local.get $n) (i32.const {LEFT_CAPACITY})) (then (return (i32.const 0))))
    (call $within (i32.load (local.get $p)) (local.get $bytes) (local.get $align))
    (i32.store offset={LEFT_LIST_AT} (i32.shl (local.get $n) (i32.const 2)) (i32.load (local.get $p)))
    (i32.store offset={LEFT_COUNT_AT} (i32.const 0) (i32.add (local.get $n) (i32.const 1)))
    (i32.store (local.get $p) (i32.add (i32.const {MEMORY_BYTES}) (local.get $n)))
    (i32.const 1))"""

_REALLOC_HELPERS: Final = f"""
  (func $room (param $bytes i32) (param $align i32) (result i32) (local $at i32)
    {SHUT}
    (local.set $at (call $realloc (i32.const 0) (i32.const 0) (local.get $align) (local.get $bytes)))
    {OPEN}
    (if (i32.and (local.get $at) (i32.sub (local.get $align) (i32.const 1))) (then {fault(REALLOC)}))
    (if (i64.gt_u (i64.add (i64.extend_i32_u (local.get $at)) (i64.extend_i32_u (local.get $bytes)))
                  (i64.shl (i64.extend_i32_u (memory.size $plugin)) (i64.const 16)))
      (then {fault(REALLOC)}))
    (local.get $at))
  ;; Copies bytes of the host's memory into room of the plugin's, to which the pointer at $p then leads.
  (func $push (param $p i32) (param $from i32) (param $bytes i32) (param $to i32)
    (memory.copy $plugin 0 (local.get $to) (local.get $from) (local.get $bytes))
    (i32.store (local.get $p) (local.get $to)))
  ;; Whether what the pointer at $p stands for is a buffer of the host's, which the host then copies into the room.
  (func $filled (param $p i32) (param $bytes i32) (param $align i32) (result i32) (local $to i32)
    (if (i32.lt_u (i32.load (local.get $p)) (i32.const {MEMORY_BYTES})) (then (return (i32.const 0))))
    (local.set $to (call $room (local.get $bytes) (local.get $align)))
    (i32.store offset={FILLED_FROM_AT} (i32.const 0) (i32.sub (i32.load (local.get $p)) (i32.const {MEMORY_BYTES})))
    (i32.store offset={FILLED_TO_AT} (i32.const 0) (local.get $to))
    (call $call (global.get $fill))
    (i32.store (local.get $p) (local.get $to))
    (i32.const 1))"""


def helpers(*, memory: bool, realloc: bool, fill: int) -> str:
    """Write the functions that movers call.

    If the plugin has a memory, `$take` is imported: the allocator of the host's memory. If it has an allocator,
    `$realloc` is imported, and the global `$shut`, which is 1 while the plugin must not call out. `$call` calls the
    host.

    Args:
        memory: Whether the plugin has a memory.
        realloc: Whether it has an allocator.
        fill: The call number that asks the host to copy one of its buffers.
    """
    used = _HELPERS + _UTF8
    if memory:
        used += _MEMORY_HELPERS
    if memory and realloc:
        used += f"(global $fill i32 (i32.const {fill}))" + _REALLOC_HELPERS
    return used


class CheckedFunction(Function):
    """A function body that checks a plugin's flat values before it stores them."""

    def store(self, ty: Type, base: str, offset: int, flat: list[str]) -> None:
        match ty:
            case PrimT("bool"):
                flat[0] = f"(i32.ne {flat[0]} (i32.const 0))"
            case PrimT("char"):
                self.emit(f"(call $scalar {flat[0]})")
            case VariantT() | OptionT() | ResultT() | EnumT():
                count = len(cases_of(ty))
                self.emit(f"(if (i32.ge_u {flat[0]} (i32.const {count})) (then {fault(DISCRIMINANT)}))")
            case _:
                pass
        super().store(ty, base, offset, flat)


class Movers:
    """Functions for the types of one module, each written at its first use.

    Args:
        handles: Writes the conversion of handles.
    """

    def __init__(self, handles: Handles) -> None:
        self._handles = handles
        self._names: dict[tuple[str, Type], str] = {}
        self.texts: list[str] = []

    def pull(self, ty: Type, address: str) -> str:
        """Return the instruction that checks a value in the host's memory and copies what it points to; empty for
        none."""
        return self._call("pull", ty, address)

    def push(self, ty: Type, address: str) -> str:
        """Return the instruction that copies what a host value points to into the plugin; empty for none."""
        return self._call("push", ty, address)

    def _call(self, way: str, ty: Type, address: str) -> str:
        if not (has_pointers(ty) or has_handles(ty) if way == "push" else _needs_looks(ty)):
            return ""
        if (way, ty) not in self._names:
            self._names[way, ty] = name = f"${way}-{len(self._names)}"
            self.texts.append(f"(func {name} (param $p i32) {self._body(way, ty)})")
        return f"(call {self._names[way, ty]} {address})"

    def _body(self, way: str, ty: Type) -> str:
        at = "(i32.add (local.get $p) (i32.const {}))".format
        match ty:
            case PrimT("bool"):
                return "(i32.store8 (local.get $p) (i32.ne (i32.load8_u (local.get $p)) (i32.const 0)))"
            case PrimT("char"):
                return "(call $scalar (i32.load (local.get $p)))"
            case PrimT("string") if way == "pull":
                length = "(i32.load offset=4 (local.get $p))"
                return f"""(local $at i32)
                  ;; What the host reads in place it looks at itself.
                  (if (call $left (local.get $p) (i64.extend_i32_u {length}) (i32.const 1)) (then (return)))
                  (local.set $at (call $pull (local.get $p) (i64.extend_i32_u {length}) (i32.const 1)))
                  (call $utf8 (local.get $at) (i32.add (local.get $at) {length}))"""
            case PrimT("string"):
                length = "(i32.load offset=4 (local.get $p))"
                return f"""(if (call $filled (local.get $p) {length} (i32.const 1)) (then (return)))
                  (call $push (local.get $p) (i32.load (local.get $p)) {length}
                    (call $room {length} (i32.const 1)))"""
            case RecordT() | TupleT():
                return "\n".join(self._call(way, t, at(o)) for o, t in offsets(ty))
            case VariantT() | OptionT() | ResultT() | EnumT():
                cases = cases_of(ty)
                load = f"({_LOADS[discriminant_size(len(cases))]} (local.get $p))"
                payload = at(payload_offset(ty))
                lines = []
                if way == "pull":
                    lines.append(f"(if (i32.ge_u {load} (i32.const {len(cases)})) (then {fault(DISCRIMINANT)}))")
                for number, case in enumerate(cases):
                    if case is not None and (inner := self._call(way, case, payload)):
                        lines.append(f"(if (i32.eq {load} (i32.const {number})) (then {inner}))")
                return "\n".join(lines)
            case ListT():
                return self._list(way, ty.element)
            case OwnT() | BorrowT():
                return self._handles.out(ty) if way == "pull" else self._handles.into(ty)
            case _:
                raise TypeError(f"{ty} has nothing to look at")

    def _list(self, way: str, element: Type) -> str:
        step, align = size(element), alignment(element)
        inner = self._call(way, element, "(local.get $i)")
        loop = (
            inner
            and f"""
          (local.set $i (local.get $from))
          (block $done (loop $next
            (br_if $done (i32.ge_u (local.get $i) (local.get $end)))
            {inner}
            (local.set $i (i32.add (local.get $i) (i32.const {step})))
            (br $next)))"""
        )
        # The host reads and writes such a list as one array of numbers.
        plain = isinstance(element, PrimT) and element.name in DTYPES and not inner
        if way == "pull":
            left = f"(call $left (local.get $p) (local.get $bytes) (i32.const {align}))"
            return f"""(local $from i32) (local $i i32) (local $end i32) (local $bytes i64)
              (local.set $bytes (i64.mul (i64.load32_u offset=4 (local.get $p)) (i64.const {step})))
              (if (i64.gt_u (local.get $bytes) (i64.const 0xFFFFFFFF)) (then {fault(BOUNDS)}))
              {f"(if {left} (then (return)))" if plain else ""}
              (local.set $from (call $pull (local.get $p) (local.get $bytes) (i32.const {align})))
              (local.set $end (i32.add (local.get $from) (i32.wrap_i64 (local.get $bytes))))
              {loop}"""
        filled = f"(call $filled (local.get $p) (local.get $bytes) (i32.const {align}))"
        return f"""(local $from i32) (local $i i32) (local $end i32) (local $bytes i32) (local $to i32)
          (local.set $from (i32.load (local.get $p)))
          (local.set $bytes (i32.mul (i32.load offset=4 (local.get $p)) (i32.const {step})))
          {f"(if {filled} (then (return)))" if plain else ""}
          (local.set $end (i32.add (local.get $from) (local.get $bytes)))
          (local.set $to (call $room (local.get $bytes) (i32.const {align})))
          {loop}
          (call $push (local.get $p) (local.get $from) (local.get $bytes) (local.get $to))"""


def _needs_looks(ty: Type) -> bool:
    """Whether a plugin's value may be invalid, or has pointers."""
    match ty:
        case PrimT():
            return ty.name in ("bool", "char", "string")
        case ListT() | VariantT() | OptionT() | ResultT() | EnumT() | OwnT() | BorrowT():
            return True
        case RecordT() | TupleT():
            return any(_needs_looks(t) for _, t in offsets(ty))
        case _:
            return False
