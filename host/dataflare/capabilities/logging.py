"""`dataflare:host/logging`: the log of a plugin."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from dataflare.capabilities.clock import Clock, SystemClock
from dataflare.errors import ConfigError, LogLimitExceeded
from dataflare.interfaces import interface_name
from dataflare.limits import Limits
from dataflare.locks import Lock
from dataflare.texts import LOG_CHARACTERS, MESSAGE_CHARACTERS, NAME_CHARACTERS, cut

__all__ = [
    "LEVELS",
    "LogEvent",
    "LogLimits",
    "LogSink",
    "MemoryLogSink",
    "Omissions",
    "PluginLog",
    "StandardLogSink",
    "imports",
    "provide",
]

LEVELS: Final[Mapping[str, int]] = {
    "trace": 5,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
"""The WIT's levels, with their numbers in the standard library's logging."""

_MAX_FIELDS = 64
_REPORT_INTERVAL_NS = 1_000_000_000
# Escaped, so that no message can look like two lines or move a terminal's cursor.
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
_CONTROL |= {0x0A: "\\n", 0x0D: "\\r", 0x09: "\t", 0x2028: "\\u2028", 0x2029: "\\u2029"}


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One event. `level` is a key of `LEVELS`; the texts have no line breaks or other control characters."""

    level: str
    message: str
    fields: Mapping[str, str] = field(default_factory=dict)

    def line(self) -> str:
        """Write the event as one line."""
        pairs = "".join(f" {key}={value!r}" for key, value in self.fields.items())
        return f"{self.level.upper()} {self.message}{pairs}"


class LogSink(Protocol):
    """Receives a plugin's events. Any thread may call it."""

    def emit(self, event: LogEvent) -> None:
        """Write an event; never fails."""

    def is_enabled(self, level: str) -> bool:
        """Whether events of this level go anywhere."""


class StandardLogSink:
    """Writes to the standard library's logger `dataflare.plugin.<name>`; records have the attributes `plugin` and
    `fields`."""

    def __init__(self, plugin: str) -> None:
        self._plugin = plugin
        self._logger = logging.getLogger(f"dataflare.plugin.{plugin}")

    def emit(self, event: LogEvent) -> None:
        extra = {"plugin": self._plugin, "fields": dict(event.fields)}
        self._logger.log(LEVELS[event.level], "%s", event.message, extra=extra)

    def is_enabled(self, level: str) -> bool:
        return self._logger.isEnabledFor(LEVELS[level])


