"""Attacks on flattened components, in which the host's own code in wasm does what wasmtime's adapters do otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import wasmtime

from arena import Arena, Mutation, answers, attack
from dataflare.engine.bridges.wat import Function
from dataflare.engine.engine import Engine
from dataflare.engine.flat.faults import BORROWS, LENT, NOT_OWNED, WRONG_TYPE, fault
from dataflare.engine.flat.handles import HANDLES_TEXT
from dataflare.errors import ProtocolFault


def _ends_with_a_fault(arena: Arena, result: str, body: str, data: str, says: str) -> None:
    """Call a function with this result, whose code and data misbehave, in a flattened component."""
    text = f"""(component
      (core module $m (memory (export "memory") 1) (data (i32.const 64) "{data}")
        (func (export "f") (result i32) {body}))
      (core instance $i (instantiate $m))
      (func $f (result {result}) (canon lift (core func $i "f") (memory (core memory $i "memory"))))
      (export "f" (func $f)))"""
    with Engine(cache_dir=arena.folder / "flat", flatten=True) as engine:
        loaded: Any = engine.load(bytes(wasmtime.wat2wasm(text)), name="plugin")
        assert loaded.flattened
        with loaded.instantiate({}) as instance:
            arena.raises(ProtocolFault, lambda: instance.call("", "f"), says=says)
            assert not instance.alive


@attack("memory")
def flattened_list_outside_of_memory(arena: Arena) -> None:
    """Return a list that lies beyond the plugin's memory, where the host's own would answer."""
    data = "\\00\\00\\10\\00\\04\\00\\00\\00"
    _ends_with_a_fault(arena, "(list u8)", "(i32.const 64)", data, "out of bounds")


@attack("memory")
def flattened_text_that_is_not_utf8(arena: Arena) -> None:
    """Return a text of bytes that are not valid UTF-8."""
    data = "\\48\\00\\00\\00\\02\\00\\00\\00\\c0\\80"
    _ends_with_a_fault(arena, "string", "(i32.const 64)", data, "UTF-8")


@attack("memory")
def flattened_discriminant_beyond_its_byte(arena: Arena) -> None:
    """Return a discriminant of 256, whose lowest byte is a valid one."""
    _ends_with_a_fault(arena, "(result)", "(i32.const 256)", "", "discriminant")


HANDLES = Path(__file__).parents[1] / "engine" / "handle_programs.wat"
NEW, MAKE, TAKE, LOOK, BOTH = 0, 3, 5, 6, 7
API, HOST = "test:kit/api@1.0.0", "test:kit/host@1.0.0"


def _handles_end_with_a_fault(
    arena: Arena, program: list[tuple[int, int]], says: str, *, lent: object | None = None
) -> None:
    """Run a program over handles in a flattened component; `lent` is lent to it for the time of the call."""
    got: list[object] = []

    def take(*things: object) -> int:
        got.extend(things)
        return 0

    host = {
        **{name: take for name in ("take", "look", "both", "turn", "swap")},
        "[constructor]thing": lambda _: object(),
    }
    with Engine(cache_dir=arena.folder / "handles", flatten=True) as engine:
        loaded: Any = engine.load(bytes(wasmtime.wat2wasm(HANDLES.read_text())), name="plugin")
        with loaded.instantiate({HOST: host}) as instance:
            function, arguments = ("run", [program]) if lent is None else ("lend-thing", [lent, program])
            arena.raises(ProtocolFault, lambda: instance.call(API, function, *arguments), says=says)
            assert not instance.alive and not got


@attack("memory")
def flattened_forged_handle(arena: Arena) -> None:
    """Make a resource of your own whose representation is the number of an object of the host's, and use it as one."""
    _handles_end_with_a_fault(arena, [(MAKE, 5), (NEW, 1), (LOOK, 2)], "another resource")


@attack("memory")
def flattened_borrowed_handle_given_away(arena: Arena) -> None:
    """Give away, as your own, a handle that the host only lent."""
    _handles_end_with_a_fault(arena, [(TAKE, 1)], "owned one", lent=object())


@attack("memory")
def flattened_borrowed_handle_kept(arena: Arena) -> None:
    """Keep a handle that the host lent beyond the call that it was lent for."""
    _handles_end_with_a_fault(arena, [], "not dropped", lent=object())


@attack("memory")
def flattened_handle_lent_and_given_away(arena: Arena) -> None:
    """Lend a handle to the host, and give it away in the same call."""
    _handles_end_with_a_fault(arena, [(MAKE, 5), (BOTH, 1 | 1 << 16)], "lends it")


@attack("memory")
def flattened_call_from_realloc(arena: Arena) -> None:
    """Call the host while it asks for room for the arguments of a call that has not begun."""
    reached: list[str] = []
    text = f"""(component
      (import "{HOST}" (instance $h (export "ping" (func)))) (core func $ping (canon lower (func $h "ping")))
      (core module $m (import "h" "ping" (func $ping)) (memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (call $ping) (i32.const 64))
        (func (export "f") (param i32 i32)))
      (core instance $i (instantiate $m (with "h" (instance (export "ping" (func $ping))))))
      (func $f (param "x" string) (canon lift (core func $i "f") (memory (core memory $i "memory"))
        (realloc (core func $i "realloc"))))
      (export "f" (func $f)))"""
    with Engine(cache_dir=arena.folder / "flat", flatten=True) as engine:
        loaded: Any = engine.load(bytes(wasmtime.wat2wasm(text)), name="plugin")
        with loaded.instantiate({HOST: {"ping": lambda: reached.append("ping")}}) as instance:
            arena.raises(ProtocolFault, lambda: instance.call("", "f", "x"), says="realloc or post-return")
            assert not reached


