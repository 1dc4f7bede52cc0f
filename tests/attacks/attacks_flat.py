"""Attacks on flattened components, in which the host's own code in wasm does what wasmtime's adapters do otherwise."""

from __future__ import annotations

from typing import Any

import wasmtime

from arena import Arena, Mutation, answers, attack
from dataflare.engine.bridges.wat import Function
from dataflare.engine.engine import Engine
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


MUTATIONS = [
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
