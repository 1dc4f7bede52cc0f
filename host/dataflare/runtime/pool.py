"""A pool of instances for many threads: each instance is used by one thread at a time."""

from __future__ import annotations

import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar, get_args

from dataflare import cancellation
from dataflare.errors import ConfigError, UsageError
from dataflare.locks import Lock

__all__ = ["InstancePool", "Lease", "PoolExhausted", "PoolSettings", "ReusePolicy"]

ReusePolicy: TypeAlias = Literal["reuse", "fresh-per-batch", "fresh-per-call"]
T = TypeVar("T")
_LOOK_S: Final = 0.5
"""Interval in seconds at which a waiting caller checks for lost leases."""


class PoolExhausted(UsageError):
    """All instances were in use, and none became free in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """How many instances a plugin has, and how long they live.

    Args:
        minimum: Instances that are made at the start, and not closed for being idle.
        maximum: The most instances at a time, 1 to 1000.
        idle_timeout_s: Seconds after which an idle instance over the minimum is closed, at the plugin's next call;
            `None` keeps it.
        acquire_timeout_s: The most seconds that a call waits for an instance.
        policy: `reuse` keeps instances. `fresh-per-batch` uses an instance for one batch only, `fresh-per-call` for one
            call of any kind only, so that no later call can see what an earlier one left in the plugin.

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
            raise ConfigError(f"{self.policy!r} is not one of {known}", where="pool.policy")


class Lease(Generic[T]):
    """A caller's hold on an instance, from `acquire` until `release`.

    The caller makes it, so that nothing is lost if an exception, such as an interrupt, comes between two steps. If no
    reference to the lease is left, its instance is ended, and its place becomes free.
    """

    __slots__ = ("__weakref__", "place")

    def __init__(self) -> None:
        self.place: _Place[T] | None = None


class _Place(Generic[T]):
    """A place of the pool whose instance is in use or being made."""

    __slots__ = ("instance", "lease", "thread")

    def __init__(self, thread: int, lease: Lease[T]) -> None:
        self.thread = thread
        self.lease = weakref.ref(lease)
        self.instance: T | None = None


