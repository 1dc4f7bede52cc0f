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
from typing import TYPE_CHECKING, Any, Final

from wasmtime import _bindings as raw

from dataflare import budgets
from dataflare.engine.capi import error_message, error_pointer, error_trace
from dataflare.engine.convert import MISFITS, explain
from dataflare.engine.layout import (
    DROPPED_CAPACITY,
    DROPPED_COUNT_AT,
    DROPPED_LIST_AT,
    FRAME_AT,
    HOST_HALF_AT,
    MEMORY_BYTES,
    OVERFLOW_AT,
    POINTER_AT,
)
from dataflare.engine.links import Link
from dataflare.engine.memory import MEMORIES, Ledger
from dataflare.engine.resources import GuestResource, HandleTable, TooManyHandles
from dataflare.engine.side import NO_CEILING, BrokenAddress, OverBudget, Side
from dataflare.engine.tally import Tally
from dataflare.engine.traps import TIMED_OUT, classify
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
)
from dataflare.limits import Limits

if TYPE_CHECKING:
    from dataflare.engine.calls import ImportCodec
    from dataflare.engine.component import Component

__all__ = ["CallStats", "Instance", "bind", "epoch_callback", "host_callback", "remaining_s"]

_U32: Final = Struct("<I")
_RELEASE: Final = -1


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


