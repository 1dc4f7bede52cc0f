"""`dataflare:host/metrics`: a plugin's metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from dataflare.capabilities.logging import PluginLog
from dataflare.errors import ConfigError
from dataflare.locks import Lock

__all__ = [
    "Distribution",
    "Labels",
    "MemoryMetrics",
    "MetricLimits",
    "MetricsSink",
    "PluginMetrics",
    "imports",
    "provide",
]

Labels = tuple[tuple[str, str], ...]
"""Names and values of labels, sorted by name, without duplicate names."""

_NAME = re.compile(r"[a-z][a-z0-9_.]{0,62}")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.]{0,62}")


class MetricsSink(Protocol):
    """Receives metrics. Any thread may call it; no call fails. `plugin` is the name of the reporting plugin."""

    def add_to_counter(self, plugin: str, name: str, amount: float, labels: Labels) -> None:
        """Add to a counter; `amount` is finite and not negative."""

    def set_gauge(self, plugin: str, name: str, value: float, labels: Labels) -> None:
        """Set a gauge; `value` is finite."""

    def record_observation(self, plugin: str, name: str, value: float, labels: Labels) -> None:
        """Add an observation to a histogram; `value` is finite."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """A summary of a histogram's observations."""

    count: int
    total: float
    minimum: float
    maximum: float


class MemoryMetrics:
    """Keeps metrics in memory. The key of each mapping is plugin, name and labels."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counters: dict[tuple[str, str, Labels], float] = {}
        self._gauges: dict[tuple[str, str, Labels], float] = {}
        self._histograms: dict[tuple[str, str, Labels], Distribution] = {}

    def add_to_counter(self, plugin: str, name: str, amount: float, labels: Labels) -> None:
        key = (plugin, name, labels)
        with self._lock:
            self._counters[key] = self._counters.get(key, 0.0) + amount

    def set_gauge(self, plugin: str, name: str, value: float, labels: Labels) -> None:
        with self._lock:
            self._gauges[plugin, name, labels] = value

    def record_observation(self, plugin: str, name: str, value: float, labels: Labels) -> None:
        key = (plugin, name, labels)
        with self._lock:
            old = self._histograms.get(key, Distribution(0, 0.0, math.inf, -math.inf))
            self._histograms[key] = Distribution(
                old.count + 1, old.total + value, min(old.minimum, value), max(old.maximum, value)
            )

    def counters(self) -> dict[tuple[str, str, Labels], float]:
        """Copy the counters as they are now."""
        with self._lock:
            return dict(self._counters)

    def gauges(self) -> dict[tuple[str, str, Labels], float]:
        """Copy the gauges as they are now."""
        with self._lock:
            return dict(self._gauges)

    def histograms(self) -> dict[tuple[str, str, Labels], Distribution]:
        """Copy the histograms as they are now."""
        with self._lock:
            return dict(self._histograms)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricLimits:
    """The limits of one plugin's metrics.

    Args:
        names: Maximum number of distinct names.
        series: Maximum number of distinct combinations of a name and labels.
        labels: Maximum number of labels of one metric.
        value_characters: Maximum length of a label's value, in characters.

    Raises:
        ConfigError: A value is below 0.
    """

    names: int = 100
    series: int = 1_000
    labels: int = 10
    value_characters: int = 256

    def __post_init__(self) -> None:
        for name in ("names", "series", "labels", "value_characters"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{getattr(self, name)!r} is below 0", where=f"metrics.{name}")


class PluginMetrics:
    """One plugin's metrics: checked against their limits before they reach the sink. Any thread may use it.

    A name keeps the kind (counter, gauge or histogram) of its first use.

    Args:
        sink: Gets the metrics.
        plugin: The plugin's name.
        limits: The limits; `None` for the defaults.
        on_drop: Called for each dropped number.
    """

    def __init__(
        self,
        sink: MetricsSink,
        plugin: str,
        *,
        limits: MetricLimits | None = None,
        on_drop: Callable[[], object] = lambda: None,
    ) -> None:
        self._sink = sink
        self._plugin = plugin
        self._limits = limits or MetricLimits()
        self._lock = Lock()
        self._kinds: dict[str, str] = {}
        self._series: set[tuple[str, Labels]] = set()
        self._dropped = 0
        self._on_drop = on_drop

    @property
    def dropped(self) -> int:
        """The number of dropped reports so far."""
        return self._dropped

    def add_to_counter(self, name: str, amount: float, labels: Sequence[tuple[str, str]] = ()) -> None:
        if (known := self._admit("counter", name, amount, labels)) is not None:
            self._sink.add_to_counter(self._plugin, name, amount, known)

    def set_gauge(self, name: str, value: float, labels: Sequence[tuple[str, str]] = ()) -> None:
        if (known := self._admit("gauge", name, value, labels)) is not None:
            self._sink.set_gauge(self._plugin, name, value, known)

    def record_observation(self, name: str, value: float, labels: Sequence[tuple[str, str]] = ()) -> None:
        if (known := self._admit("histogram", name, value, labels)) is not None:
            self._sink.record_observation(self._plugin, name, value, known)

    def _admit(self, kind: str, name: str, value: float, labels: Sequence[tuple[str, str]]) -> Labels | None:
        limits = self._limits
        well_formed = (
            math.isfinite(value)
            and (kind != "counter" or value >= 0)
            and _NAME.fullmatch(name) is not None
            and len(labels) <= limits.labels
            and all(
                _LABEL.fullmatch(label) is not None and len(text) <= limits.value_characters for label, text in labels
            )
        )
        known: Labels = tuple(sorted(dict(labels).items())) if well_formed else ()
        if well_formed and self._keeps(kind, name, known):
            return known
        with self._lock:
            self._dropped += 1
        self._on_drop()
        return None

    def _keeps(self, kind: str, name: str, known: Labels) -> bool:
        """Whether a series exists already, or there is room for it."""
        limits = self._limits
        with self._lock:
            if (name, known) in self._series:
                return self._kinds[name] == kind
            if (
                self._kinds.get(name, kind) != kind
                or (name not in self._kinds and len(self._kinds) >= limits.names)
                or len(self._series) >= limits.series
            ):
                return False
            self._kinds[name] = kind
            self._series.add((name, known))
            return True


def imports(metrics: PluginMetrics) -> dict[str, Callable[..., Any]]:
    """Make the functions of the interface, by their names in the WIT."""
    return {
        "add-to-counter": metrics.add_to_counter,
        "set-gauge": metrics.set_gauge,
        "record-observation": metrics.record_observation,
    }


class _Context(Protocol):
    @property
    def plugin(self) -> str: ...
    @property
    def metrics(self) -> MetricsSink: ...
    @property
    def log(self) -> PluginLog: ...
    @property
    def resources(self) -> ExitStack: ...
    @property
    def at_end_of_call(self) -> Callable[[Callable[[], None]], None]: ...
    def count_limit(self, limit: str, amount: int = 1, /) -> None: ...


def provide(context: _Context) -> dict[str, Callable[..., Any]]:
    """Make the functions that one plugin gets, by their names in the WIT."""
    omissions = context.log.omissions("metrics were dropped")
    counted = 0

    def end_call() -> None:
        nonlocal counted
        if new := omissions.total - counted:
            counted += new
            context.count_limit("metrics", new)
            omissions.tell()

    context.at_end_of_call(end_call)
    context.resources.callback(lambda: omissions.tell(at_last=True))
    return imports(PluginMetrics(context.metrics, context.plugin, on_drop=omissions.add))
