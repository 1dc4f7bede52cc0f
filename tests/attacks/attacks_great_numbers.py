"""Attacks by great numbers, flattened and by bridges: lengths, handles, and batches that are kept."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import pyarrow as pa

from arena import MIB, Arena, Mutation, answers, attack
from dataflare.budgets import HostBudget
from dataflare.engine.engine import Engine
from dataflare.engine.flat import movers
from dataflare.engine.flat.faults import BOUNDS, fault
from dataflare.errors import HandleLimitExceeded, HostBytesExceeded, MemoryLimitExceeded, ProtocolFault
from dataflare.limits import Limits
from dataflare.runtime.host import Host
from plugin_wat import DATA, RESULT, Hostile, hostile

LENGTHS: Final = (2**26, 2**31 - 1, 2**31, 2**32 - 8, 2**32 - 1)
BIG_AT: Final = 2**21
PAGE: Final = 2**16
HANDLES: Final = 100_000
USES: Final = (
    *("batches#from-arrow", "batches#concat", "batches#new-batch", "logging#log"),
    *(f"batches#[method]batch.{name}" for name in ("filter", "select", "text-column")),
)
NEW_BATCH: Final = "(call $batches#new-batch (i32.const 1))"


def both_ways(arena: Arena) -> Iterator[tuple[str, Host]]:
    """Hosts that run plugins flattened, and with bridges."""
    for name, flatten in (("flat", True), ("bridged", False)):
        folder = arena.folder / name
        folder.mkdir(mode=0o700)
        engine = Engine(cache_dir=folder, flatten=flatten)
        arena.at_close(engine.close)
        yield name, arena.host(engine=engine)


def calls_with(at: int, length: int) -> dict[str, str]:
    """Calls of the host whose text or list begins at an address and has a length, and an answer of such a text."""
    span = f"(i32.const {at}) (i32.const {length - 2**32 if length >= 2**31 else length})"
    return {
        "from-arrow": f"(call $batches#from-arrow {span} (i32.const {RESULT}))",
        "concat": f"(call $batches#concat {span} (i32.const {RESULT}))",
        "log": f"(call $logging#log (i32.const 2) {span} (i32.const 0) (i32.const 0))",
        "filter": f"(call $batches#method-batch.filter {NEW_BATCH} {span} (i32.const {RESULT}))",
        "select": f"(call $batches#method-batch.select {NEW_BATCH} {span} (i32.const {RESULT}))",
        "text-column": f"(call $batches#method-batch.text-column {NEW_BATCH} {span} (i32.const {RESULT}))",
        "answer": f"(call $say {span})",
    }


@cache
def long_talker(at: int, length: int) -> Hostile:
    """A plugin that calls the host with lengths that it does not have."""
    return hostile({**calls_with(at, length), "well": ""}, uses=USES)


@attack("memory")
def lengths_beyond_the_memory(arena: Arena) -> None:
    """Hand the host texts and lists of 2^26 to 2^32 bytes or items, which the plugin's memory does not have."""
    for way, host in both_ways(arena):
        for length in LENGTHS:
            made = long_talker(DATA, length)
            plugin = arena.load(made.binary, host, name=f"{way}-{length}")
            for action in calls_with(DATA, length):
                arena.raises(ProtocolFault, lambda plugin=plugin, made=made, to=action: plugin.process(made.order(to)))
            assert plugin.process(made.order("well")) is None and plugin.stats.host_peak_bytes < 10_000
    assert arena.log_sink.events == []


@attack("limits")
def lengths_that_the_memory_has(arena: Arena) -> None:
    """Grow to four gigabytes, where the operator allows it, and hand the host texts and lists of two."""
    grow = f"(if (i32.eq (memory.grow (i32.const {2**31 // PAGE + 64})) (i32.const -1)) (then unreachable)) "
    items = {"filter": 2**28, "select": 2**28}
    actions = {name: grow + calls_with(BIG_AT, items.get(name, 2**31))[name] for name in calls_with(0, 0)}
    del actions["concat"]  # its handles would have to be there
    made = hostile({**actions, "well": ""}, uses=USES)
    limits = Limits(memory_bytes=2**32, host_memory_bytes=64 * MIB)
    for way, host in both_ways(arena):
        plugin = arena.load(made.binary, host, name=way, limits=limits)
        for action in actions:
            error = arena.raises_any(
                (MemoryLimitExceeded, HostBytesExceeded, ProtocolFault),  # type: ignore[arg-type]
                lambda plugin=plugin, to=action: plugin.process(made.order(to)),
            )
            assert error.hint, error
        assert plugin.process(made.order("well")) is None and plugin.stats.host_peak_bytes <= 64 * MIB
    assert arena.log_sink.events == []


