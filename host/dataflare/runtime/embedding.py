"""Instances of components of any world, with the limits and grants of plugins."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable
from typing import Any

from dataflare.engine.abi.handles import GuestResource
from dataflare.errors import LimitExceeded
from dataflare.limits import Limits
from dataflare.runtime.capabilities import Capabilities
from dataflare.runtime.ports import CallStats, Component, HostFunctions, Instance

__all__ = ["EmbeddedInstance"]


class EmbeddedInstance:
    """One instance of a component of any world. Made by `Host.instantiate`. One thread at a time; a context manager.

    Args:
        component: The compiled component; the instance closes it.
        capabilities: The host functions that the instance may call; the instance closes it.
        imports: The caller's own functions, by interface and by name in the WIT.
        limits: Ceilings of the instance.
        on_close: Called once, when the instance is closed.

    Raises:
        ConfigError: A function is missing.
        PluginFault: The component failed at its start.
    """

    def __init__(
        self,
        component: Component,
        capabilities: Capabilities,
        imports: HostFunctions,
        *,
        limits: Limits,
        on_close: Callable[[EmbeddedInstance], None],
    ) -> None:
        self._closed = True  # until there is something to close
        self.name = component.name
        self._component = component
        self._capabilities = capabilities
        self._on_close = on_close
        try:
            self._instance: Instance = component.instantiate(
                {**capabilities.functions, **imports},
                limits=limits,
                log_lines=lambda: capabilities.log.last_lines,
                stderr=capabilities.log.write_line,
            )
        except LimitExceeded as fault:
            capabilities.passed_limit(fault)
            raise
        self._instance.embedder = weakref.ref(self)  # weak: resources alone must not keep it alive
        self._closed = False

    def __enter__(self) -> EmbeddedInstance:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            warnings.warn(f"the instance of {self.name!r} was never closed", ResourceWarning, stacklevel=2, source=self)
            self.close()

    @property
    def alive(self) -> bool:
        """Whether further calls can be made."""
        return self._instance.alive

    @property
    def stats(self) -> CallStats:
        """Totals of its calls so far. Times are in nanoseconds, sizes in bytes."""
        return self._instance.stats

    def call(self, interface: str, function: str, *args: Any) -> Any:
        """Call an export; works like `dataflare.engine.instance.Instance.call`."""
        try:
            return self._instance.call(interface, function, *args)
        except LimitExceeded as fault:
            self._capabilities.passed_limit(fault)
            raise
        finally:
            self._capabilities.end_call()

    def drop(self, resource: GuestResource) -> None:
        """Drop a resource that the component made; works like `dataflare.engine.instance.Instance.drop`."""
        # Not in a function shared with `call`: that would slow down each call.
        try:
            self._instance.drop(resource)
        except LimitExceeded as fault:
            self._capabilities.passed_limit(fault)
            raise
        finally:
            self._capabilities.end_call()

    def interrupt(self) -> None:
        """End the call that another thread is in; any thread may do it. The instance is lost."""
        self._instance.interrupt()

    def close(self) -> None:
        """Close the instance and everything that it holds; idempotent.

        Raises:
            UsageError: A call is running.
        """
        if self._closed:
            return
        self._instance.close()
        self._closed = True
        try:
            self._capabilities.close()
        finally:
            self._component.close()
            self._on_close(self)
