"""Runs a plugin's class natively, as the plugin that the host would load from its component."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, cast

from dataflare.component_binary import COMPONENT_HEADER, name, section
from dataflare.errors import GuestPanic, NotAComponent, ValueTypeError
from dataflare.grants import Grants, switched
from dataflare.interfaces import SWITCHES
from dataflare.limits import Limits
from dataflare.runtime.host import Host
from dataflare.runtime.options import Services
from dataflare.runtime.ports import Engine
from dataflare.testing.bindings import HOST, Bindings, Err, HostFunctions, bindings, install
from dataflare.testing.shapes import plugin_shape
from dataflare.values import Err as HostErr
from dataflare.values import Ok as HostOk
from dataflare.wit import model as wit
from dataflare.wit.standard import standard

if "wit_world" not in sys.modules:
    install()

__all__ = ["native"]


@contextmanager
def native(
    plugin: type[Any],
    *,
    config: Mapping[str, Any] | None = None,
    needs: tuple[str, ...] = (),
    grants: Grants | None = None,
    services: Services | None = None,
) -> Iterator[Any]:
    """Load a plugin's class: what comes is what `Host.load` gives, with the same checks, grants and errors.

    There is no sandbox and there are no limits: a plugin that hangs hangs the test.

    Args:
        plugin: A subclass of one of the classes of `dataflare_plugin`.
        config: Its configuration.
        needs: The host interfaces that its `plugin.yaml` lists.
        grants: What it may use; `None`: all that it needs and that is granted as a whole.
        services: What stands behind the host's interfaces, such as what `recorded_calls` gives; `None` for the usual.

    Raises:
        ValueTypeError: It is not such a class.
        PluginError: It refused its configuration, or could not get ready.
    """
    if not (isinstance(plugin, type) and hasattr(plugin, "kind")):
        hint = "import the class from plugin.py, and give the class itself: neither an instance nor a path"
        raise ValueTypeError(f"{plugin!r} is not a class of a plugin", path="native", hint=hint)
    allowed = Grants(**switched(set(needs).intersection(SWITCHES))) if grants is None else grants
    engine = _NativeEngine(plugin, needs)
    with (
        Host(engine=cast(Engine, engine), services=services) as host,
        host.load(engine.binary, config=config, grants=allowed) as loaded,
    ):
        yield loaded.start()


@dataclass
class _Stats:
    calls: int = 0
    wall_ns: int = 0
    marshal_ns: int = 0
    host_ns: int = 0
    host_calls: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    memory_bytes: int = 0
    host_peak_bytes: int = 0


class _NativeInstance:
    def __init__(self, exports: Mapping[str, type], host: HostFunctions, made: Bindings) -> None:
        self.alive = True
        self.stats = _Stats()
        self._exports = {name.lower(): each() for name, each in exports.items()}
        self._host = host
        self._made = made

    def call(self, interface: str, function: str, *arguments: Any) -> Any:
        self.stats.calls += 1
        found = next(each for each in standard().interface(interface).functions if each.name == function)
        short = interface.rpartition("/")[2].partition("@")[0]
        method: Callable[..., Any] = getattr(self._exports[short], function.replace("-", "_"))
        pairs = zip(arguments, found.parameters, strict=True)
        given = [self._made.from_host(value, each.type) for value, each in pairs]
        kind = found.result
        token = HOST.set(self._host)
        try:
            result = method(*given)
        except Err as error:
            if not isinstance(kind, wit.ResultOf):
                raise
            return HostErr(self._made.to_host(error.value, kind.error))
        except SystemExit as error:
            # In a component, that is a trap.
            self.alive = False
            raise GuestPanic(f"it ended itself: {error!r}", export=function) from error
        finally:
            HOST.reset(token)
        if isinstance(kind, wit.ResultOf):
            return HostOk(None if kind.ok is None else self._made.to_host(result, kind.ok))
        return None if kind is None else self._made.to_host(result, kind)

    def interrupt(self) -> None:
        pass

    def close(self) -> None:
        self.alive = False


class _NativeComponent:
    def __init__(self, name: str, engine: _NativeEngine) -> None:
        self.name = name
        self.digest = f"sha256:{hashlib.sha256(engine.binary).hexdigest()}"
        self.shape = engine.component_shape
        self._engine = engine

    @property
    def flattened(self) -> bool:
        return False

    def instantiate(self, host: HostFunctions, *, limits: Limits, log_lines: Any = tuple, stderr: Any = None) -> Any:
        return _NativeInstance(self._engine.exports(), host, bindings())

    def with_types(self, shape: Any) -> Any:
        return self

    def close(self) -> None:
        pass


@dataclass
class _NativeOpen:
    name: str
    engine: _NativeEngine
    shape: Any

    def compile(self) -> _NativeComponent:
        return _NativeComponent(self.name, self.engine)


class _NativeEngine:
    def __init__(self, plugin: type[Any], needs: tuple[str, ...]) -> None:
        self._plugin = plugin
        # An empty component with the class's name, since its digest and its manifest are asked for.
        said = f"{plugin.__module__}.{plugin.__qualname__}".encode()
        self.binary = COMPONENT_HEADER + section(0, name("native") + said)
        self.component_shape = plugin_shape(plugin.kind, needs)

    def exports(self) -> Mapping[str, type]:
        # An SDK is not a part of this package, and is only there where plugins are written.
        exports = import_module("dataflare_plugin.component").exports
        module = ModuleType(self._plugin.__module__)
        module.__dict__[self._plugin.__name__] = self._plugin
        said = {"name": "native", "version": "0.0.0", "description": "A plugin that runs without a component."}
        made: Mapping[str, type] = exports(module, kind=self._plugin.kind, **said)
        return made

    def shape(self, binary: bytes, *, name: str) -> Any:
        if binary != self.binary:
            raise NotAComponent("is not the native plugin", component=name)
        return self.component_shape

    def why_bridges(self, binary: bytes, *, name: str) -> str:
        return "it runs natively"

    @contextmanager
    def open(self, binary: bytes, *, name: str, **_: Any) -> Iterator[_NativeOpen]:
        yield _NativeOpen(name, self, self.shape(binary, name=name))

    def remaining_s(self) -> float:
        return math.inf

    def close(self) -> None:
        pass
