"""The functions of the host that one plugin may call."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dataflare.capabilities import clock, config, files, logging, metrics, random, state
from dataflare.capabilities.directory_files import DirectoryFiles
from dataflare.capabilities.names import FREE, OFFERED, interface_name
from dataflare.data import batches
from dataflare.grants import Grants

__all__ = ["Capabilities", "Services", "Wrap", "unwrapped"]

Wrap: TypeAlias = Callable[[str, str, Callable[..., Any]], Callable[..., Any]]
"""Given an interface's full name, a function's name and the function, returns what plugins get in its place."""


def unwrapped(interface: str, function_name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap nothing."""
    return function


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What stands behind the capabilities of all plugins of a host.

    Args:
        state_store: Where `state` keeps its values.
        metrics: Where `metrics` sends its numbers.
        log_sink: Makes the sink of a plugin's log, given the plugin's name.
        clock: The clock of `clock`, and of the limits of logs.
        max_batch_bytes: What a batch that a plugin makes may take.
        wrap: What every function goes through on its way to a plugin.
    """

    state_store: state.StateStore = field(default_factory=state.MemoryStateStore)
    metrics: metrics.MetricsSink = field(default_factory=metrics.MemoryMetrics)
    log_sink: Callable[[str], logging.LogSink] = logging.StandardLogSink
    clock: clock.Clock = field(default_factory=clock.SystemClock)
    max_batch_bytes: int = batches.MAX_BATCH_BYTES
    wrap: Wrap = unwrapped


class Capabilities:
    """The functions that one plugin may call: of what it imports, what is free and what is granted.

    Any thread may use it; `close` it.

    Args:
        services: What stands behind them.
        grants: What the operator allows the plugin.
        wanted: The short names of the interfaces that the plugin imports.
        settings: The plugin's configuration.
        plugin: The plugin's name: of its log, its metrics and its part of the state.
        namespace: The pipeline's part of the state.

    Raises:
        ConfigError: A granted directory is not there.
    """

    def __init__(
        self,
        services: Services,
        *,
        grants: Grants,
        wanted: Iterable[str],
        settings: config.Config,
        plugin: str,
        namespace: str,
    ) -> None:
        self.log = logging.PluginLog(services.log_sink(plugin), clock=services.clock)
        self._services = services
        self._grants = grants
        self._settings = settings
        self._plugin = plugin
        self._state_namespace = f"{namespace}/{plugin}"
        self._files: DirectoryFiles | None = None
        allowed = OFFERED & (FREE | grants.capabilities)
        self.functions: dict[str, dict[str, Callable[..., Any]]] = {
            interface_name(short): self._wrapped(interface_name(short), self._make(short))
            for short in sorted(allowed.intersection(wanted))
        }

    def close(self) -> None:
        """Let go of the granted directories; idempotent."""
        if self._files is not None:
            self._files.close()

    def _make(self, short: str) -> dict[str, Callable[..., Any]]:
        services = self._services
        match short:
            case "batches":
                return batches.imports(max_batch_bytes=services.max_batch_bytes)
            case "logging":
                return logging.imports(self.log)
            case "config":
                return config.imports(self._settings)
            case "state":
                return state.imports(services.state_store, self._state_namespace)
            case "metrics":
                return metrics.imports(metrics.PluginMetrics(services.metrics, self._plugin))
            case "clock":
                return clock.imports(services.clock)
            case "random":
                seed = self._grants.random_seed
                return random.imports(random.SystemRandom() if seed is None else random.SeededRandom(seed))
            case "files":
                self._files = DirectoryFiles(self._grants.files)
                return files.imports(self._files)
            case _:  # `schemas` has types alone
                return {}

    def _wrapped(self, interface: str, functions: dict[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
        wrapped = {}
        for name, function in functions.items():
            outer = self._services.wrap(interface, name, function)
            if hasattr(function, "text_as_bytes") and not hasattr(outer, "text_as_bytes"):
                # The engine looks at what it is given: how the text is passed must not depend on who wraps it.
                outer = functools.partial(outer)
                outer.text_as_bytes = function.text_as_bytes  # type: ignore[attr-defined]
            wrapped[name] = outer
        return wrapped
