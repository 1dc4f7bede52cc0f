"""The base of the classes of worlds that `dataflare bindgen` writes."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias, Unpack

from dataflare.bindgen.abi import WorldType
from dataflare.runtime.options import InstanceOptions
from dataflare.suggestions import close_matches

if TYPE_CHECKING:
    from dataflare.runtime.host import Host
    from dataflare.runtime.ports import CallStats

__all__ = ["ComponentSource", "World", "WorldOptions"]

ComponentSource: TypeAlias = str | os.PathLike[str] | bytes
"""A component: its file, or its contents."""


class WorldOptions(InstanceOptions, total=False):
    """What the class of every world takes by keyword: what `Host.instantiate` takes, and its host.

    Args:
        host: The host that loads the component, with its policy, trust, audit log and cache; the caller closes it. By
            default the world has a host of its own.
    """

    host: Host | None


class World:
    """One instance of a component, with a method or an attribute for each of its exports.

    One thread at a time; a context manager. After a `PluginFault` it is dead: make another.

    Raises:
        ConfigError: An import is missing, is async, or takes other parameters than the world says; the file cannot be
            read.
        TypeError: An option has an unknown name.
        NotAComponent: It is not a component.
        UnsupportedComponent: It has what the engine cannot carry.
        WorldMismatch: The component does not fit the world.
        PermissionDenied: It needs what is not granted.
        PluginFault: It failed at its start.
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
        # Only here: types of a world can be used without an engine.
        from dataflare.runtime.host import Host as OwnHost

        functions = world.host_functions(imports)
        name = str(options.get("name") or (component if isinstance(component, str | os.PathLike) else "component"))
        with ExitStack() as resources:
            if host is None:
                host = resources.enter_context(OwnHost())
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
        """Let go of the instance and of all its resources; idempotent.

        Raises:
            UsageError: It is within a call.
        """
        self._instance.close()
        self._resources.close()

    @property
    def alive(self) -> bool:
        """Whether further calls can be made."""
        return self._instance.alive

    @property
    def stats(self) -> CallStats:
        """What its calls took so far. Times are in nanoseconds, sizes in bytes."""
        return self._instance.stats

    def interrupt(self) -> None:
        """End the call that another thread is in; any thread may do it. The instance is lost."""
        self._instance.interrupt()
