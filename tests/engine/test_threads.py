"""One engine and one component for all threads, an instance for each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dataflare.engine.abi.types import FuncT, ListT, OwnT, PrimT, RecordT
from dataflare.engine.engine import Engine
from dataflare.errors import CallTimeout, GuestPanic, PluginFault
from dataflare.limits import Limits
from wat_kit import API, HOST, component

RECORD = RecordT((("numbers", ListT(PrimT("f64"))), ("texts", ListT(PrimT("string"))), ("id", PrimT("u64"))))
BINARY = component({"f": FuncT((("x", RECORD),), RECORD), "g": FuncT((("x", OwnT(0)),), OwnT(0))}, resources=["thing"])


def together(count: int, work: Callable[[int], Any], *, timeout_s: float = 60) -> list[Any]:
    """Run in threads that begin at the same time; results in order, the first error raised."""
    start = threading.Barrier(count)
    results: dict[int, Any] = {}
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            start.wait(10)
            results[number] = work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout_s)
        assert not thread.is_alive()
    if errors:
        raise errors[0]
    return [results[n] for n in range(count)]


def test_values_of_threads_do_not_mix(engine: Engine) -> None:
    loaded = engine.load(BINARY, name="kit")

    def work(number: int) -> int:
        with loaded.instantiate({HOST: {"f": lambda x: x, "g": lambda x: x}}) as instance:
            for turn in range(60):
                value = SimpleNamespace(
                    numbers=np.full(200 + number, number, float), texts=[f"{number}-{turn}"] * 20, id=number * turn
                )
                got = instance.call(API, "f", value)
                assert got.id == number * turn and got.texts == value.texts
                assert np.array_equal(got.numbers, value.numbers)
                thing = object()
                assert instance.call(API, "g", thing) is thing
            return instance.stats.calls

    assert together(6, work) == [120] * 6


def test_codecs_are_compiled_by_whoever_comes_first(engine: Engine) -> None:
    for turn in range(10):
        loaded = engine.load(BINARY, name=f"kit {turn}")
        value = SimpleNamespace(numbers=[1.0], texts=["a"], id=turn)

        def work(_: int, loaded: Any = loaded, value: Any = value) -> Any:
            with loaded.instantiate({HOST: {"f": lambda x: x, "g": lambda x: x}}) as instance:
                return instance.call(API, "f", value).id

        assert together(5, work) == [turn] * 5


def test_an_instance_may_move_between_threads(engine: Engine) -> None:
    seen: list[int] = []
    host = {HOST: {"f": lambda x: (seen.append(threading.get_ident()), x)[1], "g": lambda x: x}}
    with engine.load(BINARY, name="kit").instantiate(host) as instance:
        value = SimpleNamespace(numbers=[1.0, 2.0], texts=["a"], id=5)
        for _ in range(4):
            assert together(1, lambda _: instance.call(API, "f", value).id) == [5]
        assert instance.call(API, "f", value).id == 5
    assert len(seen) == 5 and seen[-1] == threading.get_ident()


def test_faults_stay_with_their_thread(engine: Engine, hostile: Any) -> None:
    loaded = engine.load(hostile("misbehaves"), name="hostile")
    limits = Limits(call_timeout_s=0.3, memory_bytes=2**24)

    def work(number: int) -> type:
        for _ in range(5):
            with loaded.instantiate({}, limits=limits) as instance:
                for n in range(20):
                    assert instance.call(API, "well", n) == n + 1
                try:
                    instance.call(API, ("unreachable", "loop", "well")[number % 3], *([1] if number % 3 == 2 else []))
                    outcome: type = int
                except PluginFault as fault:
                    outcome = type(fault)
        return outcome

    assert together(6, work) == [GuestPanic, CallTimeout, int] * 2


def test_a_long_call_is_not_cut_by_the_deadlines_of_others(engine: Engine, hostile: Any) -> None:
    loops = engine.load(hostile("misbehaves"), name="hostile")
    calls = engine.load(hostile("calls_host"), name="patient")

    def work(number: int) -> str:
        if number:
            instance = loops.instantiate({}, limits=Limits(call_timeout_s=0.1 * number))
            with instance, pytest.raises(CallTimeout):
                instance.call(API, "loop")
            return "cut"
        host = {HOST: {"count": lambda n: (time.sleep(0.01), n + 1)[1], "say": print, "numbers": print}}
        with calls.instantiate(host, limits=Limits(call_timeout_s=30)) as instance:
            for n in range(60):
                assert instance.call(API, "once", n) == n + 1
        return "whole"

    assert together(4, work) == ["whole", "cut", "cut", "cut"]


def test_two_threads_run_wasm_at_the_same_time(engine: Engine, hostile: Any) -> None:
    """While one is within its plugin, another gets on: the interpreter's lock is not held."""
    loops = engine.load(hostile("misbehaves"), name="hostile")
    turns = 0
    done = threading.Event()

    def spin(_: int) -> None:
        with loops.instantiate({}, limits=Limits(call_timeout_s=0.5)) as instance, pytest.raises(CallTimeout):
            instance.call(API, "loop")
        done.set()

    thread = threading.Thread(target=spin, args=(0,))
    thread.start()
    with loops.instantiate({}) as instance:
        while not done.is_set():
            instance.call(API, "well", turns)
            turns += 1
    thread.join(10)
    assert turns > 100
