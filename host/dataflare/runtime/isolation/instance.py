"""The host's side of one worker. Nothing that a worker says is trusted: an attacker may control it."""

from __future__ import annotations

import itertools
import os
import socket
import time
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from dataflare import budgets, errors
from dataflare.budgets import HostBudget, OverHostBytes, OverTime
from dataflare.engine.abi.handles import GuestResource, Passing
from dataflare.engine.abi.misfits import misfit_of_argument, misfit_of_result
from dataflare.engine.abi.types import ComponentType, FuncT, OwnT
from dataflare.engine.call_budget import CallBudget
from dataflare.engine.call_stats import CallStats
from dataflare.errors import (
    CallTimeout,
    ConfigError,
    CopyLimitExceeded,
    HandleLimitExceeded,
    HostBytesExceeded,
    LimitExceeded,
    OutputLimitExceeded,
    PluginFault,
    ProtocolFault,
    UsageError,
    ValueTypeError,
    WorkerDied,
)
from dataflare.runtime.isolation import spawn
from dataflare.runtime.isolation.channel import Channel, Message, Packed
from dataflare.runtime.isolation.deadline import remaining_s, until
from dataflare.runtime.isolation.wire import BrokenWire, Gone, OutOfTime, TooLarge, Wire, make_memory
from dataflare.runtime.isolation.worker_task import SERVED_HERE, Task
from dataflare.runtime.ports import HostFunctions
from dataflare.texts import FRAMES

__all__ = ["IsolatedInstance"]

ENTRY: Final = "dataflare.runtime.isolation.worker:main"
_START_S: Final = 60.0
_GRACE_S: Final = 1.0
"""Seconds after a call's limit before the host ends the worker; the worker also watches the limit itself."""
_MORE_MEMORY_BYTES: Final = 64 * 2**20
"""The size of the shared memory beyond a batch, for the rest of a message."""
_MAX_MESSAGE_CHARS: Final = 16_384
_MAX_HINT_CHARS: Final = 1_024
_MAX_FIGURE: Final = 2**50
"""The largest number that a worker may report, so that sums fit into 64 bits."""


class _TooManyHandles(Exception):
    """A worker already holds the maximum number of host objects."""


class _Kept:
    """Objects of the host that a plugin in a worker holds, by number."""

    def __init__(self, most: int, owner: IsolatedInstance) -> None:
        self._most = most
        self._numbers = itertools.count(1)
        self._things: dict[int, tuple[Any, int]] = {}
        """The objects by number, each with the number of its type."""
        self._lent: list[int] = []
        # Weak: if an interrupt lost the instance before its caller got it, it must be freed at once, with the worker.
        self._owner = weakref.ref(owner)
        self.passing = Passing()

    @property
    def owner(self) -> IsolatedInstance | None:
        """The instance to which these resources belong; `None` if it is gone."""
        return self._owner()

    def guest_number(self, guest: Any, type_index: int, *, given: bool) -> int:
        if not isinstance(guest, GuestResource) or guest.type_index != type_index:
            raise ValueTypeError(f"a {type(guest).__name__} is not such a resource of the plugin")
        if guest.owner is not self.owner:
            raise ValueTypeError(f"{guest!r} belongs to another instance")
        return self.passing.give(guest) if given else self.passing.lend(guest)

    def guest_of(self, number: int, type_index: int, name: str, *, taken: bool) -> GuestResource:
        if not number:
            raise BrokenWire("a handle that is not there")
        return GuestResource(self.owner, name, type_index, number)

    def number_of(self, thing: Any, type_index: int, *, given: bool) -> int:
        if len(self._things) >= self._most:
            if given and (close := getattr(thing, "close_handle", None)) is not None:
                close()
            raise _TooManyHandles
        number = next(self._numbers)
        self._things[number] = thing, type_index
        if not given:
            self._lent.append(number)
        return number

    def host_object(self, number: int, type_index: int, *, taken: bool) -> Any:
        thing, own_type = self._things[number]
        if own_type != type_index or (taken and number in self._lent):
            raise KeyError(number)
        if taken:
            del self._things[number]
        return thing

    def drop(self, number: int) -> None:
        if number not in self._things or number in self._lent:
            raise BrokenWire("a handle that is not there")
        if (close := getattr(self._things.pop(number)[0], "close_handle", None)) is not None:
            close()

    def end_loans(self) -> None:
        """Remove the objects that were lent for a call."""
        for number in self._lent:
            self._things.pop(number, None)
        self._lent.clear()

    def close(self) -> None:
        self.end_loans()
        for number in list(self._things):
            self.drop(number)


@dataclass(slots=True)
class _Counts:
    """What the host itself has counted for a worker."""

    host_calls: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


