"""`dataflare:host/tasks`: progress and cancellation of long work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from dataflare.capabilities.clock import Clock, SystemClock
from dataflare.errors import ConfigError
from dataflare.locks import Lock
from dataflare.texts import cut

__all__ = [
    "CancellationToken",
    "LatestProgress",
    "MemoryProgress",
    "PluginTasks",
    "Progress",
    "ProgressSink",
    "imports",
    "provide",
]

# Escaped, so that no message can look like two lines or move a terminal's cursor.
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
_CONTROL |= {0x0A: "\\n", 0x0D: "\\r", 0x2028: "\\u2028", 0x2029: "\\u2029"}


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress that a plugin reports. `total` is 0 if it is unknown; `done` may be larger than `total`."""

    done: int
    total: int
    message: str

    @property
    def fraction(self) -> float | None:
        """The part that is done, 0 to 1; `None` if the total is unknown."""
        return min(1.0, self.done / self.total) if self.total else None


class ProgressSink(Protocol):
    """Receives progress. Any thread may call it; no call fails. `plugin` is the name of the reporting plugin."""

    def report(self, plugin: str, progress: Progress) -> None:
        """Receive a plugin's progress."""


class MemoryProgress:
    """Keeps every report, in order."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._reports: list[tuple[str, Progress]] = []

    def report(self, plugin: str, progress: Progress) -> None:
        with self._lock:
            self._reports.append((plugin, progress))

    def latest(self, plugin: str) -> Progress | None:
        """Return a plugin's last report, `None` before the first."""
        return next((progress for name, progress in reversed(self.reports()) if name == plugin), None)

    def reports(self) -> list[tuple[str, Progress]]:
        """Copy the reports as they are now."""
        with self._lock:
            return list(self._reports)


class LatestProgress:
    """Keeps only the last report of each plugin, so that long work needs no more memory."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._latest: dict[str, Progress] = {}

    def report(self, plugin: str, progress: Progress) -> None:
        with self._lock:
            self._latest[plugin] = progress

    def latest(self, plugin: str) -> Progress | None:
        """Return a plugin's last report, `None` before the first."""
        with self._lock:
            return self._latest.get(plugin)


class CancellationToken:
    """Says whether work should end. It cannot be reset. Any thread may use it."""

    __slots__ = ("_cancelled",)

    def __init__(self) -> None:
        self._cancelled = threading.Event()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` has been called."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Request the end of the work; a second call does nothing."""
        self._cancelled.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait at most this many seconds for the cancellation; return whether it came."""
        return self._cancelled.wait(timeout_s)


class PluginTasks:
    """One plugin's progress, with a limited rate, and its cancellation. Any thread may use it.

    If reports come faster than the rate, only the latest is kept. A newer report replaces it, or `flush` passes it on.

    Args:
        sink: Receives the progress.
        plugin: The plugin's name.
        token: Says whether the plugin's work should end.
        reports_per_s: Maximum number of reports per second that reach the sink, above 0.
        clock: Measures the rate.

    Raises:
        ConfigError: The rate is not above 0.
    """

    def __init__(
        self,
        sink: ProgressSink,
        plugin: str,
        token: CancellationToken,
        *,
        reports_per_s: float = 10.0,
        clock: Clock | None = None,
    ) -> None:
        if not 0 < reports_per_s < float("inf"):
            raise ConfigError(f"{reports_per_s!r} is not above 0", where="tasks.reports_per_s")
        self._sink = sink
        self._plugin = plugin
        self._token = token
        self._interval_ns = round(1e9 / reports_per_s)
        self._clock = clock or SystemClock()
        self._lock = Lock()
        self._due_ns = 0
        self._waiting: Progress | None = None

    def report_progress(self, done: int, total: int, message: str) -> None:
        """Receive a report of the plugin; its message is shortened and put on one line."""
        progress = Progress(done, total, cut(message).translate(_CONTROL))
        with self._lock:
            self._waiting = progress
            now_ns = self._clock.monotonic_ns()
            if now_ns < self._due_ns:
                return
            self._due_ns = now_ns + self._interval_ns
            self._pass_on()

    def flush(self) -> None:
        """Pass on the latest report, if that has not happened yet. For the end of a call."""
        with self._lock:
            self._pass_on()

    def is_cancelled(self) -> bool:
        """Whether the operator has asked the plugin's work to end."""
        return self._token.cancelled

    def _pass_on(self) -> None:
        # Under the lock, so that no older report follows a newer one.
        if (waiting := self._waiting) is not None:
            self._waiting = None
            self._sink.report(self._plugin, waiting)


def imports(tasks: PluginTasks) -> dict[str, Callable[..., Any]]:
    """Make the functions of the interface, by their names in the WIT."""
    return {"report-progress": tasks.report_progress, "is-cancelled": tasks.is_cancelled}


class _Context(Protocol):
    @property
    def plugin(self) -> str: ...
    @property
    def progress(self) -> ProgressSink: ...
    @property
    def cancellation(self) -> CancellationToken: ...
    @property
    def clock(self) -> Clock: ...
    def at_end_of_call(self, action: Callable[[], None], /) -> None: ...


def provide(context: _Context) -> dict[str, Callable[..., Any]]:
    """Make the functions that one plugin gets, by their names in the WIT."""
    tasks = PluginTasks(context.progress, context.plugin, context.cancellation, clock=context.clock)
    context.at_end_of_call(tasks.flush)
    return imports(tasks)
