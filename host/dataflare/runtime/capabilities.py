"""The functions of the host that one plugin may call."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

from dataflare.capabilities import (
    clock,
    config,
    files,
    logging,
    metrics,
    plugins,
    random,
    secrets,
    shared,
    state,
    tasks,
)
from dataflare.capabilities.directory_files import DirectoryFiles
from dataflare.capabilities.http import Request
from dataflare.capabilities.http_transport import Transport
from dataflare.capabilities.names import FREE, OFFERED, interface_name
from dataflare.data import batches
from dataflare.errors import ConfigError, LimitExceeded, LogLimitExceeded
from dataflare.grants import Grants
from dataflare.limits import Limits
from dataflare.values import Err

__all__ = ["LIMIT_METRIC", "Audit", "Capabilities", "PipelineServices", "Services", "Wrap", "WrapFactory"]

LIMIT_METRIC: Final = "dataflare:limit_exceeded"
"""The counter of passed limits, by its label `limit`; no plugin can have one of this name."""

Wrap: TypeAlias = Callable[[str, str, Callable[..., Any]], Callable[..., Any]]
"""Given an interface's full name, a function's name and the function, returns what a plugin gets in its place."""

WrapFactory: TypeAlias = Callable[[str, str], Wrap]
"""Given a plugin's name and its namespace, returns its `Wrap`."""


class Audit(Protocol):
    """Sees every use of a capability, and every limit that is passed."""

    def wrap(self, interface: str, function_name: str, function: Callable[..., Any]) -> Callable[..., Any]: ...
    def request_refusal(self, origin: str, method: str, redirected: bool) -> str: ...
    def record_passed_limit(self, limit: str, function: str, reason: str) -> None: ...
    def end_call(self) -> None: ...
    def flush(self) -> None: ...


_ENGINE_MARKS = ("takes_views", "text_as_bytes")
"""What the engine looks for on a function: how values are passed must not depend on who wraps it."""

