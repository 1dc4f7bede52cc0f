"""Applies a function to several items at a time, and yields the results in the order of the items."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from threading import Thread
from typing import Final, Protocol, TypeVar

from dataflare.pipeline.channel import Channel, Stopped

__all__ = ["MOST_DEFAULT_WORKERS", "default_workers", "map_in_order"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
R = TypeVar("R")

MOST_DEFAULT_WORKERS: Final = 16
"""Each worker has an instance, with a memory of its own: more workers only on request."""


class Items(Protocol[T_co]):
    """Where items come from; `None` ends them."""

    def get(self) -> T_co | None: ...

    def stop(self) -> None: ...


def default_workers() -> int:
    """The cores that this process may use, at most `MOST_DEFAULT_WORKERS`."""
    return min(len(os.sched_getaffinity(0)), MOST_DEFAULT_WORKERS)


def map_in_order(work: Callable[[T], R], items: Items[T], *, workers: int, name: str) -> Iterator[R]:
    """Apply a function to each item, several at a time.

    Apart from the items that are being worked on, at most `workers` results wait to be taken. However the iteration
    ends, no worker runs afterwards.

    Args:
        work: Called in threads of its own, each time with the context variables of the caller.
        items: Where they come from; `None` ends them. It is stopped when the iteration ends before that.
        workers: How many calls run at a time.
        name: What the threads are called.

    Raises:
        Stopped: `items` was stopped.
        BaseException: What `work` raised, in the item's turn; or what `items` raised, after the items before.
    """
    under_way: Channel[Future[R] | None] = Channel(workers)
    context = copy_context()
    pool = ThreadPoolExecutor(workers, thread_name_prefix=name)

    def hand_out() -> None:
        try:
            while (item := items.get()) is not None:
                under_way.put(pool.submit(context.copy().run, work, item))
            under_way.put(None)
        except Stopped:
            under_way.stop()
        except BaseException as error:
            failed: Future[R] = Future()
            failed.set_exception(error)
            with suppress(Stopped):
                under_way.put(failed)

    handing_out = Thread(target=hand_out, name=f"{name}-input", daemon=True)
    handing_out.start()
    ended = False
    try:
        while (future := under_way.get()) is not None:
            yield future.result()
        ended = True
    finally:
        if not ended:
            items.stop()
            under_way.stop()
        handing_out.join()
        pool.shutdown(wait=True, cancel_futures=True)
