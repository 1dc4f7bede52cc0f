"""Signals that end a command in the way of Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

__all__ = ["Interrupted", "interrupt_message", "interrupting_signals", "leave", "usual_handlers"]

_USUAL: Final[dict[int, Any]] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}


class Interrupted(KeyboardInterrupt):
    """A signal asked the process to end; `signal` is its number."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.signal = number


def usual_handlers() -> dict[int, Any]:
    """Give the signals that end a command, with their handlers: those that nobody else handles or ignores."""
    return {number: handler for number, handler in _USUAL.items() if signal.getsignal(number) in (handler, leave)}


def leave(number: int, _frame: object) -> None:
    """Handle a signal where nothing has begun, so that there is nothing to clean up: end at once, and say so."""
    try:
        os.write(2, interrupt_message(number).encode() + b"\n")
    finally:
        os._exit(128 + number)


def interrupt_message(number: int) -> str:
    """The message about a signal that ended a command."""
    return "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"


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

    replaced = {number: signal.getsignal(number) for number in usual_handlers()}
    try:
        for number in replaced:
            signal.signal(number, interrupt)
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)