_local = threading.local()
_live: weakref.WeakSet[Instance] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Close what is still there when the process ends, as long as Python can serve the callbacks of it."""
    for instance in list(_live):
        if not instance._busy:
            instance.close()


class Instance:
    """One instance of a component. Made by `Component.instantiate`; one thread at a time; a context manager.

    After a trap it is dead: `alive` is false, and every call raises `UsageError`.
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
        self._closed = False
        self._functions = functions
        self._log_lines = log_lines
        self._table = HandleTable(limits.handles)
        self._raised: BaseException | None = None
        self._deadline = 0.0
        self.budget = budgets.HostBudget(limits.host_bytes)
        """What the host keeps for the instance; charged by what host functions do."""
        self._busy = False
        self._export = "instantiation"
        self._tally = Tally(limits, self.stats)
        self._output_bytes = NO_CEILING if limits.output_bytes is None else limits.output_bytes
        self._ledger = Ledger(limits.memory_bytes, MEMORY_BYTES, 2)
        self._timer = component.flavour.timer
        self._sides: list[Side] = []
        _live.add(self)
        self._stderr = None if stderr is None else component.flavour.line_sink(stderr)
        self._start()

    # Beginning and end.

    def _start(self) -> None:
        flavour = self.component.flavour
        self._store = store = flavour.new_store(self.limits, self._stderr)
        self._context = store._context()
        if flavour.timed:
            raw._wasmtime_store_epoch_deadline_callback(store.ptr(), flavour.epoch_callback, None, flavour.no_finalizer)
            raw._wasmtime_context_set_epoch_deadline(self._context, 1)
        if self.limits.fuel is not None:
            store.set_fuel(self.limits.fuel)
        handle = raw.wasmtime_component_instance_t()
        MEMORIES.begin(self._ledger)
        try:
            error = self._enter(
                lambda: raw._wasmtime_component_linker_instantiate(
                    flavour.linker.ptr(), self._context, self.component.compiled.ptr(), ctypes.byref(handle)
                )
            )
        finally:
            MEMORIES.begin(None)
        if error:
            try:
                self._fail(error)
            finally:
                self.close()
        self._exports_side = Side(self._ledger.memories[-1].base, self._table, self, self.budget)
        self._sides.append(self._exports_side)
        self._function = raw.wasmtime_component_func_t()
        found = raw._wasmtime_component_instance_get_func(
            ctypes.byref(handle), self._context, self.component.call_index.ptr(), ctypes.byref(self._function)
        )
        if not found:
            raise AssertionError("the bridge has no call")
        self._function_pointer = ctypes.byref(self._function)
        self._argument = (raw.wasmtime_component_val_t * 1)()
        self._argument[0].kind = flavour.u32_kind
        self._number = ctypes.c_uint32.from_address(ctypes.addressof(self._argument) + flavour.u32_offset)
        self.alive = True
        self.stats.memory_bytes = self._ledger.used

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
        self._closed = True
        self.alive = False
        for side in self._sides:
            side.close()
        self._store.close()
        if self._stderr is not None:
            self._stderr.close()
        # What is left must not wait for the cycle collector, which knows nothing of how large native code is.
        self._ledger.memories.clear()
        self._functions = []
        self._table.close()

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
            BaseException: What a host function raised, unchanged.
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
            self._store.set_fuel(self.limits.fuel)
        called = time.perf_counter_ns()
        error = self._enter(
            lambda: raw._wasmtime_component_func_call(self._function_pointer, self._context, self._argument, 1, None, 0)
        )
        returned = time.perf_counter_ns()
        stats.calls += 1
        stats.memory_bytes = self._ledger.used
        stats.host_peak_bytes = self.budget.peak_bytes
        if error:
            stats.wall_ns += returned - began
            stats.marshal_ns += called - began
            self._fail(error)
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
        stats.bytes_out += side.copied - copied
        if stats.bytes_in + stats.bytes_out > self._tally.bytes_most:
            raise self._over_copy()
        ended = time.perf_counter_ns()
        stats.wall_ns += ended - began
        stats.marshal_ns += called - began + ended - returned
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

    def _enter(self, run: Callable[[], Any]) -> Any:
        """Run wasm in this thread, with this instance as the one that callbacks mean."""
        outer = getattr(_local, "instance", None)
        timeout_s = self.limits.call_timeout_s
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        if outer is not None:
            deadline = min(deadline, outer._deadline)
        self._deadline = deadline
        self._busy = True
        self.budget.deadline_s = deadline
        outer_budget = budgets.enter(self.budget)
        _local.instance = self
        if timeout_s is not None:
            self._timer.enter(self, deadline)
        try:
            return run()
        finally:
            self._timer.leave(self)
            _local.instance = outer
            budgets.enter(outer_budget)
            self._busy = False

    def _fail(self, error: Any) -> None:
        """Raise what ended a call."""
        self.alive = False
        message = error_message(error)
        backtrace = error_trace(error)
        raw.wasmtime_error_delete(error)
        raised, self._raised = self._raised, None
        if raised is not None:
            try:
                raise raised
            finally:
                del raised
        limits = self.limits
        raise classify(
            message,
            plugin=self.component.name,
            export=self._export,
            backtrace=backtrace,
            log_lines=self._log_lines(),
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

    def _on_host_call(self, number: int) -> int:
        """Serve one call from wasm; returns 0, or the address of a wasmtime error."""
        began = time.perf_counter_ns()
        stats = self.stats
        try:
            side = self._imports_side
            self._drain()
            if number == _RELEASE:
                return 0
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
            return 0
        except BrokenAddress as broken:
            self._raised = self._broken(str(broken))
        except OverBudget:
            self._raised = self._over_copy()
        except TooManyHandles:
            self._raised = self._over_handles()
        except budgets.OverHostBytes:
            self._raised = self._over_host_bytes()
        except budgets.OverTime:
            self._raised = self._over_time()
        except BaseException as error:  # it travels to the caller of the plugin
            self._raised = error
        return error_pointer("a host function failed")

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
        side = Side(self._ledger.memories[0].base, self._table, self, self.budget)
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

    def _is_over_time(self) -> bool:
        return time.monotonic() >= self._deadline


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


def host_callback(_env: Any, _context: Any, _ty: Any, args: Any, nargs: int, _results: Any, _nresults: int) -> int:
    """What wasmtime calls for `HOST_IMPORT`; `args` points to 32-bit words, the third of which is the number."""
    try:
        instance: Instance = _local.instance
        return instance._on_host_call(args[2] if nargs else _RELEASE)
    except BaseException as error:
        return error_pointer(f"the host failed: {error!r}")


def epoch_callback(_context: Any, _data: Any, delta: Any, kind: Any) -> int:
    """What wasmtime calls in each running store when the epoch has advanced."""
    try:
        instance: Instance = _local.instance
        if instance._is_over_time():
            return error_pointer(TIMED_OUT)
        delta[0] = 1
        kind[0] = 0
        return 0
    except BaseException as error:
        return error_pointer(f"the host failed: {error!r}")
