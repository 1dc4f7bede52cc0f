"""The host's side of plugins in processes of their own."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from dataflare import errors
from dataflare.data import batches
from dataflare.engine.layout import MEMORY_BYTES
from dataflare.engine.types import Shape
from dataflare.errors import CallTimeout, ConfigError, PluginFault, ProtocolFault, UsageError, WorkerDied
from dataflare.limits import Limits
from dataflare.runtime.isolation.deadline import remaining_s, until
from dataflare.runtime.isolation.wire import BrokenWire, Wire
from dataflare.runtime.isolation.worker import Task, main
from dataflare.runtime.ports import Component, HostFunctions

__all__ = ["IsolatedComponent", "IsolatedInstance"]

_ONE_THREAD: Final = {
    **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
"""Variables that keep libraries from starting threads when they are loaded."""
_starting = threading.Lock()
_START_S: Final = 60.0
_GRACE_S: Final = 1.0
"""What a worker gets over a call's time limit, which it watches itself."""
_DATA_BYTES: Final = 2**30
"""What a worker takes besides the plugin's memory, its two bridges' and batches on their way."""


class IsolatedComponent:
    """A compiled component whose instances live in processes of their own. Any thread may use it.

    Args:
        component: The component, as this process has compiled it.
        binary: Its contents.
        cache_dir: Where it was compiled to.
        max_batch_bytes: What a batch that comes from a worker may take.
    """

    def __init__(self, component: Component, binary: bytes, *, cache_dir: Path, max_batch_bytes: int) -> None:
        self._component = component
        self._binary = binary
        self._cache_dir = cache_dir
        self._max_batch_bytes = max_batch_bytes

    @property
    def name(self) -> str:
        return self._component.name

    @property
    def digest(self) -> str:
        return self._component.digest

    @property
    def shape(self) -> Shape:
        return self._component.shape

    def instantiate(
        self,
        host: HostFunctions,
        *,
        limits: Limits,
        log_lines: Callable[[], tuple[str, ...]] = tuple,
        stderr: Callable[[str], None] | None = None,
    ) -> IsolatedInstance:
        """Start a worker with an instance in it.

        Raises:
            ConfigError: A function of the host is missing.
            PluginFault: The plugin failed at its start, or its worker died.
        """
        functions: dict[str, dict[str, tuple[bool, bool]]] = {}
        for interface, imported in self.shape.imports.items():
            if interface == batches.INTERFACE:
                continue
            for name in imported.funcs:
                function = host.get(interface, {}).get(name)
                if function is None:
                    raise ConfigError(f"{self.name} imports {interface}#{name}, which the host does not provide")
                marks = (hasattr(function, "takes_views"), hasattr(function, "text_as_bytes"))
                functions.setdefault(interface, {})[name] = marks
        task = Task(
            binary=self._binary,
            name=self.name,
            cache_dir=self._cache_dir,
            limits=limits,
            functions=functions,
            max_batch_bytes=self._max_batch_bytes,
            data_bytes=limits.memory_bytes + _DATA_BYTES + 2 * (MEMORY_BYTES + self._max_batch_bytes),
        )
        return IsolatedInstance(task, host, log_lines, stderr)