@attack("memory")
def flattened_handle_made_while_wasi_waits(arena: Arena) -> None:
    """Make a handle while WASI has room made for the result of a call that has not ended."""
    text = """(component
      (import "wasi:random/random@0.2.0" (instance $r
        (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
      (type $t (resource (rep i32))) (core func $new (canon resource.new $t))
      (core module $m (import "h" "new" (func $new (param i32) (result i32))) (memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (drop (call $new (i32.const 1))) (i32.const 64)))
      (core instance $i (instantiate $m (with "h" (instance (export "new" (func $new))))))
      (core func $bytes (canon lower (func $r "get-random-bytes")
        (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
      (core module $n (import "h" "bytes" (func $bytes (param i64 i32)))
        (func (export "f") (call $bytes (i64.const 4) (i32.const 128))))
      (core instance $j (instantiate $n (with "h" (instance (export "bytes" (func $bytes))))))
      (func (export "f") (canon lift (core func $j "f"))))"""
    with Engine(cache_dir=arena.folder / "flat", flatten=True) as engine:
        loaded: Any = engine.load(bytes(wasmtime.wat2wasm(text)), name="plugin")
        with loaded.instantiate({}) as instance:
            arena.raises(ProtocolFault, lambda: instance.call("", "f"), says="realloc or post-return")
            assert not instance.alive


@attack("memory")
def flattened_long_text_that_is_not_utf8(arena: Arena) -> None:
    """Hand a long text that is not valid UTF-8 to a function of the host's that takes texts as bytes, in place."""
    taken: list[int] = []

    def take(text: bytes) -> None:
        taken.append(len(text))

    take.text_as_bytes = True  # type: ignore[attr-defined]
    text = f"""(component (import "{HOST}" (instance $h (export "take" (func (param "x" string)))))
      (core module $memory (memory (export "memory") 8)) (core instance $mem (instantiate $memory))
      (core func $take (canon lower (func $h "take") (memory (core memory $mem "memory"))))
      (core module $m (import "h" "take" (func $take (param i32 i32)))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 64))
        (func (export "f") (param i32 i32) (call $take (local.get 0) (local.get 1))))
      (core instance $i (instantiate $m (with "h" (instance (export "take" (func $take))))))
      (func $f (param "x" (list u8)) (canon lift (core func $i "f") (memory (core memory $mem "memory"))
        (realloc (core func $i "realloc"))))
      (export "f" (func $f)))"""
    with Engine(cache_dir=arena.folder / "flat", flatten=True) as engine:
        loaded: Any = engine.load(bytes(wasmtime.wat2wasm(text)), name="plugin")
        with loaded.instantiate({HOST: {"take": take}}) as instance:
            for _ in range(3):
                instance.call("", "f", b"a" * 300_000)
            arena.raises(ProtocolFault, lambda: instance.call("", "f", b"a" * 300_000 + b"\xff"), says="UTF-8")
            assert taken == [300_000] * 3


def _unchecked_text(memory: Any, at: int, size: int) -> Any:
    view, at = memory._in_place(at, size)
    return bytes(view[at : at + size])


def _without(number: int) -> str:
    """The text of the tables without the checks that end with this fault."""
    left = HANDLES_TEXT.replace(fault(number), "(nop)")
    assert left != HANDLES_TEXT
    return left


MUTATIONS = [
    Mutation("dataflare.engine.flat.compose:HANDLES_TEXT", _without(WRONG_TYPE), ("flattened_forged_handle",)),
    Mutation(
        "dataflare.engine.flat.compose:HANDLES_TEXT", _without(NOT_OWNED), ("flattened_borrowed_handle_given_away",)
    ),
    Mutation("dataflare.engine.flat.compose:HANDLES_TEXT", _without(BORROWS), ("flattened_borrowed_handle_kept",)),
    Mutation("dataflare.engine.flat.compose:HANDLES_TEXT", _without(LENT), ("flattened_handle_lent_and_given_away",)),
    Mutation(
        "dataflare.engine.abi.bridge_memory:BridgeMemory._text_in_place",
        _unchecked_text,
        ("flattened_long_text_that_is_not_utf8",),
    ),
    Mutation("dataflare.engine.flat.compose:GUARD", "", ("flattened_call_from_realloc",)),
    Mutation("dataflare.engine.flat.compose:SHUT", "", ("flattened_handle_made_while_wasi_waits",)),
    Mutation(
        "dataflare.engine.flat.movers:_needs_looks",
        answers(False),
        ("flattened_list_outside_of_memory", "flattened_text_that_is_not_utf8"),
    ),
    Mutation(
        "dataflare.engine.flat.movers:CheckedFunction.store",
        Function.store,
        ("flattened_discriminant_beyond_its_byte",),
    ),
]
