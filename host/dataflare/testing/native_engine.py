"""An engine whose only component is a plugin that runs in its own language, on the host's own code."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dataflare.component_binary import COMPONENT_HEADER, name, section
from dataflare.engine.abi.types import ComponentType
from dataflare.errors import NotAComponent
from dataflare.limits import Limits
from dataflare.runtime.ports import HostFunctions, Instance
from dataflare.wit import model as wit
from dataflare.wit.standard import standard

__all__ = ["NativeEngine", "NativeStats", "exported"]


class NativeEngine:
    """Loads `binary`, which stands for the plugin; ports as in `dataflare.runtime.ports`.

    Args:
        said: Tells the plugin from others: the digest is of it.
        shape: What it imports and exports.
        instance: Makes an instance, given the host's functions and, by name, `limits` and `log_lines`.
    """

    def __init__(self, said: str, shape: ComponentType, instance: Callable[..., Any]) -> None:
        # An empty component, since its manifest is asked for.
        self.binary = COMPONENT_HEADER + section(0, name("native") + said.encode())
        self.component_shape = shape
        self.instance = instance

    def shape(self, binary: bytes, *, name: str) -> ComponentType:
        if binary != self.binary:
            raise NotAComponent("is not the native plugin", component=name)
        return self.component_shape

    def why_bridges(self, binary: bytes, *, name: str) -> str:
        return "it runs natively"

    @contextmanager
    def open(self, binary: bytes, *, name: str, **_: Any) -> Iterator[_Open]:
        yield _Open(name, self, self.shape(binary, name=name))

    def remaining_s(self) -> float:
        return math.inf

    def close(self) -> None:
        pass


@dataclass
class _Open:
    name: str
    engine: NativeEngine
    shape: ComponentType

    def compile(self) -> _Component:
        return _Component(self.name, self.engine)


class _Component:
    flattened = False

    def __init__(self, name: str, engine: NativeEngine) -> None:
        self.name = name
        self.digest = f"sha256:{hashlib.sha256(engine.binary).hexdigest()}"
        self.shape = engine.component_shape
        self._engine = engine

    def instantiate(
        self,
        host: HostFunctions,
        *,
        limits: Limits,
        log_lines: Callable[[], tuple[str, ...]] = tuple,
        stderr: Any = None,
    ) -> Instance:
        made: Instance = self._engine.instance(host, limits=limits, log_lines=log_lines)
        return made

    def with_types(self, shape: ComponentType) -> _Component:
        return self

    def close(self) -> None:
        pass


@dataclass
class NativeStats:
    """As `dataflare.runtime.ports.CallStats`, of which only the calls are counted."""

    calls: int = 0
    wall_ns: int = 0
    marshal_ns: int = 0
    host_ns: int = 0
    host_calls: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    memory_bytes: int = 0
    host_peak_bytes: int = 0


def exported(interface: str, function: str) -> tuple[wit.Function, str]:
    """A function of an interface that plugins export, and the interface's short name."""
    found = next(each for each in standard().interface(interface).functions if each.name == function)
    return found, interface.rpartition("/")[2].partition("@")[0]
