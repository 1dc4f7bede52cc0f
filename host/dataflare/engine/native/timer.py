"""Wall-time limits and signals: a thread that makes running plugins look up from their work.

Compiled code compares the engine's epoch at each loop and function. The epoch advances only when some call is meant:
one that is over its time, that was interrupted, or in whose thread Python may have a signal or an exception waiting.
Then every running call looks, in native code, whether it is meant itself (`on_epoch` in callbacks.c).
"""

from __future__ import annotations

import _thread
import contextlib
import os
import threading
import time
import weakref
from typing import Any, Final

from wasmtime import _bindings as raw

from dataflare import cancellation
from dataflare.engine.native.callbacks import Call
from dataflare.errors import UsageError

__all__ = ["Timer", "Watch"]

_TICK_S: Final = 0.005
_START_S: Final = 10.0
_END_S: Final = 1.0
_MAIN_LOOKS_S: Final = 0.03
"""How often Python looks for signals while the main thread is within a call."""
_OTHERS_LOOK_S: Final = 0.5
"""How often it looks for exceptions that were set for other threads."""


class Watch:
    """One call that is watched, from `Timer.enter` until `done` is set."""

    __slots__ = ("call", "deadline_s", "done", "look_at_s", "look_every_s", "thread")

    def __init__(self, call: Call, deadline_s: float, look_every_s: float) -> None:
        self.call = call
        self.deadline_s = deadline_s
        self.look_every_s = look_every_s
        self.look_at_s = 0.0
        self.thread = threading.get_ident()
        self.done = False


class _Beat:
    """What a timer shares with its thread: `runs` is false from the moment on that the thread ends.

    Only the simplest lock serves here: those of `threading` that are written in Python stay locked when an exception
    comes at the wrong moment.
    """

    __slots__ = ("_asleep", "idle", "runs", "thread")

    def __init__(self) -> None:
        self.runs = False
        self.idle = False
        self.thread = 0
        self._asleep = _thread.allocate_lock()
        self._asleep.acquire()

    def sleep(self) -> None:
        self._asleep.acquire()

    def wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # it was woken before
            self._asleep.release()


class Timer:
    """Watches the calls of one wasmtime engine; any thread may use it.

    Without its thread no call begins, and if the thread ends for any reason it is replaced: limits never stop holding.
    The thread sleeps while nothing runs, and ends with the timer.
    """

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._watched: dict[Watch, None] = {}
        self._closed = False
        self._begin_anew()
        _timers.add(self)

    def _begin_anew(self) -> None:
        self._lock = threading.Lock()
        self._beat = _Beat()

    def enter(self, call: Call, deadline_s: float) -> Watch:
        """Begin to watch a call of this thread that must end by `time.monotonic() == deadline_s`.

        Raises:
            UsageError: The timer is closed.
            RuntimeError: Its thread cannot be started.
        """
        is_main = threading.get_ident() == _main_thread
        watch = Watch(call, deadline_s, _MAIN_LOOKS_S if is_main else _OTHERS_LOOK_S)
        self._watched[watch] = None
        if not self._beat.runs:
            try:
                self._start()
            except BaseException:
                watch.done = True
                raise
        if self._beat.idle:
            self._beat.wake()
        return watch

    def look_up(self, thread: int) -> None:
        """Let the calls that a thread is in look now whether they must end; those that need not go on."""
        watches = [watch for watch in list(self._watched) if watch.thread == thread and not watch.done]
        for watch in watches:
            watch.call.look = 1
        if watches:
            self.interrupt()

    def interrupt(self) -> None:
        """Make all running calls look whether they are meant."""
        raw._wasmtime_engine_increment_epoch(self._engine.ptr())

    def close(self) -> None:
        """Stop the thread; idempotent."""
        self._closed = True
        beat = self._beat
        beat.wake()
        until_s = time.monotonic() + _END_S
        while beat.runs and beat.thread != threading.get_ident() and time.monotonic() < until_s:
            time.sleep(_TICK_S / 10)

    def __del__(self) -> None:
        self._closed = True
        self._beat.wake()

    def _start(self) -> None:
        with self._lock:
            if self._closed:
                raise UsageError("the engine is closed")
            if self._beat.runs:
                return
            self._beat = beat = _Beat()
            _thread.start_new_thread(_run, (weakref.ref(self), beat))
            until_s = time.monotonic() + _START_S
            while not beat.runs:
                if time.monotonic() > until_s:
                    raise RuntimeError("the thread that watches time limits did not start")
                time.sleep(_TICK_S / 10)

    def _tick(self) -> bool:
        """Look at each call once; returns whether any runs."""
        now_s = time.monotonic()
        due = False
        for watch in list(self._watched):
            if watch.done:
                self._watched.pop(watch, None)
                continue
            if watch.deadline_s <= now_s:
                watch.call.stop = 1
                due = True
            elif not watch.look_at_s:
                watch.look_at_s = now_s + watch.look_every_s
            elif watch.look_at_s <= now_s:
                watch.look_at_s = now_s + watch.look_every_s
                watch.call.look = 1
                due = True
        if due:
            self.interrupt()
        return bool(self._watched)

    def _restart(self) -> None:
        """The thread has ended: start another where calls need it."""
        if self._watched and not self._closed:
            self._start()

    def _after_fork(self) -> None:
        # Only the thread that forked lives on in the child: of the calls, its own.
        own = threading.get_ident()
        self._watched = {watch: None for watch in self._watched if watch.thread == own}
        self._begin_anew()
        if self._watched and not self._closed:
            self._start()


def _run(timer_of: weakref.ref[Timer], beat: _Beat) -> None:
    """The body of a timer's thread. It holds the timer only while calls run, so that a dropped engine can go."""
    try:
        beat.thread = threading.get_ident()
        beat.runs = True
        while (timer := timer_of()) is not None and not timer._closed:
            # Exceptions that are set for this thread from outside must not end it.
            with contextlib.suppress(BaseException):
                if timer._tick():
                    timer = None
                    time.sleep(_TICK_S)
                    continue
                beat.idle = True
                if not timer._watched:
                    timer = None
                    beat.sleep()
                beat.idle = False
    finally:
        beat.runs = False
        if (timer := timer_of()) is not None:
            timer._restart()


def _after_fork() -> None:
    global _main_thread
    _main_thread = threading.main_thread().ident
    for timer in list(_timers):
        timer._after_fork()


def _look_up(thread: int) -> None:
    for timer in list(_timers):
        timer.look_up(thread)


_main_thread = threading.main_thread().ident
_timers: Final[weakref.WeakSet[Timer]] = weakref.WeakSet()
os.register_at_fork(after_in_child=_after_fork)
cancellation.wakers.append(_look_up)
