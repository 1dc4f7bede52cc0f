"""Instances that many threads share: one thread has one of them at a time."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar, get_args

from dataflare.errors import ConfigError, UsageError

__all__ = ["InstancePool", "PoolExhausted", "PoolSettings", "ReusePolicy"]

ReusePolicy: TypeAlias = Literal["reuse", "fresh-per-batch", "fresh-per-call"]
T = TypeVar("T")


class PoolExhausted(UsageError):
    """Every instance was in use, and none became free in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """How many instances a plugin has, and how long they live.

    Args:
        minimum: Instances that are made at the start, and not closed for being idle.
        maximum: The most instances at a time, 1 to 1000.
        idle_timeout_s: Seconds after which an idle instance over the minimum is closed, at the plugin's next call;
            `None` keeps it.
        acquire_timeout_s: The most seconds that a call waits for an instance.
        policy: `reuse` keeps instances. `fresh-per-batch` uses one for no more than one batch, `fresh-per-call` for no
            more than one call of any kind: whatever a call leaves behind in the plugin, no later one can see.

    Raises:
        ConfigError: A value is out of its range.
    """

    minimum: int = 0
    maximum: int = 4
    idle_timeout_s: float | None = 300.0
    acquire_timeout_s: float = 60.0
    policy: ReusePolicy = "reuse"

    def __post_init__(self) -> None:
        if not 1 <= self.maximum <= 1000:
            raise ConfigError(f"{self.maximum!r} is not in 1 to 1000", where="pool.maximum")
        if not 0 <= self.minimum <= self.maximum:
            raise ConfigError(f"{self.minimum!r} is not in 0 to the maximum, {self.maximum}", where="pool.minimum")
        if self.idle_timeout_s is not None and not self.idle_timeout_s >= 0:
            raise ConfigError(f"{self.idle_timeout_s!r} is not at least 0", where="pool.idle_timeout_s")
        if not self.acquire_timeout_s >= 0:
            raise ConfigError(f"{self.acquire_timeout_s!r} is not at least 0", where="pool.acquire_timeout_s")
        if self.policy not in get_args(ReusePolicy):
            known = ", ".join(get_args(ReusePolicy))
            raise ConfigError(f"{self.policy!r} is none of {known}", where="pool.policy")


