"""Guests whose every word for the host is a word of their memory, which the host fills at random beforehand.

`rogue` makes a component for a function type: its `f` hands the host's `f` random words for its flat arguments, and
returns a random word, or the address of random words. `poke` sets eight words, and `rig` what `realloc` returns next.
"""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any, Final

import wasmtime

from dataflare.engine.abi.types import (
    PRIMITIVES,
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
)
from dataflare.values import Err, Ok, Some, Variant
from wat_kit import component_text, core_type
from wit_strategies import integer_range, snake

WORDS: Final = 48
"""Words of 64 bits that matter."""
_RESULT_AT: Final = 8 * 40
_AREA_AT: Final = 8 * 24
_AREA_BYTES: Final = _RESULT_AT - _AREA_AT

_LIBC: Final = """
  (core module $libc-code
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 1024))
    (global $rigged (export "rigged") (mut i32) (i32.const -1))
    (func (export "reset") (global.set $next (i32.const 1024)))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
      (if (i32.ne (global.get $rigged) (i32.const -1))
        (then (local.set $at (global.get $rigged)) (global.set $rigged (i32.const -1)))
        (else
          (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
          (global.set $next (i32.add (local.get $at) (local.get 3)))))
      ;; Bytes between the fields of a value are nobody's: here they are zero, so that all ways leave the same.
      (if (i64.le_u (i64.add (i64.extend_i32_u (local.get $at)) (i64.extend_i32_u (local.get 3)))
                    (i64.shl (i64.extend_i32_u (memory.size)) (i64.const 16)))
        (then (memory.fill (local.get $at) (i32.const 0) (local.get 3))))
      (local.get $at)))
  (core instance $libc (instantiate $libc-code))
  (alias core export $libc "memory" (core memory $mem))
  (alias core export $libc "realloc" (core func $alloc))"""


def rogue(ty: FuncT, *, resources: tuple[str, ...] = ("thing",)) -> bytes:
    """A guest with `f` of this type, which it imports and exports."""
    params, result, direct = core_type(ty)
    words = [f"({core}.load offset={8 * place} (i32.const 0))" for place, core in enumerate(params)]
    passed = [*words, *([] if direct else [f"(i32.const {_AREA_AT})"])]
    imported = [*params, *([] if direct else ["i32"])]
    returns = f"(result {result})" if result else ""
    cleared = "" if direct else f"(memory.fill (i32.const {_AREA_AT}) (i32.const 0) (i32.const {_AREA_BYTES}))"
    called = f"(call $host {' '.join(passed)})"
    called = f"(drop {called})" if result and direct else called
    given = f"({result}.load offset={_RESULT_AT} (i32.const 0))" if result else ""
    drops = "".join(f'(import "host" "drop-{i}" (func (param i32)))' for i in range(len(resources)))
    stores = " ".join(f"(i64.store offset={8 * i} (local.get $at) (local.get {i + 1}))" for i in range(8))
    module = f"""  (core module $module
    (import "libc" "memory" (memory 1)) (import "libc" "rigged" (global $rigged (mut i32)))
    (import "libc" "reset" (func $reset))
    (import "host" "f" (func $host (param {" ".join(imported)}) {returns if direct else ""})) {drops}
    (func (export "f") (param {" ".join(params)}) {returns} {cleared} {called} {given})
    (func (export "post f") {f"(param {result})" if result else ""} (call $reset))
    (func (export "poke") (param $at i32) (param {" ".join(["i64"] * 8)}) {stores})
    (func (export "post poke"))
    (func (export "rig") (param $at i32) (global.set $rigged (local.get $at)))
    (func (export "post rig")))"""
    u32, eight = PrimT("u32"), tuple((f"w{i}", PrimT("u64")) for i in range(8))
    plain = {"poke": FuncT((("at", u32), *eight), None), "rig": FuncT((("at", u32),), None)}
    return bytes(wasmtime.wat2wasm(component_text({"f": ty}, plain, resources=resources, libc=_LIBC, module=module)))


def random_word(rng: random.Random) -> int:
    """Lengths and discriminants, addresses in and out of the one page that a guest has, and anything."""

    def half() -> int:
        small = (0, 1, 1, 2, 3, 4, 5, 8, 64, 128, 256, 1 << 16, (1 << 16) - 8, (1 << 32) - 1, 0xD800, 0x61)
        return rng.choice((*small, *small, rng.randrange(70), rng.randrange(1 << 17), rng.randrange(1 << 32)))

    return half() | half() << 32


def random_type(rng: random.Random, depth: int, handles: tuple[Type, ...]) -> Type:
    """Any type, with handles in it."""
    kinds = ["primitive", "primitive", "enum", "flags", *(["handle"] * 2 if handles else [])]
    if depth:
        kinds += ["list", "list", "tuple", "record", "variant", "option", "result"]

    def inner() -> Type:
        return random_type(rng, depth - 1, handles)

    def perhaps() -> Type | None:
        return None if rng.random() < 0.3 else inner()

    names = tuple(f"n{i}" for i in range(rng.choice((1, 2, 3, 4, 5, 300))))
    match rng.choice(kinds):
        case "primitive":
            return PrimT(rng.choice(list(PRIMITIVES)))
        case "handle":
            return rng.choice(handles)
        case "enum":
            return EnumT(names)
        case "flags":
            return FlagsT(names[:32])
        case "list":
            return ListT(inner())
        case "tuple":
            return TupleT(tuple(inner() for _ in range(rng.randrange(1, 4))))
        case "record":
            return RecordT(tuple((name, inner()) for name in names[:4]))
        case "variant":
            return VariantT(tuple((name, perhaps()) for name in names[:4]))
        case "option":
            return OptionT(inner())
        case _:
            return ResultT(perhaps(), perhaps())


def random_value(rng: random.Random, ty: Type, thing: Any) -> Any:
    """A value of a type; `thing` makes what is behind a handle."""

    def of(inner: Type | None) -> Any:
        return None if inner is None else random_value(rng, inner, thing)

    match ty:
        case PrimT("bool"):
            return rng.random() < 0.5
        case PrimT("string"):
            return "".join(rng.choice("aé€😀") for _ in range(rng.choice((0, 1, 5, 40))))
        case PrimT("char"):
            return rng.choice("a\0é€😀\ud7ff\ue000\U0010ffff")
        case PrimT("f32" | "f64"):
            return rng.choice((0.0, -1.5, float("inf"), 0.25))
        case PrimT():
            return rng.choice((0, *integer_range(ty.name)))
        case ListT():
            return [of(ty.element) for _ in range(rng.choice((0, 1, 2, 7)))]
        case TupleT():
            return tuple(map(of, ty.items))
        case RecordT():
            return SimpleNamespace(**{snake(name): of(t) for name, t in ty.fields})
        case VariantT():
            name, payload = rng.choice(ty.cases)
            return Variant(name, of(payload))
        case EnumT():
            return rng.choice(ty.names)
        case FlagsT():
            return frozenset(rng.sample(ty.names, rng.randrange(len(ty.names))))
        case OptionT():
            value = of(ty.inner)
            return None if rng.random() < 0.4 else Some(value) if isinstance(ty.inner, OptionT) else value
        case ResultT():
            return Ok(of(ty.ok)) if rng.random() < 0.5 else Err(of(ty.err))
        case OwnT() | BorrowT():
            return thing()