class InstancePool(Generic[T]):
    """A pool of instances. Any thread may use it.

    Under the lock, steps that belong together are plain assignments, which no exception can interrupt.

    Args:
        make: Makes an instance; its exceptions reach the caller of `lease` or `warm`.
        end: Ends an instance; must not raise. It may be called twice for the same instance after an exception.
        usable: Whether an instance can be used again.
        settings: The number of instances, and their lifetime.
        owner: The plugin's name, for errors.
        monotonic_s: A monotonic clock, in seconds.
        remaining_s: Returns the seconds left for the plugin call that this thread is in; waiting takes at most that
            long.
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
        # Acquired as a lock, not as a condition: that is Python code, and an exception could leave it locked.
        self._lock = Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting = 0
        # The most recently used are at the end; those at the front have been idle the longest.
        self._idle: list[tuple[T, float]] = []
        self._taken: dict[_Place[T], None] = {}
        self._closed = False
        _pools.add(self)

    @property
    def size(self) -> int:
        """The current number of instances, including those in use or being made."""
        return len(self._idle) + len(self._taken)

    @contextmanager
    def lease(self, *, batch: bool = False) -> Iterator[T]:
        """Hold an instance within a `with` block: `acquire` and `release`."""
        lease: Lease[T] = Lease()
        try:
            yield self.acquire(lease)
        finally:
            self.release(lease, batch=batch)

    def acquire(self, lease: Lease[T]) -> T:
        """Take an instance. This thread must call `release`, also if this raises.

        Args:
            lease: A new lease.

        Raises:
            PoolExhausted: All were in use for `acquire_timeout_s`, or this thread itself holds the last of them.
            UsageError: The pool is closed.
        """
        place = _Place(threading.get_ident(), lease)
        gone: list[T] = []
        with self._lock:
            self._take_expired(gone)
            # Usually one is idle; checking whether to wait would cost more than everything else.
            if not self._idle or self._closed:
                self._wait(place.thread, gone)
            self._taken[place] = None
            lease.place = place
            if self._idle:
                place.instance = self._idle[-1][0]
                del self._idle[-1]
        for each in gone:
            self._end(each)
        if place.instance is None:
            place.instance = self._make()
        return place.instance

    def release(self, lease: Lease[T], *, batch: bool = False) -> None:
        """Return an instance to the pool; if it is no longer usable, end it. Does nothing for an empty lease.

        Args:
            lease: The lease that was passed to `acquire`.
            batch: Whether the instance was used for a batch; matters for the policy `fresh-per-batch`.
        """
        place = lease.place
        if place is None or place not in self._taken:
            return
        instance, policy = place.instance, self._settings.policy
        if instance is not None:
            keep = policy == "reuse" or (policy == "fresh-per-batch" and not batch)
            if keep and self._usable(instance):
                entry = (instance, self._monotonic_s())
                with self._lock:
                    if not self._closed:
                        del self._taken[place]
                        self._idle += (entry,)
                        self._notify()
                        return
            # Its place becomes free only afterwards: a waiting thread must not start while the old instance is still
            # ending.
            self._end(instance)
        with self._lock:
            self._taken.pop(place, None)
            self._notify()

    def warm(self, count: int) -> None:
        """Make instances until there are `count`, at most the maximum."""
        while True:
            lease: Lease[T] = Lease()
            try:
                with self._lock:
                    self._require_open()
                    if self.size >= min(count, self._settings.maximum):
                        return
                    place = _Place(threading.get_ident(), lease)
                    self._taken[place] = None
                    lease.place = place
                place.instance = self._make()
            finally:
                self._keep(lease)

    def _keep(self, lease: Lease[T]) -> None:
        """Return an unused instance to the pool, under any policy."""
        place = lease.place
        if place is None:
            return
        with self._lock:
            self._taken.pop(place, None)
            if place.instance is not None and not self._closed:
                self._idle += ((place.instance, self._monotonic_s()),)
                self._notify()
                return
            self._notify()
        if place.instance is not None:
            self._end(place.instance)

    def trim(self) -> None:
        """End the instances that have been idle for too long; `acquire` does it too."""
        gone: list[T] = []
        with self._lock:
            self._take_expired(gone)
        for each in gone:
            self._end(each)

    def close(self, *, wait_s: float = 0.0) -> None:
        """End all instances; idempotent. Those in use are ended when they are returned.

        Args:
            wait_s: How long to wait for instances that other threads use, in seconds.
        """
        gone: list[T] = []
        thread = threading.get_ident()
        with self._lock:
            self._closed = True
            gone += (instance for instance, _ in self._idle)
            self._idle = []
            self._take_abandoned(gone)
            self._notify()
        for each in gone:
            self._end(each)
        with self._lock:
            self._await(lambda: all(place.thread == thread for place in self._taken), wait_s)

    def after_fork(self) -> None:
        """In a forked child, drop the leases of the parent's other threads, and instances that only the parent can
        use."""
        thread = threading.get_ident()
        self._taken = {place: None for place in self._taken if place.thread == thread}
        gone = [instance for instance, _ in self._idle if not self._usable(instance)]
        self._idle = [entry for entry in self._idle if entry[0] not in gone]
        for each in gone:
            self._end(each)

    # The methods below need the lock.

    def _notify(self) -> None:
        """Let those who wait look again. Rarely does anybody wait, and to ask the condition itself is slow."""
        if self._waiting:
            self._changed.notify_all()

    def _await(self, is_so: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until something is so; return whether it is."""
        self._waiting += 1
        try:
            return self._changed.wait_for(is_so, timeout=timeout_s)
        finally:
            self._waiting -= 1

    def _take_expired(self, gone: list[T]) -> None:
        """Move instances that were idle for too long to `gone`."""
        timeout_s = self._settings.idle_timeout_s
        if timeout_s is None or not self._idle:
            return
        before = self._monotonic_s() - timeout_s
        while self._idle and self._idle[0][1] <= before and self.size > self._settings.minimum:
            gone += (self._idle[0][0],)
            del self._idle[0]
            self._notify()

    def _take_abandoned(self, gone: list[T]) -> None:
        """Move the instances of unreferenced leases to `gone`."""
        for place in [place for place in self._taken if place.lease() is None]:
            del self._taken[place]
            if place.instance is not None:
                gone += (place.instance,)
            self._notify()

    def _wait(self, thread: int, gone: list[T]) -> None:
        """Wait until there is an instance, or room for one."""
        settings = self._settings
        timeout_s = settings.acquire_timeout_s
        if not self._is_free():
            self._take_abandoned(gone)
        if sum(place.thread == thread for place in self._taken) >= settings.maximum:
            raise PoolExhausted(
                f"plugin {self._owner!r} is called from within its own call",
                hint="a function of the host, such as a log sink, must not call the plugin that it serves",
            )
        if not self._is_free():
            timeout_s = min(timeout_s, max(0.0, self._remaining_s()))
        left_s = timeout_s
        while not (free := self._await(self._is_free, min(left_s, _LOOK_S))) and left_s > 0:
            left_s -= _LOOK_S
            cancellation.check()
            self._take_abandoned(gone)
        self._require_open()
        if not free:
            raise PoolExhausted(
                f"all {settings.maximum} instances of plugin {self._owner!r} were in use for {timeout_s:g} s",
                hint="raise PoolSettings.maximum or acquire_timeout_s, or call it from fewer threads",
            )

    def _is_free(self) -> bool:
        return self._closed or bool(self._idle) or len(self._taken) < self._settings.maximum

    def _require_open(self) -> None:
        if self._closed:
            raise UsageError(f"plugin {self._owner!r} is closed", hint="load it again")


def _after_fork() -> None:
    for pool in list(_pools):
        pool.after_fork()


_pools: Final[weakref.WeakSet[InstancePool[Any]]] = weakref.WeakSet()
os.register_at_fork(after_in_child=_after_fork)
