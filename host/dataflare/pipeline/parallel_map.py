"""Applies a function to several items at a time, and yields the results in the order of the items."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from functools import partial
from typing import Final, NoReturn, Protocol, TypeVar

from dataflare.call_threads import Call, CallThreads
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
    under_way: Channel[tuple[Call[R], threading.Event] | None] = Channel(workers)
    context = copy_context()
    pool, input_pool = CallThreads(workers, name), CallThreads(1, f"{name}-input")
    all_given = given_up = False

    def apply(item: T) -> R:
        if given_up:
            raise Stopped
        return work(item)

    def give(call: Callable[[], R]) -> None:
        ended = threading.Event()
        under_way.put((pool.submit(call, ended.set), ended))

    def hand_out() -> None:
        nonlocal all_given
        try:
            while (item := items.get()) is not None:
                give(partial(context.copy().run, apply, item))
            under_way.put(None)
        except Stopped:
            raise
        except BaseException as error:
            give(partial(_raise, error))
        all_given = True

    def handed_out() -> None:
        if not all_given:
            under_way.stop()

    handing_out: Call[None] | None = None
    complete = False
    try:
        handing_out = input_pool.submit(hand_out, handed_out)
        while (entry := under_way.get()) is not None:
            call, is_over = entry
            is_over.wait()
            yield call.result()
        complete = True
    except Stopped:
        if handing_out is not None and handing_out.error is not None:
            handing_out.result()
        raise
    finally:
        if not complete:
            given_up = True
            items.stop()
            under_way.stop()
        input_pool.close()
        pool.close()


def _raise(error: BaseException) -> NoReturn:
    raise error
