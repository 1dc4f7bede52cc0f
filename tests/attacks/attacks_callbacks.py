"""Attacks with exceptions and interrupts that come at the wrong moment, and with what wasmtime could do alone."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import wasmtime

from arena import Arena, Mutation, answers, attack, bystander
from dataflare.engine.engine import Engine
from dataflare.engine.instance import Instance
from dataflare.engine.native.timer import Timer
from dataflare.errors import (
    CallCancelled,
    CallTimeout,
    DataflareError,
    GuestPanic,
    HostShortage,
    UnsupportedComponent,
    UsageError,
)
from dataflare.limits import Limits
from dataflare.runtime.pool import InstancePool, Lease, PoolExhausted, PoolSettings
from plugin_wat import hostile
from untraced import untraced


def _component(body: str, *, name: str = "f") -> bytes:
    """A component that exports `run`, and imports nothing."""
    text = f"""(component (core module $m (func ${name} (export "f") {body}))
      (core instance $i (instantiate $m)) (func (export "run") (canon lift (core func $i "f"))))"""
    return bytes(wasmtime.wat2wasm(text))


FOREVER = _component("(loop $l (br $l))")


def _instance(engine: Engine, binary: bytes = FOREVER, *, timeout_s: float = 2.0) -> Instance:
    return engine.load(binary, name="plugin").instantiate({}, limits=Limits(call_timeout_s=timeout_s))


class _Alarm(BaseException):
    pass


def _ring(*_: object) -> None:
    raise _Alarm


@attack("limits")
def loop_that_swallows_signals(arena: Arena) -> None:
    """Compute forever in the main thread, so that no handler of a signal ever runs there."""
    instance = _instance(arena.engine)
    before = signal.signal(signal.SIGALRM, _ring)
    try:
        began = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        arena.raises(_Alarm, lambda: instance.call("", "run"))
        assert time.monotonic() - began < 1.5 and not instance.alive
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@attack("limits")
def loop_past_the_hosts_interrupt(arena: Arena) -> None:
    """Go on computing when the host has given the call up."""
    instance = _instance(arena.engine)
    threading.Timer(0.2, instance.interrupt).start()
    error = arena.raises_any(DataflareError, lambda: instance.call("", "run"))
    assert type(error) is CallCancelled, f"it went on: {error}"


@attack("limits")
def calls_nested_until_the_stack_ends(arena: Arena) -> None:
    """Have plugins call each other until the thread's stack is used up, half a megabyte by each."""
    binary = _component("")

    def nested(levels: int) -> None:
        def call(*_: object) -> None:
            if levels:
                nested(levels - 1)

        text = """(component (import "host" (func $f)) (core func $l (canon lower (func $f)))
          (core module $m (import "" "f" (func $f)) (func (export "f") (call $f)))
          (core instance $i (instantiate $m (with "" (instance (export "f" (func $l))))))
          (func (export "run") (canon lift (core func $i "f"))))"""
        component = arena.engine.load(bytes(wasmtime.wat2wasm(text)), name="nested")
        with component.instantiate({"": {"host": call}}) as instance:
            instance.call("", "run")

    nested(5)
    arena.raises(UsageError, lambda: nested(15), says="called within 10 calls")
    assert _instance(arena.engine, binary).call("", "run") is None


@attack("limits")
def load_and_close_deep_in_a_recursion(arena: Arena) -> None:
    """Have components read and plugins closed just below the recursion limit, where they are lost halfway."""

    def at(depth: int, call: Callable[[], object]) -> object:
        return at(depth - 1, call) if depth else call()

    host = arena.host()
    arena.load(bystander().binary, host, name="first").close()
    held, free = len(os.listdir("/proc/self/fd")), _depth_left()
    before, sys.unraisablehook = sys.unraisablehook, lambda _: None  # within a destructor, nothing comes of the limit
    arena.at_close(lambda: setattr(sys, "unraisablehook", before))
    for left in range(1, 150, 2):
        unseen = hostile({"nothing": f"(drop (i32.const {left}))"}).binary
        plugin = arena.load(bystander().binary, host, name=f"p{left}")
        for call in (lambda: arena.engine.shape(unseen, name="unseen"), plugin.close):  # noqa: B023  # called at once
            try:
                at(free - left, call)
            except RecursionError:
                continue
            except Exception as error:
                raise AssertionError(f"{left} levels below the limit: {error!r}") from error
        plugin.close()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= held, "closed plugins keep files"


@attack("limits")
def load_without_memory(arena: Arena) -> None:
    """Be loaded where the system has next to no memory left: the compiler would end the process."""
    unseen = hostile({"nothing": "(drop (i32.const 77777))"}).binary
    for more_bytes in (2**20, 12 * 2**20):
        child = os.fork()
        if not child:
            signal.alarm(int(arena.patience_s))
            used_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used_bytes + more_bytes, resource.RLIM_INFINITY))
            try:
                arena.engine.shape(unseen, name="unseen")
            except HostShortage:
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _depth_left() -> int:
    depth, frame = 0, sys._getframe()
    while frame.f_back is not None:
        depth, frame = depth + 1, frame.f_back
    return sys.getrecursionlimit() - depth


@attack("limits")
def watch_that_is_killed(arena: Arena) -> None:
    """Have an exception set for the thread that watches time limits, to compute forever afterwards."""
    import ctypes

    seconds = _component("(local i64) (loop $l (br_if $l (i64.lt_u (local.tee 0 (i64.add (local.get 0) (i64.const 1)))"
                         " (i64.const 3000000000))))")  # fmt: skip
    with untraced(), Engine(cache_dir=_folder(arena.folder)) as engine:
        with _instance(engine, _component("")) as first:
            first.call("", "run")
            timer: Timer = first._timer
        for _ in range(20):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(timer._beat.thread), ctypes.py_object(SystemExit))
            timer._beat.wake()
            time.sleep(0.01)
        arena.raises(CallTimeout, lambda: _instance(engine, seconds, timeout_s=0.3).call("", "run"))