@attack("limits")
def empty_texts_by_the_million(arena: Arena) -> None:
    """Hand the host a list of four million empty names: each takes nothing there, and an object here."""
    grow = f"(if (i32.eq (memory.grow (i32.const {2**25 // PAGE + 1})) (i32.const -1)) (then unreachable)) "
    made = hostile({"select": grow + calls_with(BIG_AT, 2**22)["select"]}, uses=USES)
    for way, host in both_ways(arena):
        limits = Limits(memory_bytes=2**27, host_memory_bytes=16 * MIB)
        plugin = arena.load(made.binary, host, name=way, limits=limits)
        arena.passes_limit(HostBytesExceeded, lambda plugin=plugin: plugin.process(made.order("select")), plugin=way)
        assert plugin.stats.host_peak_bytes <= 16 * MIB


@attack("limits")
def hundred_thousand_handles(arena: Arena) -> None:
    """Hold a hundred thousand batches, and then one more; or fewer, where the host may not keep so much for it."""
    again = f"(loop $x (drop {NEW_BATCH}) (br_if $x (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))"
    made = hostile(
        {
            "all": f"(local.set $i (i32.const {HANDLES})) {again}",
            "one-more": f"(drop {NEW_BATCH})",
            "none": "",
        },
        uses=("batches#new-batch",),
    )
    for way, host in both_ways(arena):
        small = arena.load(made.binary, host, name=f"{way}-small", limits=Limits(host_memory_bytes=10 * MIB))
        arena.passes_limit(
            HostBytesExceeded, lambda small=small: small.process(made.order("all")), plugin=f"{way}-small"
        )
        plugin = arena.load(made.binary, host, name=way)
        assert plugin.process(made.order("all")) is None
        assert plugin.stats.host_peak_bytes >= HANDLES * 1000, "what it holds is charged"
        arena.passes_limit(
            HandleLimitExceeded, lambda plugin=plugin: plugin.process(made.order("one-more")), plugin=way
        )
        for each in (plugin, small):
            assert each.process(made.order("none")) is None, "a new instance holds nothing"


@attack("limits")
def batches_kept_past_their_calls(arena: Arena) -> None:
    """Keep each batch that one is given, and make something of it in later calls."""
    keep = (
        "(global.set $at (i32.add (global.get $at) (i32.const 4)))"
        f" (i32.store (i32.add (i32.const {BIG_AT}) (global.get $at)) (local.get 0))"
        f" (call $batches#method-batch.slice (i32.load (i32.const {BIG_AT + 4})) (i32.const 0) (i32.const 1)"
        f" (i32.const {RESULT})) (i32.load offset=4 (i32.const {RESULT}))"
    )
    made = hostile(
        {"nothing": ""},
        uses=("batches#[method]batch.slice",),
        extra="(global $at (mut i32) (i32.const 0))",
        batch_result=keep,
    )
    before = pa.total_allocated_bytes()
    for way, host in both_ways(arena):
        plugin = arena.load(made.binary, host, name=way, limits=Limits(host_memory_bytes=10 * MIB))

        def hand_over(plugin: Any = plugin) -> None:
            for start in range(20):
                rows = pa.record_batch({"n": pa.array(range(start, start + MIB // 8))})
                # The first batch of all is still there, in each call.
                assert plugin.process_batch(rows).column(0).to_pylist() == [0]

        arena.passes_limit(HostBytesExceeded, hand_over, plugin=way)
        assert 5 * MIB < plugin.stats.host_peak_bytes <= 10 * MIB
        plugin.close()
        gc.collect()  # the error's traceback refers to the last batch
        assert pa.total_allocated_bytes() - before < 2 * MIB, "what it kept is given back"


def _boundless(budget: HostBudget, most_bytes: int | None = None) -> None:
    _make_budget(budget, None)


_make_budget = HostBudget.__init__

MUTATIONS = [
    Mutation(
        "dataflare.budgets:HostBudget.__init__",
        _boundless,
        ("empty_texts_by_the_million", "hundred_thousand_handles", "batches_kept_past_their_calls"),
    ),
    Mutation("dataflare.data.charges:Loan.keep", answers(None), ("batches_kept_past_their_calls",)),
    Mutation(
        "dataflare.engine.flat.movers:_MEMORY_HELPERS",
        movers._MEMORY_HELPERS.replace(fault(BOUNDS), "(nop)"),
        ("lengths_beyond_the_memory",),
    ),
]
