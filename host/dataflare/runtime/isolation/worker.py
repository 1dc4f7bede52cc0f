"""The process in which one instance of a plugin lives."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dataflare.data import batches
from dataflare.errors import DataflareError, PluginError, PluginFault
from dataflare.limits import Limits
from dataflare.runtime.isolation.jail import confine
from dataflare.runtime.isolation.wire import Wire

__all__ = ["Remote", "Task", "main"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a worker has to do.

    Args:
        binary: The component.
        name: The plugin's name.
        cache_dir: Where it is compiled already.
        limits: The instance's ceilings.
        functions: By interface, the functions that the host serves, and whether each takes views and texts as bytes.
        max_batch_bytes: What a batch may take.
        data_bytes: What the process may take; `None` for any.
    """

    binary: bytes
    name: str
    cache_dir: Path
    limits: Limits
    functions: Mapping[str, Mapping[str, tuple[bool, bool]]]
    max_batch_bytes: int
    data_bytes: int | None


class HostFailed(Exception):
    """A function of the host raised; the host knows what."""


class Remote:
    """An object of the host, known by its number."""

    def __init__(self, number: int, worker: _Worker) -> None:
        self.number = number
        self._worker = worker

    def close_handle(self) -> None:
        """Tell the host that the plugin has dropped it."""
        self._worker.wire.send("drop", self.number)


class _Worker:
    def __init__(self, connection: socket.socket, task: Task) -> None:
        self._task = task
        self.wire = Wire(connection, self, max_batch_bytes=task.max_batch_bytes)

    def number_of(self, thing: Any) -> int:
        if isinstance(thing, Remote):
            return thing.number
        raise TypeError(f"a {type(thing).__name__} cannot leave the worker")

    def thing_of(self, number: int) -> Any:
        return Remote(number, self)

    def functions(self) -> dict[str, dict[str, Callable[..., Any]]]:
        """What the plugin gets: batches are handled here, everything else by the host."""
        made: dict[str, dict[str, Callable[..., Any]]] = {
            name: {each: self._proxy(name, each, *marks) for each, marks in functions.items()}
            for name, functions in self._task.functions.items()
        }
        made[batches.INTERFACE] = batches.imports(max_batch_bytes=self._task.max_batch_bytes)
        return made

    def _proxy(self, interface: str, name: str, views: bool, raw_text: bool) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self.wire.send("host", interface, name, list(args))
            kind, value = self.wire.receive()
            if kind != "answer":
                raise HostFailed
            return value

        if views:
            call.takes_views = True  # type: ignore[attr-defined]  # what the engine looks for
        if raw_text:
            call.text_as_bytes = True  # type: ignore[attr-defined]  # likewise
        return call

    def run(self) -> None:
        from dataflare.engine.engine import Engine

        task = self._task
        with Engine(cache_dir=task.cache_dir) as engine:
            try:
                component = engine.load(
                    task.binary,
                    name=task.name,
                    fuel=task.limits.fuel is not None,
                    timed=task.limits.call_timeout_s is not None,
                )
                in_force = confine(data_bytes=task.data_bytes)
                instance = component.instantiate(
                    self.functions(), limits=task.limits, stderr=lambda line: self.wire.send("stderr", line)
                )
            except Exception as error:
                self._failed(error, {})
                return
            self.wire.send("ready", list(in_force), asdict(instance.stats))
            with instance:
                while (message := self.wire.receive())[0] == "call":
                    _, interface, function, args = message
                    try:
                        result = instance.call(interface, function, *args)
                        self.wire.send("result", result, asdict(instance.stats), instance.alive)
                    except Exception as error:
                        self._failed(error, asdict(instance.stats), alive=instance.alive)

    def _failed(self, error: Exception, stats: dict[str, int], *, alive: bool = False) -> None:
        if isinstance(error, HostFailed):
            self.wire.send("host-failed", stats)
            return
        fields: dict[str, Any] = {"message": str(error), "hint": ""}
        if isinstance(error, DataflareError):
            fields = {"message": error.message, "hint": error.hint}
        if isinstance(error, PluginFault | PluginError):
            fields |= {"export": error.export}
            fields["message"] = fields["message"].removeprefix(f"plugin {error.plugin!r}, {error.export}: ")
        if isinstance(error, PluginFault):
            fields |= {"backtrace": list(error.backtrace)}
        self.wire.send("failed", type(error).__name__, fields, stats, alive)


def main(connection: socket.socket, task: Task) -> None:
    """Live until the host says otherwise, or has gone."""
    try:
        _Worker(connection, task).run()
    except (EOFError, OSError):
        return
