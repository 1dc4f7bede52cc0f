"""The functions of the host that one plugin may call."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeAlias

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
from dataflare.capabilities.http_transport import Transport
from dataflare.capabilities.names import FREE, OFFERED, interface_name
from dataflare.data import batches
from dataflare.errors import ConfigError
from dataflare.grants import Grants

__all__ = ["Capabilities", "PipelineServices", "Services", "Wrap", "WrapFactory"]

Wrap: TypeAlias = Callable[[str, str, Callable[..., Any]], Callable[..., Any]]
"""Given an interface's full name, a function's name and the function, returns what a plugin gets in its place."""

WrapFactory: TypeAlias = Callable[[str, str], Wrap]
"""Given a plugin's name and its namespace, returns its `Wrap`."""

_ENGINE_MARKS = ("takes_views", "text_as_bytes")
"""What the engine looks for on a function: how values are passed must not depend on who wraps it."""


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
    ) -> None:
        self.log = logging.PluginLog(services.log_sink(plugin), clock=services.clock)
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

    def close(self) -> None:
        """Let go of directories and connections; idempotent."""
        self._resources.close()

    def _make(self, short: str) -> dict[str, Callable[..., Any]]:
        services, grants = self._services, self._grants
        match short:
            case "batches":
                return batches.imports(max_batch_bytes=services.max_batch_bytes)
            case "logging":
                return logging.imports(self.log)
            case "config":
                return config.imports(self._settings)
            case "state":
                return state.imports(services.state_store, f"{self._namespace}/{self._plugin}")
            case "metrics":
                return metrics.imports(metrics.PluginMetrics(services.metrics, self._plugin))
            case "clock":
                return clock.imports(services.clock)
            case "random":
                seed = grants.random_seed
                return random.imports(random.SystemRandom() if seed is None else random.SeededRandom(seed))
            case "files":
                return files.imports(self._resources.enter_context(DirectoryFiles(grants.files)))
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
        )
        return http.imports(self._resources.enter_context(broker))

    def _wrapped(self, interface: str, functions: dict[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
        if self._services.wrap is None:
            return functions
        wrap = self._services.wrap(self._plugin, self._namespace)
        wrapped = {}
        for name, function in functions.items():
            outer = wrap(interface, name, function)
            lost = {key: True for key in _ENGINE_MARKS if hasattr(function, key) and not hasattr(outer, key)}
            if lost:
                outer = functools.partial(outer)
                vars(outer).update(lost)
            wrapped[name] = outer
        return wrapped