@attack("limits")
def watch_that_a_fork_left_behind(arena: Arena) -> None:
    """Compute forever in a forked process, which has no thread of its parent's."""
    seconds = _component("(local i64) (loop $l (br_if $l (i64.lt_u (local.tee 0 (i64.add (local.get 0) (i64.const 1)))"
                         " (i64.const 3000000000))))")  # fmt: skip
    with _instance(arena.engine, _component("")) as first:
        first.call("", "run")
    instance = _instance(arena.engine, seconds, timeout_s=0.3)
    child = os.fork()
    if not child:
        try:
            instance.call("", "run")
        except CallTimeout:
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@attack("files-in")
def async_in_a_synchronous_call(arena: Arena) -> None:
    """Use async parts of the component model from a synchronous export, to reach faults of wasmtime."""
    text = """(component (import "f" (func $f async)) (core func $l (canon lower (func $f) async))
      (core module $m (import "" "f" (func (result i32))) (func (export "g") (drop (call 0))))
      (core instance $i (instantiate $m (with "" (instance (export "f" (func $l))))))
      (func (export "g") (canon lift (core func $i "g"))))"""
    with Engine(cache_dir=_folder(arena.folder)) as engine:
        binary = bytes(wasmtime.wat2wasm(text))
        arena.raises(UnsupportedComponent, lambda: engine.shape(binary, name="a"), says="component-model-async")


@attack("limits")
def memory_outside_of_what_is_counted(arena: Arena) -> None:
    """Keep data in exceptions, whose heap is not within the memory limit."""
    binary = bytes(wasmtime.wat2wasm("(component (core module (tag)))"))
    with Engine(cache_dir=_folder(arena.folder)) as engine:
        arena.raises(UnsupportedComponent, lambda: engine.shape(binary, name="a"), says="exceptions")


@attack("limits")
def names_without_end_in_a_trap(arena: Arena) -> None:
    """Trap in a function with a very long name, which goes into errors and logs."""
    instance = _instance(arena.engine, _component("unreachable", name="n" * 90_000))
    error = arena.raises(GuestPanic, lambda: instance.call("", "run"))
    assert max(map(len, error.backtrace)) < 600 and len(str(error)) < 4_000


@attack("limits")
def code_of_closed_plugins(arena: Arena) -> None:
    """Be loaded and closed again and again, so that the host runs out of files and address space."""
    component = arena.engine.load(_component("nop nop"), name="closed")
    component = arena.engine.load(_component("nop nop"), name="closed")
    component.instantiate({}).close()
    before = _mapped()
    component.close()
    assert _mapped() < before
    arena.raises(UsageError, lambda: component.instantiate({}))


@attack("limits")
def instances_that_interrupts_lose(arena: Arena) -> None:
    """Have interrupts come before an instance is given back, until none is left."""
    ended: list[int] = []
    pool = InstancePool(
        lambda: 1, ended.append, lambda _: True, settings=PoolSettings(maximum=2, acquire_timeout_s=0.2), owner="p"
    )

    def lose() -> None:
        pool.acquire(Lease())  # its caller never gets to `release`

    for _ in range(6):
        thread = threading.Thread(target=lose)
        thread.start()
        thread.join()
    lease: Lease[int] = Lease()
    try:
        assert pool.acquire(lease) == 1 and ended
    except PoolExhausted as error:
        raise AssertionError("the places were lost") from error
    pool.release(lease)


def _folder(folder: Path) -> Path:
    return folder / f"compiled-{time.monotonic_ns()}"


def _mapped() -> int:
    return sum(".cwasm" in line for line in Path("/proc/self/maps").read_text().splitlines())


def _fragile(timer_of: Callable[[], Timer | None], beat: Any) -> None:
    beat.thread = threading.get_ident()
    beat.runs = True
    while (timer := timer_of()) is not None and not timer._closed:
        if not timer._tick():
            beat.idle = True
            beat.sleep()
        time.sleep(0.005)


MUTATIONS = [
    Mutation("dataflare.engine.native.timer:_MAIN_LOOKS_S", 3600.0, ("loop_that_swallows_signals",)),
    Mutation("dataflare.engine.instance:Instance.interrupt", answers(None), ("loop_past_the_hosts_interrupt",)),
    Mutation("dataflare.engine.instance:_MAX_NESTING", 1000, ("calls_nested_until_the_stack_ends",)),
    Mutation("dataflare.engine.engine:require_memory", answers(None), ("load_without_memory",)),
    Mutation("dataflare.headroom:_descend", answers(None), ("load_and_close_deep_in_a_recursion",)),
    Mutation("dataflare.engine.native.timer:_run", _fragile, ("watch_that_is_killed",)),
    Mutation("dataflare.engine.native.timer:Timer._after_fork", answers(None), ("watch_that_a_fork_left_behind",)),
    Mutation(
        "dataflare.engine.compile_profile:turn_off",
        answers(None),
        ("async_in_a_synchronous_call", "memory_outside_of_what_is_counted"),
    ),
    Mutation("dataflare.engine.component:Component.close", answers(None), ("code_of_closed_plugins",)),
    Mutation("dataflare.runtime.pool:InstancePool._take_abandoned", answers(None), ("instances_that_interrupts_lose",)),
]