class _Kept:
    """Objects of the host that a plugin in a worker holds, by number."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._numbers = itertools.count(1)
        self._things: dict[int, Any] = {}

    def number_of(self, thing: Any) -> int:
        if len(self._things) >= self._most:
            raise UsageError(f"more than {self._most} handles")
        number = next(self._numbers)
        self._things[number] = thing
        return number

    def thing_of(self, number: int) -> Any:
        return self._things[number]

    def drop(self, number: int) -> None:
        thing = self._things.pop(number, None)
        if (close := getattr(thing, "close_handle", None)) is not None:
            close()

    def close(self) -> None:
        for number in list(self._things):
            self.drop(number)


class IsolatedInstance:
    """An instance in a worker; one thread at a time. `in_force`: how the worker is confined, as the kernel took it."""

    def __init__(
        self,
        task: Task,
        host: HostFunctions,
        log_lines: Callable[[], tuple[str, ...]],
        stderr: Callable[[str], None] | None,
    ) -> None:
        self.stats = SimpleNamespace(
            calls=0,
            wall_ns=0,
            marshal_ns=0,
            host_ns=0,
            host_calls=0,
            bytes_in=0,
            bytes_out=0,
            memory_bytes=0,
            host_peak_bytes=0,
        )
        self.alive = False
        self.in_force: tuple[str, ...] = ()
        self._name = task.name
        self._limits = task.limits
        self._host = host
        self._log_lines = log_lines
        self._stderr = stderr
        self._export = "instantiation"
        self._kept = _Kept(task.limits.handles)
        context = multiprocessing.get_context("spawn")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._wire = Wire(ours, self._kept, max_batch_bytes=task.max_batch_bytes)
        self._process = context.Process(target=main, args=(theirs, task), name=f"dataflare-{task.name}", daemon=True)
        try:
            _start(self._process)
        except BaseException:
            self._wire.close()
            raise
        finally:
            theirs.close()
        try:
            self.in_force = self._serve(time.monotonic() + _START_S + (task.limits.call_timeout_s or 0.0))
            self.alive = True
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int | None:
        """The worker's process."""
        return self._process.pid

    def call(self, interface: str, function: str, *args: Any) -> Any:
        """Call an export; as `dataflare.engine.instance.Instance.call`."""
        if not self.alive:
            raise UsageError(f"{self._name}: the instance is dead after a fault, or closed")
        self._export = f"{interface}#{function}" if interface else function
        timeout_s = self._limits.call_timeout_s
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with until(deadline):
            left_s = remaining_s()
            try:
                self._wire.send("call", interface, function, list(args))
                return self._serve(None if left_s == math.inf else time.monotonic() + left_s + _GRACE_S)
            except OSError as error:
                raise self._died() from error

    def close(self) -> None:
        """End the worker; idempotent."""
        self.alive = False
        self._wire.close()
        if self._process.is_alive():
            self._process.join(0.5)
            if self._process.is_alive():
                self._process.kill()
        self._process.join()
        self._kept.close()

    def _serve(self, deadline: float | None) -> Any:
        """Serve the worker until it has an answer, and return that."""
        raised: BaseException | None = None
        while True:
            left_s = None if deadline is None else deadline - time.monotonic()
            try:
                if left_s is not None and left_s <= 0:
                    raise TimeoutError
                message = self._wire.receive(left_s)
                match message:
                    case ["host", str(interface), str(name), list(args)]:
                        raised = self._serve_call(interface, name, args)
                    case ["drop", int(number)]:
                        self._kept.drop(number)
                    case ["stderr", str(line)]:
                        if self._stderr is not None:
                            self._stderr(line)
                    case ["ready", list(in_force), stats]:
                        self._take(stats)
                        return tuple(map(str, in_force))
                    case ["result", value, stats, bool(alive)]:
                        self._take(stats)
                        self.alive = alive
                        return value
                    case ["host-failed", stats] if raised is not None:
                        self._take(stats)
                        self.alive = False
                        raise _Unchanged(raised)
                    case ["failed", str(kind), dict(fields), stats, bool(alive)]:
                        self._take(stats)
                        self.alive = alive
                        raise _Unchanged(self._error(kind, fields))
                    case _:
                        raise BrokenWire("a message that does not fit")
            except _Unchanged as outcome:
                raise outcome.error from None
            except TimeoutError:
                self._kill()
                raise CallTimeout(
                    f"took longer than call_timeout_s = {self._limits.call_timeout_s}, and its worker was killed",
                    hint="raise the limit, or look for what the plugin waits for",
                    **self._place(),
                ) from None
            except EOFError:
                raise self._died() from None
            except BrokenWire as error:
                self._kill()
                raise ProtocolFault(f"its worker sent {error}", **self._place()) from None

    def _serve_call(self, interface: str, name: str, args: list[Any]) -> BaseException | None:
        function = self._host.get(interface, {}).get(name)
        if function is None or interface == batches.INTERFACE:
            raise BrokenWire("a call of what was not granted")
        try:
            result = function(*args)
        except BaseException as error:
            self._wire.send("raised", None)
            return error
        self._wire.send("answer", result)
        return None

    def _take(self, stats: Any) -> None:
        if isinstance(stats, dict):
            for name, value in stats.items():
                if name in vars(self.stats) and isinstance(value, int):
                    setattr(self.stats, name, value)

    def _error(self, kind: str, fields: dict[str, Any]) -> Exception:
        found = getattr(errors, kind, None) if kind in errors.__all__ else None
        message, hint = str(fields.get("message", "")), str(fields.get("hint", ""))
        if found is not None and issubclass(found, PluginFault):
            place = {**self._place(), "export": str(fields.get("export", self._export))}
            trace = tuple(str(each) for each in fields.get("backtrace", ()))
            made: Exception = found(message, backtrace=trace, hint=hint, **place)
            return made
        if found is not None and issubclass(found, UsageError):
            wrong: Exception = found(message, hint=hint)
            return wrong
        self._kill()
        return WorkerDied(f"failed by itself: {kind}: {message}", **self._place())

    def _place(self) -> dict[str, Any]:
        return {"plugin": self._name, "export": self._export, "log_lines": self._log_lines()}

    def _died(self) -> WorkerDied:
        self.alive = False
        self._process.join(1.0)
        code = self._process.exitcode
        how = f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
        return WorkerDied(f"its worker ended {how}", hint="the next call gets a new worker", **self._place())

    def _kill(self) -> None:
        self.alive = False
        self._process.kill()


def _start(process: Any) -> None:
    """Start a process whose libraries start no threads: Landlock holds for the thread that asks for it alone."""
    with _starting:
        before = {name: os.environ.get(name) for name in _ONE_THREAD}
        os.environ.update(_ONE_THREAD)
        try:
            process.start()
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


class _Unchanged(Exception):
    """Carries an error past the handlers of the wire's own."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error
