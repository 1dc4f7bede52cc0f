"""The base of the classes of worlds that `dataflare bindgen` writes."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias, Unpack

from dataflare.bindgen.abi import WorldType
from dataflare.bindgen.implementations import host_functions
from dataflare.errors import ConfigError
from dataflare.runtime.options import InstanceOptions
from dataflare.suggestions import close_matches

if TYPE_CHECKING:
    from dataflare.runtime.host import Host
    from dataflare.runtime.ports import CallStats

__all__ = ["ComponentSource", "World", "WorldOptions"]

ComponentSource: TypeAlias = str | os.PathLike[str] | bytes
"""A component: its file, or its contents."""


class WorldOptions(InstanceOptions, total=False):
    """The keyword options of every world's class: those of `Host.instantiate`, and the host.

    Args:
        host: The host that loads the component, with its policy, trust, audit log and cache; the caller closes it. By
            default the world creates and closes its own host.
    """

    host: Host | None


class World:
    """One instance of a component, with a method or an attribute for each of its exports.

    One thread at a time may use it. A context manager. After a `PluginFault` it is dead: make another one.

    Raises:
        ConfigError: An import is missing, is async, or has other parameters than in the world; or the file cannot be
            read.
        Exception: What a property of `imports` raised.
        TypeError: An option has an unknown name.
        NotAComponent: The file is not a component.
        UnsupportedComponent: The component has something that the engine does not support.
        WorldMismatch: The component does not fit the world.
        PermissionDenied: The component needs something that is not granted.
        PluginFault: The component failed at its start.
    """

    def __init__(
        self,
        world: WorldType,
        component: ComponentSource,
        imports: object,
        *,
        host: Host | None = None,
        **options: Unpack[InstanceOptions],
    ) -> None:
        if unknown := options.keys() - InstanceOptions.__annotations__.keys():
            known = [*InstanceOptions.__annotations__, "host"]
            meant = "".join(f", did you mean {each!r}?" for each in close_matches(min(unknown), known))
            raise TypeError(f"{type(self).__name__} has no option {min(unknown)!r}{meant}")
        # Imported here, since the types of a world can be used without an engine.
        from dataflare.runtime.host import Host as OwnHost

        functions = host_functions(world, imports)
        name = str(options.get("name") or (component if isinstance(component, str | os.PathLike) else "component"))
        with ExitStack() as resources:
            if host is None:
                host = resources.enter_context(OwnHost())
            elif not isinstance(host, OwnHost):
                what = f"a {type(host).__name__} is not a Host"
                raise ConfigError(what, where="host", hint="make one with dataflare.Host(...)")
            self._instance = host.instantiate(
                component, fit=lambda shape: world.fit(shape, component=name), imports=functions, **options
            )
            resources.callback(self._instance.close)
            self._resources = resources.pop_all()
        self._call: Callable[..., Any] = self._instance.call

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the instance and all its resources; idempotent.

        Raises:
            UsageError: A call is running.
        """
        self._instance.close()
        self._resources.close()

    @property
    def alive(self) -> bool:
        """Whether further calls can be made."""
        return self._instance.alive

    @property
    def stats(self) -> CallStats:
        """Statistics of all calls so far. Times are in nanoseconds, sizes in bytes."""
        return self._instance.stats

    def interrupt(self) -> None:
        """End the call that another thread is in; any thread may do it. The instance is lost."""
        self._instance.interrupt()
