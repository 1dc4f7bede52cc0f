"""Components whose instances live in workers, which are separate processes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dataflare.engine.abi.layout import MEMORY_BYTES
from dataflare.engine.abi.types import ComponentType
from dataflare.errors import ConfigError
from dataflare.limits import Limits
from dataflare.runtime.isolation.instance import IsolatedInstance
from dataflare.runtime.isolation.worker_task import SERVED_HERE, Task
from dataflare.runtime.ports import Component, HostFunctions

__all__ = ["IsolatedComponent"]

_DATA_BYTES: Final = 2**30
"""A worker's memory in bytes, in addition to the plugin, its two bridge memories and batches in transfer."""
_RESERVED_BYTES: Final = 5 * 2**30
"""An upper bound for the address space of one memory in wasmtime: 4 GiB and guard pages."""
_MORE_MEMORIES: Final = 4


class IsolatedComponent:
    """A compiled component whose instances live in separate processes. Any thread may use it.

    Args:
        component: The component, compiled in this process.
        binary: Its contents.
        cache_dir: The folder of the compiled code.
        flatten: The setting of the engine that compiled it.
        max_batch_bytes: The largest size of a batch from a worker, in bytes.
        best_effort: Whether parts of the workers' jail may be missing.

    Raises:
        ConfigError: This system does not support isolation.
    """

    def __init__(
        self,
        component: Component,
        binary: bytes,
        *,
        cache_dir: Path,
        flatten: bool | None,
        max_batch_bytes: int,
        best_effort: bool = False,
    ) -> None:
        if sys.platform != "linux":
            raise ConfigError(f"needs Linux, and this is {sys.platform}", where="isolation")
        self._component = component
        self._binary = binary
        self._cache_dir = cache_dir
        self._flatten = flatten
        self._max_batch_bytes = max_batch_bytes
        self._best_effort = best_effort

    @property
    def name(self) -> str:
        return self._component.name

    @property
    def digest(self) -> str:
        return self._component.digest

    @property
    def flattened(self) -> bool:
        return self._component.flattened

    @property
    def shape(self) -> ComponentType:
        return self._component.shape

    def with_types(self, shape: ComponentType) -> IsolatedComponent:
        """Return the same component with the caller's types; see `dataflare.engine.component.Component.with_types`."""
        return IsolatedComponent(
            self._component.with_types(shape),
            self._binary,
            cache_dir=self._cache_dir,
            flatten=self._flatten,
            max_batch_bytes=self._max_batch_bytes,
            best_effort=self._best_effort,
        )

    def close(self) -> None:
        """Release the component in this process; idempotent."""
        self._component.close()

    def instantiate(
        self,
        host: HostFunctions,
        *,
        limits: Limits,
        log_lines: Callable[[], tuple[str, ...]] = tuple,
        stderr: Callable[[str], None] | None = None,
    ) -> IsolatedInstance:
        """Start a worker with an instance in it.

        Raises:
            ConfigError: A function of the host is missing, or the kernel lacks a part of the jail.
            PluginFault: The plugin failed at its start, or its worker died.
        """
        functions: dict[str, dict[str, tuple[bool, bool]]] = {}
        for interface, imported in self.shape.imports.items():
            if interface in SERVED_HERE:
                continue
            functions[interface] = {}
            for name in imported.funcs:
                function = host.get(interface, {}).get(name)
                if function is None:
                    raise ConfigError(f"{self.name} imports {interface}#{name}, which the host does not provide")
                marks = (hasattr(function, "takes_views"), hasattr(function, "text_as_bytes"))
                functions[interface][name] = marks
        memories = limits.memories + _MORE_MEMORIES
        data_bytes = limits.memory_bytes + _DATA_BYTES + 2 * (MEMORY_BYTES + self._max_batch_bytes)
        task = Task(
            name=self.name,
            cache_dir=str(self._cache_dir),
            flatten=self._flatten,
            limits=limits,
            functions=functions,
            max_batch_bytes=self._max_batch_bytes,
            data_bytes=data_bytes,
            address_bytes=data_bytes + memories * _RESERVED_BYTES,
            best_effort=self._best_effort,
        )
        return IsolatedInstance(task, self._binary, self.shape, host, log_lines, stderr)
