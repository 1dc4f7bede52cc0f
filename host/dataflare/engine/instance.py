"""One running plugin: its store, its memories, and calls in both directions."""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Callable
from functools import cached_property
from struct import Struct
from typing import Any, Final, NoReturn

from wasmtime import _bindings as raw

from dataflare import budgets, cancellation
from dataflare.engine.abi.bridge_memory import NO_CEILING, BridgeMemory
from dataflare.engine.abi.handles import GuestResource, HandleTable, TooManyHandles
from dataflare.engine.abi.layout import (
    DROPPED_CAPACITY,
    DROPPED_COUNT_AT,
    DROPPED_LIST_AT,
    FRAME_AT,
    HOST_HALF_AT,
    MEMORY_BYTES,
    OVERFLOW_AT,
    OWES_AT,
    POINTER_AT,
)
from dataflare.engine.abi.misfits import misfit_of_argument, misfit_of_result
from dataflare.engine.at_exit import close_at_exit
from dataflare.engine.bridges.post_return import ReturnCheck
from dataflare.engine.call_budget import CallBudget
from dataflare.engine.call_errors import ENDINGS, Endings
from dataflare.engine.call_stats import CallStats
from dataflare.engine.compiled import CompiledComponent
from dataflare.engine.flat.in_place import use_in_place
from dataflare.engine.flat.protocol import FILL_IMPORTS, SETTLE
from dataflare.engine.host_functions import HostFunction
from dataflare.engine.native.callbacks import CODE, Call, set_callables
from dataflare.engine.native.capi import exported_function
from dataflare.engine.native.line_sink import LineSink
from dataflare.engine.native.memories import MemoryBudget
from dataflare.engine.native.stack import THREADS, too_deep
from dataflare.engine.native.timer import Watch
from dataflare.errors import DataflareError, LimitExceeded, UsageError, ValueTypeError
from dataflare.limits import Limits

__all__ = ["Instance", "remaining_s"]

_U32: Final = Struct("<I")
_RELEASE: Final = -1
_MORE_MEMORIES: Final = 8
"""Maximum number of the engine's own memories, in addition to the plugin's."""
_MAX_NESTING: Final = 10
"""Maximum nesting of plugin calls in one thread: each may take half a megabyte of stack."""
_FIND_MEMORY_AFTER_BYTES: Final = 2**18
"""Bytes that must have moved before it is worth finding the plugin's memory."""


class _Closer:
    """Holds an instance while it is closed."""


