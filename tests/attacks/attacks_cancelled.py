"""Attacks on tasks that do not want to wait any longer."""

from __future__ import annotations

import asyncio

from arena import Arena, Mutation, answers, attack
from dataflare.aio import AsyncProcessor
from dataflare.cancellation import Cancelled
from dataflare.limits import Limits
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


MUTATIONS = [
    Mutation("dataflare.cancellation:Cancellation.check", answers(None), ("loop_on_after_the_task_was_cancelled",)),
]
