"""Attacks on the host's time, memory and patience."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pyarrow as pa
from wasmtime import _bindings as raw

from arena import MIB, ROWS, Arena, Mutation, answers, attack, bystander
from dataflare.capabilities.http_transport import Canned
from dataflare.data.ipc import encode_stream
from dataflare.engine.abi.bridge_memory import NO_CEILING
from dataflare.engine.call_budget import CallBudget
from dataflare.engine.compile_profile import CompileProfile
from dataflare.engine.instance import Instance
from dataflare.engine.native import memories as memory
from dataflare.engine.native.memories import MemoryBudget
from dataflare.errors import (
    CallTimeout,
    CopyLimitExceeded,
    DataflareError,
    HandleLimitExceeded,
    HostCallLimitExceeded,
    HostCallRateExceeded,
    InstanceLimitExceeded,
    LimitExceeded,
    LogLimitExceeded,
    MemoryLimitExceeded,
    OutOfFuel,
    OutputLimitExceeded,
    StackOverflow,
    TableLimitExceeded,
)
from dataflare.grants import Grants, HttpGrant
from dataflare.limits import Limits
from dataflare.runtime.pool import InstancePool, PoolExhausted, PoolSettings
from dataflare.runtime.processor import Processor
from plugin_wat import DATA, RESULT, Hostile, answer_outcome, hostile, shape_with

BOUND_S = 2.0
"""A busy machine gets this many seconds more than the limit; on an idle one it takes a few milliseconds more."""

_AGAIN = "(br_if $x (local.tee $i (i32.sub (local.get $i) (i32.const 1))))"
TIMES = f"(local.set $i (i32.const {{count}})) (loop $x {{body}} {_AGAIN})"
"""More often than the limit lets it: without the limit, it comes to an end, and is not kept off by another one."""

LOG = "(call $logging#log (i32.const 2) {at} {size} (i32.const 0) (i32.const 0))"


@cache
def monster() -> Hostile:
    """A plugin that can do everything wrong that needs no grant."""
    return hostile(
        {
            "well": "",
            "loop": "(loop $x (br $x))",
            "recursion": "(drop (call $deeper (i32.const 0)))",
            "count": TIMES.format(count=20_000_000, body=""),
            "allocation": TIMES.format(
                count=64, body="(if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))"
            ),
            "table": "(loop $x (if (i32.eq (table.grow $table (ref.null func) (i32.const 10000)) (i32.const -1))"
            " (then (return))) (if (i32.gt_u (table.size $table) (i32.const 50000)) (then unreachable)) (br $x))",
            "many-events": TIMES.format(count=5_000, body=LOG.format(at="(i32.const 1024)", size="(i32.const 7)")),
            "large-events": TIMES.format(
                count=24, body=LOG.format(at="(i32.const 1048576)", size="(i32.const 1048576)")
            ),
            "giant": "(call $say (i32.const 1048576) (i32.const 1500000))",
            "handles": "(loop $x (drop (call $batches#new-batch (i32.const 1))) (br $x))",
            "calls": TIMES.format(count=8_000, body="(drop (call $logging#is-enabled (i32.const 0)))"),
            "few-calls": TIMES.format(count=100, body="(drop (call $logging#is-enabled (i32.const 0)))"),
        },
        uses=("logging#log", "logging#is-enabled", "batches#new-batch"),
        extra="(func $deeper (param i32) (result i32)"
        " (i32.add (i32.const 1) (call $deeper (i32.add (local.get 0) (i32.const 1)))))",
    )


def run(
    arena: Arena, action: str, expected: type[LimitExceeded], within_s: float | None = None, **limits: object
) -> None:
    """Have the monster do something beside a plugin that must not notice."""
    host = arena.host()
    neighbour = arena.load(bystander().binary, host, name="neighbour")
    neighbour.start()
    made = monster()
    plugin = arena.load(made.binary, host, limits=Limits(**{"call_timeout_s": arena.patience_s * 2 / 3, **limits}))  # type: ignore[arg-type]
    plugin.start()
    began = time.monotonic()
    fault = arena.passes_limit(expected, lambda: plugin.process(made.order(action)))
    took_s = time.monotonic() - began
    assert took_s < (10.0 if within_s is None else within_s + BOUND_S), f"{took_s:.2f} s"
    assert fault.plugin == "plugin" and "#" in fault.export
    # Neither the neighbour nor the next call of the plugin itself suffers.
    assert neighbour.process(bystander().order("nothing")) is None and neighbour.stats.faults == 0
    assert plugin.process(made.order("well")) is None and plugin.stats.instances == 2


@attack("limits")
def loop_without_end(arena: Arena) -> None:
    """Compute forever."""
    run(arena, "loop", CallTimeout, within_s=0.2, call_timeout_s=0.2)


@attack("limits")
def loop_beside_a_busy_neighbour(arena: Arena) -> None:
    """Compute forever in one thread, to disturb a plugin that works in another."""
    host = arena.host()
    neighbour = arena.load(bystander().binary, host, name="neighbour").start()
    plugin = arena.load(monster().binary, host, limits=Limits(call_timeout_s=0.3)).start()
    looping = threading.Thread(target=lambda: _swallow(lambda: plugin.process(monster().order("loop"))))
    looping.start()
    served = 0
    while looping.is_alive():
        assert neighbour.process(bystander().order("nothing")) is None
        served += 1
    looping.join()
    assert served > 100, "the other one had its turn all the while"
    assert neighbour.stats.faults == 0 and plugin.stats.faults == 1


@attack("limits")
def loop_that_is_counted(arena: Arena) -> None:
    """Compute forever, where work is counted rather than time."""
    run(arena, "count", OutOfFuel, fuel=5_000_000)


@attack("limits")
def recursion_without_end(arena: Arena) -> None:
    """Overflow the stack, to crash the host's thread."""
    run(arena, "recursion", StackOverflow)