class InstancePool(Generic[T]):
    """A pool of instances. Any thread may use it.

    Args:
        make: Makes an instance; what it raises reaches the caller of `lease` or `warm`.
        end: Ends one; must not raise.
        usable: Whether an instance can be used again.
        settings: How many, and for how long.
        owner: Whose instances they are, for errors.
        monotonic_s: Seconds that never go back.
        remaining_s: The seconds that are left of the call that this thread is within: it waits no longer than that.
    """

    def __init__(
        self,
        make: Callable[[], T],
        end: Callable[[T], None],
        usable: Callable[[T], bool],
        *,
        settings: PoolSettings,
        owner: str,
        monotonic_s: Callable[[], float] = time.monotonic,
        remaining_s: Callable[[], float] = lambda: math.inf,
    ) -> None:
        self._make = make
        self._end = end
        self._usable = usable
        self._settings = settings
        self._owner = owner
        self._monotonic_s = monotonic_s
        self._remaining_s = remaining_s
        self._changed = threading.Condition(threading.Lock())
        # The most recently used at the end: those at the front have been idle for longest.
        self._idle: list[tuple[T, float]] = []
        self._size = 0
        self._leases: dict[int, int] = {}
        self._closed = False

    @property
    def size(self) -> int:
        """The instances that there are now, those in use or being made too."""
        return self._size

    @contextmanager
    def lease(self, *, batch: bool = False) -> Iterator[T]:
        """Have an instance for the length of a `with` block: `acquire` and `release`."""
        instance = self.acquire()
        try:
            yield instance
        finally:
            self.release(instance, batch=batch)

    def acquire(self) -> T:
        """Take an instance, which this thread must `release`.

        Raises:
            PoolExhausted: All were in use for `acquire_timeout_s`, or this thread itself holds the last of them.
            UsageError: The pool is closed.
        """
        thread = threading.get_ident()
        found: list[T] = []
        with self._changed:
            expired = self._take_expired()
            # Most often there is one: to ask whether to wait costs more than all the rest.
            if not self._idle or self._closed:
                self._wait(thread)
            self._leases[thread] = self._leases.get(thread, 0) + 1
            if self._idle:
                found.append(self._idle.pop()[0])
            else:
                self._size += 1
        for instance in expired:
            self._end(instance)
        if found:
            return found[0]
        try:
            return self._make_counted()
        except BaseException:
            with self._changed:
                self._forget_lease(thread)
            raise

    def release(self, instance: T, *, batch: bool = False) -> None:
        """Give an instance back; one that is not usable any more is ended.

        Args:
            instance: What `acquire` returned.
            batch: Whether it was used for a batch, which matters to the policy `fresh-per-batch`.
        """
        policy = self._settings.policy
        keep = (policy == "reuse" or (policy == "fresh-per-batch" and not batch)) and self._usable(instance)
        thread = threading.get_ident()
        if keep:
            with self._changed:
                if not self._closed:
                    self._idle.append((instance, self._monotonic_s()))
                    self._forget_lease(thread)
                    return
        try:
            self._end(instance)
        finally:
            # Only now: whoever waits for the place must not find the old instance still being ended.
            with self._changed:
                self._size -= 1
                self._forget_lease(thread)

    def warm(self, count: int) -> None:
        """Make instances until there are so many, at most the maximum."""
        while True:
            with self._changed:
                self._require_open()
                if self._size >= min(count, self._settings.maximum):
                    return
                self._size += 1
            self._give_back(self._make_counted())

    def trim(self) -> None:
        """End the instances that have been idle for too long; `acquire` does it too."""
        with self._changed:
            expired = self._take_expired()
        for instance in expired:
            self._end(instance)

    def close(self, *, wait_s: float = 0.0) -> None:
        """End all instances; idempotent. Those in use are ended when they are returned.

        Args:
            wait_s: How long to wait for instances that other threads use, in seconds.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            idle, self._idle = self._idle, []
            self._size -= len(idle)
        for instance, _ in idle:
            self._end(instance)
        with self._changed:
            own = self._leases.get(threading.get_ident(), 0)
            self._changed.wait_for(lambda: self._size <= own, timeout=wait_s)

    # With the lock held.

    def _take_expired(self) -> list[T]:
        timeout_s = self._settings.idle_timeout_s
        if timeout_s is None or not self._idle:
            return []
        before = self._monotonic_s() - timeout_s
        expired = []
        while self._idle and self._idle[0][1] <= before and self._size > self._settings.minimum:
            expired.append(self._idle.pop(0)[0])
            self._size -= 1
        if expired:
            self._changed.notify_all()
        return expired

    def _wait(self, thread: int) -> None:
        """Wait until there is an instance, or room for one."""
        settings = self._settings
        if self._leases.get(thread, 0) >= settings.maximum:
            raise PoolExhausted(
                f"plugin {self._owner!r} is called from within its own call",
                hint="a function of the host, such as a log sink, must not call the plugin that it serves",
            )
        timeout_s = settings.acquire_timeout_s
        if not self._is_free():
            timeout_s = min(timeout_s, max(0.0, self._remaining_s()))
        free = self._changed.wait_for(self._is_free, timeout=timeout_s)
        self._require_open()
        if not free:
            raise PoolExhausted(
                f"all {settings.maximum} instances of plugin {self._owner!r} were in use for {timeout_s:g} s",
                hint="raise PoolSettings.maximum or acquire_timeout_s, or call it from fewer threads",
            )

    def _is_free(self) -> bool:
        return self._closed or bool(self._idle) or self._size < self._settings.maximum

    def _require_open(self) -> None:
        if self._closed:
            raise UsageError(f"plugin {self._owner!r} is closed", hint="load it again")

    def _forget_lease(self, thread: int) -> None:
        if self._leases[thread] == 1:
            del self._leases[thread]
        else:
            self._leases[thread] -= 1
        self._changed.notify_all()

    # Without it.

    def _give_back(self, instance: T) -> None:
        with self._changed:
            if not self._closed:
                self._idle.append((instance, self._monotonic_s()))
                self._changed.notify_all()
                return
        try:
            self._end(instance)
        finally:
            self._shrink()

    def _make_counted(self) -> T:
        try:
            return self._make()
        except BaseException:
            self._shrink()
            raise

    def _shrink(self) -> None:
        with self._changed:
            self._size -= 1
            self._changed.notify_all()
