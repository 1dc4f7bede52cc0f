"""Long texts and lists of numbers, which cross without a second copy once the plugin's memory is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import wasmtime

from dataflare.engine.abi.layout import HOST_HALF_AT
from dataflare.engine.abi.types import FuncT, ListT, PrimT, RecordT, Type
from dataflare.engine.engine import Engine
from dataflare.errors import ProtocolFault, ValueTypeError
from dataflare.limits import Limits
from wat_kit import API, HOST, component

U8, U64, TEXT = ListT(PrimT("u8")), ListT(PrimT("u64")), PrimT("string")
LONG = 300_000
NUMBERS = np.arange(LONG, dtype=np.uint64) * 7_919
VALUES: dict[str, tuple[Type, Any]] = {
    "bytes": (U8, NUMBERS.tobytes()),
    "numbers": (U64, NUMBERS),
    "text": (TEXT, "naïve €uro 😀 and plain " * 20_000),
    "plain text": (TEXT, "x" * LONG),
    "record": (
        RecordT((("a", U8), ("b", TEXT), ("c", U64))),
        type("Value", (), {"a": NUMBERS.tobytes(), "b": "é" * LONG, "c": NUMBERS[::-1].copy()})(),
    ),
    "list of texts": (ListT(TEXT), ["é" * LONG, "short", "", "x" * LONG]),
}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return bool((np.asarray(one) == np.asarray(other)).all())
    if hasattr(other, "c"):
        return all(same(getattr(one, name), getattr(other, name)) for name in "abc")
    return bool(one == other)


@pytest.mark.parametrize("case", VALUES)
def test_long_values_cross_unchanged_again_and_again(engine: Engine, case: str) -> None:
    ty, value = VALUES[case]
    heard: list[Any] = []

    def answer(x: Any) -> Any:
        heard.append(x)
        return x

    binary = component({"f": FuncT((("x", ty),), ty)})
    with engine.load(binary, name="kit").instantiate({HOST: {"f": answer}}) as instance:
        sizes = []
        for _ in range(6):
            assert same(instance.call(API, "f", value), value)
            sizes.append(instance.stats.memory_bytes)
        known = instance._exports_memory.plugin is not None
        assert known == instance.component.flattened
        # Post-return has the plugin's memory used again, in place or not.
        assert sizes[2:] == [sizes[2]] * 4
    assert len(heard) == 6 and all(same(each, value) for each in heard)


def test_the_first_long_argument_is_in_place_already(engine: Engine) -> None:
    binary = component({"f": FuncT((("x", U8),), U8)})
    with engine.load(binary, name="kit").instantiate({HOST: {"f": lambda x: x}}) as instance:
        instance.call(API, "f", b"short")
        assert instance._exports_memory.plugin is None
        assert instance.call(API, "f", VALUES["bytes"][1]) == VALUES["bytes"][1]
        known = instance._exports_memory.plugin
        assert (known is not None) == instance.component.flattened
        # Nothing of it has touched the host's memory.
        assert known is None or not any(instance._exports_memory.view[HOST_HALF_AT + 64 : HOST_HALF_AT + LONG])


def test_values_of_all_sizes_as_memory_grows(engine: Engine) -> None:
    binary = component({}, {"f": FuncT((("x", U8),), U8)})
    with engine.load(binary, name="kit").instantiate({}) as instance:
        for size in (10, 65_535, 65_536, 65_537, 1_000_000, 20, 3_000_000, 65_536, 0, 9_000_000, 65_536):
            data = NUMBERS.tobytes()[:size] if size < LONG else bytes(size - 1) + b"x"
            assert instance.call(API, "f", data) == data


def test_bytes_are_counted_in_place_too(engine: Engine) -> None:
    binary = component({"f": FuncT((("x", U8),), U8)})
    with engine.load(binary, name="kit").instantiate({HOST: {"f": lambda x: x}}) as instance:
        for call in range(1, 5):
            instance.call(API, "f", bytes(LONG))
            assert LONG * 2 * call <= instance.stats.bytes_in <= LONG * 2 * call + 1_000
            assert LONG * 2 * call <= instance.stats.bytes_out <= LONG * 2 * call + 1_000


def test_views_show_the_plugins_memory_during_the_call(engine: Engine) -> None:
    seen: list[Any] = []

    def look(x: Any) -> None:
        seen.append(int(x.sum()))

    look.takes_views = True  # type: ignore[attr-defined]
    binary = component({"f": FuncT((("x", U64),), None)})
    with engine.load(binary, name="kit").instantiate({HOST: {"f": look}}) as instance:
        for _ in range(4):
            instance.call(API, "f", NUMBERS)
    assert seen == [int(NUMBERS.sum())] * 4


def test_a_refused_value_leaves_the_instance_alive(engine: Engine) -> None:
    ty = RecordT((("a", U8), ("b", PrimT("u8"))))
    binary = component({"f": FuncT((("x", ty),), None)})
    good, bad = (type("Value", (), {"a": bytes(LONG), "b": b})() for b in (1, 300))
    with engine.load(binary, name="kit").instantiate({HOST: {"f": lambda x: None}}) as instance:
        for _ in range(3):
            instance.call(API, "f", good)
            with pytest.raises(ValueTypeError):
                instance.call(API, "f", bad)


def test_with_fuel(engine: Engine) -> None:
    binary = component({}, {"f": FuncT((("x", U8),), U8)})
    loaded = engine.load(binary, name="kit", fuel=True)
    with loaded.instantiate({}, limits=Limits(fuel=50_000_000)) as instance:
        for _ in range(4):
            assert len(instance.call(API, "f", bytes(LONG))) == LONG


def test_long_text_that_is_not_utf8(engine: Engine) -> None:
    binary = component({}, {"f": FuncT((("x", U8),), TEXT), "g": FuncT((("x", U8),), U8)})
    with engine.load(binary, name="kit").instantiate({}) as instance:
        for _ in range(2):
            instance.call(API, "g", bytes(LONG))
        assert instance.call(API, "f", b"a" * LONG) == "a" * LONG
        with pytest.raises(ProtocolFault, match=r"(?i)utf-?8"):
            instance.call(API, "f", b"a" * LONG + b"\xff")
        assert not instance.alive


def test_long_text_for_a_function_that_takes_bytes_is_looked_at(engine: Engine) -> None:
    def take(x: bytes) -> None:
        assert x == b"a" * LONG

    take.text_as_bytes = True  # type: ignore[attr-defined]
    text = f"""(component (import "{HOST}" (instance $h (export "take" (func (param "x" string)))))
      (core module $memory (memory (export "memory") 8))
      (core instance $mem (instantiate $memory))
      (core func $take (canon lower (func $h "take") (memory (core memory $mem "memory"))))
      (core module $m (import "m" "memory" (memory 1)) (import "h" "take" (func $take (param i32 i32)))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 64))
        (func (export "f") (param i32 i32) (call $take (local.get 0) (local.get 1))))
      (core instance $i (instantiate $m (with "m" (instance $mem))
        (with "h" (instance (export "take" (func $take))))))
      (func $f (param "x" (list u8)) (canon lift (core func $i "f") (memory (core memory $mem "memory"))
        (realloc (core func $i "realloc"))))
      (export "f" (func $f)))"""
    loaded = engine.load(bytes(wasmtime.wat2wasm(text)), name="kit")
    with loaded.instantiate({HOST: {"take": take}}) as instance:
        for _ in range(3):
            instance.call("", "f", b"a" * LONG)
        with pytest.raises(ProtocolFault, match=r"(?i)utf-?8"):
            instance.call("", "f", b"a" * LONG + b"\xff")


@pytest.mark.parametrize("realloc", ["(i32.const -16)", "(i32.const 65536)", "(i32.const 1025)"])
def test_room_for_long_values_is_looked_at(engine: Engine, realloc: str) -> None:
    """The allocator answers well as long as what it is asked for is short or the memory is not known yet."""
    text = f"""(component
      (core module $m (memory (export "memory") 8) (global $n (mut i32) (i32.const 0))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32)
          (global.set $n (i32.add (global.get $n) (i32.const 1)))
          (if (result i32) (i32.lt_u (global.get $n) (i32.const 4)) (then (i32.const 64)) (else {realloc})))
        (func (export "f") (param i32 i32)))
      (core instance $i (instantiate $m))
      (func $f (param "x" (list u64)) (canon lift (core func $i "f") (memory (core memory $i "memory"))
        (realloc (core func $i "realloc"))))
      (export "f" (func $f)))"""
    loaded = engine.load(bytes(wasmtime.wat2wasm(text)), name="kit")
    data = np.zeros(64_000, np.uint64)
    with loaded.instantiate({}) as instance:
        for _ in range(3):
            instance.call("", "f", data)
        with pytest.raises(ProtocolFault):
            instance.call("", "f", data)


@pytest.mark.parametrize(
    "memories", ['(memory (export "memory") 8) (memory (export "other") 1)', '(memory (export "memory") 8)']
)
def test_the_memory_is_found_among_others(engine: Engine, memories: str) -> None:
    text = f"""(component
      (core module $other (memory 3) (data (i32.const 0) "another memory that begins with something"))
      (core instance (instantiate $other))
      (core module $m {memories} (data (i32.const 0) "what the memory begins with")
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 64))
        (func (export "f") (param i32 i32) (result i32)
          (i32.store (i32.const 32) (local.get 0)) (i32.store (i32.const 36) (local.get 1)) (i32.const 32))
        (func (export "first") (result i32)
          (i32.store (i32.const 32) (i32.const 0)) (i32.store (i32.const 36) (i32.const 27)) (i32.const 32)))
      (core instance $i (instantiate $m))
      (func $f (param "x" (list u8)) (result (list u8)) (canon lift (core func $i "f")
        (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
      (func $first (result string) (canon lift (core func $i "first") (memory (core memory $i "memory"))))
      (export "f" (func $f)) (export "first" (func $first)))"""
    loaded = engine.load(bytes(wasmtime.wat2wasm(text)), name="kit")
    with loaded.instantiate({}) as instance:
        for call in range(4):
            data = bytes([call]) * LONG
            assert instance.call("", "f", data) == data
            assert instance.call("", "first") == "what the memory begins with"
        assert (instance._exports_memory.plugin is not None) == loaded.flattened
