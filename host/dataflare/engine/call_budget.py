"""The remaining host calls and copied bytes of one instance."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from dataflare.engine.abi.bridge_memory import NO_CEILING
from dataflare.errors import HostCallLimitExceeded, HostCallRateExceeded, LimitExceeded
from dataflare.limits import Limits

__all__ = ["CallBudget"]


class Counts(Protocol):
    """What an instance has done so far."""

    host_calls: int
    bytes_in: int
    bytes_out: int


class CallBudget:
    """Turns limits for one call and for one second into thresholds of an instance's running counts.

    A call only compares a count with `calls_most` or `bytes_most`; the expensive check runs only when a threshold is
    passed. The rate is a token bucket that holds the calls of one second.

    Args:
        limits: The ceilings.
        counts: The instance's counts.
        monotonic_s: A monotonic clock, in seconds.
    """

    __slots__ = (
        "_call_most",
        "_copied_bytes",
        "_counts",
        "_filled_s",
        "_host_calls",
        "_monotonic_s",
        "_paid",
        "_rate",
        "_tokens",
        "bytes_most",
        "calls_most",
    )

    def __init__(self, limits: Limits, counts: Counts, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._counts = counts
        self._host_calls = limits.host_calls
        self._rate = limits.host_calls_per_s
        self._copied_bytes = NO_CEILING if limits.copied_bytes is None else limits.copied_bytes
        self._monotonic_s = monotonic_s
        self._tokens = float(limits.host_calls_per_s or 0)
        self._filled_s = monotonic_s()
        self._paid = 0
        self._call_most = self.calls_most = 0
        """The count of host calls at which the limits must be checked."""
        self.bytes_most = 0
        """The maximum of `bytes_in + bytes_out`."""
        self.begin()

    def begin(self) -> None:
        """Begin a call of the plugin."""
        counts = self._counts
        if self._rate is not None:
            # Tokens for calls that were not made go back into the bucket.
            self._tokens = min(float(self._rate), self._tokens + max(0, self._paid - counts.host_calls))
            self._call_most = counts.host_calls + self._host_calls
            self._paid = self.calls_most = counts.host_calls
        else:
            self.calls_most = counts.host_calls + self._host_calls
        self.bytes_most = counts.bytes_in + counts.bytes_out + self._copied_bytes

    def check_calls(self, fail: Callable[[type[LimitExceeded], str, str], LimitExceeded]) -> None:
        """Set the next threshold of host calls, or end the call; called when the count has passed the threshold.

        Args:
            fail: Makes the error from its class, its text and a hint.

        Raises:
            HostCallLimitExceeded: Too many calls within this call of the plugin.
            HostCallRateExceeded: Too many in the last second.
        """
        rate = self._rate
        if rate is None or self._counts.host_calls > self._call_most:
            raise fail(
                HostCallLimitExceeded,
                f"called the host more than host_calls = {self._host_calls} times in one call",
                "raise the limit, or let the plugin do more in each call",
            )
        now_s = self._monotonic_s()
        self._tokens = min(float(rate), self._tokens + (now_s - self._filled_s) * rate)
        self._filled_s = now_s
        if self._tokens < 1:
            raise fail(
                HostCallRateExceeded,
                f"called the host more often than host_calls_per_s = {rate}",
                "raise the limit, or let the plugin do more in each call",
            )
        # This call, and the calls for which there are tokens, need no further check.
        granted = int(self._tokens)
        self._tokens -= granted
        self._paid = self._counts.host_calls + granted - 1
        self.calls_most = min(self._call_most, self._paid)
