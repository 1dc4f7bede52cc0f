"""Signals that end a command in the way of Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["Interrupted", "interrupting_signals"]


class Interrupted(KeyboardInterrupt):
    """A signal asked the process to end; `signal` is its number."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.signal = number


@contextmanager
def interrupting_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP, as Ctrl-C does, raise a `KeyboardInterrupt`; a second signal ends the process at once.

    Only in the main thread, which alone gets signals; a signal that is ignored, as behind `nohup`, stays so, and a
    handler of somebody else stays in place.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if received:
            # What is being cleaned up hangs, or takes too long. Partial files go with the next run.
            os._exit(128 + number)
        received.append(number)
        raise Interrupted(number)

    usual: dict[int, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    replaced = [number for number, handler in usual.items() if signal.getsignal(number) is handler]
    try:
        for number in replaced:
            signal.signal(number, interrupt)
        yield
    finally:
        for number in replaced:
            signal.signal(number, usual[number])
