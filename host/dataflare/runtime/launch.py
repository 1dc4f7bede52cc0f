"""Makes a plugin's instances, runs their lifecycle, and sums up their statistics."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dataflare.errors import DataflareError, LimitExceeded, PermissionDenied, WorldMismatch
from dataflare.limits import Limits
from dataflare.locks import Lock
from dataflare.runtime.capabilities import Capabilities
from dataflare.runtime.plugin_errors import plugin_error
from dataflare.runtime.ports import Component, HostFunctions, Instance
from dataflare.runtime.results import PluginStats
from dataflare.runtime.worlds import LIFECYCLE
from dataflare.texts import cut, cut_name
from dataflare.values import Err, Ok
from dataflare.wit_types.types import Metadata

if TYPE_CHECKING:
    from dataflare.runtime.behaviour import Observation

__all__ = ["Launcher", "Worker", "as_metadata", "read_metadata"]

_logger = logging.getLogger("dataflare.runtime")
_MAX_CONFIG_SCHEMA = 2**20
_SUMMED = ("calls", "wall_ns", "marshal_ns", "host_ns", "host_calls", "bytes_in", "bytes_out", "memory_bytes")


class Worker:
    """An instance that is ready for calls; one thread at a time.

    Args:
        instance: The engine's instance.
        plugin: The plugin's name, for errors.
        on_limit: Called when a call exceeds a limit.
    """

    def __init__(
        self, instance: Instance, plugin: str, on_limit: Callable[[LimitExceeded], object] = lambda _: None
    ) -> None:
        self.instance = instance
        self.observation: Observation | None = None
        """The observation of the current call, if the plugin is watched."""
        self._on_limit = on_limit
        self.initialized = False
        self._plugin = plugin
        self._condemned = False

    @property
    def usable(self) -> bool:
        """Whether further calls can be made."""
        return not self._condemned and self.instance.alive

    def condemn(self) -> None:
        """Refuse further calls: the plugin violated the protocol, so its state is unknown."""
        self._condemned = True

    def call(self, interface: str, function: str, *args: Any) -> Any:
        """Call a function and return its value; if it has a WIT `result`, the value of `ok`.

        Raises:
            PluginError: It returned an `err`.
            PluginFault: It trapped.
        """
        try:
            result = self.instance.call(interface, function, *args)
        except LimitExceeded as fault:
            self._on_limit(fault)
            raise
        if isinstance(result, Err):
            raise plugin_error(result.error, plugin=self._plugin, export=f"{interface}#{function}")
        return result.value if isinstance(result, Ok) else result


class Launcher:
    """Makes and ends the instances of one plugin. Any thread may use it.

    Args:
        component: The compiled component.
        capabilities: What its instances may use.
        limits: The ceilings of each instance.
        config: The configuration, a JSON object as text.
        plugin: The plugin's name.
    """

    def __init__(
        self, component: Component, capabilities: Capabilities, *, limits: Limits, config: str, plugin: str
    ) -> None:
        self._component = component
        self._capabilities = capabilities
        self._limits = limits
        self._config = config
        self._plugin = plugin
        self._lock = Lock()
        # Weak: a worker that was lost to an exception is freed, and closes its instance.
        self._workers: weakref.WeakSet[Worker] = weakref.WeakSet()
        self._past = PluginStats()
        self.configurations = 1
        """How often the next instances are configured."""
        self.shutdown_error: DataflareError | None = None
        """What went wrong in the last `shutdown` that failed."""

    @property
    def stats(self) -> PluginStats:
        """Return the totals of all calls, over all instances, including closed ones."""
        with self._lock:
            total = self._past
            for worker in list(self._workers):
                total = _add(total, worker.instance)
        return total

    def interrupt(self) -> None:
        """End the calls that other threads are in."""
        for worker in list(self._workers):
            worker.instance.interrupt()

    def make(self) -> Worker:
        """Make an instance, configured and initialized.

        Raises:
            PluginError: The plugin refused its configuration, or could not get ready.
            PluginFault: It trapped.
        """
        worker = self._instantiate()
        try:
            for _ in range(self.configurations):
                worker.call(LIFECYCLE, "configure", self._config)
            worker.initialized = True  # from here on `shutdown` must be called, even if initializing fails
            worker.call(LIFECYCLE, "initialize")
        except BaseException:
            self.end(worker)
            raise
        return worker

    def end(self, worker: Worker) -> None:
        """Shut an instance down and close it. A failure is logged, since no caller could act on it."""
        fault = not worker.usable
        if worker.initialized and worker.instance.alive:
            try:
                worker.call(LIFECYCLE, "shutdown")
            except DataflareError as error:
                self.shutdown_error = error
                _logger.warning("the shutdown of plugin %r failed: %s", self._plugin, error.message)
            except Exception:
                _logger.exception("a host function failed during the shutdown of plugin %r", self._plugin)
        with self._lock:
            if worker in self._workers:
                # Before the instance is closed: a closed one has no memory to report.
                past = _add(self._past, worker.instance)
                self._workers.discard(worker)
                self._past = replace(past, memory_bytes=0, faults=past.faults + fault)
        worker.instance.close()

    def _instantiate(self) -> Worker:
        try:
            instance = self._component.instantiate(
                self._capabilities.functions,
                limits=self._limits,
                log_lines=lambda: self._capabilities.log.last_lines,
                stderr=self._capabilities.log.write_line,
            )
        except LimitExceeded as fault:
            self._capabilities.passed_limit(fault)
            raise
        worker = Worker(instance, self._plugin, self._capabilities.passed_limit)
        with self._lock:
            self._workers.add(worker)
            past = self._past
            self._past = replace(
                past, instances=past.instances + 1, flattened=past.flattened + self._component.flattened
            )
        return worker


def read_metadata(component: Component, *, kind: str, limits: Limits) -> Metadata:
    """Ask a plugin for its metadata, in a separate instance without any grants.

    Args:
        component: The compiled component.
        kind: The kind whose interface it exports.
        limits: The ceilings of the instance.

    Raises:
        PluginFault: It trapped.
        PermissionDenied: It called a function of the host, which `get-metadata` must not.
        WorldMismatch: The metadata names another kind.
    """
    instance = component.instantiate(_nothing(component), limits=limits)
    try:
        found = instance.call(LIFECYCLE, "get-metadata")
    finally:
        instance.close()
    if found.kind != kind:
        raise WorldMismatch(
            f"its metadata says that it is a {found.kind}, but it exports the interface of a {kind}",
            component=component.name,
            hint="mend `get-metadata`, or target the other world",
        )
    if len(found.config_schema) > _MAX_CONFIG_SCHEMA:
        raise WorldMismatch(
            f"its configuration's schema has {len(found.config_schema)} characters, more than {_MAX_CONFIG_SCHEMA}",
            component=component.name,
        )
    return as_metadata(found)


def as_metadata(found: Any) -> Metadata:
    """A plugin's answer, with texts of a bounded length."""
    name, version = cut_name(found.name), cut_name(found.version)
    return Metadata(name, version, found.kind, cut(found.description), found.config_schema)


def _nothing(component: Component) -> HostFunctions:
    return {
        name: {function: _refusal(component.name, name, function) for function in interface.funcs}
        for name, interface in component.shape.imports.items()
    }


def _refusal(plugin: str, interface: str, function: str) -> Callable[..., Any]:
    def refuse(*_: object) -> Any:
        raise PermissionDenied(
            f"it called {interface}#{function} where no capability may be used",
            plugin=plugin,
            capability=interface.partition("@")[0],
            hint="`get-metadata` uses no capability",
        )

    return refuse


def _add(total: PluginStats, instance: Instance) -> PluginStats:
    more = instance.stats
    summed = {name: getattr(total, name) + getattr(more, name) for name in _SUMMED}
    return replace(total, **summed, host_peak_bytes=max(total.host_peak_bytes, more.host_peak_bytes))