@attack("limits")
def allocation_without_end(arena: Arena) -> None:
    """Take all memory."""
    run(arena, "allocation", MemoryLimitExceeded, memory_bytes=16 * MIB)


@attack("limits")
def flood_of_log_events(arena: Arena) -> None:
    """Fill the disk, or the operator's screen, with log events."""
    run(arena, "many-events", LogLimitExceeded, log_events_per_s=50, log_dropped_events=2000)
    assert len(arena.log_sink.events) < 1000


@attack("limits")
def flood_of_large_log_events(arena: Arena) -> None:
    """Have the host copy log messages of a megabyte each."""
    run(arena, "large-events", CopyLimitExceeded, copied_bytes=20 * MIB)


@attack("limits")
def giant_output(arena: Arena) -> None:
    """Answer with a text that the caller cannot hold."""
    run(arena, "giant", OutputLimitExceeded, output_bytes=MIB)


@attack("limits")
def storm_of_handles(arena: Arena) -> None:
    """Make batches without end and keep them all."""
    run(arena, "handles", HandleLimitExceeded, handles=500)


@attack("limits")
def storm_of_host_calls(arena: Arena) -> None:
    """Call the host without end."""
    run(arena, "calls", HostCallLimitExceeded, host_calls=5000)


@attack("limits")
def storm_of_host_calls_in_a_second(arena: Arena) -> None:
    """Call the host as fast as possible, in one call or spread over many."""
    run(arena, "calls", HostCallRateExceeded, host_calls_per_s=500)
    plugin = arena.load(monster().binary, name="spread", limits=Limits(host_calls_per_s=200))

    def many() -> None:
        for _ in range(100):
            plugin.process(monster().order("few-calls"))

    arena.passes_limit(HostCallRateExceeded, many, plugin="spread")


@attack("limits")
def table_that_grows_without_end(arena: Arena) -> None:
    """Grow a table until memory is full; it is told that it cannot."""
    made = monster()
    plugin = arena.load(made.binary, limits=Limits(table_elements=50_000))
    assert arena.still_serves(lambda: plugin.process(made.order("table"))) is None


@attack("limits")
def table_that_is_too_large_from_the_start(arena: Arena) -> None:
    """Declare a table that fills memory."""
    made = hostile({"nothing": ""}, extra="(table 3000000 funcref)")
    plugin = arena.load(made.binary, limits=Limits(table_elements=1_000_000))
    arena.passes_limit(TableLimitExceeded, plugin.start)


