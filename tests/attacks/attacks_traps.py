"""Attacks with traps, when the program that embeds the host has changed what their signals do."""

from __future__ import annotations

import contextlib
import faulthandler
import signal
import sys
from collections.abc import Callable
from typing import Final

import wasmtime

from arena import Arena, Mutation, attack
from attacks_arrow import survives
from dataflare.engine.engine import Engine
from dataflare.errors import PluginFault
from dataflare.limits import Limits

_TRAPS: Final = bytes(
    wasmtime.wat2wasm("""(component
      (core module $m (memory 1)
        (func (export "panic") unreachable)
        (func (export "read") (drop (i32.load (i32.const 0x7fffff00))))
        (func (export "divide") (param i32) (drop (i32.div_s (i32.const 1) (local.get 0))))
        (func $deeper (export "nest") (call $deeper)))
      (core instance $i (instantiate $m))
      (func (export "panic") (canon lift (core func $i "panic")))
      (func (export "read") (canon lift (core func $i "read")))
      (func (export "divide") (param "by" s32) (canon lift (core func $i "divide")))
      (func (export "nest") (canon lift (core func $i "nest"))))""")
)


def _every_trap(engine: Engine) -> None:
    """Trap in each way that there is, each time in a new instance."""
    component = engine.load(_TRAPS, name="plugin")
    for name, *arguments in (("panic",), ("read",), ("divide", 0), ("nest",)):
        instance = component.instantiate({}, limits=Limits(call_timeout_s=20))
        try:
            instance.call("", name, *arguments)
        except PluginFault:
            continue
        raise AssertionError(f"{name} did not trap")


def _after(arena: Arena, change: Callable[[], object]) -> None:
    """In a child: plugins trap before and after the program has changed something."""

    def run() -> None:
        _every_trap(arena.engine)
        change()
        _every_trap(arena.engine)

    arena.engine.load(_TRAPS, name="plugin")  # compiled here, not in the child
    survives(run)


@attack("limits")
def panic_after_faulthandler(arena: Arena) -> None:
    """Panic in a program that enabled `faulthandler` after the host started: its handlers run before wasmtime's."""

    def change() -> None:
        faulthandler.disable()
        with contextlib.suppress(OSError):
            faulthandler.enable(sys.__stderr__)

    _after(arena, change)


@attack("limits")
def panic_after_the_programs_own_handlers(arena: Arena) -> None:
    """Panic in a program that handles the signals of traps itself, ignores them, or leaves them to the system."""

    def change() -> None:
        signal.signal(signal.SIGILL, signal.SIG_DFL)
        signal.signal(signal.SIGSEGV, signal.SIG_IGN)
        signal.signal(signal.SIGFPE, lambda *_: None)

    _after(arena, change)


@attack("limits")
def panic_in_a_thread_without_signals(arena: Arena) -> None:
    """Panic in a thread that blocks every signal, as threads of servers do: a trap would end the process at once."""

    def change() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

    _after(arena, change)


MUTATIONS = [
    Mutation(
        "dataflare.engine.native.callbacks:API.trap_count",
        0,
        ("panic_after_faulthandler", "panic_after_the_programs_own_handlers", "panic_in_a_thread_without_signals"),
    )
]
