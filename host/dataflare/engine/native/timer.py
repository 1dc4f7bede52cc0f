"""Wall-time limits and signals: a thread that makes running plugins check whether they must stop.

Compiled code compares the engine's epoch at each loop and function. The epoch advances only for a reason: a call is
over its time or was interrupted, or Python may have a signal or an exception pending in a call's thread. Then every
running call checks, in native code, whether the reason concerns it (`on_epoch` in callbacks.c).
"""

from __future__ import annotations

import _thread
import contextlib
import math
import os
import threading
import time
import weakref
from typing import Any, Final

from wasmtime import _bindings as raw

from dataflare import cancellation
from dataflare.engine.native.callbacks import Call
from dataflare.errors import UsageError
from dataflare.shortages import told_shortages

__all__ = ["Timer", "Watch"]

_TICK_S: Final = 0.005
_START_S: Final = 10.0
_END_S: Final = 1.0
_MAIN_LOOKS_S: Final = 0.03
"""Interval of checks for signals while the main thread is in a call."""
_OTHERS_LOOK_S: Final = 0.5
"""Interval of checks for exceptions that were set for other threads."""


class Watch:
    """Watches an instance's calls, one at a time: each from `Timer.enter` until `done` is set."""

    __slots__ = ("call", "deadline_s", "done", "look_at_s", "look_every_s", "thread")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.deadline_s = math.inf
        self.look_every_s = _OTHERS_LOOK_S
        self.look_at_s = 0.0
        self.thread = 0
        self.done = True


class _Beat:
    """What a timer shares with its thread; `runs` becomes false when the thread ends.

    Only the simplest lock is safe here: the locks of `threading` that are written in Python can stay locked when an
    exception comes at the wrong moment.
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
        with contextlib.suppress(RuntimeError):  # it is already awake
            self._asleep.release()


class Timer:
    """Watches the calls of one wasmtime engine; any thread may use it.

    No call begins without its thread, and a thread that ends for any reason is replaced, so limits always hold. The
    thread sleeps while nothing runs, and ends with the timer.
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

    def enter(self, watch: Watch, deadline_s: float) -> None:
        """Begin to watch a call of this thread that must end by `time.monotonic() == deadline_s`.

        Raises:
            UsageError: The timer is closed.
            HostShortage: Its thread cannot be started.
            RuntimeError: It did not start in time.
        """
        watch.thread = thread = threading.get_ident()
        watch.deadline_s = deadline_s
        watch.look_every_s = _MAIN_LOOKS_S if thread == _main_thread else _OTHERS_LOOK_S
        watch.look_at_s = 0.0
        watch.done = False
        self._watched[watch] = None  # only now: see `_tick`
        if self._closed:
            watch.done = True
            raise UsageError("the engine is closed")
        if not self._beat.runs:
            try:
                self._start()
            except BaseException:
                watch.done = True
                raise
        if self._beat.idle:
            self._beat.wake()
        if cancellation.is_requested():  # perhaps before this call could be found
            watch.call.look = 1
            self.interrupt()

    def look_up(self, thread: int) -> None:
        """Make the calls of a thread check now whether they must end; the others continue."""
        watches = [watch for watch in list(self._watched) if watch.thread == thread and not watch.done]
        for watch in watches:
            watch.call.look = 1
        if watches:
            self.interrupt()

    def interrupt(self) -> None:
        """Make all running calls check whether they must end."""
        raw._wasmtime_engine_increment_epoch(self._engine.ptr())

    def close(self) -> None:
        """Refuse further calls, and stop the thread as soon as no call runs; idempotent."""
        self._closed = True
        beat = self._beat
        beat.wake()
        until_s = time.monotonic() + _END_S
        while beat.runs and beat.thread != threading.get_ident() and time.monotonic() < until_s:
            if not all(watch.done for watch in list(self._watched)):
                return
            time.sleep(_TICK_S / 10)

    def __del__(self) -> None:
        self._closed = True
        if hasattr(self, "_beat"):  # an interrupt may have come before it
            self._beat.wake()

    def _start(self) -> None:
        with self._lock:
            if self._beat.runs:
                return
            self._beat = beat = _Beat()
            with told_shortages():
                _thread.start_new_thread(_run, (weakref.ref(self), beat))
            until_s = time.monotonic() + _START_S
            while not beat.runs:
                if time.monotonic() > until_s:
                    raise RuntimeError("the thread that watches time limits did not start")
                time.sleep(_TICK_S / 10)

    def _tick(self) -> bool:
        """Check each call once; return whether any is running."""
        now_s = time.monotonic()
        due = False
        for watch in list(self._watched):
            if watch.done:
                self._watched.pop(watch, None)
                if not watch.done:  # another call has begun, and may have been here before it was removed
                    self._watched[watch] = None
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
        """Start another thread after one has ended, if calls need it."""
        if self._watched:
            self._start()

    def _after_fork(self) -> None:
        # In the child, only the thread that forked lives on, with its calls.
        own = threading.get_ident()
        self._watched = {watch: None for watch in self._watched if watch.thread == own}
        self._begin_anew()
        if self._watched:
            self._start()


def _run(timer_of: weakref.ref[Timer], beat: _Beat) -> None:
    """Run a timer's thread. It refers to the timer only while calls run, so that a dropped engine can be freed."""
    try:
        beat.thread = threading.get_ident()
        beat.runs = True
        while (timer := timer_of()) is not None and (timer._watched or not timer._closed):
            # Exceptions that others set for this thread must not end it.
            with contextlib.suppress(BaseException):
                if timer._tick():
                    timer = None
                    time.sleep(_TICK_S)
                    continue
                beat.idle = True
                if not timer._watched and not timer._closed:
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
    # Where an engine is made at this very moment, it is asked again.
    with contextlib.suppress(RuntimeError):
        for timer in list(_timers):
            timer.look_up(thread)


_main_thread = threading.main_thread().ident
_timers: Final[weakref.WeakSet[Timer]] = weakref.WeakSet()
os.register_at_fork(after_in_child=_after_fork)
cancellation.wakers.append(_look_up)
