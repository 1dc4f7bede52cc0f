"""Attacks on the host's memory by what a plugin answers, and on what a plugin leaves in its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

from arena import MIB, ROWS, Arena, Mutation, answers, attack
from attacks_limits import LOG
from dataflare.data.batches import Batch
from dataflare.engine.flat import handles, movers
from dataflare.engine.flat.faults import BOUNDS, HANDLE, NOT_OWNED, TEXT, WRONG_TYPE, fault
from dataflare.errors import GuestPanic, ProtocolFault
from dataflare.runtime.pool import InstancePool, PoolSettings
from plugin_wat import ANSWER, hostile


@attack("memory")
def handle_that_was_never_given(arena: Arena) -> None:
    """Return a batch under a handle that the host never gave."""
    plugin = arena.load(hostile({"nothing": ""}, batch_result="(i32.const 77)").binary)
    arena.raises(ProtocolFault, lambda: plugin.process_batch(ROWS))


@attack("memory")
def handle_that_was_dropped(arena: Arena) -> None:
    """Return a batch that was dropped before."""
    plugin = arena.load(hostile({"nothing": ""}, batch_result="(call $drop-0 (local.get 0)) (local.get 0)").binary)
    arena.raises(ProtocolFault, lambda: plugin.process_batch(ROWS))


def answering(arena: Arena, body: str) -> None:
    made = hostile({"answer": body, "well": ""})
    plugin = arena.load(made.binary)
    arena.raises(ProtocolFault, lambda: plugin.process(made.order("answer")))
    assert plugin.process(made.order("well")) is None


@attack("memory")
def text_outside_of_memory(arena: Arena) -> None:
    """Answer with a text that lies outside of the plugin's memory, to read the host's."""
    answering(arena, "(call $say (i32.const -16) (i32.const 4096))")
    answering(arena, "(call $say (i32.const 0) (i32.const -1))")


@attack("memory")
def text_that_is_no_text(arena: Arena) -> None:
    """Answer with bytes that are no UTF-8."""
    answering(
        arena,
        f"(i32.store (i32.const {ANSWER + 64}) (i32.const 0xfffefdfc))"
        f" (call $say (i32.const {ANSWER + 64}) (i32.const 4))",
    )


@attack("memory")
def result_of_no_case(arena: Arena) -> None:
    """Answer with a case that the result does not have."""
    answering(arena, f"(i32.store8 (i32.const {ANSWER}) (i32.const 9)) (global.set $answer (i32.const {ANSWER}))")


@attack("memory")
def address_of_nowhere(arena: Arena) -> None:
    """Return an address outside of memory as the result's."""
    made = hostile({"answer": "(global.set $answer (i32.const 0x7ffffff0))", "well": ""})
    plugin = arena.load(made.binary)
    assert plugin.process(made.order("well")) is None
    # Through bridges it is wasmtime's adapter that traps, with the text that the plugin's own code has.
    expected = ProtocolFault if plugin.stats.flattened else GuestPanic
    arena.raises(expected, lambda: plugin.process(made.order("answer")), says="out of bounds")
    assert plugin.process(made.order("well")) is None


@attack("memory")
def text_for_the_host_outside_of_memory(arena: Arena) -> None:
    """Hand the host a text that lies outside of the plugin's memory."""
    made = hostile({"log": LOG.format(at="(i32.const -8)", size="(i32.const 64)")}, uses=("logging#log",))
    plugin = arena.load(made.binary)
    arena.raises(ProtocolFault, lambda: plugin.process(made.order("log")))
    assert arena.log_sink.events == []


@attack("memory")
def rows_of_the_batch_before(arena: Arena) -> None:
    """Keep what one batch left in memory, to give it away with the next; a fresh instance knows nothing."""
    made = hostile(
        {
            "keep": "(i32.store (i32.const 2000) (i32.const 0x73656372))",
            "give": "(call $say (i32.const 2000) (i32.const 4))",
        }
    )
    plugin = arena.load(made.binary, pool=PoolSettings(policy="fresh-per-call"))
    plugin.process(made.order("keep"))
    assert plugin.process(made.order("give")) == "\0\0\0\0"
    reused = arena.load(made.binary, name="reused", pool=PoolSettings(maximum=1))
    reused.process(made.order("keep"))
    assert reused.process(made.order("give")) == "rces"


def _reused(pool: InstancePool[Any], lease: Any, *, batch: bool = False) -> None:
    pool._settings = replace(pool._settings, policy="reuse")
    _RELEASE(pool, lease, batch=batch)


def _apart() -> dict[str, Any]:
    """Code that was generated without a check must not be taken from the cache, nor be found there."""
    return {"dataflare.engine.engine:FLAT_VERSION": f"without a check: {uuid4()}"}


def _without(text: str, *faults: int) -> str:
    for each in faults:
        text = text.replace(fault(each), "(nop)")
    return text


_RELEASE = InstancePool.release
MUTATIONS = [
    Mutation(
        "dataflare.engine.flat.movers:_MEMORY_HELPERS",
        _without(movers._MEMORY_HELPERS, BOUNDS),
        ("text_outside_of_memory", "address_of_nowhere", "text_for_the_host_outside_of_memory"),
        also=_apart(),
    ),
    Mutation(
        "dataflare.engine.flat.movers:_UTF8", _without(movers._UTF8, TEXT), ("text_that_is_no_text",), also=_apart()
    ),
    Mutation("dataflare.engine.flat.movers:fault", answers("(nop)"), ("result_of_no_case",), also=_apart()),
    Mutation(
        "dataflare.engine.flat.compose:HANDLES_TEXT",
        _without(handles.HANDLES_TEXT, HANDLE, WRONG_TYPE, NOT_OWNED),
        ("handle_that_was_never_given", "handle_that_was_dropped"),
        # The host has a table of its own.
        also={**_apart(), "dataflare.engine.abi.handles:HandleTable.take": answers(Batch(ROWS, max_bytes=MIB))},
    ),
    Mutation("dataflare.runtime.pool:InstancePool.release", _reused, ("rows_of_the_batch_before",)),
]