@attack("limits")
def memory_that_is_too_large_from_the_start(arena: Arena) -> None:
    """Declare a memory of a gigabyte."""
    made = hostile({"nothing": ""}, memory_pages=16_384)
    plugin = arena.load(made.binary, limits=Limits(memory_bytes=64 * MIB))
    arena.passes_limit(MemoryLimitExceeded, plugin.start)


@attack("limits")
def too_many_core_instances(arena: Arena) -> None:
    """Be made of more parts than the host wants to keep."""
    made = hostile({"nothing": ""})
    plugin = arena.load(made.binary, limits=Limits(instances=1, memories=1))
    try:
        plugin.start()
    except InstanceLimitExceeded:
        raise AssertionError("the bridges' own instances count") from None
    crowd = "(core module $part) " + " ".join(f"(core instance $part{n} (instantiate $part))" for n in range(60))
    plugin = arena.load(hostile({"nothing": ""}, beside=crowd).binary, name="crowd", limits=Limits(instances=40))
    arena.passes_limit(InstanceLimitExceeded, plugin.start, plugin="crowd")


@attack("limits")
def too_many_rows(arena: Arena) -> None:
    """Return more rows, or more bytes, than the operator wants."""
    for limits, name in ((Limits(output_rows=2), "rows"), (Limits(output_bytes=16), "bytes")):
        plugin = arena.load(bystander().binary, name=name, limits=limits)
        fault = arena.passes_limit(OutputLimitExceeded, lambda plugin=plugin: plugin.process_batch(ROWS), plugin=name)
        assert fault.limit == f"output_{name}"
        assert plugin.process_batch(ROWS.slice(0, 1)).num_rows == 1


@cache
def bomb() -> bytes:
    """An Arrow stream of a few kilobytes that becomes 64 MiB."""
    batch = pa.record_batch({"n": pa.array([0]).take(pa.array([0] * (8 * MIB)))})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def unpacking(stream: bytes) -> Hostile:
    function = "batches#from-arrow"
    body = (
        f"(call $batches#from-arrow (i32.const {DATA}) (i32.const {len(stream)}) (i32.const {RESULT}))"
        f" {answer_outcome(function, shape_with((function,)))}"
    )
    return hostile({"ask": body}, uses=(function,), data=stream)


@attack("limits")
def decompression_bomb(arena: Arena) -> None:
    """Have the host unpack an Arrow stream of a few kilobytes into many megabytes."""
    stream = bomb()
    assert len(stream) < MIB // 8
    made = unpacking(stream)
    plugin = arena.load(made.binary, arena.host(max_batch_bytes=16 * MIB))
    before = pa.total_allocated_bytes()
    arena.answers_with("too-large", plugin, made, "batches#from-arrow")
    assert pa.total_allocated_bytes() - before < MIB


