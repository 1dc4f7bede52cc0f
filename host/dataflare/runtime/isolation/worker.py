"""The process in which one instance of a plugin lives."""

from __future__ import annotations

import importlib
import itertools
import os
import pkgutil
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

import dataflare.data
import dataflare.engine
from dataflare.data.expressions import times
from dataflare.engine.abi.handles import GuestResource
from dataflare.engine.call_stats import CallStats
from dataflare.engine.component import Component
from dataflare.engine.engine import Engine
from dataflare.engine.instance import Instance
from dataflare.errors import DataflareError, PluginError, PluginFault
from dataflare.interfaces import is_wasi
from dataflare.runtime.isolation.channel import Channel
from dataflare.runtime.isolation.jail import JailIncomplete, confine
from dataflare.runtime.isolation.wire import TooLarge, Wire
from dataflare.runtime.isolation.worker_task import SERVED_HERE, Task

__all__ = ["Remote", "load_late", "main"]

_LATE_MODULES: Final = (
    "_strptime",
    "encodings.ascii",
    "encodings.latin_1",
    "linecache",
    "numpy.ma",
    "pyarrow.acero",
    "pyarrow.compute",
    "traceback",
)
"""Modules that would otherwise be imported at their first use, when files can no longer be read."""
_OPTIONAL_MODULES: Final = ("dateutil.tz", "dateutil.relativedelta")
"""Modules that Arrow imports if they are installed."""


class Remote:
    """An object of the host, referred to by its number."""

    def __init__(self, number: int, worker: _Worker) -> None:
        self.number = number
        self._worker = worker

    def close_handle(self) -> None:
        """Tell the host that the plugin has dropped it."""
        self._worker.tell("drop", self.number)


