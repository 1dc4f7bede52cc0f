"""Attacks on what the host keeps and does for a plugin, beside the plugin's own memory."""

from __future__ import annotations

from functools import cache

import pyarrow as pa

from arena import MIB, Arena, Mutation, answers, attack
from attacks_limits import bomb
from dataflare.budgets import HostBudget
from dataflare.errors import HostBytesExceeded
from dataflare.grants import Grants
from dataflare.limits import Limits
from plugin_wat import DATA, RESULT, Hostile, hostile

RAW = pa.record_batch({"n": pa.array(range(MIB // 8))})
"""A batch of one mebibyte."""


@cache
def hoarder() -> Hostile:
    """A plugin that has the host keep things, and never lets go of any."""
    stream = bomb()
    forever = "(loop $x {} (br $x))"
    from_arrow = f"(call $batches#from-arrow (i32.const {DATA}) (i32.const {len(stream)}) (i32.const {RESULT}))"
    return hostile(
        {
            "unpack": forever.format(from_arrow),
            "empty": forever.format("(drop (call $batches#new-batch (i32.const 1)))"),
            "let-go": "(local.set $i (i32.const 30)) (loop $x "
            + from_arrow
            + f" (call $drop-0 (i32.load (i32.add (i32.const {RESULT}) (i32.const 4))))"
            " (br_if $x (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))",
            "well": "",
        },
        uses=("batches#from-arrow", "batches#new-batch"),
        data=stream,
    )


@attack("limits")
def unpacking_again_and_again(arena: Arena) -> None:
    """Unpack a small Arrow stream again and again, and keep the batches: each is within the limit of one."""
    made = hoarder()
    plugin = arena.load(made.binary, limits=Limits(memory_bytes=4 * MIB, host_bytes=200 * MIB))
    before = pa.total_allocated_bytes()
    arena.passes_limit(HostBytesExceeded, lambda: plugin.process(made.order("unpack")))
    assert plugin.stats.host_peak_bytes <= 200 * MIB
    assert pa.total_allocated_bytes() - before < MIB, "what the instance had is given back"
    # One that lets go of each may unpack as many as it likes.
    assert plugin.process(made.order("let-go")) is None
    assert 64 * MIB < plugin.stats.host_peak_bytes <= 200 * MIB


@attack("limits")
def crowd_of_empty_batches(arena: Arena) -> None:
    """Make batches that hold nothing, as many as there may be handles."""
    made = hoarder()
    plugin = arena.load(made.binary, limits=Limits(host_bytes=MIB))
    arena.passes_limit(HostBytesExceeded, lambda: plugin.process(made.order("empty")))


@attack("limits")
def batches_that_are_not_given_back(arena: Arena) -> None:
    """Keep each batch that the host hands over, and answer with another one."""
    made = hostile({"nothing": ""}, uses=("batches#new-batch",), batch_result="(call $batches#new-batch (i32.const 1))")
    plugin = arena.load(made.binary, limits=Limits(host_bytes=10 * MIB))

    def hand_over() -> None:
        for start in range(20):
            rows = pa.record_batch({"n": pa.array(range(start, start + MIB // 8))})
            assert plugin.process_batch(rows).num_rows == 1

    arena.passes_limit(HostBytesExceeded, hand_over)
    # Those that are handed on cost nothing, however large they are.
    passing = arena.load(hostile({"nothing": ""}).binary, name="passing", limits=Limits(host_bytes=1000))
    for _ in range(20):
        assert passing.process_batch(RAW).num_rows == RAW.num_rows
    assert passing.stats.host_peak_bytes == 0


@attack("limits")
def texts_that_the_host_writes(arena: Arena) -> None:
    """Have a batch written out as a text that the host then keeps."""
    for function in ("to-arrow", "to-json-lines"):
        made = hostile(
            {"nothing": ""},
            uses=(f"batches#[method]batch.{function}",),
            batch_result=f"(call $batches#method-batch.{function} (local.get 0) (i32.const {RESULT})) (local.get 0)",
        )
        plugin = arena.load(made.binary, name=function, limits=Limits(host_bytes=MIB // 2))
        arena.passes_limit(HostBytesExceeded, lambda plugin=plugin: plugin.process_batch(RAW), plugin=function)


@attack("neighbours")
def batches_that_others_make(arena: Arena) -> None:
    """Have other plugins make batches, and keep them."""
    host = arena.host()
    copying = hostile(
        {"nothing": ""},
        uses=("batches#[method]batch.filter",),
        data=b"\xff" * (MIB // 64),
        batch_result=f"(call $batches#method-batch.filter (local.get 0) (i32.const {DATA}) (i32.const {MIB // 512})"
        f" (i32.const {RESULT})) (i32.load (i32.add (i32.const {RESULT}) (i32.const 4)))",
    )
    arena.load(copying.binary, host, name="copying")
    call = f"(call $plugins#call (i32.const {DATA}) (i32.const 7) (global.get $kept) (i32.const {RESULT}))"
    keeper = hostile(
        {"nothing": ""},
        uses=("plugins#call", "batches#[method]batch.select"),
        data=b"copying",
        extra="(global $kept (mut i32) (i32.const 0))",
        batch_result="(global.set $kept (local.get 0)) (loop $x "
        + call
        + f" (global.set $kept (i32.load (i32.add (i32.const {RESULT}) (i32.const 4)))) (br $x)) (local.get 0)",
    )
    plugin = arena.load(
        keeper.binary,
        host,
        grants=Grants(plugins=frozenset({"copying"})),
        limits=Limits(host_bytes=MIB // 2, host_calls=1000),
    )
    arena.passes_limit(HostBytesExceeded, lambda: plugin.process_batch(RAW))


_make_budget = HostBudget.__init__


def _generous(budget: HostBudget, most_bytes: int | None = None) -> None:
    _make_budget(budget, None if most_bytes is None else 2**30)


MUTATIONS = [
    Mutation(
        "dataflare.budgets:HostBudget.__init__",
        _generous,
        ("unpacking_again_and_again", "texts_that_the_host_writes", "batches_that_others_make"),
    ),
    Mutation("dataflare.data.charges:_own", answers(None), ("crowd_of_empty_batches",)),
    Mutation("dataflare.engine.instance:Instance._charge_kept", answers(None), ("batches_that_are_not_given_back",)),
    Mutation("dataflare.data.charges:BatchMemory.returned", lambda memory, *_: memory, ("batches_that_others_make",)),
    Mutation("dataflare.data.charges:Loan.keep", answers(None), ("batches_that_are_not_given_back",)),
]
