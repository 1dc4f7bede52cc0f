"""This project's host behind the protocol of `ADAPTER.md`: it takes requests, and answers them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from dataflare import (
    ComponentError,
    ConfigError,
    DataflareError,
    Host,
    MemoryLogSink,
    MemoryMetrics,
    MemorySecrets,
    MemoryStateStore,
    PermissionDenied,
    PluginError,
    PluginFault,
    RunLost,
    Security,
    Services,
    SqliteStateStore,
    UsageError,
    Variant,
    parse_grants,
    parse_limits,
)
from dataflare.conformance import host_calls
from dataflare.conformance.host_calls import decoded_rows, encoded_rows

__all__ = ["HostService"]

_LIMITS: Final = {
    "call_timeout_s": "time",
    "memory_bytes": "memory",
    "output_bytes": "output",
    "host_memory_bytes": "host-memory",
}


class HostService:
    """Answers the requests of one runner, one after the other.

    Args:
        isolation: Where plugins live, as `Host.load` has it.
        cache_dir: Where compiled plugins are kept; `None` is the usual place.
        security: What plugins get, and who may ask for it.
    """

    def __init__(
        self,
        *,
        isolation: Literal["none", "process"] = "none",
        cache_dir: Path | None = None,
        security: Security | None = None,
    ) -> None:
        self._security = security or Security()
        self.isolation: Literal["none", "process"] = isolation
        self._cache_dir = cache_dir
        self._host: Host | None = None
        self.plugins: dict[int, Any] = {}
        self.pipelines: dict[int, str] = {}
        self._made = 0
        self.logs: dict[str, MemoryLogSink] = {}
        self.progress: list[tuple[str, Any]] = []
        self.metrics = MemoryMetrics()

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out a request; errors are answers too."""
        actions: dict[str, Callable[..., Any]] = {
            "hello": self.hello,
            "reset": self.reset,
            "load": self.load,
            "process": self.process,
            "process-batch": self.process_batch,
            "call": self.call,
            "health": self.health,
            "events": self.events,
            "close": self.close_plugin,
        }
        given = {name.replace("-", "_"): value for name, value in request.items() if name not in ("id", "do")}
        reply: dict[str, Any] = {"id": request["id"]} if "id" in request else {}
        try:
            action = actions.get(str(request.get("do")))
            if action is None:
                raise UsageError(f"there is no request {request.get('do')!r}")
            return {**reply, "ok": action(**given)}
        except DataflareError as error:
            return {**reply, "error": self.describe(error)}
        except Exception as error:  # of the host itself: the runner tells it apart
            return {**reply, "error": {"kind": "host", "message": f"{type(error).__name__}: {error}"}}

    def describe(self, error: DataflareError) -> dict[str, Any]:
        """Write an error as the protocol has it."""
        said: dict[str, Any] = {"message": error.message}
        match error:
            case PluginError():
                value = _plain(error.error.value)
                return {**said, "kind": "plugin", "case": error.error.case, "value": value}
            case RunLost():
                return {**said, "kind": "lost"}
            case PluginFault():
                limit = getattr(error, "limit", "")
                return {**said, "kind": "fault", "limit": _LIMITS.get(limit, limit.replace("_", "-"))}
            case PermissionDenied():
                return {**said, "kind": "denied"}
            case ComponentError():
                return {**said, "kind": "component"}
            case ConfigError() | UsageError():
                return {**said, "kind": "config"}
        return {**said, "kind": "host"}

    def hello(self) -> dict[str, Any]:
        """Name this host."""
        return {"host": "dataflare", "isolation": self.isolation}

    def reset(
        self,
        secrets: Mapping[str, str] | None = None,
        state_file: str | None = None,
        shared_bytes: int = 512 * 2**20,
    ) -> dict[str, Any]:
        """Begin with a new host, which knows nothing of what was before but what a file of values has."""
        self.close()
        self.logs, self.progress, self.metrics = {}, [], MemoryMetrics()
        self._host = self.make_host(
            Services(
                state_store=MemoryStateStore() if state_file is None else SqliteStateStore(Path(state_file)),
                metrics=self.metrics,
                log_sink=lambda plugin: self.logs.setdefault(plugin, MemoryLogSink()),
                secrets=MemorySecrets(dict(secrets or {})),
                progress=self,
                shared_bytes=shared_bytes,
            )
        )
        return {}

    def make_host(self, services: Services) -> Host:
        """Make the host."""
        return Host(cache_dir=self._cache_dir, services=services, security=self._security)

    def report(self, plugin: str, progress: Any) -> None:
        """Take a plugin's progress."""
        self.progress.append((plugin, progress))

    @property
    def host(self) -> Host:
        """The host since the last `reset`."""
        if self._host is None:
            self.reset()
        assert self._host is not None
        return self._host

    def load(
        self,
        component: str,
        *,
        name: str = "probe",
        pipeline: str = "conformance",
        config: Mapping[str, Any] | None = None,
        grants: list[str] | None = None,
        limits: list[str] | None = None,
    ) -> dict[str, Any]:
        """Load a component, and start it."""
        plugin = self.host.load(
            Path(component),
            name=name,
            pipeline=pipeline,
            config=config,
            grants=parse_grants(grants or ()),
            limits=parse_limits(limits or ()),
            isolation=self.isolation,
        )
        try:
            plugin.start()
        except BaseException:
            plugin.close()
            raise
        self._made += 1
        self.plugins[self._made], self.pipelines[self._made] = plugin, pipeline
        return {"plugin": self._made}

    def process(self, plugin: int, input: str, cancel_after_ms: int | None = None) -> dict[str, Any]:
        """Give a plugin a record."""
        with self.cancelling(plugin, cancel_after_ms):
            return {"output": self.plugins[plugin].process(input)}

    def process_batch(self, plugin: int, rows: str) -> dict[str, Any]:
        """Give a plugin a batch, as an Arrow IPC stream in Base64."""
        return {"rows": encoded_rows(self.plugins[plugin].process_batch(decoded_rows(rows)))}

    def call(self, plugin: int, function: str, **given: Any) -> Any:
        """Call a function of the interface of a source, a destination, a transformer or a validator."""
        found = self.plugins[plugin]
        return host_calls.call(found, found.kind, function, given.get("with", {}))

    def health(self, plugin: int) -> dict[str, Any]:
        """Ask a plugin for its health."""
        found = self.plugins[plugin].health()
        return {"status": found.status, "message": found.message}

    def events(self, plugin: str = "probe") -> dict[str, Any]:
        """Return what plugins of a name have logged, measured and reported since the `reset`."""
        logged = self.logs.get(plugin, MemoryLogSink()).events
        # What the host counts itself has names that no plugin can have.
        counters = [(k, value) for k, value in self.metrics.counters().items() if k[0] == plugin and ":" not in k[1]]
        gauges = [(k, value) for k, value in self.metrics.gauges().items() if k[0] == plugin and ":" not in k[1]]
        return {
            "logs": [{"level": e.level, "message": e.message, "fields": dict(e.fields)} for e in logged],
            "counters": [{"name": key[1], "labels": dict(key[2]), "value": value} for key, value in counters],
            "gauges": [{"name": key[1], "labels": dict(key[2]), "value": value} for key, value in gauges],
            "progress": [
                {"done": each.done, "total": each.total, "message": each.message}
                for name, each in self.progress
                if name == plugin
            ],
        }

    def close_plugin(self, plugin: int) -> dict[str, Any]:
        """End a plugin."""
        self.plugins.pop(plugin).close()
        return {}

    def close(self) -> None:
        """End everything; idempotent."""
        host, self._host = self._host, None
        self.plugins = {}
        if host is not None:
            host.close()

    @contextlib.contextmanager
    def cancelling(self, plugin: int, after_ms: int | None) -> Iterator[None]:
        """Cancel the plugin's pipeline while the block runs."""
        timer = threading.Timer((after_ms or 0) / 1000, self.host.cancel, [self.pipelines[plugin]])
        if after_ms is not None:
            timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _plain(value: Any) -> Any:
    """The payload of an error as JSON."""
    if isinstance(value, Variant):
        return {"case": value.case, "value": _plain(value.value)}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    pairs = value if isinstance(value, Mapping) else {name: getattr(value, name) for name in type(value).__slots__}
    return {name.replace("_", "-"): _plain(each) for name, each in pairs.items()}
