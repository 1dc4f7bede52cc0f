"""Plugins that misbehave: each ends with the right error, names its place, and harms nobody else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from dataflare.engine.abi.types import FuncT, ListT, PrimT
from dataflare.engine.engine import Engine
from dataflare.errors import (
    CallTimeout,
    GuestPanic,
    MemoryLimitExceeded,
    OutOfFuel,
    PluginFault,
    ProtocolFault,
    StackOverflow,
    UsageError,
)
from dataflare.limits import Limits
from wat_kit import API, HOST, component

Instantiate = Callable[..., Any]
MIB = 2**20
SMALL = Limits(memory_bytes=32 * MIB, call_timeout_s=10, table_elements=500_000)
IMPATIENT = Limits(memory_bytes=32 * MIB, call_timeout_s=0.2)


def is_reference(instance: Any) -> bool:
    return type(instance).__name__ == "ReferenceInstance"


def assert_names_its_place(fault: PluginFault, function: str) -> None:
    assert fault.plugin == "hostile"
    assert fault.export == f"{API}#{function}"
    assert "hostile" in str(fault) and function in str(fault)


@pytest.mark.parametrize(
    ("function", "args", "expected"),
    [
        ("recursion", (0,), StackOverflow),
        ("unreachable", (), GuestPanic),
        ("division", (0,), GuestPanic),
        ("wild-read", (), GuestPanic),
        ("wild-call", (), GuestPanic),
        ("not-utf8", (), ProtocolFault),
        ("surrogate", (), ProtocolFault),
        ("outside", (), ProtocolFault),
        ("far-outside", (), ProtocolFault),
        ("result-outside", (), ProtocolFault),
        ("result-misaligned", (), ProtocolFault),
        ("giant-list", (), ProtocolFault),
        ("misaligned-list", (), ProtocolFault),
        ("no-such-case", (), ProtocolFault),
        ("no-such-char", (), ProtocolFault),
        ("too-far-char", (), ProtocolFault),
        ("list-of-bad-chars", (), ProtocolFault),
        ("list-of-lists-outside", (), ProtocolFault),
        ("takes-misaligned", ([1, 2],), ProtocolFault),
        ("takes-outside", ([1, 2],), ProtocolFault),
    ],
)
def test_misbehaviour_has_its_own_error(
    instantiate: Instantiate, hostile: Any, function: str, args: tuple[Any, ...], expected: type[PluginFault]
) -> None:
    binary = hostile("misbehaves")
    with instantiate(binary, {}, limits=SMALL, name="hostile") as instance:
        assert instance.call(API, "well", 1) == 2
        with pytest.raises(PluginFault) as caught:
            instance.call(API, function, *args)
        assert type(caught.value) is expected, str(caught.value)
        assert_names_its_place(caught.value, function)
        assert not instance.alive
        with pytest.raises(UsageError):
            instance.call(API, "well", 1)
    with instantiate(binary, {}, limits=SMALL, name="hostile") as fresh:
        assert fresh.call(API, "well", 41) == 42
        assert fresh.call(API, "takes-text", [1, 2, 3]) is None


@pytest.mark.parametrize("function", ["loop", "takes-and-loops"])
def test_a_loop_ends_at_the_time_limit(instantiate: Instantiate, hostile: Any, function: str) -> None:
    binary = hostile("misbehaves")
    with instantiate(binary, {}, limits=IMPATIENT, name="hostile") as instance:
        assert instance.call(API, "well", 1) == 2
        began = time.monotonic()
        with pytest.raises(CallTimeout) as caught:
            instance.call(API, function, *([[1]] if function != "loop" else []))
        took = time.monotonic() - began
        assert 0.15 < took < 5
        assert_names_its_place(caught.value, function)
        assert not instance.alive
    with instantiate(binary, {}, limits=IMPATIENT, name="hostile") as fresh:
        assert fresh.call(API, "well", 1) == 2


def test_a_trusted_plugin_can_run_without_a_limit_of_time(engine: Engine, hostile: Any) -> None:
    loaded = engine.load(hostile("misbehaves"), name="hostile", timed=False)
    untimed = Limits(memory_bytes=32 * MIB, call_timeout_s=None)
    with loaded.instantiate({}, limits=untimed) as instance:
        assert instance.call(API, "well", 1) == 2
        with pytest.raises(StackOverflow):
            instance.call(API, "recursion", 0)


def test_a_limit_of_time_wants_code_that_looks_at_the_clock(engine: Engine, hostile: Any) -> None:
    timed, untimed = (engine.load(hostile("misbehaves"), name="hostile", timed=timed) for timed in (True, False))
    with pytest.raises(UsageError, match="without limits of time"):
        untimed.instantiate({}, limits=SMALL)
    with pytest.raises(UsageError, match="with limits of time"):
        timed.instantiate({}, limits=Limits(call_timeout_s=None))


def test_the_time_limit_is_for_each_call(instantiate: Instantiate, hostile: Any) -> None:
    host = {HOST: {"count": lambda n: (time.sleep(0.1), n + 1)[1], "say": print, "numbers": print}}
    with instantiate(hostile("calls_host"), host, limits=Limits(call_timeout_s=0.4), name="hostile") as instance:
        for n in range(8):
            assert instance.call(API, "once", n) == n + 1


def test_time_in_host_functions_counts(instantiate: Instantiate, hostile: Any) -> None:
    host = {HOST: {"count": lambda n: (time.sleep(0.05), n + 1)[1], "say": print, "numbers": print}}
    with instantiate(hostile("calls_host"), host, limits=IMPATIENT, name="hostile") as instance:
        began = time.monotonic()
        with pytest.raises(CallTimeout) as caught:
            instance.call(API, "forever")
        assert time.monotonic() - began < 5
        assert_names_its_place(caught.value, "forever")


def test_a_slow_instance_does_not_end_anothers_call(engine: Engine, hostile: Any) -> None:
    """Both share one engine, and so one epoch."""
    loops = engine.load(hostile("misbehaves"), name="hostile").instantiate({}, limits=IMPATIENT)

    def meanwhile(n: int) -> int:
        with pytest.raises(CallTimeout):
            loops.call(API, "loop")
        return n + 1

    host = {HOST: {"count": meanwhile, "say": print, "numbers": print}}
    patient = engine.load(hostile("calls_host"), name="patient").instantiate(host, limits=Limits(call_timeout_s=30))
    with loops, patient:
        assert patient.call(API, "once", 1) == 2
        assert patient.alive and not loops.alive


def test_fuel_runs_out(instantiate: Instantiate, hostile: Any) -> None:
    limits = Limits(fuel=100_000, memory_bytes=32 * MIB)
    with instantiate(hostile("misbehaves"), {}, limits=limits, name="hostile") as instance:
        for n in range(50):
            assert instance.call(API, "well", n) == n + 1
        with pytest.raises(OutOfFuel) as caught:
            instance.call(API, "loop")
        assert_names_its_place(caught.value, "loop")
        assert not instance.alive


@pytest.mark.parametrize("function", ["allocate", "allocate-at-once"])
def test_memory_without_end(instantiate: Instantiate, hostile: Any, function: str) -> None:
    with instantiate(hostile("misbehaves"), {}, limits=SMALL, name="hostile") as instance:
        with pytest.raises(PluginFault) as caught:
            instance.call(API, function)
        assert type(caught.value) is (GuestPanic if is_reference(instance) else MemoryLimitExceeded)
        assert_names_its_place(caught.value, function)
    if not is_reference(instance):
        assert str(SMALL.memory_bytes) in str(caught.value)


def test_a_plugin_that_bears_the_refusal_lives_on(instantiate: Instantiate, hostile: Any) -> None:
    with instantiate(hostile("misbehaves"), {}, limits=SMALL, name="hostile") as instance:
        pages = instance.call(API, "allocate-and-bear")
        assert 16 * MIB < pages * 65_536 <= SMALL.memory_bytes
        assert instance.call(API, "well", 1) == 2
        if not is_reference(instance):
            assert instance.stats.memory_bytes == pages * 65_536


def test_a_trap_after_a_borne_refusal_is_still_told(engine: Engine, hostile: Any) -> None:
    with engine.load(hostile("misbehaves"), name="hostile").instantiate({}, limits=SMALL) as instance:
        instance.call(API, "allocate-and-bear")
        with pytest.raises(PluginFault) as caught:
            instance.call(API, "recursion", 1)
        assert type(caught.value) is StackOverflow


def test_tables_are_limited(instantiate: Instantiate, hostile: Any) -> None:
    with instantiate(hostile("misbehaves"), {}, limits=SMALL, name="hostile") as instance:
        assert 100_000 <= instance.call(API, "grow-table") <= SMALL.table_elements
    with instantiate(hostile("misbehaves"), {}, limits=SMALL, name="hostile") as instance:
        with pytest.raises(PluginFault) as caught:
            instance.call(API, "grow-table-or-trap")
        assert_names_its_place(caught.value, "grow-table-or-trap")


def test_memory_is_limited_from_the_start(instantiate: Instantiate, hostile: Any) -> None:
    binary = hostile("large_memory")
    with pytest.raises(PluginFault) as caught:
        instantiate(binary, {}, limits=SMALL, name="hostile")
    assert caught.value.plugin == "hostile"
    with instantiate(binary, {}, limits=Limits(memory_bytes=200 * MIB), name="hostile") as instance:
        assert instance.call(API, "f") is None


def test_memory_that_is_wanted_at_the_start_has_its_own_error(engine: Engine, hostile: Any) -> None:
    with pytest.raises(MemoryLimitExceeded):
        engine.load(hostile("large_memory"), name="hostile").instantiate({}, limits=SMALL)
    with pytest.raises(MemoryLimitExceeded):
        engine.load(hostile("imitates_bridge"), name="hostile").instantiate({}, limits=Limits(memory_bytes=64 * MIB))


@pytest.mark.parametrize("limits", [Limits(memories=11), Limits(instances=3)], ids=["memories", "instances"])
def test_memories_and_instances_are_limited(instantiate: Instantiate, hostile: Any, limits: Limits) -> None:
    with pytest.raises(PluginFault):
        instantiate(hostile("many_instances"), {}, limits=limits, name="hostile")
    with instantiate(hostile("many_instances"), {}, limits=Limits(memories=12, instances=12)) as instance:
        assert instance.call(API, "f") is None


@pytest.mark.parametrize(("name", "expected"), [("start_traps", GuestPanic), ("start_loops", CallTimeout)])
def test_a_fault_at_the_start(instantiate: Instantiate, hostile: Any, name: str, expected: type[PluginFault]) -> None:
    with pytest.raises(PluginFault) as caught:
        instantiate(hostile(name), {}, limits=IMPATIENT, name="hostile")
    assert type(caught.value) is expected
    assert caught.value.plugin == "hostile" and "instantiat" in caught.value.export


@pytest.mark.parametrize("function", ["not-utf8", "outside", "misaligned", "giant"])
def test_bad_arguments_for_the_host_do_not_reach_it(instantiate: Instantiate, hostile: Any, function: str) -> None:
    heard: list[Any] = []
    host = {HOST: {"count": heard.append, "say": heard.append, "numbers": heard.append}}
    with instantiate(hostile("calls_host"), host, limits=SMALL, name="hostile") as instance:
        with pytest.raises(ProtocolFault) as caught:
            instance.call(API, function)
        assert_names_its_place(caught.value, function)
    assert heard == []


def test_a_storm_of_handles_is_stopped(engine: Engine, hostile: Any) -> None:
    made: list[int] = []

    class Thing:
        def close_handle(self) -> None:
            made[0] -= 1

    def make(_: int) -> Thing:
        made[0] += 1
        assert made[0] <= 1001, "the limit of handles was passed"
        return Thing()

    made.append(0)
    component_ = engine.load(hostile("handles"), name="hostile")
    limits = Limits(handles=1000, call_timeout_s=20)
    with component_.instantiate({HOST: {"[constructor]thing": make}}, limits=limits) as instance:
        with pytest.raises(PluginFault) as caught:
            instance.call(API, "storm")
        assert type(caught.value) is not CallTimeout and "1000" in str(caught.value)
        assert_names_its_place(caught.value, "storm")
    # The one that went over the limit never became the plugin's, but is let go as well.
    assert made[0] == 0


def test_faults_tell_where_in_the_guest_and_what_was_logged(engine: Engine, hostile: Any) -> None:
    component_ = engine.load(hostile("misbehaves"), name="hostile")
    instance = component_.instantiate({}, limits=SMALL, log_lines=lambda: ("reading row 7",))
    with instance, pytest.raises(GuestPanic) as caught:
        instance.call(API, "unreachable")
    assert caught.value.backtrace and caught.value.log_lines == ("reading row 7",)
    assert "reading row 7" in str(caught.value) and "guest backtrace" in str(caught.value)


def test_more_than_a_call_can_carry_is_refused(engine: Engine) -> None:
    ty = ListT(PrimT("u8"))
    with engine.load(component({"f": FuncT((("x", ty),), None)}), name="kit").instantiate(
        {HOST: {"f": lambda x: None}}
    ) as instance:
        with pytest.raises(UsageError, match="bytes"):
            instance.call(API, "f", memoryview(bytes(600 * MIB)))
        assert instance.alive and instance.call(API, "f", b"fits") is None


def test_a_hundred_faults_in_a_row_leave_the_host_well(engine: Engine, hostile: Any) -> None:
    component_ = engine.load(hostile("misbehaves"), name="hostile")
    for n in range(100):
        with component_.instantiate({}, limits=SMALL) as instance, pytest.raises(PluginFault):
            instance.call(API, "unreachable" if n % 2 else "not-utf8")
    with component_.instantiate({}, limits=SMALL) as instance:
        assert instance.call(API, "well", 1) == 2
