"""One running plugin: its store, its memories, its bridges, and calls through them."""

from __future__ import annotations

import atexit
import ctypes
import math
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from struct import Struct
from struct import error as StructError
from typing import TYPE_CHECKING, Any, Final, NoReturn

from wasmtime import _bindings as raw

from dataflare import budgets
from dataflare.engine.abi.bridge_memory import NO_CEILING, BrokenAddress, OverBudget, Side
from dataflare.engine.abi.convert import MISFITS, explain
from dataflare.engine.abi.handles import GuestResource, HandleTable, TooManyHandles
from dataflare.engine.abi.layout import (
    DROPPED_CAPACITY,
    DROPPED_COUNT_AT,
    DROPPED_LIST_AT,
    FRAME_AT,
    HOST_HALF_AT,
    MEMORY_BYTES,
    OVERFLOW_AT,
    POINTER_AT,
)
from dataflare.engine.bridges.call_table import Link
from dataflare.engine.call_budget import Tally
from dataflare.engine.native.callbacks import CODE, Call, set_callables
from dataflare.engine.native.capi import error_message, error_trace
from dataflare.engine.native.line_sink import LineSink
from dataflare.engine.native.memories import Ledger
from dataflare.engine.native.timer import Watch
from dataflare.engine.traps import classify
from dataflare.errors import (
    CallCancelled,
    CallTimeout,
    ConfigError,
    CopyLimitExceeded,
    HandleLimitExceeded,
    HostBytesExceeded,
    HostShortage,
    LimitExceeded,
    OutputLimitExceeded,
    PluginFault,
    ProtocolFault,
    UsageError,
    ValueTypeError,
)
from dataflare.limits import Limits

if TYPE_CHECKING:
    from dataflare.engine.call_codecs import ImportCodec
    from dataflare.engine.component import Component

__all__ = ["CallStats", "Instance", "bind", "remaining_s"]

_U32: Final = Struct("<I")
_RELEASE: Final = -1
_MORE_MEMORIES: Final = 8
"""Room for memories of the engine's own beside the plugin's."""
_MAX_NESTING: Final = 10
"""Calls within calls of one thread: each may take half a megabyte of its stack."""
_LEAVING_S: Final = 1.0


@dataclass(slots=True)
class CallStats:
    """What an instance has done so far. The guest's own time is `wall_ns - marshal_ns - host_ns`.

    `host_ns` is spent in host functions, `marshal_ns` in reading and writing values; `bytes_in` went into the plugin,
    `bytes_out` came from it, both counted without what lies inline in records. `memory_bytes` is the plugin's linear
    memory now, `host_peak_bytes` the most that the host kept for it at a time.
    """

    calls: int = 0
    wall_ns: int = 0
    marshal_ns: int = 0
    host_ns: int = 0
    host_calls: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    memory_bytes: int = 0
    host_peak_bytes: int = 0


@dataclass(frozen=True, slots=True)
class HostFunction:
    """A host function, ready to be called from wasm.

    `views`: it takes arrays as views of the plugin's memory, valid during the call only (attribute `takes_views`).
    `raw_text`: it takes texts as bytes of UTF-8 (attribute `text_as_bytes`).
    """

    call: Callable[..., Any]
    views: bool
    raw_text: bool


