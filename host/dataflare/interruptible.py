"""Work of the main thread that an interrupt must not tear apart, or need not wait for."""

from __future__ import annotations

import _thread
import os
import queue
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from dataflare.budgets import current, serving
from dataflare.shortages import told_shortages

__all__ = ["Descriptor", "interruptible", "undisturbed"]

T = TypeVar("T")
_MAIN: Final = threading.main_thread


def interruptible(work: Callable[[], T]) -> T:
    """Do work in which no signal's handler runs; one that raises ends the main thread's wait for it at once.

    The work then comes to its end in a thread of its own, for nobody: what it opens must be owned by what it returns.
    It is charged to the budget of the thread that asks.
    """
    if threading.current_thread() is not _MAIN():
        return work()
    budget = current()
    done: queue.SimpleQueue[tuple[T] | BaseException] = queue.SimpleQueue()

    def body() -> None:
        try:
            with serving(budget):
                done.put((work(),))
        except BaseException as error:
            done.put(error)

    with told_shortages():
        _thread.start_new_thread(body, ())
    outcome = done.get()
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome[0]


def undisturbed(work: Callable[[], T]) -> T:
    """Do work in which no signal's handler runs; what a handler raises meanwhile is raised once the work has ended.

    It is for short work that must not be half done, such as giving a file its name. An interrupt that comes before it
    has begun keeps it from beginning.
    """
    if threading.current_thread() is not _MAIN():
        return work()
    budget = current()
    turn: list[None] = [None]  # whoever takes it decides whether the work is done
    outcomes: list[tuple[T] | BaseException] = []
    ended = _thread.allocate_lock()
    ended.acquire()

    def body() -> None:
        if _takes(turn):
            try:
                with serving(budget):
                    outcomes.append((work(),))
            except BaseException as error:
                outcomes.append(error)
            ended.release()

    try:
        with told_shortages():
            _thread.start_new_thread(body, ())
        while not outcomes:
            ended.acquire()
    except BaseException:
        if not _takes(turn):
            while not outcomes:
                ended.acquire()
        raise
    outcome = outcomes[0]
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome[0]


def _takes(turn: list[None]) -> bool:
    try:
        turn.pop()
    except IndexError:
        return False
    return True


class Descriptor:
    """An open file of the system, closed when nothing refers to it any more."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def close(self) -> None:
        """Close it; idempotent."""
        number, self.number = self.number, -1
        if number >= 0:
            os.close(number)

    def __del__(self) -> None:
        if hasattr(self, "number"):  # an interrupt may have come before `__init__`
            self.close()
