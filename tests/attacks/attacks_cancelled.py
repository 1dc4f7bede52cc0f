"""Attacks on tasks that do not want to wait any longer."""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import Iterator
from typing import Any

from arena import Arena, Mutation, answers, attack
from dataflare.aio import AsyncProcessor
from dataflare.cancellation import Cancelled
from dataflare.limits import Limits
from dataflare.pipeline.channel import Channel
from dataflare.pipeline.parallel_map import map_in_order
from plugin_wat import hostile


@attack("limits")
def loop_on_after_the_task_was_cancelled(arena: Arena) -> None:
    """Keep computing when nobody waits for the answer any more, and keep the thread and the task until the time is
    over."""
    loops = hostile({"loop": "(loop $l (br $l))", "nothing": ""})
    plugin = arena.load(loops.binary, limits=Limits(call_timeout_s=3))

    async def main() -> BaseException | None:
        processor = AsyncProcessor(plugin)
        task = asyncio.create_task(processor.process(loops.order("loop")))
        await asyncio.sleep(0.2)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError as error:
            # The instance that looped is gone: the next call gets another.
            assert await processor.process(loops.order("nothing")) is None
            await processor.close()
            return error.__cause__
        raise AssertionError("the task was not cancelled")

    cause = asyncio.run(main())
    assert isinstance(cause, Cancelled), f"it ran until {cause!r}"


@attack("limits")
def threads_of_tasks_that_are_ended(arena: Arena) -> None:
    """Have exceptions come in the threads in which tasks call a plugin: later calls find none, and wait without end."""
    plugin = arena.load(hostile({"nothing": ""}).binary)
    processor = AsyncProcessor(plugin)

    async def main() -> None:
        for _ in range(5):
            for each in threading.enumerate():
                if each.name.startswith("dataflare-plugin"):
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        ctypes.c_ulong(each.ident or 0), ctypes.py_object(MemoryError)
                    )
            calls = [asyncio.create_task(processor.process("a")) for _ in range(8)]
            _, waiting = await asyncio.wait(calls, timeout=arena.patience_s)
            assert not waiting, "calls wait that no thread makes"
            # The exception may have come within a call, which ends by it.
            assert {type(each.exception()) for each in calls} <= {type(None), MemoryError}
        assert await processor.process("a") is None
        await processor.close()

    try:
        asyncio.run(main())
    finally:
        processor._threads.close(wait=False)


@attack("limits")
def workers_that_are_ended(arena: Arena) -> None:
    """Have exceptions come in the threads of a node's workers, or in the one that hands out their batches: the run
    waits without end, or goes on without a batch."""
    for name in ("dataflare-ended_", "dataflare-ended-input_"):
        items: Channel[int | None] = Channel(8)
        results = map_in_order(lambda item: item, items, workers=2, name="dataflare-ended")
        items.put(0)
        found = [next(results)]
        for each in threading.enumerate():
            if each.name.startswith(name):
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(each.ident or 0), ctypes.py_object(MemoryError)
                )
        for item in (1, 2, 3, None):
            items.put(item)
        errors: list[BaseException] = []

        def take(results: Iterator[int] = results, found: list[int] = found, errors: Any = errors) -> None:
            try:
                found.extend(results)
            except MemoryError as error:
                errors.append(error)

        taking = threading.Thread(target=take, daemon=True)
        taking.start()
        taking.join(arena.patience_s)
        assert not taking.is_alive(), "it waits for a call that no thread makes"
        assert errors or found == [0, 1, 2, 3], f"it went on without a batch: {found}"


def _fragile(shared: Any) -> None:
    while (call := shared.orders.get()) is not None:
        if call.claim(shared):
            call.proceed(None)
        shared.calls.pop(call, None)


MUTATIONS = [
    Mutation("dataflare.cancellation:Cancellation.check", answers(None), ("loop_on_after_the_task_was_cancelled",)),
    Mutation("dataflare.call_threads:_serve", _fragile, ("threads_of_tasks_that_are_ended", "workers_that_are_ended")),
]
