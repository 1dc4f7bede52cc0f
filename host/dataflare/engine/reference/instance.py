"""A simple, slow implementation of instances, with which tests compare the fast one.

Every value goes through wasmtime's own value structures. It shares only the reflected types with the fast path: no
bridges, no composition, no host memories, no cache. It has about a thousandth of the throughput.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from ctypes import byref
from typing import Any, Final

import wasmtime
from wasmtime import _ffi as ffi
from wasmtime import component as wc
from wasmtime._trap import Frame, FrameList

from dataflare.engine.abi.types import BorrowT, ComponentType, FuncT, Interface, OwnT
from dataflare.engine.reading.features import refusal, turn_off
from dataflare.engine.reading.reflection import reflect
from dataflare.engine.reference.values import check, read, write
from dataflare.errors import (
    CallTimeout,
    ConfigError,
    GuestPanic,
    OutOfFuel,
    PluginFault,
    ProtocolFault,
    StackOverflow,
    UsageError,
    ValueTypeError,
)
from dataflare.limits import Limits

__all__ = ["ReferenceInstance", "ReferenceResource", "instantiate_reference"]

_NO_FINALIZER: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p)()
_FAULTS: Final[tuple[tuple[str, type[PluginFault]], ...]] = (
    ("wasm trap: interrupt", CallTimeout),
    ("all fuel consumed", OutOfFuel),
    ("call stack exhausted", StackOverflow),
    ("unreachable", GuestPanic),
    ("integer divide by zero", GuestPanic),
    ("integer overflow", GuestPanic),
    ("invalid conversion to integer", GuestPanic),
    ("out of bounds memory access", GuestPanic),
    ("undefined element", GuestPanic),
    ("uninitialized element", GuestPanic),
    ("indirect call type mismatch", GuestPanic),
    ("null reference", GuestPanic),
)
"""wasmtime's messages, and the error for each; anything else that ends a call violates the canonical ABI."""


class ReferenceResource:
    """A handle to a plugin's resource, around wasmtime's `ResourceAny`. `instance.drop(resource)` gives it back.

    `name` is the resource's name in the WIT, `type_index` an index into `ComponentType.resources`. `handle` is a number
    that is unique in its instance, or 0 after the handle was given away or dropped.
    """

    def __init__(self, owner: ReferenceInstance, type_index: int, handle: int, raw: wc.ResourceAny) -> None:
        self.name = owner.shape.resources[type_index].name
        self.type_index = type_index
        self.handle = handle
        self._owner = owner
        self._raw: wc.ResourceAny | None = raw

    def __repr__(self) -> str:
        return f"ReferenceResource({self.name}, {self.handle or 'given away'})"


def instantiate_reference(
    binary: bytes, host: Mapping[str, Mapping[str, Callable[..., Any]]], *, limits: Limits, name: str
) -> ReferenceInstance:
    """Compile a component, without a cache, and make an instance of it.

    Args:
        binary: The component.
        host: The functions that it imports, by interface and by their name in the WIT.
        limits: Only the ceilings of memory, tables, instances, time and fuel apply. The memory limit applies to each
            memory separately. If the plugin does not survive a refused growth, that is a `GuestPanic`, since wasmtime
            does not report the refusal. Handles, host calls and copied bytes are not limited.
        name: The plugin's name, for errors.

    Raises:
        NotAComponent: The bytes are not a valid component.
        UnsupportedComponent: It has an import or export that the engine cannot carry.
        ConfigError: `host` lacks a function that the component imports.
        PluginFault: It failed while it was instantiated.
    """
    config = wasmtime.Config()
    config.wasm_component_model = True
    config.epoch_interruption = True
    config.consume_fuel = limits.fuel is not None
    turn_off(config)
    engine = wasmtime.Engine(config)
    shape = reflect(engine, binary, name)
    missing = [
        f"{i}#{f}" for i, interface in shape.imports.items() for f in interface.funcs if f not in host.get(i, {})
    ]
    if missing:
        raise ConfigError(f"plugin {name!r} imports what the host does not have: {', '.join(missing)}")
    try:
        component = wc.Component(engine, binary)
    except wasmtime.WasmtimeError as error:
        raise refusal(error, name, binary) from error
    return ReferenceInstance(engine, component, shape, host, limits=limits, name=name)