_NO_LIMITS_GIVEN: Final = Limits()
_STATE_WRITES: Final = frozenset({"set", "compare-and-swap"})
_STATE_LIMITS: Final = frozenset({"value-too-large", "quota-exceeded"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What stands behind the capabilities of all plugins of a host.

    Args:
        state_store: Where `state` keeps its values.
        metrics: Where `metrics` sends its numbers.
        log_sink: Makes the sink of a plugin's log, given the plugin's name.
        clock: The clock of `clock`, and of the limits of logs.
        secrets: Where secrets are; `None` for nowhere.
        transport: Makes what carries a plugin's requests; `None` for the network.
        progress: Where `tasks` sends progress.
        max_batch_bytes: What a batch that a plugin makes may take.
        wrap: What every function goes through on its way to a plugin; `None` for nothing.
        remaining_s: The seconds that are left of the call that this thread is within.
        write_refusal: Tells of an open directory and a name in it why no plugin may write or delete that file.
    """

    state_store: state.StateStore = field(default_factory=state.MemoryStateStore)
    metrics: metrics.MetricsSink = field(default_factory=metrics.MemoryMetrics)
    log_sink: Callable[[str], logging.LogSink] = logging.StandardLogSink
    clock: clock.Clock = field(default_factory=clock.SystemClock)
    secrets: secrets.SecretStore | None = None
    transport: Callable[[], Transport] | None = None
    progress: tasks.ProgressSink = field(default_factory=tasks.LatestProgress)
    max_batch_bytes: int = batches.MAX_BATCH_BYTES
    wrap: WrapFactory | None = None
    remaining_s: Callable[[], float] = lambda: math.inf
    write_refusal: Callable[[int, str], str] = lambda _folder, _name: ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineServices:
    """What stands behind the capabilities of one pipeline's plugins: `plugins`, `shared` and the end of `tasks`."""

    plugins: plugins.PluginCaller
    shared: shared.SharedStore
    cancellation: tasks.CancellationToken


class Capabilities:
    """The functions that one plugin may call: of what it imports, what is free and what is granted.

    Any thread may use it; `close` it.

    Args:
        services: What stands behind them.
        pipeline: What stands behind those that belong to the plugin's pipeline.
        grants: What the operator allows the plugin.
        wanted: The short names of the interfaces that the plugin imports.
        settings: The plugin's configuration.
        plugin: The plugin's name: of its log, its metrics and its part of the state.
        namespace: The pipeline's name: of its part of the state.
        limits: The ceilings of its instances.
        audit: Sees every use of what needs a grant, last of all; `None` for nobody.
        count: What every function goes through to be counted; `None` for nothing.

    Raises:
        ConfigError: A granted directory is not there, or secrets are granted and there is no store.
    """

    def __init__(
        self,
        services: Services,
        pipeline: PipelineServices,
        *,
        grants: Grants,
        wanted: Iterable[str],
        settings: config.Config,
        plugin: str,
        namespace: str,
        limits: Limits = _NO_LIMITS_GIVEN,
        audit: Audit | None = None,
        count: Wrap | None = None,
    ) -> None:
        log_limits = logging.LogLimits(events_per_s=limits.log_events_per_s, bytes_per_s=limits.log_bytes_per_s)
        self.log = logging.PluginLog(services.log_sink(plugin), limits=log_limits, clock=services.clock)
        self._limits = limits
        self._audit = audit
        self._wrap = None if services.wrap is None else services.wrap(plugin, namespace)
        self._wrap_to_count = count
        self._dropped = 0
        self._services = services
        self._pipeline = pipeline
        self._grants = grants
        self._settings = settings
        self._plugin = plugin
        self._namespace = namespace
        self._tasks: tasks.PluginTasks | None = None
        self._resources = ExitStack()
        allowed = OFFERED & (FREE | grants.capabilities)
        self.functions: dict[str, dict[str, Callable[..., Any]]] = {}
        try:
            for short in sorted(allowed.intersection(wanted)):
                interface = interface_name(short)
                self.functions[interface] = self._wrapped(interface, self._make(short))
        except BaseException:
            self.close()
            raise

    def end_call(self) -> None:
        """Pass on what was kept back for the end of a call of the plugin."""
        if self._tasks is not None:
            self._tasks.flush()
        if self.log.dropped != self._dropped:
            self._count("log", self.log.dropped - self._dropped)
            self._dropped = self.log.dropped
        if self._audit is not None:
            self._audit.end_call()

    def passed_limit(self, fault: LimitExceeded) -> None:
        """Count that an instance was lost to a limit, and write it to the audit log."""
        self._count(fault.limit)
        if self._audit is not None:
            self._audit.record_passed_limit(fault.limit, fault.export, fault.message)

    def close(self) -> None:
        """Let go of directories and connections; idempotent."""
        try:
            if self._audit is not None:
                self._audit.flush()
        finally:
            self._resources.close()

    def _count(self, limit: str, amount: int = 1) -> None:
        self._services.metrics.add_to_counter(self._plugin, LIMIT_METRIC, float(amount), (("limit", limit),))

    def _make(self, short: str) -> dict[str, Callable[..., Any]]:
        services, grants = self._services, self._grants
        match short:
            case "batches":
                return batches.imports(max_batch_bytes=services.max_batch_bytes)
            case "expressions":
                # Only here: few plugins compute by expressions, and the list of functions takes its time to load.
                from dataflare.data.expressions import interface as expressions

                return expressions.imports(max_batch_bytes=services.max_batch_bytes)
            case "logging":
                return self._make_logging()
            case "config":
                return config.imports(self._settings)
            case "state":
                return self._make_state()
            case "metrics":
                return metrics.imports(metrics.PluginMetrics(services.metrics, self._plugin))
            case "clock":
                return clock.imports(services.clock)
            case "random":
                seed = grants.random_seed
                return random.imports(random.SystemRandom() if seed is None else random.SeededRandom(seed))
            case "files":
                return files.imports(
                    self._resources.enter_context(DirectoryFiles(grants.files, refusal=services.write_refusal))
                )
            case "secrets":
                if services.secrets is None:
                    raise ConfigError("there is no store for them", where="grants.secrets", hint="Host(secrets=...)")
                return secrets.imports(services.secrets, grants.secrets)
            case "http":
                return self._make_http()
            case "plugins":
                return plugins.imports(self._pipeline.plugins, self._plugin, grants.plugins)
            case "shared":
                store = self._pipeline.shared
                return shared.imports(store, grants.shared, max_batch_bytes=services.max_batch_bytes)
            case "tasks":
                token = self._pipeline.cancellation
                self._tasks = tasks.PluginTasks(services.progress, self._plugin, token, clock=services.clock)
                return tasks.imports(self._tasks)
            case "schemas":  # types alone
                return {}
        raise AssertionError(f"{short} is offered, but nothing stands behind it")

    def _make_http(self) -> dict[str, Callable[..., Any]]:
        # Only here: few plugins make requests, and a client of HTTP takes its time to load.
        from dataflare.capabilities import http
        from dataflare.capabilities.http_broker import HttpBroker
        from dataflare.capabilities.http_network import NetworkTransport

        services = self._services
        broker = HttpBroker(
            self._grants.http,
            (services.transport or NetworkTransport)(),
            secrets=services.secrets,
            clock=services.clock,
            plugin=self._plugin,
            refusal=_nothing_refused if self._audit is None else self._audit.request_refusal,
        )
        return http.imports(_WithinCall(self._resources.enter_context(broker), services.remaining_s))

    def _make_logging(self) -> dict[str, Callable[..., Any]]:
        functions = logging.imports(self.log)
        most = self._limits.log_dropped_events
        if most is None:
            return functions
        write = functions["log"]

        def log(level: str, message: str, fields: Any) -> None:
            write(level, message, fields)
            if self.log.dropped - self._dropped > most:
                raise LogLimitExceeded(
                    f"went on logging after {most} events over the rate had been dropped (log_dropped_events)",
                    plugin=self._plugin,
                    export=f"{interface_name('logging')}#log",
                    log_lines=self.log.last_lines,
                    hint="let the plugin log less, or raise log_events_per_s or log_bytes_per_s",
                )

        return {**functions, "log": log}

    def _make_state(self) -> dict[str, Callable[..., Any]]:
        functions = state.imports(self._services.state_store, f"{self._namespace}/{self._plugin}")

        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(function)
            def call(*args: Any) -> Any:
                result = function(*args)
                if isinstance(result, Err) and getattr(result.error, "case", "") in _STATE_LIMITS:
                    self._count("state")
                return result

            return call

        return {name: counted(each) if name in _STATE_WRITES else each for name, each in functions.items()}

    def _wrapped(self, interface: str, functions: dict[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
        audited = None if self._audit is None else self._audit.wrap
        wraps = [wrap for wrap in (self._wrap, audited, self._wrap_to_count) if wrap is not None]
        wrapped = {}
        for name, function in functions.items():
            outer = function
            for wrap in wraps:
                outer = wrap(interface, name, outer)
            lost = {key: True for key in _ENGINE_MARKS if hasattr(function, key) and not hasattr(outer, key)}
            if lost:
                outer = functools.partial(outer)
                vars(outer).update(lost)
            wrapped[name] = outer
        return wrapped


def _nothing_refused(_origin: str, _method: str, _redirected: bool) -> str:
    return ""


class _WithinCall:
    """An HTTP client whose requests end with the call of the plugin that makes them."""

    def __init__(self, client: Any, remaining_s: Callable[[], float]) -> None:
        self._client = client
        self._remaining_s = remaining_s

    def send(self, request: Any) -> Any:
        left_s = self._remaining_s()
        if left_s == math.inf:
            return self._client.send(request)
        left_ms = max(1, int(left_s * 1000))
        timeout_ms = left_ms if request.timeout_ms is None else min(left_ms, request.timeout_ms)
        return self._client.send(Request(request.method, request.url, request.headers, request.body, timeout_ms))
