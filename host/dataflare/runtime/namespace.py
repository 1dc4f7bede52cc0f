"""What the plugins of one pipeline have in common: each other, shared batches, and the wish to end."""

from __future__ import annotations

from collections import Counter

from dataflare.capabilities.plugins import Function, PipelinePlugins, check_edges
from dataflare.capabilities.shared import MemorySharedStore
from dataflare.capabilities.tasks import CancellationToken
from dataflare.data.batches import Batch
from dataflare.grants import Grants
from dataflare.locks import Lock
from dataflare.runtime.plugin import Plugin
from dataflare.runtime.processor import Processor
from dataflare.runtime.transformer import Transformer

__all__ = ["Namespace"]


class Namespace:
    """The plugins of one pipeline that are loaded now. Any thread may use it.

    Plugins may call each other by name: the processor or transformer of that name that was loaded last.
    """

    def __init__(self) -> None:
        self.cancellation = CancellationToken()
        self.shared = MemorySharedStore()
        self.callable_plugins = PipelinePlugins(self._find)
        self._lock = Lock()
        self._plugins: dict[str, Plugin] = {}
        self._edges: dict[str, frozenset[str]] = {}
        self._users: Counter[str] = Counter()

    @property
    def empty(self) -> bool:
        """Whether no plugin is or will be in it."""
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
        """Let other plugins find a plugin by its name."""
        with self._lock:
            self._plugins[plugin.name] = plugin

    def leave(self, name: str, plugin: Plugin | None) -> None:
        """Forget a plugin; `None` for one that could not be loaded in the end."""
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
