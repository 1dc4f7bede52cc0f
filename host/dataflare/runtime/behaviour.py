"""Watches the calls of loaded plugins: takes samples for `dataflare.security.behaviour`, and handles alerts.

Imported only if a host watches plugins: it needs the extra `behaviour`.
"""

from __future__ import annotations

import functools
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Protocol

from dataflare.capabilities.metrics import MetricsSink
from dataflare.errors import ConfigError, PermissionDenied, PluginError, PluginFault
from dataflare.interfaces import short_name
from dataflare.locks import Lock
from dataflare.runtime.options import Watching
from dataflare.runtime.ports import CallStats
from dataflare.security.atomic_files import write_atomically
from dataflare.security.behaviour import Alert, BatchSample, BehaviourMonitor, BehaviourSettings, Profile
from dataflare.user_files import as_path, find_file

__all__ = ["ALERT_METRIC", "AlertLog", "Observation", "Watch", "Watchers"]

ALERT_METRIC: Final = "dataflare:behaviour_alert"
"""The counter of alerts, by its labels `action` and `feature`; no plugin can have one of this name."""

_BATCHES: Final = "batches"
_MAX_PROFILE_BYTES: Final = 2**20
_logger = logging.getLogger("dataflare.runtime")


class AlertLog(Protocol):
    """The part of the audit log that records alerts."""

    def record_alert(self, feature: str, reason: str, *, refused: bool) -> None: ...


class Observation:
    """A call that is running. Used only by the thread that makes it.

    Args:
        stats: The counters of the called instance.
        rows_in: Rows given to the plugin.
    """

    __slots__ = ("_began_ns", "_host_calls", "_stats", "errors", "host_calls", "rows_in", "size", "taken")

    def __init__(self, stats: CallStats, rows_in: int) -> None:
        self._stats = stats
        self._began_ns = stats.wall_ns
        self._host_calls = stats.host_calls
        self.rows_in = rows_in
        self.taken = self.size = self.errors = 0
        self.host_calls: Counter[str] = Counter()

    def returned(self, rows: int, size: int, errors: int = 0) -> None:
        """Record what the call returned: rows, bytes, and the number of rows that it reported as wrong."""
        self.taken, self.size, self.errors = rows, size, errors

    def failed(self) -> None:
        """Record that the call failed, and with it all its rows."""
        self.returned(0, 0, max(self.rows_in, 1))

    def sample(self) -> BatchSample:
        """Return a sample of the call when it has ended; call it before the instance is closed."""
        host_calls = dict(self.host_calls)
        rest = self._stats.host_calls - self._host_calls - self.host_calls.total()
        if rest > 0:
            host_calls[_BATCHES] = rest
        return BatchSample(
            rows_in=self.rows_in,
            rows_out=self.taken,
            latency_s=(self._stats.wall_ns - self._began_ns) / 1e9,
            memory_bytes=self._stats.memory_bytes,
            errors=self.errors,
            bytes_out=self.size,
            host_calls=host_calls,
        )


