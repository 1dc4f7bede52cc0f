"""Threads that make calls for tasks, and that outlive exceptions which others set for them.

An exception may come between any two steps of a thread: by `PyThreadState_SetAsyncExc`, or for lack of memory. Then
`concurrent.futures` loses the thread, with the call that it has just taken, and those who wait for it never go on. Here
a call stays listed until its outcome is known, and the thread goes on with what it had begun.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

from dataflare.errors import HostShortage, UsageError
from dataflare.shortages import told_shortages

__all__ = ["Call", "CallThreads"]

R = TypeVar("R")


class Call(Generic[R]):
    """A call that a thread makes.

    Args:
        work: What is called.
        tell: Called in the thread after the call has ended; an exception can make the thread call it again.

    Attributes:
        error: What the call raised, once it has ended.
    """

    __slots__ = ("_began", "_claims", "_ended", "_result", "_tell", "_undo", "_work", "error")
    _result: R

    def __init__(self, work: Callable[[], R], tell: Callable[[], object]) -> None:
        self._work = work
        self._tell = tell
        self._claims: dict[str, object] = {}
        self._began = self._ended = False
        self._undo: Callable[[R], object] | None = None
        self.error: BaseException | None = None

    def withdraw(self) -> bool:
        """Take the call back; false if a thread has taken it already."""
        return self.claim(self)

    def claim(self, claimant: object, what: str = "call") -> bool:
        """Whether a part of it is this claimant's: it goes to who asks first, in one step."""
        return self._claims.setdefault(what, claimant) is claimant

    def proceed(self, error: BaseException | None) -> None:
        """Make the call, or take up where `error` interrupted this; only the thread whose call it is."""
        if not self._ended:
            try:
                if self._began and error is not None:
                    raise error
                self._began = True
                self._result = self._work()
            except BaseException as caught:
                self.error = caught
            self._ended = True
        if self._undo is not None:
            self._undo_once(self._undo)
        self._tell()

    def abandon(self, undo: Callable[[R], object]) -> None:
        """Let nobody have the result: undo it, now or once the call has ended."""
        self._undo = undo
        if self._ended:
            self._undo_once(undo)

    def result(self) -> R:
        """Return what the ended call returned, or raise what it raised."""
        if self.error is None:
            return self._result
        try:
            raise self.error
        finally:
            del self  # its traceback refers to this frame

    def _undo_once(self, undo: Callable[[R], object]) -> None:
        if self.error is None and self.claim(object(), "undo"):
            undo(self._result)


class CallThreads:
    """Up to `most` threads, which are started as they are needed. Any thread may use it. Close it.

    Args:
        most: How many threads.
        name: The beginning of their names.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._shared = _Shared()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def submit(self, work: Callable[[], R], tell: Callable[[], object]) -> Call[R]:
        """Have something called; the arguments are those of `Call`.

        Raises:
            UsageError: The threads have ended.
            HostShortage: None can be started.
        """
        call = Call(work, tell)
        self._shared.calls[call] = None
        try:
            self._start()
        except BaseException:
            call.withdraw()
            self._shared.calls.pop(call, None)
            raise
        self._shared.orders.put(call)
        if self._shared.closed and call.withdraw():
            raise UsageError("it is closed", hint="load the plugin again")
        return call

    def close(self, *, wait: bool = True) -> None:
        """Let the threads end after the calls that they have; idempotent."""
        self._shared.closed = True
        threads = list(self._threads)
        for _ in threads:
            self._shared.orders.put(None)
        for each in threads if wait else ():
            if each is not threading.current_thread():
                each.join()

    def __del__(self) -> None:
        if hasattr(self, "_lock"):  # an interrupt may have come before it
            self.close(wait=False)

    def _start(self) -> None:
        """Start a thread if all that there are have something to do."""
        with self._lock:
            self._threads = [each for each in self._threads if each.is_alive()]
            count = len(self._threads)
            if count == self._most or count >= len(self._shared.calls):
                return
            thread = threading.Thread(target=_serve, args=(self._shared,), name=f"{self._name}_{count}", daemon=True)
            try:
                with told_shortages():
                    thread.start()
            except HostShortage:
                if not count:
                    raise
            else:
                self._threads.append(thread)


class _Shared:
    """What threads share with their owner, who can be dropped while they wait."""

    def __init__(self) -> None:
        self.calls: Final[dict[Call[Any], None]] = {}
        self.orders: Final[queue.SimpleQueue[Call[Any] | None]] = queue.SimpleQueue()
        self.closed = False


def _serve(shared: _Shared) -> None:
    this = object()
    error: BaseException | None = None
    while True:
        with suppress(BaseException):  # one that comes while another is handled
            try:
                # An exception may have come just after an order was taken, which is only in the list then.
                for call in [shared.orders.get()] if error is None else list(shared.calls):
                    if call is None:
                        return
                    if call.claim(this):
                        call.proceed(error)
                    elif not call.claim(call):
                        continue  # another thread makes it
                    shared.calls.pop(call, None)
                if error is not None and shared.closed:
                    return
                error = call = None
            except BaseException as caught:
                error = caught