@dataclass(frozen=True, slots=True)
class _Returned:
    """How an exchange with a worker ended."""

    value: Any = None
    error: Exception | None = None


class IsolatedInstance:
    """An instance in a worker; one thread at a time. `in_force`: the parts of the jail that the kernel accepted.

    Any failure in an exchange, including an interrupt of the host, ends the worker: otherwise the next message could be
    the answer to an earlier request.
    """

    def __init__(
        self,
        task: Task,
        binary: bytes,
        shape: ComponentType,
        host: HostFunctions,
        log_lines: Callable[[], tuple[str, ...]],
        stderr: Callable[[str], None] | None,
    ) -> None:
        self.stats = CallStats()
        self.embedder: Callable[[], Any] | None = None
        """Returns the embedder's object for this instance; its resources use it too."""
        self._alive = False
        self._users: dict[int, object] = {}
        """Whoever uses the instance now, as in `Instance`."""
        self.in_force: tuple[str, ...] = ()
        self.budget = HostBudget(task.limits.host_memory_bytes)
        """What the host keeps for the instance."""
        self._name = task.name
        self._shape = shape
        self._limits = task.limits
        self._host = host
        self._log_lines = log_lines
        self._stderr = stderr
        self._export = "instantiation"
        self._counts = _Counts()
        self._call_budget = CallBudget(task.limits, self._counts)
        self._kept = _Kept(task.limits.handles, self)
        memory_bytes = max(task.max_batch_bytes, len(binary)) + _MORE_MEMORY_BYTES
        self._pid = os.getpid()
        started: _Started | None = None
        try:
            started = spawn.in_starter(lambda: _begin(memory_bytes))
            self._process = started.process
            self._channel = Channel(
                started.wire, self._kept, shape.resources, max_batch_bytes=task.max_batch_bytes, charged=True
            )
            deadline = time.monotonic() + _START_S + (task.limits.call_timeout_s or 0.0)
            message = self._channel.pack(task.to_json())
            message.parts.append(memoryview(binary))
            self._exchange(message, None, deadline)
        except BaseException:
            if started is not None:
                started.end()
            raise
        self._alive = True

    @property
    def alive(self) -> bool:
        """Whether it can be called: it has not failed, and this process is the one that started its worker."""
        return self._alive and self._pid == os.getpid()

    @property
    def pid(self) -> int:
        """The worker's process."""
        return self._process.pid

    def call(self, interface: str, function: str, *args: Any) -> Any:
        """Call an export; works like `dataflare.engine.instance.Instance.call`."""
        if not self.alive:
            raise UsageError(f"{self._name}: the instance is dead after a fault, or closed")
        exported = self._shape.exports.get(interface)
        func = None if exported is None else exported.funcs.get(function)
        if func is None:
            raise UsageError(f"{self._name} exports no {interface}#{function}")
        return self._run(func, interface, function, args)

    def drop(self, resource: GuestResource) -> None:
        """Drop a resource that the plugin made; works like `dataflare.engine.instance.Instance.drop`."""
        if resource.owner is not self:
            raise UsageError(f"{resource!r} belongs to another instance")
        if not resource.handle or not self.alive:
            return
        interface = self._shape.resources[resource.type_index].interface
        func = FuncT((("self", OwnT(resource.type_index)),), None)
        self._run(func, interface, f"[resource-drop]{resource.name}", (resource,))

    def _run(self, func: FuncT, interface: str, function: str, args: tuple[Any, ...]) -> Any:
        me, users = object(), self._users
        try:
            if users.setdefault(0, me) is not me:
                raise UsageError(f"{self._name}: the instance is within a call", hint="use one instance a thread")
            return self._run_alone(func, interface, function, args)
        finally:
            # As in `Instance.call`.
            if users and users[0] is me:
                del users[0]

    def _run_alone(self, func: FuncT, interface: str, function: str, args: tuple[Any, ...]) -> Any:
        self._export = f"{interface}#{function}" if interface else function
        packed = self._pack_arguments(func, interface, function, args)
        timeout_s = self._limits.call_timeout_s
        began = time.perf_counter_ns()
        with until(None if timeout_s is None else time.monotonic() + timeout_s):
            left_s = remaining_s()
            deadline = time.monotonic() + left_s
            self.budget.deadline_s = deadline
            try:
                return self._exchange(packed, func, deadline + _GRACE_S)
            finally:
                self.stats.calls += 1
                self.stats.wall_ns += time.perf_counter_ns() - began
                self.stats.host_peak_bytes = max(self.stats.host_peak_bytes, self.budget.peak_bytes)

    def interrupt(self) -> None:
        """End the worker, and so the call that another thread is in, with `WorkerDied`; any thread may do it."""
        self._process.kill()

    def close(self) -> None:
        """End the worker; idempotent."""
        self._kill()
        self._kept.close()

    # One exchange: a message, the worker's requests, and its answer.

    def _exchange(self, packed: Packed, func: FuncT | None, deadline: float) -> Any:
        """Send a message, serve the worker until it answers, and return the answer; `func` is the called function."""
        settled = False
        outer = budgets.enter(self.budget)
        try:
            self._call_budget.begin()
            self._channel.send(packed, deadline=deadline)
            returned = self._serve(func, deadline)
            settled = True
        except OutOfTime:
            raise CallTimeout(
                f"took longer than call_timeout_s = {self._limits.call_timeout_s}, and its worker was killed",
                hint="raise the limit, or look for what the plugin waits for",
                **self._place(),
            ) from None
        except Gone as error:
            raise self._died() from error
        except BrokenWire as error:
            raise ProtocolFault(f"its worker sent {error}", **self._place()) from None
        except TooLarge as error:
            raise self._over(CopyLimitExceeded, f"was to be sent {error}", "use smaller batches or texts") from None
        except _TooManyHandles:
            text = f"held more than handles = {self._limits.handles}"
            raise self._over(HandleLimitExceeded, text, "raise the limit") from None
        except OverHostBytes:
            text = f"made the host keep more than host_memory_bytes = {self._limits.host_memory_bytes} for it"
            raise self._over(HostBytesExceeded, text, "raise the limit, or use smaller batches") from None
        except OverTime:
            text = f"took longer than call_timeout_s = {self._limits.call_timeout_s}, within a host function"
            raise self._over(CallTimeout, text, "raise the limit, or use smaller batches") from None
        finally:
            budgets.enter(outer)
            self._kept.end_loans()
            if not settled:
                self._kill()
        if returned.error is not None:
            raise returned.error
        return returned.value

    def _serve(self, func: FuncT | None, deadline: float) -> _Returned:
        channel = self._channel
        while True:
            message = channel.receive(deadline=deadline)
            match message.plain:
                case ["host", str(interface), str(name)]:
                    self._serve_call(interface, name, message, deadline)
                case ["drop", int(number)] if type(number) is int:
                    self._kept.drop(number)
                case ["stderr", str(line)]:
                    if self._stderr is not None:
                        self._stderr(line[:_MAX_MESSAGE_CHARS])
                case ["result", list(stats), bool(alive)] if func is not None:
                    self._take(stats)
                    self._alive = alive
                    return _Returned(self._result(func, message))
                case ["failed", str(kind), str(text), str(hint), str(), list(frames), list(stats), bool(alive)]:
                    self._take(stats)
                    error = self._error(kind, text, hint, frames)
                    self._alive = alive and not isinstance(error, PluginFault)
                    if not self.alive:
                        self._kill()
                    return _Returned(error=error)
                case ["confined", list(parts)] if func is None and not self.in_force:
                    if not all(isinstance(each, str) for each in parts):
                        raise BrokenWire("parts of a jail that are no names")
                    self.in_force = tuple(parts)
                case ["ready", list(stats)] if func is None and self.in_force:
                    self._take(stats)
                    return _Returned()
                case ["incomplete", str(part), str(reason)] if func is None and not self.in_force:
                    raise ConfigError(
                        f"this machine cannot confine a process: {part}: {reason}",
                        where="isolation",
                        hint="where a weaker jail is acceptable, say process-best-effort (`process: best-effort`)",
                    )
                case _:
                    raise BrokenWire("a message that does not fit")

    def _serve_call(self, interface: str, name: str, message: Message, deadline: float) -> None:
        function = self._host.get(interface, {}).get(name)
        imported = self._shape.imports.get(interface)
        func = None if imported is None else imported.funcs.get(name)
        if function is None or func is None or interface in SERVED_HERE:
            raise BrokenWire("a call of what was not granted")
        counts = self._counts
        counts.host_calls += 1
        if counts.host_calls > self._call_budget.calls_most:
            self._call_budget.check_calls(self._over)
        raw_text = hasattr(function, "text_as_bytes")
        args, size = self._channel.read(message, [ty for _, ty in func.params], raw_text=raw_text)
        counts.bytes_out += size
        self._check_copied()
        began = time.perf_counter_ns()
        result = function(*args)
        self.stats.host_ns += time.perf_counter_ns() - began
        try:
            packed = self._channel.pack("answer", typed=[(func.result, None if func.result is None else result)])
        except Exception as error:
            if (found := misfit_of_result(error, f"{interface}#{name}", func, result)) is not None:
                raise found from error
            raise
        counts.bytes_in += packed.values_bytes
        self._check_copied()
        self._channel.send(packed, deadline=deadline)

    def _result(self, func: FuncT, message: Message) -> Any:
        (value,), size = self._channel.read(message, [func.result])
        most = self._limits.output_bytes
        if most is not None and size > most:
            raise self._over(
                OutputLimitExceeded,
                f"would have returned more than output_bytes = {most}",
                "raise the limit, or use smaller batches",
            )
        self._counts.bytes_out += size
        self._check_copied()
        return value

    def _pack_arguments(self, func: FuncT, interface: str, function: str, args: tuple[Any, ...]) -> Packed:
        if len(args) != len(func.params):
            raise ValueTypeError(f"{function} takes {len(func.params)} arguments, not {len(args)}")
        typed = [(ty, value) for (_, ty), value in zip(func.params, args, strict=True)]
        self._kept.passing.begin()
        try:
            packed = self._channel.pack("call", interface, function, typed=typed)
        except Exception as error:
            if (found := misfit_of_argument(error, function, func, args)) is not None:
                raise found from error
            raise
        self._kept.passing.commit()
        self._counts.bytes_in += packed.values_bytes
        return packed

    def _check_copied(self) -> None:
        if self._counts.bytes_in + self._counts.bytes_out > self._call_budget.bytes_most:
            raise self._over(
                CopyLimitExceeded,
                f"copied more than copied_bytes = {self._limits.copied_bytes} in one call",
                "raise the limit, or let the plugin look at fewer columns at a time",
            )

    # What a worker says of itself.

    def _take(self, reported: list[Any]) -> None:
        """Record the numbers that a worker reports, but at least those that the host has counted."""
        if len(reported) != len(CallStats.__slots__):
            raise BrokenWire("figures that do not fit")
        if any(type(each) is not int or not 0 <= each <= _MAX_FIGURE for each in reported):
            raise BrokenWire("figures that are none")
        said, stats, counts = CallStats(*reported), self.stats, self._counts
        stats.host_calls = max(stats.host_calls, said.host_calls, counts.host_calls)
        stats.bytes_in = max(stats.bytes_in, said.bytes_in, counts.bytes_in)
        stats.bytes_out = max(stats.bytes_out, said.bytes_out, counts.bytes_out)
        stats.marshal_ns = max(stats.marshal_ns, said.marshal_ns)
        stats.memory_bytes = min(said.memory_bytes, self._limits.memory_bytes)
        stats.host_peak_bytes = max(stats.host_peak_bytes, said.host_peak_bytes)

    def _error(self, kind: str, text: str, hint: str, frames: list[Any]) -> Exception:
        found = getattr(errors, kind, None) if kind in errors.__all__ else None
        text, hint = text[:_MAX_MESSAGE_CHARS], hint[:_MAX_HINT_CHARS]
        if found is not None and issubclass(found, PluginFault):
            place = self._place()
            lines = tuple(each for each in frames[:FRAMES] if isinstance(each, str))
            made: Exception = found(text, backtrace=lines, hint=hint, **place)
            return made
        if found is not None and issubclass(found, UsageError):
            wrong: Exception = found(text, hint=hint)
            return wrong
        return WorkerDied(f"failed by itself: {kind[:_MAX_HINT_CHARS]}: {text}", **self._place())

    # Ends.

    def _over(self, kind: type[LimitExceeded], text: str, hint: str) -> LimitExceeded:
        return kind(text, hint=hint, **self._place())

    def _place(self) -> dict[str, Any]:
        return {"plugin": self._name, "export": self._export, "log_lines": self._log_lines()}

    def _died(self) -> WorkerDied:
        code = self._process.wait(1.0)
        if code is None:
            return WorkerDied("its worker closed the connection, and was killed", **self._place())
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return WorkerDied(f"its worker ended {how}", hint="the next call gets a new worker", **self._place())

    def _kill(self) -> None:
        """End the worker and its session at once; a fork of the host's process only forgets it."""
        self._alive = False
        try:
            self._process.end()
        finally:
            self._channel.close()


@dataclass(frozen=True, slots=True)
class _Started:
    """A worker's process, and the wire to it."""

    process: spawn.Process
    wire: Wire

    def end(self) -> None:
        self.process.end()
        self.wire.close()


def _begin(memory_bytes: int) -> _Started:
    """Start a worker, and connect it with a wire."""
    with ExitStack() as undo:
        try:
            memory = make_memory(memory_bytes)
            undo.callback(os.close, memory)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            undo.callback(ours.close)
            with theirs:
                process = spawn.start(ENTRY, (theirs.fileno(), memory))
        except OSError as error:
            raise ConfigError(f"a process cannot be started: {error}", where="isolation") from error
        undo.pop_all()
    return _Started(process, Wire(ours, memory, memory_bytes))
