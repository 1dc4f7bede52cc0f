"""The base of the classes of worlds that `dataflare bindgen` writes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, TypedDict

from dataflare.bindgen.abi import WorldType
from dataflare.grants import Grants
from dataflare.limits import Limits

if TYPE_CHECKING:
    from dataflare.runtime.host import Host
    from dataflare.runtime.ports import CallStats

__all__ = ["ComponentSource", "World", "WorldOptions"]

ComponentSource: TypeAlias = str | os.PathLike[str] | bytes
"""A component: its file, or its contents."""


class WorldOptions(TypedDict, total=False):
    """What the class of every world takes by keyword.

    Args:
        limits: The ceilings of the instance.
        grants: What it may use of the host's own interfaces; nothing by default.
        isolation: `process` puts it into a process of its own, which the kernel confines.
        name: What it is called in errors and logs; the file's name by default.
        config: What `dataflare:host/config` gives it.
        namespace: The name that its state is kept under, together with `name`.
        signature: The component's signature, where one is needed.
        host: The host that loads it, with its policy, trust, audit log and cache; the caller closes it. By default the
            world has one of its own.
    """

    limits: Limits | None
    grants: Grants | None
    isolation: Literal["none", "process", "process-best-effort"]
    name: str | None
    config: Mapping[str, Any] | None
    namespace: str
    signature: bytes | None
    host: Host | None


class World:
    """One instance of a component, with a method or an attribute for each of its exports.

    One thread at a time; a context manager. After a `PluginFault` it is dead: make another.

    Raises:
        ConfigError: An import is missing, or takes other parameters than the world says; the file cannot be read.
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
        **options: Any,
    ) -> None:
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