class ReferenceInstance:
    """One instance, with its own store and engine; for one thread at a time."""

    def __init__(
        self,
        engine: wasmtime.Engine,
        component: wc.Component,
        shape: ComponentType,
        host: Mapping[str, Mapping[str, Callable[..., Any]]],
        *,
        limits: Limits,
        name: str,
    ) -> None:
        self.name = name
        self.shape = shape
        self.alive = True
        self._engine = engine
        self._limits = limits
        self._handles = _Handles(self)
        self._raised: BaseException | None = None
        self._busy = False
        self._callbacks: list[Any] = []
        self._functions: dict[tuple[str, str], tuple[wc.Func, FuncT]] = {}
        self._store = wasmtime.Store(engine)
        self._store.set_limits(
            memory_size=limits.memory_bytes,
            table_elements=limits.table_elements,
            instances=limits.instances,
            memories=limits.memories,
        )
        if shape.passthrough:
            self._store.set_wasi(wasmtime.WasiConfig())
        self._linker = self._link(host)
        with self._running("(instantiation)"):
            self._instance = self._linker.instantiate(self._store, component)
        self._find_functions()

    def __enter__(self) -> ReferenceInstance:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, interface: str, function: str, *args: Any) -> Any:
        """Call an export; values as in `dataflare.values`, handles to the plugin's resources as `ReferenceResource`.

        Raises:
            UsageError: The instance is dead or busy, there is no such export, or the number of arguments is wrong.
            ValueTypeError: An argument does not fit its type; the instance lives on.
            PluginFault: The plugin failed; the instance is dead.
            Exception: The exception of a host function; the instance is dead.
        """
        where = f"{interface}#{function}"
        if not self.alive or self._busy:
            raise UsageError(f"plugin {self.name!r}, {where}: the instance is {'in a call' if self._busy else 'gone'}")
        if (interface, function) not in self._functions:
            raise UsageError(f"plugin {self.name!r} has no export {where}")
        func, ty = self._functions[interface, function]
        if len(args) != len(ty.params):
            raise UsageError(f"plugin {self.name!r}, {where} takes {len(ty.params)} arguments, not {len(args)}")
        self._handles.begin()
        plain = [check(t, arg, n, self._handles) for (n, t), arg in zip(ty.params, args, strict=True)]
        raw_args = (ffi.wasmtime_component_val_t * len(args))()
        raw_result = ffi.wasmtime_component_val_t() if ty.result is not None else None
        with self._handles.borrowing():
            for (_, t), tree, raw in zip(ty.params, plain, raw_args, strict=True):
                write(t, tree, raw, self._handles)
            try:
                with self._running(where):
                    failed = ffi.wasmtime_component_func_call(
                        byref(func._func),
                        self._store._context(),
                        raw_args,
                        len(args),
                        byref(raw_result) if raw_result is not None else None,
                        raw_result is not None,
                    )
                    if failed:
                        raise wasmtime.WasmtimeError._from_ptr(failed)
            finally:
                for raw in raw_args:
                    ffi.wasmtime_component_val_delete(byref(raw))
        if raw_result is None or ty.result is None:
            return None
        try:
            return read(ty.result, raw_result, self._handles)
        finally:
            ffi.wasmtime_component_val_delete(byref(raw_result))

    def drop(self, resource: ReferenceResource) -> None:
        """Drop a resource that the plugin made; its destructor runs. A second time does nothing.

        Raises:
            UsageError: The resource belongs to another instance.
            PluginFault: The plugin did not survive its destructor.
        """
        if resource._owner is not self:
            raise UsageError(f"{resource!r} belongs to another instance")
        raw, resource._raw, resource.handle = resource._raw, None, 0
        if raw is not None and self.alive:
            with self._running(f"{self.shape.resources[resource.type_index].interface}#[resource-drop]{resource.name}"):
                _raise_if(ffi.wasmtime_component_resource_any_drop(self._store._context(), raw.ptr()))

    def close(self) -> None:
        """Drop every handle and free the store. Idempotent."""
        if self._busy:
            raise UsageError(f"plugin {self.name!r}: the instance is in a call")
        self.alive = False
        self._functions.clear()
        self._store.close()
        self._linker.close()
        self._handles.close()
        self._callbacks.clear()

    def _link(self, host: Mapping[str, Mapping[str, Callable[..., Any]]]) -> wc.Linker:
        linker = wc.Linker(self._engine)
        if self.shape.passthrough:
            linker.add_wasip2()
        with linker.root() as root:
            for name, interface in self.shape.imports.items():
                if name:
                    with root.add_instance(name) as instance:
                        self._link_interface(instance, interface, host.get(name, {}))
                else:
                    self._link_interface(root, interface, host.get(name, {}))
        return linker

    def _link_interface(
        self, into: wc.LinkerInstance, interface: Interface, host: Mapping[str, Callable[..., Any]]
    ) -> None:
        for name, index in interface.resources.items():
            drop = ffi.wasmtime_component_resource_destructor_t(
                lambda _data, _context, rep: self._guard(self._handles.dropped, rep)
            )
            self._callbacks.append(drop)
            raw, ty = name.encode(), wc.ResourceType.host(index)
            failed = ffi.wasmtime_component_linker_instance_add_resource(
                into.ptr(), raw, len(raw), ty.ptr(), drop, None, _NO_FINALIZER
            )
            _raise_if(failed)
        for name, func in interface.funcs.items():
            callback = ffi.wasmtime_component_func_callback_t(self._trampoline(func, host[name]))
            self._callbacks.append(callback)
            raw = name.encode()
            failed = ffi.wasmtime_component_linker_instance_add_func(
                into.ptr(), raw, len(raw), callback, None, _NO_FINALIZER
            )
            _raise_if(failed)

    def _trampoline(self, ty: FuncT, function: Callable[..., Any]) -> Callable[..., int]:
        text_as_bytes = bool(getattr(function, "text_as_bytes", False))

        def run(args: Any, results: Any) -> None:
            with self._handles.borrowing():
                given = [
                    read(t, args[i], self._handles, text_as_bytes=text_as_bytes) for i, (_, t) in enumerate(ty.params)
                ]
                returned = function(*given)
                if ty.result is None:
                    if returned is not None:
                        raise ValueTypeError(f"expected None, not {returned!r}", path="result")
                    return
                self._handles.begin()
                plain = check(ty.result, returned, "result", self._handles)
                write(ty.result, plain, results[0], self._handles)

        return lambda _data, _context, _ty, args, _nargs, results, _nresults: self._guard(run, args, results)

    def _guard(self, function: Callable[..., None], *args: Any) -> int:
        """Run a callback of wasmtime; keep its exception for the plugin's caller, and give wasmtime an error."""
        try:
            function(*args)
        except BaseException as error:
            if self._raised is None:
                self._raised = error
            return ctypes.cast(wasmtime.WasmtimeError("a host function raised")._consume(), ctypes.c_void_p).value or 0
        return 0

    @contextmanager
    def _running(self, where: str) -> Iterator[None]:
        """Run wasm within the limits; if it ends early, the instance is dead and the right error is raised."""
        self._busy = True
        failed: wasmtime.WasmtimeError | None = None
        self._store.set_epoch_deadline(1)
        if self._limits.fuel is not None:
            self._store.set_fuel(self._limits.fuel)
        timeout_s = threading.TIMEOUT_MAX if self._limits.call_timeout_s is None else self._limits.call_timeout_s
        timer = threading.Timer(timeout_s, self._engine.increment_epoch)
        timer.daemon = True
        timer.start()
        try:
            yield
        except wasmtime.WasmtimeError as error:
            self.alive = False
            failed = error
        except BaseException:
            self.alive = False
            raise
        finally:
            timer.cancel()
            # A timer that has begun to fire must not affect the next call.
            timer.join()
            self._busy = False
        raised, self._raised = self._raised, None
        if raised is not None:
            raise raised
        if failed is not None:
            raise self._fault(failed, where) from failed

    def _fault(self, error: wasmtime.WasmtimeError, where: str) -> PluginFault:
        text = str(error)
        kind = next((kind for sign, kind in _FAULTS if sign in text), ProtocolFault)
        frames = FrameList(error)
        ffi.wasmtime_error_wasm_trace(error.ptr(), byref(frames.vec))
        backtrace = tuple(
            Frame._from_ptr(frames.vec.data[i], frames).func_name or "<unknown>" for i in range(frames.vec.size)
        )
        reason = text.strip().splitlines()[-1].strip()
        return kind(reason, plugin=self.name, export=where, backtrace=backtrace)

    def _find_functions(self) -> None:
        for name, interface in self.shape.exports.items():
            within = self._instance.get_export_index(self._store, name) if name else None
            for function, ty in interface.funcs.items():
                index = self._instance.get_export_index(self._store, function, within)
                func = self._instance.get_func(self._store, index) if index is not None else None
                if func is None:
                    raise UsageError(f"plugin {self.name!r} declares {name}#{function} but does not export it")
                self._functions[name, function] = (func, ty)