class Watch:
    """Watches one loaded plugin. Any thread may use it.

    Args:
        monitor: The monitor of the plugin's version; other loads of the same component share it.
        throttle_limit_s: The maximum seconds that a call waits.
        remaining_s: Returns the seconds left for the plugin call that this thread is in.
        on_alert: Called with each alert.
        on_learned: Called with the profile when it has been learned.
        on_accepted: Called when the profile is no longer valid.
    """

    def __init__(
        self,
        monitor: BehaviourMonitor,
        *,
        throttle_limit_s: float,
        remaining_s: Callable[[], float],
        on_alert: Callable[[Alert], None],
        on_learned: Callable[[Profile], None],
        on_accepted: Callable[[], None],
    ) -> None:
        self._monitor = monitor
        self._throttle_limit_s = throttle_limit_s
        self._remaining_s = remaining_s
        self._on_alert = on_alert
        self._on_learned = on_learned
        self._on_accepted = on_accepted
        self._local = threading.local()

    def count(self, interface: str, _function_name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a host function, so that it is counted for the plugin's current call.

        Functions of `batches` are not wrapped: they are the most frequent, a worker may serve them itself, and the
        instance counts them with the others.
        """
        short = short_name(interface) or interface
        if short == _BATCHES:
            return function
        local = self._local

        @functools.wraps(function)
        def counted(*args: Any) -> Any:
            observation: Observation | None = getattr(local, "observation", None)
            if observation is not None:
                observation.host_calls[short] += 1
            return function(*args)

        return counted

    def admit(self) -> None:
        """Wait if the plugin is throttled; without holding an instance, so that other threads can use it.

        Raises:
            PermissionDenied: The plugin is in quarantine.
        """
        wait_s = min(self._monitor.before_batch(), self._throttle_limit_s, max(0.0, self._remaining_s()))
        if wait_s > 0:
            time.sleep(wait_s)

    @contextmanager
    def observing(self, stats: CallStats, rows_in: int, take: Callable[[BatchSample], object]) -> Iterator[Observation]:
        """Measure the call within the `with` block.

        Args:
            stats: The counters of the called instance.
            rows_in: Rows given to the plugin.
            take: Called with the sample, which must be passed to `end`; not called if the call failed for a reason
                outside the plugin.
        """
        outer = getattr(self._local, "observation", None)
        observation = self._local.observation = Observation(stats, rows_in)
        try:
            yield observation
        except (PluginError, PluginFault, PermissionDenied):
            observation.failed()
            take(observation.sample())
            raise
        else:
            take(observation.sample())
        finally:
            self._local.observation = outer

    def end(self, sample: BatchSample) -> None:
        """Compare a call with the profile. Call this after the instance has been released."""
        before = self._monitor.profile
        alerts = self._monitor.observe(sample)
        if before is None and (learned := self._monitor.profile) is not None:
            self._on_learned(learned)
        for alert in alerts:
            self._on_alert(alert)

    def accept(self) -> None:
        """Accept the plugin's current behaviour, and learn a new profile."""
        self._on_accepted()
        self._monitor.accept()


class Watchers:
    """The watched plugins of one host, and their profiles. Any thread may use it.

    A component that is loaded again keeps its state. Another component of the same name is compared with the profile of
    the previous one.

    Args:
        watching: How plugins are watched, and the callback for alerts; errors of `on_alert` are logged.
        metrics: Counts the alerts.
        remaining_s: Returns the seconds left for the plugin call that this thread is in.
    """

    def __init__(
        self,
        watching: Watching,
        *,
        metrics: MetricsSink,
        remaining_s: Callable[[], float],
    ) -> None:
        settings, folder = watching.behaviour, watching.profiles
        self._settings = settings if isinstance(settings, BehaviourSettings) else dict(settings)
        self._on_alert = watching.on_alert
        self._folder = None if folder is None else as_path(folder, where="profiles")
        self._metrics = metrics
        self._remaining_s = remaining_s
        self._lock = Lock()
        self._monitors: dict[tuple[str, str, str], BehaviourMonitor] = {}
        self._profiles: dict[tuple[str, str], Profile] = {}

    def watch(
        self,
        plugin: str,
        pipeline: str,
        *,
        component: bytes,
        version: str | None,
        audit: AlertLog | None,
        call_timeout_s: float | None,
    ) -> Watch | None:
        """Watch a loaded plugin; return `None` for one that is not watched.

        Raises:
            ConfigError: Its profile's file cannot be read, or is not a profile.
        """
        settings = self._settings if isinstance(self._settings, BehaviourSettings) else self._settings.get(plugin)
        if settings is None:
            return None
        key, digest = (pipeline, plugin), sha256(component).hexdigest()
        with self._lock:
            monitor = self._monitors.get((*key, digest))
            if monitor is None:
                profile = self._profiles.get(key) or self._read(key)
                monitor = BehaviourMonitor(
                    plugin, version or f"sha256:{digest[:12]}", settings=settings, profile=profile
                )
                self._monitors[*key, digest] = monitor
        return Watch(
            monitor,
            throttle_limit_s=math.inf if call_timeout_s is None else call_timeout_s,
            remaining_s=self._remaining_s,
            on_alert=lambda alert: self._publish(alert, audit),
            on_learned=lambda profile: self._keep(key, profile),
            on_accepted=lambda: self._drop(key),
        )

    def _publish(self, alert: Alert, audit: AlertLog | None) -> None:
        _logger.warning("behaviour: %s (%s)", alert, alert.action)
        labels = (("action", str(alert.action)), ("feature", alert.feature))
        self._metrics.add_to_counter(alert.plugin, ALERT_METRIC, 1.0, labels)
        if self._on_alert is not None:
            try:
                self._on_alert(alert)
            except Exception:
                # The call itself succeeded: this error must not lose its result.
                _logger.exception("on_alert failed for plugin %r", alert.plugin)
        if audit is not None:
            audit.record_alert(alert.feature, str(alert), refused=alert.action == "quarantine")

    def _read(self, key: tuple[str, str]) -> Profile | None:
        path = self._path(key)
        try:
            data = None if path is None else find_file(path, _MAX_PROFILE_BYTES)
            return None if data is None else Profile.from_json(data.decode())
        except UnicodeDecodeError as error:
            raise ConfigError("is not a profile: not UTF-8", where=str(path)) from error
        except ConfigError as error:
            hint = "put the file back, or remove it: the plugin's behaviour is learned again then"
            raise ConfigError(f"cannot be used: {error.message}", where=str(path), hint=hint) from error

    def _keep(self, key: tuple[str, str], profile: Profile) -> None:
        with self._lock:
            self._profiles[key] = profile
            path = self._path(key)
            if path is None:
                return
            try:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_atomically(path, profile.to_json().encode(), mode=0o600)
            except (OSError, ConfigError) as error:
                _logger.warning("the profile of plugin %r was not saved: %s", profile.plugin, error)

    def _drop(self, key: tuple[str, str]) -> None:
        with self._lock:
            self._profiles.pop(key, None)
            path = self._path(key)
            try:
                if path is not None:
                    path.unlink(missing_ok=True)
            except OSError as error:
                raise ConfigError(f"cannot be removed: {error.strerror}", where=str(path)) from error

    def _path(self, key: tuple[str, str]) -> Path | None:
        return None if self._folder is None else self._folder / key[0] / f"{key[1]}.json"