class _Worker:
    def __init__(self, wire: Wire) -> None:
        self._channel = Channel(wire, self, (), max_batch_bytes=0)
        message = self._channel.receive()
        self._binary = message.beside.to_pybytes()
        self._wire = wire
        self._task = Task.from_json(message.plain[0])
        self._guests: dict[int, GuestResource] = {}
        self._guest_numbers = itertools.count(1)

    def guest_number(self, guest: Any, type_index: int, *, given: bool) -> int:
        number = next(self._guest_numbers)
        self._guests[number] = guest
        return number

    def guest_of(self, number: int, type_index: int, name: str, *, taken: bool) -> GuestResource:
        return self._guests.pop(number) if taken else self._guests[number]

    def number_of(self, thing: Any, type_index: int, *, given: bool) -> int:
        if isinstance(thing, Remote):
            return thing.number
        raise TypeError(f"a {type(thing).__name__} cannot leave the worker")

    def host_object(self, number: int, type_index: int, *, taken: bool) -> Any:
        return Remote(number, self)

    def tell(self, *plain: Any) -> None:
        self._channel.send(self._channel.pack(*plain))

    def run(self, parent: int, memory_bytes: int) -> None:
        task = self._task
        with Engine(cache_dir=Path(task.cache_dir), flatten=task.flatten) as engine:
            limits = task.limits
            component = engine.load(
                self._binary,
                name=task.name,
                fuel=limits.fuel is not None,
                timed=limits.call_timeout_s is not None,
                hosted=frozenset(filter(is_wasi, task.functions)),
            )
            del self._binary
            resources = component.shape.resources
            self._channel = Channel(self._wire, self, resources, max_batch_bytes=task.max_batch_bytes)
            # Before the confinement: this imports the modules that serve them.
            functions = self._functions(component)
            load_late()
            try:
                in_force = confine(
                    data_bytes=task.data_bytes,
                    address_bytes=task.address_bytes,
                    file_bytes=memory_bytes,
                    parent=parent,
                    best_effort=task.best_effort,
                )
            except JailIncomplete as missing:
                self.tell("incomplete", missing.part, missing.reason)
                return
            self.tell("confined", in_force)
            try:
                instance = component.instantiate(
                    functions, limits=limits, stderr=lambda line: self.tell("stderr", line)
                )
            except Exception as error:
                self._failed(error, CallStats())
                return
            self.tell("ready", astuple(instance.stats))
            with instance:
                while self._serve(component, instance):
                    pass

    def _serve(self, component: Component, instance: Instance) -> bool:
        message = self._channel.receive()
        match message.plain:
            case ["call", str(interface), str(function)]:
                func = component.export_codec(interface, function).link.func
                args, _ = self._channel.read(message, [ty for _, ty in func.params])
                try:
                    result = instance.call(interface, function, *args)
                    packed = self._channel.pack(
                        "result", astuple(instance.stats), instance.alive, typed=[(func.result, result)]
                    )
                    self._channel.send(packed)
                except Exception as error:
                    self._failed(error, instance.stats, alive=instance.alive)
                return True
        return False

    def _functions(self, component: Component) -> dict[str, dict[str, Callable[..., Any]]]:
        """Return the plugin's host functions: those on batches run here, all others in the host."""
        made = {
            interface: {name: self._proxy(component, interface, name, *marks) for name, marks in functions.items()}
            for interface, functions in self._task.functions.items()
        }
        for interface, module in SERVED_HERE.items():
            if interface in component.shape.imports:
                imports = importlib.import_module(module).imports
                made[interface] = imports(max_batch_bytes=self._task.max_batch_bytes)
        return made

    def _proxy(
        self, component: Component, interface: str, name: str, views: bool, raw_text: bool
    ) -> Callable[..., Any]:
        func = component.shape.imports[interface].funcs[name]
        params = [ty for _, ty in func.params]

        def call(*args: Any) -> Any:
            channel = self._channel
            channel.send(channel.pack("host", interface, name, typed=list(zip(params, args, strict=True))))
            (value,), _ = channel.read(channel.receive(), [func.result])
            return value

        if views:
            call.takes_views = True  # type: ignore[attr-defined]  # what the engine looks for
        if raw_text:
            call.text_as_bytes = True  # type: ignore[attr-defined]  # the same
        return call

    def _failed(self, error: Exception, stats: CallStats, *, alive: bool = False) -> None:
        kind = type(error).__name__
        backtrace: tuple[str, ...] = ()
        message, hint, export = str(error), "", ""
        if isinstance(error, TooLarge):
            kind, message = "OutputLimitExceeded", f"was to send {error}, more than a process of its own can"
        if isinstance(error, DataflareError):
            message, hint = error.message, error.hint
        if isinstance(error, PluginFault | PluginError):
            export = error.export
            message = message.removeprefix(f"plugin {error.plugin!r}, {error.export}: ")
        if isinstance(error, PluginFault):
            backtrace = error.backtrace
        self.tell("failed", kind, message, hint, export, backtrace, astuple(stats), alive)


def load_late() -> None:
    """Import the late modules, and let Arrow read all time zones: later, no file can be opened."""
    for package in (dataflare.data, dataflare.engine):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    for name in _LATE_MODULES:
        importlib.import_module(name)
    for name in _OPTIONAL_MODULES:
        with suppress(ImportError):
            importlib.import_module(name)
    moment = pa.array([0], pa.timestamp("s"))
    for zone in times.zones():
        with suppress(pa.ArrowException):  # a zone that Arrow does not know, or a machine without any
            pc.strftime(moment.cast(pa.timestamp("s", zone)))


def main(connection: int, memory: int, parent: int) -> None:
    """Run a worker until the host ends it or is gone.

    Args:
        connection: The descriptor of the socket.
        memory: The descriptor of the shared memory.
        parent: The id of the host's process.
    """
    memory_bytes = os.fstat(memory).st_size
    wire = Wire(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=connection), memory, memory_bytes)
    try:
        _Worker(wire).run(parent, memory_bytes)
    except (EOFError, ConnectionError):
        return
