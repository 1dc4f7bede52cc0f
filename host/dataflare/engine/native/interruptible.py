"""Long native work that an interrupt need not wait for."""

from __future__ import annotations

import _thread
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["interruptible"]

T = TypeVar("T")


def interruptible(work: Callable[[], T]) -> T:
    """Do long native work; a signal's handler that raises ends the main thread's wait for it at once.

    The work then comes to its end in a thread of its own, for nobody.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    done: queue.SimpleQueue[tuple[T] | BaseException] = queue.SimpleQueue()

    def body() -> None:
        try:
            done.put((work(),))
        except BaseException as error:
            done.put(error)

    _thread.start_new_thread(body, ())
    outcome = done.get()
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome[0]
