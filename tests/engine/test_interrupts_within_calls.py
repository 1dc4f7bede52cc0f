"""An interrupt at any step of the host's own work within a call: the instance is lost, or as good as before."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import wasmtime

from dataflare.engine.engine import Engine

LONG = bytes(range(256)) * 1_200
FIRST = "what the memory begins with"
# `state` has how many results of `f` are not freed yet, and then what the memory begins with.
TEXT = f"""(component
  (core module $m (memory (export "memory") 8) (data (i32.const 0) "{FIRST}")
    (global $owed (mut i32) (i32.const 0))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "f") (param i32 i32) (result i32) (global.set $owed (i32.add (global.get $owed) (i32.const 1)))
      (i32.store (i32.const 64) (local.get 0)) (i32.store (i32.const 68) (local.get 1)) (i32.const 64))
    (func (export "post") (param i32) (global.set $owed (i32.sub (global.get $owed) (i32.const 1))))
    (func (export "state") (result i32) (i32.store (i32.const 64) (global.get $owed))
      (i32.store (i32.const 68) (i32.const 0)) (i32.store (i32.const 72) (i32.const {len(FIRST)})) (i32.const 64)))
  (core instance $i (instantiate $m))
  (func (export "f") (param "x" (list u8)) (result (list u8)) (canon lift (core func $i "f")
    (memory (core memory $i "memory")) (realloc (core func $i "realloc")) (post-return (core func $i "post"))))
  (func (export "state") (result (tuple u32 string)) (canon lift (core func $i "state")
    (memory (core memory $i "memory")))))"""


class _Interrupts:
    """Raises `KeyboardInterrupt` at one of the functions that Python calls or returns from, given its number."""

    def __init__(self, at: int) -> None:
        self._left = at

    def __call__(self, frame: Any, event: str, argument: object) -> None:
        # Only within a call of the engine: not while the test itself turns this off.
        if "/dataflare/engine/" not in frame.f_code.co_filename or event == "return":
            return
        self._left -= 1
        if self._left < 0:
            sys.setprofile(None)
            raise KeyboardInterrupt


@pytest.mark.parametrize("before", [0, 1], ids=["the first call", "a later call"])
def test_an_interrupt_at_any_step_of_a_call(engine: Engine, before: int) -> None:
    loaded = engine.load(bytes(wasmtime.wat2wasm(TEXT)), name="kit")
    outer = sys.getprofile()
    survived = lost = 0
    for at in range(10_000):
        with loaded.instantiate({}) as instance:
            for _ in range(before):
                instance.call("", "f", LONG)
            try:
                sys.setprofile(_Interrupts(at))
                result = instance.call("", "f", LONG)
            except KeyboardInterrupt:
                if not instance.alive:
                    lost += 1
                    continue
                survived += 1
            else:
                assert result == LONG and instance.alive
                break
            finally:
                sys.setprofile(outer)
            assert instance.call("", "state") == (0, FIRST)
            assert instance.call("", "f", LONG) == LONG
            assert instance.call("", "state") == (0, FIRST)
    assert survived > 5 and lost > 5