class _Handles:
    """Objects behind the handles of one instance: `rep` (what wasmtime keeps) to object."""

    def __init__(self, instance: ReferenceInstance) -> None:
        self._instance = instance
        self._given: set[int] = set()
        self._objects: dict[int, Any] = {}
        self._last = 0
        self._last_guest = 0
        self._borrows: list[list[int]] = []

    def _imported(self, ty: OwnT | BorrowT) -> bool:
        return self._instance.shape.resources[ty.resource].imported

    def begin(self) -> None:
        """Prepare for checking the arguments of a call, or a result."""
        self._given.clear()

    def check(self, ty: OwnT | BorrowT, value: Any, path: str) -> None:
        if self._imported(ty):
            if value is None:
                raise ValueTypeError("expected the object behind a handle, not None", path=path)
            return
        if not isinstance(value, ReferenceResource) or value.type_index != ty.resource:
            raise ValueTypeError(f"expected a handle to a resource of the plugin, not {value!r}", path=path)
        if isinstance(ty, OwnT):
            if id(value) in self._given:
                raise ValueTypeError("the handle is given away twice", path=path)
            self._given.add(id(value))
        if value._raw is None or value._owner is not self._instance:
            raise ValueTypeError("the handle is spent, or another instance's", path=path)

    def lower(self, ty: OwnT | BorrowT, value: Any) -> Any:
        if not self._imported(ty):
            raw = value._raw
            if isinstance(ty, OwnT):
                value._raw, value.handle = None, 0
            return ffi.wasmtime_component_resource_any_clone(raw.ptr())
        self._last += 1
        self._objects[self._last] = value
        if isinstance(ty, OwnT):
            host = wc.ResourceHost.own(self._last, ty.resource)
        else:
            self._borrows[-1].append(self._last)
            host = wc.ResourceHost.borrow(self._last, ty.resource)
        return host.to_any(self._instance._store)._consume()

    def lift(self, ty: OwnT | BorrowT, any_ptr: Any) -> Any:
        raw = wc.ResourceAny._from_ptr(any_ptr)
        if not self._imported(ty):
            self._last_guest += 1
            return ReferenceResource(self._instance, ty.resource, self._last_guest, raw)
        rep = raw.to_host(self._instance._store).rep
        return self._objects.pop(rep) if isinstance(ty, OwnT) else self._objects[rep]

    @contextmanager
    def borrowing(self) -> Iterator[None]:
        """Drop the objects that are lent within the block when it ends."""
        self._borrows.append([])
        try:
            yield
        finally:
            for rep in self._borrows.pop():
                self._objects.pop(rep, None)

    def dropped(self, rep: int) -> None:
        """Handle the plugin's drop of one of its handles."""
        _close_handle(self._objects.pop(rep))

    def close(self) -> None:
        objects, self._objects = self._objects, {}
        for value in objects.values():
            _close_handle(value)


def _close_handle(value: Any) -> None:
    close = getattr(value, "close_handle", None)
    if close is not None:
        close()


def _raise_if(failed: Any) -> None:
    if failed:
        raise wasmtime.WasmtimeError._from_ptr(failed)
