"""`dataflare:host/plugins`: calls of other plugins of the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from dataflare.capabilities.capability_failure import CapabilityFailure, returns_result
from dataflare.data.batches import Batch
from dataflare.errors import ConfigError, PermissionDenied, PluginError, PluginFault, UsageError
from dataflare.grants import Grants
from dataflare.locks import Lock
from dataflare.texts import cut

__all__ = [
    "CallLimits",
    "MemoryPlugins",
    "PipelinePlugins",
    "PluginCaller",
    "check_edges",
    "imports",
    "provide",
    "running_plugins",
]

# The plugins whose calls this thread is in, the outermost first. The tuple is replaced, never changed in place.
_running: ContextVar[tuple[str, ...]] = ContextVar("dataflare_running_plugins", default=())

Function = Callable[[Batch], Batch]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """The limits for calls of plugins by plugins.

    Args:
        depth: Maximum depth of nested calls, including the plugin that the pipeline called, 2 to 64.

    Raises:
        ConfigError: The value is out of its range.
    """

    depth: int = 8

    def __post_init__(self) -> None:
        if not 2 <= self.depth <= 64:
            raise ConfigError(f"{self.depth!r} is not in 2 to 64", where="plugins.depth")


class PluginCaller(Protocol):
    """Calls a pipeline's plugins.

    Any thread may use it; a call raises `CapabilityFailure` with a case of `call-error`. It does not check grants,
    depth or cycles; `imports` does.
    """

    def call(self, plugin: str, batch: Batch) -> Batch:
        """Pass a batch to a plugin and return its result."""


class PipelinePlugins:
    """The plugins of a pipeline, found by name when they are called.

    Args:
        find: Returns the function that processes a batch with a plugin, or `None` if there is no such plugin. Both run
            in the thread of the call. Their exceptions become cases of `call-error`: `failed` for `PluginError`,
            `faulted` for `PluginFault`, `other` for `PermissionDenied` (something that the called plugin itself may not
            do). Any other exception is a fault of the host and passes through.
    """

    def __init__(self, find: Callable[[str], Function | None]) -> None:
        self._find = find

    def call(self, plugin: str, batch: Batch) -> Batch:
        try:
            function = self._find(plugin)
            if function is None:
                raise CapabilityFailure("not-found", f"there is no plugin {plugin!r} in the pipeline")
            result = function(batch)
        except PluginError as error:
            raise CapabilityFailure("failed", cut(error.message)) from error
        except PluginFault as error:
            # Without its backtrace and log, which only the operator may see.
            raise CapabilityFailure("faulted", cut(f"{type(error).__name__}: {error.message}")) from error
        except PermissionDenied as error:
            raise CapabilityFailure("other", cut(error.message)) from error
        if not isinstance(result, Batch):
            raise UsageError(f"plugin {plugin!r} was to make a Batch, not a {type(result).__name__}")
        return result


class MemoryPlugins:
    """Plugins that are functions in memory; `called` has the names of the called ones."""

    def __init__(self, functions: Mapping[str, Function]) -> None:
        self._functions = dict(functions)
        self._caller = PipelinePlugins(self._functions.get)
        self._lock = Lock()
        self.called: list[str] = []

    def call(self, plugin: str, batch: Batch) -> Batch:
        with self._lock:
            self.called.append(plugin)
        return self._caller.call(plugin, batch)


def running_plugins() -> tuple[str, ...]:
    """Return the plugins whose calls this thread is in, the outermost first.

    The value is in a `contextvars.ContextVar`. If you continue a call in another thread, run it in a copy of the
    context (`contextvars.copy_context().run`); otherwise cycles are not detected.
    """
    return _running.get()


def check_edges(edges: Mapping[str, Set[str]]) -> None:
    """Check that no plugin can call itself, directly or through others.

    A call that closes a cycle is refused at run time. But two threads in the same cycle could still wait forever for
    each other's instances. So a pipeline with a cycle among its grants must not start.

    Args:
        edges: For each plugin, the plugins that it may call.

    Raises:
        ConfigError: There is a cycle; the message shows it.
    """
    done: set[str] = set()
    for start in edges:
        # (plugin, its unvisited targets), from `start` to the current plugin.
        path = [] if start in done else [(start, iter(sorted(edges[start])))]
        while path:
            plugin, rest = path[-1]
            called = next(rest, None)
            if called is None:
                done.add(plugin)
                path.pop()
                continue
            names = [name for name, _ in path]
            if called in names:
                circle = " -> ".join([*names[names.index(called) :], called])
                raise ConfigError(
                    f"plugins may call each other in a circle: {circle}",
                    where="grants.plugins",
                    hint="take one of the grants away",
                )
            if called not in done:
                path.append((called, iter(sorted(edges.get(called, ())))))


def imports(
    caller: PluginCaller, plugin: str, granted: Set[str], *, limits: CallLimits | None = None
) -> dict[str, Callable[..., Any]]:
    """Make the functions of the interface for one plugin, by their names in the WIT.

    Args:
        caller: Calls the others.
        plugin: The name of the plugin that has the interface.
        granted: Names of the plugins that it may call.
        limits: How deep calls may go.
    """
    depth = (limits or CallLimits()).depth

    def call(name: str, batch: Batch) -> Batch:
        if name not in granted:
            raise CapabilityFailure("denied", f"calls of {name[:64]!r} are not granted")
        running = running_plugins()
        if running[-1:] != (plugin,):  # the first call of a chain, which is not recorded yet
            running = (*running, plugin)
        shown = " -> ".join((*running, name))
        if name in running:
            raise CapabilityFailure("too-deep", f"the call would close a circle: {shown}")
        if len(running) >= depth:
            raise CapabilityFailure("too-deep", f"the call would go deeper than {depth} plugins: {shown}")
        token = _running.set((*running, name))
        try:
            found = caller.call(name, batch)
        finally:
            _running.reset(token)
        # Charge it to the calling plugin: the charges of the called plugin are already released.
        memory = batch.memory.returned(batch.arrow, found.arrow)
        return Batch(found.arrow, max_bytes=found.max_bytes, memory=memory)

    return {"call": returns_result(call)}


class _Context(Protocol):
    @property
    def plugin(self) -> str: ...
    @property
    def plugins(self) -> PluginCaller: ...
    @property
    def grants(self) -> Grants: ...


def provide(context: _Context) -> dict[str, Callable[..., Any]]:
    """Make the functions that one plugin gets, by their names in the WIT."""
    return imports(context.plugins, context.plugin, context.grants.plugins)