@attack("files-in")
def arrow_stream_that_lies(arena: Arena) -> None:
    """Hand the host an Arrow stream whose buffers lie outside of it."""
    good = bytes(encode_stream(pa.record_batch({"n": [1, 2, 3], "s": ["a", "b", "c"]})))
    for damaged in (good[: len(good) // 2], good.replace(b"\x08\x00\x00\x00", b"\xff\xff\xff\x7f"), b"\xff" * 64):
        made = unpacking(damaged)
        plugin = arena.load(made.binary)
        try:
            arena.answers_with("malformed", plugin, made, "batches#from-arrow")
        except pa.ArrowException as error:
            raise AssertionError("Arrow itself has read it") from error
        plugin.close()


@attack("limits")
def reentrance_through_the_log(arena: Arena) -> None:
    """Have the host call the plugin from within its own call."""
    made = monster()
    host = arena.host(log_sink=lambda _: sink)
    caught: list[BaseException] = []

    class Reentrant:
        def emit(self, event: object) -> None:
            if not caught:
                try:
                    plugin.process(made.order("well"))
                except BaseException as error:
                    caught.append(error)
                    raise

        def is_enabled(self, level: str) -> bool:
            return True

    sink = Reentrant()
    plugin = arena.load(
        made.binary, host, pool=PoolSettings(maximum=1), limits=Limits(call_timeout_s=arena.patience_s / 3)
    )
    arena.raises(PoolExhausted, lambda: plugin.process(made.order("many-events")), says="within its own call")
    assert len(caught) == 1 and plugin.process(made.order("well")) is None


CALL = (
    f"(call $plugins#call (local.get $p) (local.get $n) (call $batches#new-batch (i32.const 1)) (i32.const {RESULT}))"
)


@cache
def caller() -> Hostile:
    return hostile({"call": CALL}, uses=("plugins#call",))


@cache
def slow_callee() -> Hostile:
    return hostile({"nothing": ""}, batch_result="(loop $x (br $x)) (local.get 0)")


def within(seconds: float, call: Callable[[], Any]) -> Any:
    began = time.monotonic()
    result = call()
    took_s = time.monotonic() - began
    assert took_s < seconds + BOUND_S, f"{took_s:.2f} s"
    return result


@attack("limits")
def time_hidden_in_another_plugin(arena: Arena) -> None:
    """Spend the time in a plugin that is called, whose own limit is higher."""
    host = arena.host()
    arena.load(slow_callee().binary, host, name="slow", limits=Limits(call_timeout_s=30))
    plugin = arena.load(
        caller().binary, host, grants=Grants(plugins=frozenset({"slow"})), limits=Limits(call_timeout_s=0.2)
    )
    within(0.2, lambda: arena.passes_limit(CallTimeout, lambda: plugin.process(caller().order("call", "slow"))))


@attack("limits")
def deadlock_on_a_busy_plugin(arena: Arena) -> None:
    """Wait forever for a plugin whose only instance is in use."""
    host = arena.host()
    slow: Processor = arena.load(
        slow_callee().binary, host, name="slow", limits=Limits(call_timeout_s=3.0), pool=PoolSettings(maximum=1)
    )
    slow.start()
    holder = threading.Thread(target=lambda: _swallow(lambda: slow.process_batch(ROWS)))
    plugin = arena.load(
        caller().binary, host, grants=Grants(plugins=frozenset({"slow"})), limits=Limits(call_timeout_s=0.2)
    )
    plugin.start()
    holder.start()
    try:
        time.sleep(0.05)
        order = caller().order("call", "slow")
        error = within(0.2, lambda: arena.raises_any(DataflareError, lambda: plugin.process(order)))
        assert type(error) is PoolExhausted, error
    finally:
        holder.join()


def _swallow(call: Callable[[], object]) -> None:
    with contextlib.suppress(CallTimeout):
        call()


@attack("limits")
def time_hidden_in_a_request(arena: Arena) -> None:
    """Spend the time in a request to a server that never answers."""
    send = (
        f"(i32.const {DATA}) (i32.const 3) (local.get $p) (local.get $n) (i32.const 0) (i32.const 0)"
        f" (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const {RESULT})"
    )
    function = "http#send"
    made = hostile(
        {"ask": f"(call $http#send {send}) {answer_outcome(function, shape_with((function,)))}"},
        uses=(function,),
        data=b"GET",
    )
    arena.answers = lambda _: Canned(takes_ms=20_000)
    grants = Grants(http={"https://slow.example": HttpGrant(methods=frozenset({"GET"}), timeout_s=600)})
    plugin = arena.load(made.binary, grants=grants, limits=Limits(call_timeout_s=0.5))
    within(0.5, lambda: arena.answers_with("timed-out", plugin, made, "http#send", "https://slow.example/"))


@attack("limits")
def fault_at_each_call(arena: Arena) -> None:
    """Trap again and again, so that the host runs out of something."""
    made = hostile({"trap": "unreachable", "well": ""})
    plugin = arena.load(made.binary)
    plugin.process(made.order("well"))
    mapped = memory.mapped()
    for _ in range(50):
        try:
            plugin.process(made.order("trap"))
        except Exception as error:
            assert type(error).__name__ == "GuestPanic"
    assert plugin.process(made.order("well")) is None and plugin.stats.faults == 50
    assert memory.mapped() == mapped


@attack("limits")
def start_that_never_ends(arena: Arena) -> None:
    """Loop while the instance is made, before any function is called."""
    made = hostile({"nothing": ""}, extra="(func $begin (loop $x (br $x))) (start $begin)")
    plugin = arena.load(made.binary, limits=Limits(call_timeout_s=0.2))
    within(0.2, lambda: arena.passes_limit(CallTimeout, plugin.start))


@attack("limits")
def shutdown_that_never_ends(arena: Arena) -> None:
    """Loop in `shutdown`, so that the host cannot be closed."""
    made = hostile({"nothing": ""}, bodies={"shutdown": "(loop $x (br $x)) (i32.const 64)"})
    plugin = arena.load(made.binary, limits=Limits(call_timeout_s=0.2))
    plugin.start()
    within(0.2, plugin.close)
    arena.assert_denied(capability="limits", object="limit:call_timeout_s")


def _by_arrow(source: Any, *_: Any, **__: Any) -> Iterator[Any]:
    reader = pa.ipc.open_stream(source._data)
    yield reader.schema
    yield from reader


def _four_times(store: Any, memory_bytes: int, *most: int) -> None:
    _LIMITER(store, memory_bytes, *(4 * each for each in most))


def _much_copied(budget: CallBudget) -> None:
    _BEGIN(budget)
    budget.bytes_most = NO_CEILING


def _fuel(profile: Any, _: int, call: Any) -> None:
    _SET_FUEL(profile, 2**60, call)


def _one_kept(kept: list[Instance]) -> Callable[[Instance], None]:
    def close(instance: Instance) -> None:
        if kept:
            _CLOSE(instance)
        else:
            kept.append(instance)

    return close


_SET_FUEL = CompileProfile.set_fuel
_LIMITER, _BEGIN, _CLOSE = raw._wasmtime_store_limiter, CallBudget.begin, Instance.close
_WAIT, _INSTANCE, _MEMORY_BUDGET = InstancePool._wait, Instance.__init__, MemoryBudget.__init__


def _any_memory(budget: MemoryBudget, limit_bytes: int, *others: int) -> None:
    _MEMORY_BUDGET(budget, limit_bytes + 2**40, *others)


def _any_output(instance: Instance, component: Any, functions: Any, limits: Limits, *rest: Any) -> None:
    _INSTANCE(instance, component, functions, replace(limits, output_bytes=None), *rest)


MUTATIONS = [
    Mutation("dataflare.data.ipc:_decoded", _by_arrow, ("arrow_stream_that_lies",)),
    Mutation("dataflare.engine.compile_profile:CompileProfile.set_fuel", _fuel, ("loop_that_is_counted",)),
    Mutation(
        "dataflare.engine.native.memories:MemoryBudget.__init__",
        _any_memory,
        ("memory_that_is_too_large_from_the_start", "allocation_without_end"),
    ),
    Mutation("dataflare.capabilities.logging:PluginLog._take", answers(True), ("flood_of_log_events",)),
    Mutation("dataflare.engine.call_budget:CallBudget.begin", _much_copied, ("flood_of_large_log_events",)),
    Mutation("dataflare.engine.instance:Instance.__init__", _any_output, ("giant_output",)),
    Mutation(
        "dataflare.engine.call_budget:CallBudget.check_calls",
        answers(None),
        ("storm_of_host_calls", "storm_of_host_calls_in_a_second"),
    ),
    Mutation(
        "dataflare.engine.compile_profile:raw._wasmtime_store_limiter",
        _four_times,
        ("table_that_grows_without_end", "table_that_is_too_large_from_the_start", "too_many_core_instances"),
    ),
    Mutation(
        "dataflare.runtime.pool:InstancePool._wait",
        lambda pool, _, gone: _WAIT(pool, -1, gone),
        ("reentrance_through_the_log",),
    ),
    Mutation(
        "dataflare.capabilities.http_broker:_WithinCall.send",
        lambda client, request: client._client.send(request),
        ("time_hidden_in_a_request",),
    ),
    Mutation("dataflare.engine.instance:Instance.close", _one_kept([]), ("fault_at_each_call",)),
]