_context_t: Any = raw._wasmtime_store_context.restype
_local = threading.local()
_live: weakref.WeakSet[Instance] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Close what is still there when the process ends; calls that other threads are in are ended first."""
    instances = list(_live)
    busy = [instance for instance in instances if instance._busy]
    for instance in busy:
        instance.interrupt()
    until_s = time.monotonic() + _LEAVING_S
    while any(instance._busy for instance in busy) and time.monotonic() < until_s:
        time.sleep(0.005)
    for instance in instances:
        if not instance._busy:
            instance.close()


class Instance:
    """One instance of a component. Made by `Component.instantiate`; one thread at a time; a context manager.

    After a trap it is dead: `alive` is false, and every call raises `UsageError`. So it is after an exception that came
    from outside while it was called, such as `KeyboardInterrupt`.
    """

    def __init__(
        self,
        component: Component,
        functions: list[HostFunction],
        limits: Limits,
        log_lines: Callable[[], tuple[str, ...]],
        stderr: Callable[[str], None] | None,
    ) -> None:
        self.component = component
        self.limits = limits
        self.stats = CallStats()
        self.alive = False
        self._closed = True  # until there is something to close
        self._functions = functions
        self._log_lines = log_lines
        self._table = HandleTable(limits.handles)
        self._deadline = 0.0
        self._depth = 0
        self._interrupted = False
        self._native = Call()
        self._native_at = ctypes.addressof(self._native)
        self.budget = budgets.HostBudget(limits.host_bytes)
        """What the host keeps for the instance; charged by what host functions do."""
        self._busy = False
        self._export = "instantiation"
        self._tally = Tally(limits, self.stats)
        self._output_bytes = NO_CEILING if limits.output_bytes is None else limits.output_bytes
        self._ledger = Ledger(limits.memory_bytes, MEMORY_BYTES, 2, limits.memories + _MORE_MEMORIES)
        self._timer = component.flavour.timer
        self._sides: list[Side] = []
        self._stderr = None if stderr is None else LineSink(stderr, self._native)
        self._closed = False
        try:
            _live.add(self)
            component.flavour.open_store(limits, self._native)
            self._start()
        except BaseException:
            self.close()
            raise

    # Beginning and end.

    def _start(self) -> None:
        component, native = self.component, self._native
        flavour = component.flavour
        handle = raw.wasmtime_component_instance_t()
        compiled, index = component.code()
        native.linker, native.component = _address(flavour.linker.ptr()), _address(compiled.ptr())
        native.instance = ctypes.addressof(handle)
        self._ledger.begin()
        self._enter(CODE.start)
        self._exports_side = Side(self._ledger.base(-1), self._table, self, self.budget)
        self._sides.append(self._exports_side)
        self._function = raw.wasmtime_component_func_t()
        found = raw._wasmtime_component_instance_get_func(
            ctypes.byref(handle),
            ctypes.cast(native.context or 0, _context_t),
            index.ptr(),
            ctypes.byref(self._function),
        )
        if not found:
            raise AssertionError("the bridge has no call")
        self._argument = (raw.wasmtime_component_val_t * 1)()
        self._argument[0].kind = flavour.u32_kind
        native.function, native.argument = ctypes.addressof(self._function), ctypes.addressof(self._argument)
        self._number = ctypes.c_uint32.from_address(native.argument + flavour.u32_offset)
        self.alive = True
        self.stats.memory_bytes = self._ledger.used_bytes

    def __enter__(self) -> Instance:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.close()

    def close(self) -> None:
        """Let go of everything: handles, memories, the store. Idempotent.

        Raises:
            UsageError: The instance is within a call.
        """
        if self._closed:
            return
        if self._busy:
            raise UsageError(f"{self.component.name}: cannot be closed within a call")
        self.alive = False
        for side in self._sides:
            side.close()
        CODE.close_store(self._native_at)
        self._closed = True
        self._native.take_exception()  # of a call that something came between
        self._functions = []
        self._table.close()

    def interrupt(self) -> None:
        """End the call that another thread is in, with `CallCancelled`; any thread may do it. The instance is lost.

        Takes effect when the plugin's code next looks up, within milliseconds; a host function comes to its end first.
        Does nothing where there is no call, and nothing to a plugin without a limit of time, which never looks up.
        """
        if self._busy:
            self._interrupted = True
            self._native.stop = 1
            self._timer.interrupt()

    # Calls into the plugin.

    def call(self, interface: str, function: str, *args: Any) -> Any:
        """Call an export.

        Args:
            interface: Its name in the WIT, such as `dataflare:plugin/processor@1.0.0`; empty for a function of the
                world itself.
            function: Its name in the WIT, such as `process` or `[method]counter.next`.
            args: In the shapes of `dataflare.values`.

        Returns:
            The result, in the shapes of `dataflare.values`; `None` where it has none. Arrays and bytes are copies.

        Raises:
            ValueTypeError: An argument does not fit; nothing was called.
            UsageError: There is no such function, or the instance is dead, closed or busy.
            PluginFault: The plugin did not survive the call.
            BaseException: What a host function raised, or a signal's handler, unchanged.
        """
        codec = self.component.export_codec(interface, function)
        link = codec.link
        if not self.alive:
            raise UsageError(
                f"{self.component.name}: the instance is {'closed' if self._closed else 'dead after a fault'}"
            )
        if self._busy:
            raise UsageError(f"{self.component.name}: the instance is within a call", hint="use one instance a thread")
        if len(args) != len(link.func.params):
            raise ValueTypeError(f"{function} takes {len(link.func.params)} arguments, not {len(args)}")
        began = time.perf_counter_ns()
        stats = self.stats
        self._tally.begin()
        newest = self._table.newest
        side = self._exports_side
        side.begin()
        # The arguments' first byte has a fixed place: what they point to comes after them.
        side.allocate(codec.arguments_size)
        self._encode(side, codec.encode_arguments, HOST_HALF_AT, args, link)
        side.commit()
        stats.bytes_in += side.top - HOST_HALF_AT
        self._export = f"{interface}#{function}" if interface else function
        self._number.value = codec.number
        if self.limits.fuel is not None:
            self.component.flavour.set_fuel(self.limits.fuel, self._native)
        called = time.perf_counter_ns()
        try:
            self._enter(CODE.run)
        finally:
            returned = time.perf_counter_ns()
            stats.calls += 1
            stats.memory_bytes = self._ledger.used_bytes
            stats.host_peak_bytes = self.budget.peak_bytes
            stats.wall_ns += returned - began
            stats.marshal_ns += called - began
        copied = side.copied
        side.ceiling = copied + self._output_bytes
        try:
            result = codec.decode_result(side, FRAME_AT) if codec.decode_result is not None else None
            self._drain()
            self._charge_kept(newest)
        except BrokenAddress as broken:
            raise self._broken(str(broken)) from None
        except budgets.OverHostBytes:
            raise self._over_host_bytes() from None
        except budgets.OverTime:
            raise self._over_time() from None
        except OverBudget:
            raise self._over(
                OutputLimitExceeded,
                f"was to return more than output_bytes = {self._output_bytes}",
                "raise the limit, or use smaller batches",
            ) from None
        except BaseException:
            self.alive = False  # handles in the result may be lost
            raise
        stats.bytes_out += side.copied - copied
        if stats.bytes_in + stats.bytes_out > self._tally.bytes_most:
            raise self._over_copy()
        decoding_ns = time.perf_counter_ns() - returned
        stats.wall_ns += decoding_ns
        stats.marshal_ns += decoding_ns
        return result

    def drop(self, resource: GuestResource) -> None:
        """Drop a resource that the plugin made; its destructor runs. A second time does nothing.

        Raises:
            UsageError: The resource belongs to another instance.
            PluginFault: The plugin did not survive its destructor.
        """
        if resource.owner is not self:
            raise UsageError(f"{resource!r} belongs to another instance")
        if not resource.handle or not self.alive:
            return
        interface = self.component.shape.resources[resource.type_index].interface
        self.call(interface, f"[resource-drop]{resource.name}", resource)

    def _encode(self, side: Side, encode: Callable[[Side, int, Any], None], at: int, value: Any, link: Link) -> None:
        """Write arguments; a value that does not fit leaves nothing behind."""
        try:
            encode(side, at, value)
        except BaseException as error:
            side.undo()
            if isinstance(error, TooManyHandles):
                raise self._over_handles() from None
            if isinstance(error, ValueTypeError):
                raise
            if isinstance(error, (StructError, *MISFITS)):
                for (name, ty), item in zip(link.func.params, value, strict=True):
                    if (found := explain(ty, item, name)) is not None:
                        raise found from None
                raise ValueTypeError(f"{link.name}: an argument does not fit: {error}") from error
            raise

    def _enter(self, run: Callable[[int], None]) -> None:
        """Run wasm in this thread, with this instance as the one that native code means.

        An exception may come from outside between two instructions, so the order matters: what ends a call is plain
        assignments, which nothing comes between, and a call that does not return kills the instance.

        Raises:
            PluginFault: It did not survive.
            BaseException: What a host function raised, or what came from outside.
        """
        outer: Instance | None = getattr(_local, "instance", None)
        outer_budget = budgets.current()
        native, limits = self._native, self.limits
        deadline_s = math.inf if limits.call_timeout_s is None else time.monotonic() + limits.call_timeout_s
        depth = 1
        if outer is not None:
            deadline_s = min(deadline_s, outer._deadline)
            depth = outer._depth + 1
            if depth > _MAX_NESTING:
                raise UsageError(
                    f"{self.component.name}: called within {_MAX_NESTING} calls of plugins",
                    hint="let plugins call each other less deeply",
                )
        self._deadline = self.budget.deadline_s = deadline_s
        self._depth = depth
        self._interrupted = False
        native.stop = native.look = 0
        watch: Watch | None = None
        returned = False
        try:
            self._busy = True
            _local.instance = self
            budgets.local.budget = self.budget
            if limits.call_timeout_s is not None:
                watch = self._timer.enter(native, deadline_s)
            run(self._native_at)
            returned = not native.outcome and not native.type
        finally:
            self.alive = self.alive and returned
            _local.instance = outer
            budgets.local.budget = outer_budget
            if watch is not None:
                watch.done = True
            self._busy = False
        if not returned:
            self._fail()

    def _fail(self) -> NoReturn:
        """Raise what ended a call."""
        raised = self._native.take_exception()
        if raised is not None:
            try:
                raise raised
            finally:
                del raised
        outcome = self._native.take_outcome()
        message = ""
        backtrace: tuple[str, ...] = ()
        if outcome:
            message, backtrace = error_message(outcome), error_trace(outcome)
            raw.wasmtime_error_delete(outcome)
        limits, plugin, log_lines = self.limits, self.component.name, self._log_lines()
        if self._interrupted:
            raise CallCancelled(
                "was ended by the host", plugin=plugin, export=self._export, backtrace=backtrace, log_lines=log_lines
            )
        if self._ledger.shortage:
            raise HostShortage(
                f"the system has no memory for plugin {plugin!r}, which is within its limit of"
                f" memory_bytes = {limits.memory_bytes}",
                hint="run fewer plugins at a time, or raise the process's limits (ulimit -v, cgroup)",
            )
        raise classify(
            message,
            plugin=plugin,
            export=self._export,
            backtrace=backtrace,
            log_lines=log_lines,
            timeout_s=limits.call_timeout_s,
            fuel=limits.fuel,
            memory_bytes=limits.memory_bytes,
            memory_refused=self._ledger.refused,
            overflow=any(_U32.unpack_from(side.view, OVERFLOW_AT)[0] for side in self._sides),
        )

    def _over(self, kind: type[LimitExceeded], text: str, hint: str) -> LimitExceeded:
        self.alive = False
        return kind(text, plugin=self.component.name, export=self._export, log_lines=self._log_lines(), hint=hint)

    def _over_handles(self) -> LimitExceeded:
        return self._over(
            HandleLimitExceeded,
            f"held more than handles = {self.limits.handles}",
            "raise the limit, or let the plugin drop handles as soon as it does not need them",
        )

    def _over_copy(self) -> LimitExceeded:
        return self._over(
            CopyLimitExceeded,
            f"copied more than copied_bytes = {self.limits.copied_bytes} in one call",
            "raise the limit, or let the plugin look at fewer columns at a time",
        )

    def _over_host_bytes(self) -> LimitExceeded:
        return self._over(
            HostBytesExceeded,
            f"made the host keep more than host_bytes = {self.limits.host_bytes} for it",
            "raise the limit, use smaller batches, or let the plugin drop batches as soon as it does not need them",
        )

    def _over_time(self) -> LimitExceeded:
        return self._over(
            CallTimeout,
            f"took longer than call_timeout_s = {self.limits.call_timeout_s}, of which the end was the host's own work",
            "raise the limit, or use smaller batches",
        )

    def _broken(self, text: str) -> PluginFault:
        self.alive = False
        return ProtocolFault(text, plugin=self.component.name, export=self._export, log_lines=self._log_lines())

    # Calls from the plugin.

    def _serve(self) -> None:
        """Serve one call from wasm; what it raises ends the plugin's call."""
        began = time.perf_counter_ns()
        stats = self.stats
        number = self._native.number
        try:
            side = self._imports_side
            self._drain()
            if number == _RELEASE:
                return
            function = self._functions[number]
            codec = self.component.import_codec(number)
            view = side.view
            side.views, side.raw_text = function.views, function.raw_text
            copied = side.copied
            tally = self._tally
            side.ceiling = copied + tally.bytes_most - stats.bytes_in - stats.bytes_out
            args = codec.decode_arguments(side, _U32.unpack_from(view, POINTER_AT)[0])
            side.views = side.raw_text = False
            stats.bytes_out += side.copied - copied
            stats.host_calls += 1
            if stats.host_calls > tally.calls_most:
                tally.check_calls(self._over)
            called = time.perf_counter_ns()
            result = function.call(*args)
            returned = time.perf_counter_ns()
            stats.host_ns += returned - called
            if codec.encode_result is not None:
                side.begin()
                at = side.allocate(codec.result_size)
                self._encode_result(side, codec, at, result)
                stats.bytes_in += side.top - HOST_HALF_AT
                _U32.pack_into(view, POINTER_AT, at)
            stats.marshal_ns += called - began + time.perf_counter_ns() - returned
        except BrokenAddress as broken:
            raise self._broken(str(broken)) from None
        except OverBudget:
            raise self._over_copy() from None
        except TooManyHandles:
            raise self._over_handles() from None
        except budgets.OverHostBytes:
            raise self._over_host_bytes() from None
        except budgets.OverTime:
            raise self._over_time() from None

    def _encode_result(self, side: Side, codec: ImportCodec, at: int, result: Any) -> None:
        assert codec.encode_result is not None
        try:
            codec.encode_result(side, at, result)
        except (StructError, *MISFITS) as error:
            ty = codec.link.func.result
            found = explain(ty, result, "result") if ty is not None else None
            if found is None:
                raise
            where = f"{codec.link.interface}#{codec.link.name}"
            raise ValueTypeError(f"the host function {where} returned what does not fit: {found.message}") from error

    @cached_property
    def _imports_side(self) -> Side:
        # Made when it is first needed: code that runs at instantiation may call the host already.
        side = Side(self._ledger.base(0), self._table, self, self.budget)
        self._sides.append(side)
        return side

    def _drain(self) -> None:
        """Forget the objects whose handles the plugin has dropped."""
        view = self._imports_side.view
        count = _U32.unpack_from(view, DROPPED_COUNT_AT)[0]
        if count:
            _U32.pack_into(view, DROPPED_COUNT_AT, 0)
            count = min(count, DROPPED_CAPACITY)
            self._table.drop_all(view[DROPPED_LIST_AT : DROPPED_LIST_AT + 4 * count].cast("I").tolist())

    def _charge_kept(self, newest: int) -> None:
        """Charge what the plugin was given in a call, and did not give back by its end: it will keep it."""
        for thing in self._table.since(newest):
            if (loan := getattr(thing, "loan", None)) is not None:
                loan.keep(self.budget)


def remaining_s() -> float:
    """The seconds that are left of the plugin's call that this thread is within; infinity where it is within none."""
    instance: Instance | None = getattr(_local, "instance", None)
    return math.inf if instance is None else instance._deadline - time.monotonic()


def bind(component: Component, host: Mapping[str, Mapping[str, Callable[..., Any]]]) -> list[HostFunction]:
    """Find the host function for each import.

    Raises:
        ConfigError: One is missing.
    """
    bound = []
    for link in component.imports:
        function = host.get(link.interface, {}).get(link.name)
        if function is None:
            raise ConfigError(
                f"{component.name} imports {link.interface}#{link.name}, which the host does not provide",
                hint="grant the capability, or give the function",
            )
        views = bool(getattr(function, "takes_views", False))
        bound.append(HostFunction(function, views, bool(getattr(function, "text_as_bytes", False))))
    return bound


def _address(pointer: Any) -> int | None:
    return ctypes.cast(pointer, ctypes.c_void_p).value


def _serve() -> None:
    _local.instance._serve()


def _look() -> None:
    """Do nothing. Python raises what waits, such as the exception of a signal's handler, when this is called."""


set_callables(_serve, _look)
