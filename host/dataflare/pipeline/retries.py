"""Retries calls that failed for a temporary reason: something outside is not available, or wants fewer requests."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from dataflare.errors import PluginError
from dataflare.locks import Lock
from dataflare.pipeline.channel import Stopped

__all__ = ["DEFAULT_RETRIES", "OutOfTime", "Retries"]

T = TypeVar("T")
_log = logging.getLogger("dataflare.pipeline")

DEFAULT_RETRIES: Final = 5
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 60.0
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

    Args:
        most: How often in a row a call is made again; 0 for never.

    Attributes:
        count: How many retries there were.
    """

    def __init__(self, most: int = DEFAULT_RETRIES) -> None:
        self.count = 0
        self._most = most
        self._lock = Lock()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End all waits."""
        self._stopped.set()

    def call(
        self, function: Callable[..., T], *arguments: object, seconds_left: Callable[[], float | None] = lambda: None
    ) -> T:
        """Call a function, and retry where that can help.

        Args:
            function: What is called.
            arguments: With what.
            seconds_left: How long waits may last from now on; `None` for any time.

        Raises:
            OutOfTime: It was to wait longer than that, and has waited until then.
            PluginError: It failed with one that no retry helps, or more than `most` times in a row.
            Stopped: It was to wait, and `stop` was called.
        """
        for attempt in range(self._most):
            try:
                return function(*arguments)
            except PluginError as error:
                if not error.retryable:
                    raise
                named_s = None if error.retry_after_ms is None else error.retry_after_ms / 1000
                message = error.message
            with self._lock:
                self.count += 1
            wait_s = min(_FIRST_WAIT_S * 2**attempt, _LONGEST_WAIT_S) if named_s is None else named_s
            wait_s *= 1 + _JITTER * random.random()
            level = logging.INFO if wait_s < _LONG_WAIT_S else logging.WARNING
            _log.log(level, "%s; retry %d of %d in %.1f s", message, attempt + 1, self._most, wait_s)
            left_s = seconds_left()
            if left_s is not None and wait_s >= left_s:
                self.wait(left_s)
                raise OutOfTime
            self.wait(wait_s)
        return function(*arguments)

    def wait(self, seconds: float) -> None:
        """Wait.

        Raises:
            Stopped: `stop` was called, before or while waiting.
        """
        if self._stopped.wait(seconds):
            raise Stopped