class MemoryLogSink:
    """Keeps a list of events of a level or above."""

    def __init__(self, *, level: str = "trace") -> None:
        self._threshold = LEVELS[level]
        self.events: list[LogEvent] = []

    def emit(self, event: LogEvent) -> None:
        self.events.append(event)

    def is_enabled(self, level: str) -> bool:
        return LEVELS[level] >= self._threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLimits:
    """The limits of one plugin's log.

    Args:
        events_per_s: Events per second; also the largest burst.
        bytes_per_s: Bytes of UTF-8 per second, fields included; also the largest burst.
        kept_lines: How many of the last lines are kept for reports of faults.

    Raises:
        ConfigError: A value is below 1.
    """

    events_per_s: int = 1_000
    bytes_per_s: int = 1_048_576
    kept_lines: int = 50

    def __post_init__(self) -> None:
        for name in ("events_per_s", "bytes_per_s", "kept_lines"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{getattr(self, name)!r} is not at least 1", where=f"logging.{name}")


class Omissions:
    """Counts what was dropped from a plugin, and reports it: at most one event per second, and one at the end.

    Any thread may use it.

    Args:
        sink: Gets the events.
        message: Says what was dropped; the field `dropped` has the number.
        clock: Measures the seconds.
    """

    def __init__(self, sink: LogSink, message: str, clock: Clock) -> None:
        self._sink = sink
        self._message = message
        self._clock = clock
        self._lock = Lock()
        self._untold = 0
        self._tell_from_ns = 0
        self.total = 0
        """The number dropped so far. An attribute, for speed: it is read after every call."""

    def add(self) -> None:
        """Count one more."""
        with self._lock:
            self.total += 1
            self._untold += 1

    def tell(self, *, at_last: bool = False) -> None:
        """Report what was dropped since the last report; unless `at_last`, only if there was no report in the last
        second."""
        if not self._untold:
            return
        with self._lock:
            now_ns = self._clock.monotonic_ns()
            if now_ns < self._tell_from_ns and not at_last:
                return
            untold, self._untold = self._untold, 0
            self._tell_from_ns = now_ns + _REPORT_INTERVAL_NS
        if untold:
            self._sink.emit(LogEvent("warn", self._message, {"dropped": str(untold)}))


class PluginLog:
    """One plugin's log: truncates texts, limits the rate, and keeps the last lines.

    Events above the rate are dropped and counted. An event reports their number: when events pass again or a call ends,
    at most once per second, and when the plugin is closed. Events of a disabled level are still kept among the last
    lines.

    Any thread may use it.
    """

    def __init__(self, sink: LogSink, *, limits: LogLimits | None = None, clock: Clock | None = None) -> None:
        self._sink = sink
        self._limits = limits or LogLimits()
        self._clock = clock or SystemClock()
        self._lock = Lock()
        self._lines: deque[str] = deque(maxlen=self._limits.kept_lines)
        self._refilled_ns = self._clock.monotonic_ns()
        self._events = float(self._limits.events_per_s)
        self._bytes = float(self._limits.bytes_per_s)
        self._omissions = self.omissions("log events were dropped")
        self.dropped = 0
        """The number of events dropped so far. An attribute, for speed: it is read after every call."""

    def omissions(self, message: str) -> Omissions:
        """Make a counter of other dropped things, which reports to the same sink."""
        return Omissions(self._sink, message, self._clock)

    def tell_dropped(self, *, at_last: bool = False) -> None:
        """Report dropped events that were not reported yet; for the end of a call, and of the plugin."""
        self._omissions.tell(at_last=at_last)

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The last lines, oldest first."""
        with self._lock:
            return tuple(self._lines)

    def is_enabled(self, level: str) -> bool:
        """Whether events of this level go anywhere."""
        return self._sink.is_enabled(level)

    def log(self, level: str, message: str, fields: Sequence[tuple[str, str]] = ()) -> None:
        """Write an event, or drop it; if a key of the fields is repeated, the last one is used."""
        shown = {
            _clean(key, NAME_CHARACTERS): _clean(value, MESSAGE_CHARACTERS) for key, value in fields[-_MAX_FIELDS:]
        }
        event = LogEvent(level, _clean(message, LOG_CHARACTERS), shown)
        line = event.line()
        with self._lock:
            taken = self._take(len(line.encode(errors="replace")))
            if taken:
                self._lines.append(cut(line, LOG_CHARACTERS))
            else:
                self.dropped += 1
        if not taken:
            self._omissions.add()
            return
        # Otherwise a flooding plugin would get one such event for each of its own.
        self._omissions.tell()
        if self._sink.is_enabled(level):
            self._sink.emit(event)

    def write_line(self, line: str) -> None:
        """Log a line that the plugin wrote to its standard error."""
        self.log("info", line, (("stream", "stderr"),))

    def _take(self, size: int) -> bool:
        now_ns = self._clock.monotonic_ns()
        passed_s = (now_ns - self._refilled_ns) / 1e9
        self._refilled_ns = now_ns
        limits = self._limits
        self._events = min(limits.events_per_s, self._events + passed_s * limits.events_per_s)
        self._bytes = min(limits.bytes_per_s, self._bytes + passed_s * limits.bytes_per_s)
        if self._events < 1 or self._bytes < size:
            return False
        self._events -= 1
        self._bytes -= size
        return True


def imports(log: PluginLog) -> dict[str, Callable[..., Any]]:
    """Make the functions of the interface, by their names in the WIT."""
    return {"log": log.log, "is-enabled": log.is_enabled}


def _clean(text: str, length: int) -> str:
    return cut(text, length).translate(_CONTROL)


class _Context(Protocol):
    @property
    def plugin(self) -> str: ...
    @property
    def log(self) -> PluginLog: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def dropped_before(self) -> int: ...


def provide(context: _Context) -> dict[str, Callable[..., Any]]:
    """Make the functions that one plugin gets, by their names in the WIT."""
    functions = imports(context.log)
    most = context.limits.log_dropped_events
    if most is None:
        return functions
    write = functions["log"]

    def log(level: str, message: str, fields: Any) -> None:
        write(level, message, fields)
        if context.log.dropped - context.dropped_before > most:
            raise LogLimitExceeded(
                f"went on logging after {most} events over the rate had been dropped (log_dropped_events)",
                plugin=context.plugin,
                export=f"{interface_name('logging')}#log",
                log_lines=context.log.last_lines,
                hint="let the plugin log less, or raise log_events_per_s or log_bytes_per_s",
            )

    return {**functions, "log": log}