class Instance:
    """One instance of a component. Made by `Component.instantiate`. A context manager.

    It makes one call at a time, from the first argument that is written to the last value that is read. Other threads,
    and code that runs within the call (a host function, an argument's `__index__`), are refused.

    After a trap it is dead: `alive` is false, and every call raises `UsageError`. The same happens if an exception from
    outside, such as `KeyboardInterrupt`, ends a call.
    """

    def __init__(
        self,
        component: CompiledComponent,
        functions: list[HostFunction],
        limits: Limits,
        log_lines: Callable[[], tuple[str, ...]],
        stderr: Callable[[str], None] | None,
    ) -> None:
        self.component = component
        self.limits = limits
        self.stats = CallStats()
        self.embedder: Callable[[], Any] | None = None  # gives the embedder's object; its resources use it too
        self.alive = False
        self._closed = True  # until there is something to close
        self._users: dict[int, object] = {0: self}
        """At 0: who uses the instance now. Of several threads that call `setdefault`, only one gets it."""
        self._functions = functions
        self._table = HandleTable(limits.handles)
        self._deadline = 0.0
        self._depth = 0
        self._interrupted = False
        self._native = Call()
        self._native_at = ctypes.addressof(self._native)
        self._requests = self._native.requests()
        self._watch = Watch(self._native)
        self._returned = None if component.flattened else ReturnCheck()
        self._timed = limits.call_timeout_s is not None
        self._timeout_s = math.inf if limits.call_timeout_s is None else limits.call_timeout_s
        self.budget = budgets.HostBudget(limits.host_memory_bytes)
        """The memory that the host keeps for the instance; host functions charge it."""
        self.busy = False
        """Whether the plugin's code runs, or a host function for it."""
        self._endings = Endings(component.name, limits, log_lines)
        self._call_budget = CallBudget(limits, self.stats)
        self._output_bytes = NO_CEILING if limits.output_bytes is None else limits.output_bytes
        self._memory_budget = MemoryBudget(limits.memory_bytes, MEMORY_BYTES, 2, limits.memories + _MORE_MEMORIES)
        self._timer = component.profile.timer
        self._find_memory_after: float = _FIND_MEMORY_AFTER_BYTES
        self._memories: list[BridgeMemory] = []
        self._stderr = None if stderr is None else LineSink(stderr, self._native)
        self._closed = False
        try:
            close_at_exit(self)
            component.profile.open_store(limits, self._native)
            self._start()
        except BaseException:
            self._users.clear()
            self.close()
            raise
        self._users.clear()

    # Beginning and end.

    def _start(self) -> None:
        component, native = self.component, self._native
        profile = component.profile
        handle = raw.wasmtime_component_instance_t()
        compiled, index = component.code()
        native.linker, native.component = _address(profile.linker.ptr()), _address(compiled.ptr())
        native.instance = ctypes.addressof(handle)
        self._memory_budget.begin()
        self._enter(CODE.start, time.monotonic() + self._timeout_s)
        self._exports_memory = BridgeMemory(self._memory_budget.base(-1), self._table, self, self.budget)
        self._memories.append(self._exports_memory)
        self._exports_memory.find_plugin = self._find_memory if component.has_marks else None
        self._function = exported_function(native.context, handle, index)
        self._argument = (raw.wasmtime_component_val_t * 1)()
        self._argument[0].kind = profile.u32_kind
        native.function, native.argument = ctypes.addressof(self._function), ctypes.addressof(self._argument)
        self._number = ctypes.c_uint32.from_address(native.argument + profile.u32_offset)
        self.alive = True
        self.stats.memory_bytes = self._memory_budget.used.value

    def __enter__(self) -> Instance:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.close()

    def close(self) -> None:
        """Release handles, memories and the store. Idempotent.

        Raises:
            UsageError: A call of the instance is running.
        """
        if self._closed:
            return
        me, users = _Closer(), self._users
        try:
            if (user := users.setdefault(0, me)) is me:
                self._close()
            elif not isinstance(user, _Closer):
                raise UsageError(f"{self.component.name}: cannot be closed within a call")
        finally:
            if users and users[0] is me:
                del users[0]

    def _close(self) -> None:
        if self._closed:
            return
        self.alive = False
        for memory in self._memories:
            memory.close()
        CODE.close_store(self._native_at)
        self._closed = True
        self._native.take_exception()  # of a call that was cut off
        self._functions = []
        self._table.close()

    def interrupt(self) -> None:
        """End the call that another thread is in, with `CallCancelled`; the instance is lost. Any thread may do this.

        Takes effect within milliseconds, when the plugin's code next checks its epoch; a running host function finishes
        first. Does nothing if no call is running, or if the plugin has no time limit, since it then checks no epoch.
        """
        if self.busy:
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
            args: The arguments, in the types of `dataflare.values`.

        Returns:
            The result, in the types of `dataflare.values`; `None` if the function has none. Arrays and bytes are
            copies.

        Raises:
            ValueTypeError: An argument does not fit; nothing was called.
            UsageError: There is no such function, or the instance is dead, closed or busy.
            PluginFault: The plugin did not survive the call.
            BaseException: What a host function raised, or a signal's handler, unchanged.
        """
        me, users = object(), self._users
        try:
            if users.setdefault(0, me) is not me:
                text = f"{self.component.name}: the instance is within a call"
                raise UsageError(text, hint="use one instance a thread")
            return self._call(interface, function, args)
        finally:
            # An interrupt above may come before it is known who won; here none can come.
            if users and users[0] is me:
                del users[0]

    def _call(self, interface: str, function: str, args: tuple[Any, ...]) -> Any:
        component = self.component
        codec = component.codecs.get((interface, function)) or component.export_codec(interface, function)
        link = codec.link
        if not self.alive:
            raise UsageError(
                f"{self.component.name}: the instance is {'closed' if self._closed else 'dead after a fault'}"
            )
        if len(args) != len(link.func.params):
            raise ValueTypeError(f"{function} takes {len(link.func.params)} arguments, not {len(args)}")
        began = time.monotonic_ns()
        stats, table, memory = self.stats, self._table, self._exports_memory
        self._call_budget.begin()
        last = table.last
        memory.begin(codec.arguments_size)
        try:
            codec.encode_arguments(memory, HOST_HALF_AT, args)
        except BaseException as error:
            memory.undo()
            if isinstance(error, TooManyHandles):
                raise self._end(error, self._endings.over_copy) from None
            if found := misfit_of_argument(error, link.name, link.func, args):
                raise found from error
            raise
        stats.bytes_in += memory.top - HOST_HALF_AT + memory.staged_bytes
        if self._returned is not None:
            self._returned.begin(memory, codec.result_mark)
        self._endings.export = link.full_name
        self._number.value = codec.number
        if self.limits.fuel is not None:
            self.component.profile.set_fuel(self.limits.fuel, self._native)
        called = time.monotonic_ns()
        returned = 0
        try:
            self._enter(CODE.run, called / 1e9 + self._timeout_s)
            returned = time.monotonic_ns()
            if memory.has_extras:
                memory.passing.commit()
            copied = memory.copied
            memory.ceiling = copied + self._output_bytes
            result = codec.decode_result(memory, FRAME_AT) if codec.decode_result is not None else None
            self._drain()
            if table.last != last:
                self._charge_kept(last)
            stats.bytes_out += memory.copied - copied
            moved = stats.bytes_in + stats.bytes_out
            if moved > self._call_budget.bytes_most:
                raise self._endings.over_copy()
            if memory.read_in_place:
                self._settle(codec.number)
            if moved > self._find_memory_after:
                self._find_memory()
            return result
        except ENDINGS as cause:
            raise self._end(cause, self._endings.over_output) from None
        except BaseException as error:
            if isinstance(error, UsageError) and self.alive and not returned:  # it was refused before any code ran
                memory.undo()
            else:
                self.alive = False  # handles in the result may be lost, and post-return may not have run
            raise
        finally:
            ended = time.monotonic_ns()
            stats.calls += 1
            stats.memory_bytes = self._memory_budget.used.value
            stats.host_peak_bytes = self.budget.peak_bytes
            stats.wall_ns += ended - began
            stats.marshal_ns += called - began + (ended - returned if returned else 0)

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

    def _settle(self, number: int) -> None:
        """Let the plugin free the result of an export that was read in place."""
        memory = self._exports_memory
        memory.read_in_place = False
        if _U32.unpack_from(memory.view, OWES_AT)[0]:
            self._run(SETTLE + number, self._deadline)

    def _find_memory(self) -> None:
        """Find the plugin's own memory, so that long values need not be copied twice."""
        self._find_memory_after, self._exports_memory.find_plugin = math.inf, None
        if self.component.has_marks:
            if self.limits.fuel is not None:
                self.component.profile.set_fuel(self.limits.fuel, self._native)
            self.alive = False  # as long as the mark is in the plugin's memory
            try:
                use_in_place(self._memory_budget, self._exports_memory, self._imports_memory, self._run)
            except UsageError:  # it was refused before the mark was written
                self.alive = True
                raise
            self.alive = True

    def _run(self, number: int, deadline_s: float | None = None) -> None:
        """Run one of the functions that are not exports, by its number, until the deadline of an earlier call, if
        given."""
        self._number.value = self.component.exports_count + number
        self._enter(CODE.run, time.monotonic() + self._timeout_s if deadline_s is None else deadline_s)

    def _enter(self, run: Callable[[int], int], deadline_s: float) -> None:
        """Run wasm in this thread, with this instance as the current one for native code, until `deadline_s`.

        An exception may come from outside between two instructions, so the order matters. The end of a call consists of
        plain assignments, which cannot be interrupted. A call that does not return kills the instance.

        Raises:
            PluginFault: The plugin did not survive.
            BaseException: An exception of a host function or from outside.
        """
        thread = THREADS.this
        outer: Instance | None = thread.instance
        kept = thread.budget
        outer_budget = kept.now
        depth = 1
        if outer is not None:
            deadline_s = min(deadline_s, outer._deadline)
            depth = outer._depth + 1
            if depth > _MAX_NESTING:
                raise UsageError(
                    f"{self.component.name}: called within {_MAX_NESTING} calls of plugins",
                    hint="let plugins call each other less deeply",
                )
        if depth > thread.calls_most:
            raise too_deep(thread, depth)
        self._deadline = self.budget.deadline_s = deadline_s
        self._depth = depth
        self._interrupted = False
        self._requests.value = 0
        watch = self._watch
        returned = False
        try:
            self.busy = True
            thread.instance = self
            kept.now = self.budget
            if self._timed:
                self._timer.enter(watch, deadline_s)
            returned = run(self._native_at) == 0
        finally:
            self.alive = self.alive and returned
            thread.instance = outer
            kept.now = outer_budget
            watch.done = True
            self.busy = False
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
        raise self._endings.of_native(
            self._native, self._memory_budget, interrupted=self._interrupted, fault=self._fault()
        )

    def _fault(self) -> int:
        """Return the fault that the host's generated wasm code wrote into one of its memories; 0 for none."""
        if not self._memories and not len(self._memory_budget):
            return 0
        memories = {id(memory): memory for memory in (self._imports_memory, *self._memories)}
        return max(int(_U32.unpack_from(memory.view, OVERFLOW_AT)[0]) for memory in memories.values())

    def _end(self, cause: BaseException, over_budget: Callable[[], LimitExceeded]) -> DataflareError:
        """Make the error for one of `ENDINGS`; the instance is lost."""
        self.alive = False
        return self._endings.of(cause, over_budget=over_budget)

    # Calls from the plugin.

    def _serve(self) -> None:
        """Serve one call from wasm; its exception ends the plugin's call."""
        began = time.monotonic_ns()
        stats = self.stats
        number = self._native.number
        try:
            if number < _RELEASE:
                (self._imports_memory if number == FILL_IMPORTS else self._exports_memory).fill()
                stats.marshal_ns += time.monotonic_ns() - began
                return
            memory = self._imports_memory
            self._drain()
            if number == _RELEASE:
                return
            if self._returned is not None:
                self._returned.check()
            function = self._functions[number]
            codec = self.component.import_codec(number)
            view = memory.view
            memory.views, memory.raw_text = function.views, function.raw_text
            copied = memory.copied
            call_budget = self._call_budget
            memory.ceiling = copied + call_budget.bytes_most - stats.bytes_in - stats.bytes_out
            args = codec.decode_arguments(memory, _U32.unpack_from(view, POINTER_AT)[0])
            memory.views = memory.raw_text = False
            stats.bytes_out += memory.copied - copied
            stats.host_calls += 1
            if stats.host_calls > call_budget.calls_most:
                call_budget.check_calls(self._endings.over)
            called = time.monotonic_ns()
            result = function.call(*args)
            returned = time.monotonic_ns()
            stats.host_ns += returned - called
            if codec.encode_result is not None:
                memory.begin(codec.result_size)
                try:
                    codec.encode_result(memory, HOST_HALF_AT, result)
                except Exception as error:
                    link = codec.link
                    if found := misfit_of_result(error, link.full_name, link.func, result):
                        raise found from error
                    raise
                stats.bytes_in += memory.top - HOST_HALF_AT + memory.staged_bytes
                _U32.pack_into(view, POINTER_AT, HOST_HALF_AT)
            stats.marshal_ns += called - began + time.monotonic_ns() - returned
        except ENDINGS as cause:
            raise self._end(cause, self._endings.over_copy) from None

    @cached_property
    def _imports_memory(self) -> BridgeMemory:
        # Made when first needed: code that runs at instantiation may already call the host.
        memory = BridgeMemory(self._memory_budget.base(0), self._table, self, self.budget)
        self._memories.append(memory)
        return memory

    def _drain(self) -> None:
        """Forget the objects whose handles the plugin has dropped."""
        view = self._imports_memory.view
        count = _U32.unpack_from(view, DROPPED_COUNT_AT)[0]
        if count:
            _U32.pack_into(view, DROPPED_COUNT_AT, 0)
            count = min(count, DROPPED_CAPACITY)
            self._table.drop_all(view[DROPPED_LIST_AT : DROPPED_LIST_AT + 4 * count].cast("I").tolist())

    def _charge_kept(self, newest: int) -> None:
        """Charge the objects that the plugin received in a call and still holds at its end."""
        for thing in self._table.since(newest):
            if (loan := getattr(thing, "loan", None)) is not None:
                loan.keep(self.budget)


def remaining_s() -> float:
    """Return the seconds left for the plugin call that this thread is in; infinity if it is in none."""
    instance: Instance | None = THREADS.this.instance
    return math.inf if instance is None else instance._deadline - time.monotonic()


def _address(pointer: Any) -> int | None:
    return ctypes.cast(pointer, ctypes.c_void_p).value


def _serve() -> None:
    THREADS.this.instance._serve()


# When a plugin checks its epoch, Python raises pending exceptions, such as that of a signal handler.
set_callables(_serve, cancellation.check)
