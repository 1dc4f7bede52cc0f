"""Makes calls again that failed for a reason that may pass: an outage, too many requests, or a broken instance."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Final, TypeAlias, TypeVar

from dataflare.errors import CallCancelled, PluginError, PluginFault
from dataflare.locks import Lock
from dataflare.pipeline.channel import Stopped
from dataflare.pipeline.run_errors import DatabaseError

__all__ = ["DEFAULT_RETRIES", "OutOfTime", "Retries"]

T = TypeVar("T")
_Error: TypeAlias = PluginError | DatabaseError
_log = logging.getLogger("dataflare.pipeline")

DEFAULT_RETRIES: Final = 5
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 60.0
"""Also the time between two trial calls while the circuit is open."""
_LONG_WAIT_S: Final = 10.0
"""From here on, whoever watches the run wants to know why nothing happens."""
_JITTER: Final = 0.25
"""The share by which a wait is made longer at random, so that nodes that fail together do not retry together."""


class OutOfTime(Exception):
    """A call was to be made again later than there is time for."""


class Retries:
    """The retries of one node. Any thread may call it.

    A call that answers `rate-limited` is made again after the time that it names; one that answers `unavailable` after
    0.5 s, doubled each time up to 60 s. Both waits are made longer by up to a quarter, at random.

    After `most` retries in vain the circuit opens: all other calls of the node wait, and this one is tried once a
    minute, or when it asks to be, until it is answered. A call that faults is made again at once.

    Args:
        most: How often in a row a call is made again; 0 for never.
        max_outage_s: For how many seconds in all the circuit may be open.
        reloads: How often in a row a call that faults is made again, which gets a new instance.
        run_seconds_left: How long the run is to go on; `None` for any time. Longer waits are not begun.
        monotonic_s: A monotonic clock, in seconds.
        wait_for: Waits for an event, up to a number of seconds; returns whether it is set.

    Attributes:
        count: How many retries there were, trial calls included.
        reloaded: How often a call was made again by a new instance.
        outage_s: For how many seconds the circuit was open.
    """

    def __init__(
        self,
        most: int = DEFAULT_RETRIES,
        *,
        max_outage_s: float = 0.0,
        reloads: int = 0,
        run_seconds_left: Callable[[], float | None] = lambda: None,
        monotonic_s: Callable[[], float] = time.monotonic,
        wait_for: Callable[[threading.Event, float], bool] = threading.Event.wait,
    ) -> None:
        self.count = self.reloaded = 0
        self.outage_s = 0.0
        self._most = most
        self._max_outage_s = max_outage_s
        self._reloads = reloads
        self._run_seconds_left = run_seconds_left
        self._monotonic_s = monotonic_s
        self._wait_for = wait_for
        self._lock = Lock()
        self._stopped = threading.Event()
        self._closed = threading.Event()
        self._closed.set()
        self._is_given_up = False

    def stop(self) -> None:
        """End all waits."""
        self._stopped.set()
        self._closed.set()

    def call(
        self,
        function: Callable[..., T],
        *arguments: object,
        seconds_left: Callable[[], float | None] = lambda: None,
        reloads: bool = True,
    ) -> T:
        """Call a function, and make the call again where that can help.

        Args:
            function: What is called.
            arguments: With what.
            seconds_left: How long waits may last from now on; `None` for any time.
            reloads: Whether a new instance can take the call: none that keeps a read can.

        Raises:
            OutOfTime: It was to wait longer than that, and has waited until then.
            PluginError: It failed with one that no retry helps, or too often, or for too long.
            DatabaseError: In the same way, while connecting.
            PluginFault: It faulted, more than `reloads` times in a row.
            Stopped: It was to wait, and `stop` was called.
        """
        retried = reloaded = 0
        while True:
            self._wait_until_closed()
            try:
                return function(*arguments)
            except PluginFault as fault:
                if not reloads or not self.may_reload(fault, reloaded):
                    raise
                reloaded += 1
                continue
            except (PluginError, DatabaseError) as error:
                if not error.retryable:
                    raise
                failed = error
            if retried < self._most and not self._is_given_up:
                usual_s = min(_FIRST_WAIT_S * 2**retried, _LONGEST_WAIT_S)
                wait_s = usual_s if failed.retry_after_ms is None else _named_s(failed)
                retried += 1
                self._pause(failed, wait_s * _jitter(), f"retry {retried} of {self._most}", seconds_left)
            elif self._opens_circuit():
                try:
                    return self._call_until_answered(failed, function, arguments, seconds_left)
                except PluginFault as fault:
                    if not reloads or not self.may_reload(fault, reloaded):
                        raise
                    reloaded += 1
            elif self._is_given_up or not self._max_outage_s:
                raise failed

    def may_reload(self, fault: PluginFault, before: int) -> bool:
        """Whether a new instance may take a call that faulted; counts it then.

        Args:
            fault: The fault.
            before: How many instances in a row have lost the call before.
        """
        if before >= self._reloads or isinstance(fault, CallCancelled):
            return False
        with self._lock:
            self.reloaded += 1
        _log.warning("%s; a new instance takes over, %d of %d", fault.message, before + 1, self._reloads)
        return True

    def wait(self, seconds: float) -> None:
        """Wait.

        Raises:
            Stopped: `stop` was called, before or while waiting.
        """
        if self._wait_for(self._stopped, seconds):
            raise Stopped

    def _pause(self, error: _Error, wait_s: float, what: str, seconds_left: Callable[[], float | None]) -> None:
        run_left_s, left_s = self._run_seconds_left(), seconds_left()
        if left_s is None and run_left_s is not None and wait_s > max(run_left_s, _LONG_WAIT_S):
            # The run is to end before: the rest of its rows would wait in vain.
            raise error
        with self._lock:
            self.count += 1
        level = logging.INFO if wait_s < _LONG_WAIT_S else logging.WARNING
        _log.log(level, "%s; %s in %.1f s", error.message, what, wait_s)
        if left_s is not None and wait_s >= left_s:
            self.wait(left_s)
            raise OutOfTime
        self.wait(wait_s)

    def _wait_until_closed(self) -> None:
        if not self._closed.is_set():
            self._closed.wait()
            if self._stopped.is_set():
                raise Stopped

    def _opens_circuit(self) -> bool:
        """Open the circuit, unless another call has, or it was open for too long."""
        with self._lock:
            if not self._max_outage_s or self._is_given_up or not self._closed.is_set():
                return False
            self._closed.clear()
            return True

    def _call_until_answered(
        self,
        error: _Error,
        function: Callable[..., T],
        arguments: tuple[object, ...],
        seconds_left: Callable[[], float | None],
    ) -> T:
        """Make the only call of the node, until it is answered; then let the others go on."""
        began_s, before_s = self._monotonic_s(), self.outage_s
        try:
            while True:
                self.outage_s = before_s + self._monotonic_s() - began_s
                left_s = self._max_outage_s - self.outage_s
                if left_s <= 0 or _named_s(error) > left_s:
                    self._is_given_up = True
                    raise error
                wait_s = min(max(_LONGEST_WAIT_S, _named_s(error)) * _jitter(), left_s)
                self._pause(error, wait_s, "no other call of the node is made before a trial", seconds_left)
                try:
                    return function(*arguments)
                except (PluginError, DatabaseError) as again:
                    if not again.retryable:
                        raise
                    error = again
        finally:
            self.outage_s = before_s + self._monotonic_s() - began_s
            self._closed.set()


def _named_s(error: _Error) -> float:
    """How long a plugin asks to wait; 0 where it does not say."""
    return (error.retry_after_ms or 0) / 1000


def _jitter() -> float:
    return 1 + _JITTER * random.random()
