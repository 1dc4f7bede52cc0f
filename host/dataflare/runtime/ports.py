"""The interface of the engine for the runtime. `dataflare.engine` implements it; tests use a small implementation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

from dataflare.engine.abi.handles import GuestResource
from dataflare.engine.abi.types import ComponentType
from dataflare.limits import Limits

__all__ = ["CallStats", "Component", "Engine", "HostFunctions", "Instance", "OpenComponent"]

HostFunctions: TypeAlias = Mapping[str, Mapping[str, Callable[..., Any]]]
"""Host functions, by the full name of their interface and by name in the WIT."""


class CallStats(Protocol):
    """Totals of the calls of one instance so far. Times are in nanoseconds, sizes in bytes."""

    @property
    def calls(self) -> int: ...
    @property
    def wall_ns(self) -> int: ...
    @property
    def marshal_ns(self) -> int: ...
    @property
    def host_ns(self) -> int: ...
    @property
    def host_calls(self) -> int: ...
    @property
    def bytes_in(self) -> int: ...
    @property
    def bytes_out(self) -> int: ...
    @property
    def memory_bytes(self) -> int: ...
    @property
    def host_peak_bytes(self) -> int: ...


class Instance(Protocol):
    """One instance of a component; one thread at a time."""

    embedder: Callable[[], Any] | None

    @property
    def alive(self) -> bool: ...
    @property
    def stats(self) -> CallStats: ...
    def call(self, interface: str, function: str, *args: Any) -> Any: ...
    def drop(self, resource: GuestResource) -> None: ...
    def interrupt(self) -> None: ...
    def close(self) -> None: ...


class Component(Protocol):
    """A compiled component; any thread may use it."""

    @property
    def name(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def shape(self) -> ComponentType: ...
    @property
    def flattened(self) -> bool: ...
    def instantiate(
        self,
        host: HostFunctions,
        *,
        limits: Limits,
        log_lines: Callable[[], tuple[str, ...]] = ...,
        stderr: Callable[[str], None] | None = ...,
    ) -> Instance: ...
    def with_types(self, shape: ComponentType) -> Component: ...
    def close(self) -> None: ...


class OpenComponent(Protocol):
    """A component that is not compiled yet."""

    @property
    def shape(self) -> ComponentType: ...
    def compile(self) -> Component: ...


class Engine(Protocol):
    """Reads and compiles components; any thread may use it."""

    def shape(self, binary: bytes, *, name: str) -> ComponentType: ...
    def why_bridges(self, binary: bytes, *, name: str) -> str: ...
    def open(
        self,
        binary: bytes,
        *,
        name: str,
        file: str = ...,
        fuel: bool = ...,
        timed: bool = ...,
        hosted: frozenset[str] = ...,
    ) -> AbstractContextManager[OpenComponent]: ...
    def remaining_s(self) -> float: ...
    def close(self) -> None: ...
