"""What a host has loaded: plugins, embedded instances, and what the plugins of one pipeline share."""

from __future__ import annotations

from collections import Counter
from typing import TypeVar

from dataflare.capabilities.plugins import Function, PipelinePlugins, check_edges
from dataflare.capabilities.shared import MemorySharedStore, SharedLimits
from dataflare.capabilities.tasks import CancellationToken
from dataflare.data.batches import Batch
from dataflare.errors import UsageError
from dataflare.grants import Grants
from dataflare.locks import Lock
from dataflare.runtime.embedding import EmbeddedInstance
from dataflare.runtime.plugin import Plugin
from dataflare.runtime.processor import Processor
from dataflare.runtime.transformer import Transformer
from dataflare.security.pipelines import named_scopes

__all__ = ["Loaded", "LoadedPipeline"]

_Kept = TypeVar("_Kept", bound=Plugin | EmbeddedInstance)


class LoadedPipeline:
    """The loaded plugins of one pipeline. Any thread may use it.

    Plugins may call each other by name; a name refers to the processor or transformer that was loaded last under it.

    Args:
        shared_bytes: How many bytes they may share, all batches together.
    """

    def __init__(self, *, shared_bytes: int) -> None:
        self.cancellation = CancellationToken()
        self.shared = MemorySharedStore(limits=SharedLimits(total_bytes=shared_bytes))
        self.callable_plugins = PipelinePlugins(self._find)
        self._lock = Lock()
        self._plugins: dict[str, Plugin] = {}
        self._edges: dict[str, frozenset[str]] = {}
        self._users: Counter[str] = Counter()

    @property
    def empty(self) -> bool:
        """Whether no plugin is loaded or being loaded in it."""
        with self._lock:
            return not self._users

    def enter(self, name: str, grants: Grants) -> None:
        """Note that a plugin will be loaded under a name; `leave` undoes it.

        Raises:
            ConfigError: With its grants, plugins could call each other in a circle.
        """
        with self._lock:
            edges = {**self._edges, name: grants.plugins | self._edges.get(name, frozenset())}
            check_edges(edges)
            self._edges = edges
            self._users[name] += 1

    def add(self, plugin: Plugin) -> None:
        """Make a plugin available to others by its name."""
        with self._lock:
            self._plugins[plugin.name] = plugin

    def leave(self, name: str, plugin: Plugin | None) -> None:
        """Remove a plugin; `None` for one whose loading failed."""
        with self._lock:
            self._users[name] -= 1
            if not self._users[name]:
                del self._users[name]
                self._edges.pop(name, None)
            if plugin is not None and self._plugins.get(name) is plugin:
                del self._plugins[name]
            if not self._users:
                self.shared.close()

    def _find(self, name: str) -> Function | None:
        with self._lock:
            plugin = self._plugins.get(name)
        match plugin:
            case Processor():
                return lambda batch: Batch(plugin.process_batch(batch.arrow), max_bytes=batch.max_bytes)
            case Transformer():
                return lambda batch: Batch(plugin.transform(batch.arrow), max_bytes=batch.max_bytes)
        return None


class Loaded:
    """Everything that a host has loaded and not closed yet. Any thread may use it.

    Args:
        shared_bytes: How many bytes the plugins of a pipeline may share.
    """

    def __init__(self, *, shared_bytes: int) -> None:
        self._shared_bytes = shared_bytes
        self._lock = Lock()
        self._closed = False
        self._kept: dict[int, Plugin | EmbeddedInstance] = {}
        self._pipelines: dict[str, LoadedPipeline] = {}

    def __len__(self) -> int:
        """Count the loaded plugins and instances. Takes no lock, since a host calls it while it is collected."""
        return len(self._kept)

    @property
    def empty(self) -> bool:
        """Whether nothing is loaded, or about to be."""
        with self._lock:
            return not self._kept and not self._pipelines

    def enter(self, pipeline: str, name: str, grants: Grants) -> LoadedPipeline:
        """Note that a plugin will be loaded in a pipeline; `leave` or `forget` undoes it.

        Raises:
            ConfigError: With its grants, plugins could call each other in a circle.
        """
        with self._lock:
            found = self._pipelines.get(pipeline) or LoadedPipeline(shared_bytes=self._shared_bytes)
            found.enter(name, grants)
            self._pipelines[pipeline] = found
            return found

    def leave(self, pipeline: str, name: str, plugin: Plugin | None = None) -> None:
        """Undo `enter`; `plugin` is the loaded plugin, if any."""
        with self._lock:
            found = self._pipelines[pipeline]
            found.leave(name, plugin)
            if found.empty:
                del self._pipelines[pipeline]

    def keep(self, pipeline: str, loaded: _Kept) -> _Kept:
        """Register what was loaded until it is closed; plugins of the same pipeline can find it by its name.

        Raises:
            UsageError: The host was closed at the same time; what was loaded is closed too.
        """
        with self._lock:
            if not self._closed:
                self._kept[id(loaded)] = loaded
                if isinstance(loaded, Plugin):
                    self._pipelines[pipeline].add(loaded)
                return loaded
        loaded.close()
        raise UsageError("the host was closed in the meantime")

    def forget(self, pipeline: str, loaded: Plugin | EmbeddedInstance) -> None:
        """Remove what was closed."""
        with self._lock:
            self._kept.pop(id(loaded), None)
        self.leave(pipeline, loaded.name, loaded if isinstance(loaded, Plugin) else None)

    def cancel(self, pipeline: str) -> None:
        """Ask the plugins of a pipeline to end, including those of files that only have this name in them."""
        with self._lock:
            found = [self._pipelines[each] for each in named_scopes(self._pipelines, pipeline)]
        for each in found:
            each.cancellation.cancel()

    def end(self) -> tuple[Plugin | EmbeddedInstance, ...]:
        """Refuse further entries; return what the caller must close."""
        with self._lock:
            self._closed = True
            return tuple(self._kept.values())
