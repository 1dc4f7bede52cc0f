"""Signals that end a command in the way of Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, NoReturn

__all__ = ["Interrupted", "interrupt_message", "interrupting_signals", "leave", "usual_handlers"]

_USUAL: Final[dict[int, Any]] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}
_LOOK_AGAIN_S: Final = 0.5


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
    handler of somebody else stays in place. Code in C may drop an exception, as Arrow does where it looks for optional
    modules, and Python drops that of a destructor: then it is raised again.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    raised: weakref.ref[Interrupted] | None = None

    def begin(number: int) -> NoReturn:
        nonlocal raised
        error = Interrupted(number)
        raised = weakref.ref(error)
        try:
            raise error
        finally:
            del error  # or this frame, which its traceback has, would keep it

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if received:
            # What is being cleaned up hangs, or takes too long. Partial files go with the next run.
            os._exit(128 + number)
        received.append(number)
        if signal.SIGALRM in replaced:
            signal.setitimer(signal.ITIMER_REAL, _LOOK_AGAIN_S, _LOOK_AGAIN_S)
        begin(number)

    def look_again(_number: int, _frame: FrameType | None) -> None:
        # An exception that is being handled, or that caused another one, is still alive.
        if raised is not None and raised() is None:
            begin(received[0])

    replaced: dict[int, Any] = {number: signal.getsignal(number) for number in usual_handlers()}
    handlers: dict[int, Callable[[int, FrameType | None], None]] = dict.fromkeys(replaced, interrupt)
    if signal.getsignal(signal.SIGALRM) == signal.SIG_DFL:
        replaced[signal.SIGALRM], handlers[signal.SIGALRM] = signal.SIG_DFL, look_again
    try:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        yield
    finally:
        if received and signal.SIGALRM in replaced:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in replaced.items():
            signal.signal(number, handler)
