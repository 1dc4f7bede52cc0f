"""Runs a plugin's class natively, as the plugin that the host would load from its component."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any, cast

from dataflare.errors import GuestPanic, ValueTypeError
from dataflare.grants import Grants, switched
from dataflare.interfaces import SWITCHES
from dataflare.runtime.host import Host
from dataflare.runtime.options import Services
from dataflare.runtime.ports import Engine
from dataflare.testing.bindings import HOST, Bindings, Err, HostFunctions, bindings, install
from dataflare.testing.native_engine import NativeEngine, NativeStats, exported
from dataflare.testing.shapes import plugin_shape
from dataflare.values import Err as HostErr
from dataflare.values import Ok as HostOk
from dataflare.wit import model as wit

if "wit_world" not in sys.modules:
    install()

__all__ = ["PythonEngine", "native"]


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
    engine = PythonEngine(plugin, needs)
    with (
        Host(engine=cast(Engine, engine), services=services) as host,
        host.load(engine.binary, config=config, grants=allowed) as loaded,
    ):
        yield loaded.start()


class _PythonInstance:
    def __init__(self, exports: Mapping[str, type], host: HostFunctions, made: Bindings) -> None:
        self.alive = True
        self.stats = NativeStats()
        self._exports = {name.lower(): each() for name, each in exports.items()}
        self._host = host
        self._made = made

    def call(self, interface: str, function: str, *arguments: Any) -> Any:
        self.stats.calls += 1
        found, short = exported(interface, function)
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


class PythonEngine(NativeEngine):
    """Loads a plugin's class.

    Args:
        plugin: The class.
        needs: The host interfaces that its `plugin.yaml` lists.
    """

    def __init__(self, plugin: type[Any], needs: tuple[str, ...]) -> None:
        self.plugin = plugin
        super().__init__(f"{plugin.__module__}.{plugin.__qualname__}", plugin_shape(plugin.kind, needs), self._instance)

    def _instance(self, host: HostFunctions, **_: Any) -> _PythonInstance:
        return _PythonInstance(self.exports(), host, bindings())

    def exports(self) -> Mapping[str, type]:
        """The classes that a component of it would export, by their names."""
        # An SDK is not a part of this package, and is only there where plugins are written.
        exports = import_module("dataflare_plugin.component").exports
        module = ModuleType(self.plugin.__module__)
        module.__dict__[self.plugin.__name__] = self.plugin
        said = {"name": "native", "version": "0.0.0", "description": "A plugin that runs without a component."}
        made: Mapping[str, type] = exports(module, kind=self.plugin.kind, **said)
        return made
