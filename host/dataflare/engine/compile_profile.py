"""One configuration of wasmtime: its engine, and what all its instances share."""

from __future__ import annotations

import ctypes
import os
from importlib.metadata import version
from typing import Any, Final

import wasmtime
from wasmtime import _bindings as raw
from wasmtime import _ffi as ffi
from wasmtime import component as wc

from dataflare.engine.bridges.compose import HOST_IMPORT
from dataflare.engine.native import memories as memory
from dataflare.engine.native.callbacks import API, CODE, Call
from dataflare.engine.native.stack import STACK_BYTES
from dataflare.engine.native.timer import Timer
from dataflare.engine.native.trap_signals import keep_trap_signals
from dataflare.engine.reading.features import turn_off
from dataflare.limits import Limits

__all__ = ["EXTRA_MEMORIES", "CompileProfile"]

_WASMTIME: Final = version("wasmtime")
_EXTRA_INSTANCES: Final = 8
_EXTRA_TABLES: Final = 4
EXTRA_MEMORIES: Final = 2
_LINES: Final = "WASMTIME_BACKTRACE_DETAILS"
"""The variable by which wasmtime reads debug information, and puts files and lines into messages of traps."""
_SINGLE_PASS: Final = 1
"""Of the C API: which way registers are allocated."""

_finalizer_t = raw._wasmtime_store_epoch_deadline_callback.argtypes[3]
_store_t: Any = raw._wasmtime_store_context.argtypes[0]
_context_t: Any = raw._wasmtime_store_context.restype
_epoch_t: Any = raw._wasmtime_store_epoch_deadline_callback.argtypes[1]
_output_t: Any = raw._wasi_config_set_stderr_custom.argtypes[1]


class _CompilerThreads:
    """wasmtime's compiler threads: started once for all engines of a process, and missing in its forks."""

    def __init__(self) -> None:
        self._process: int | None = None

    def are_here(self) -> bool:
        """Whether this process has the threads, or can start them now."""
        if self._process is None:
            self._process = os.getpid()
        return self._process == os.getpid()


_threads: Final = _CompilerThreads()


def _debug_config() -> wasmtime.Config:
    """Return wasmtime's settings for components that are tried once or twice, by who writes them."""
    given = os.environ.get(_LINES)
    os.environ[_LINES] = "1"  # the C API has no function for it
    try:
        config = wasmtime.Config()
    finally:
        del os.environ[_LINES]
        if given is not None:
            os.environ[_LINES] = given
    config.cranelift_opt_level = "none"
    raw.wasmtime_config_cranelift_regalloc_algorithm_set(config.ptr(), _SINGLE_PASS)
    return config


class CompileProfile:
    """wasmtime's engine, with or without fuel, with or without time limits. Any thread may use it.

    With `debug` it compiles in half the time, to slower code, and traps name files and lines of components with debug
    information.
    """

    def __init__(self, *, fuel: bool, timed: bool, debug: bool = False) -> None:
        self.fuel = fuel
        self.timed = timed
        self.debug = debug
        config = self._config()
        memory.install(config)
        self.engine = wasmtime.Engine(config)
        keep_trap_signals()
        self.engine_pointer = ctypes.cast(self.engine.ptr(), ctypes.c_void_p).value
        self.timer = Timer(self.engine)
        self.no_finalizer = _finalizer_t()
        self.u32_kind = ffi.WASMTIME_COMPONENT_U32.value
        self.u32_offset = raw.wasmtime_component_val_t.of.offset
        self.linker = wc.Linker(self.engine)
        self._fill_linker()
        self._serial: wasmtime.Engine | None = None

    @property
    def compiler(self) -> wasmtime.Engine:
        """The engine to compile with: `engine`, or one without threads in a fork of a process that has compiled.

        A fork does not have its parent's compiler threads, and would wait for them forever.
        """
        if _threads.are_here():
            return self.engine
        if self._serial is None:
            config = self._config()
            config.parallel_compilation = False
            memory.install(config)
            self._serial = wasmtime.Engine(config)
        return self._serial

    @property
    def identity(self) -> str:
        """Everything that a compiled component depends on, except its bytes and the machine."""
        how = " debug" if self.debug else ""
        return f"wasmtime {_WASMTIME} fuel={self.fuel} timed={self.timed} stack={STACK_BYTES} async=off{how}"

    def _config(self) -> wasmtime.Config:
        config = _debug_config() if self.debug else wasmtime.Config()
        config.epoch_interruption = self.timed
        config.consume_fuel = self.fuel
        config.max_wasm_stack = STACK_BYTES
        config.wasm_component_model = True
        turn_off(config)
        return config

    def _fill_linker(self) -> None:
        self.linker.add_wasip2()
        function = ctypes.cast(CODE.on_call, raw.wasmtime_component_func_callback_t)
        with self.linker.root() as root, root.add_instance(HOST_IMPORT) as instance:
            for name in ("call", "release"):
                error = raw._wasmtime_component_linker_instance_add_func(
                    instance.ptr(), name.encode(), len(name), function, ctypes.addressof(API), self.no_finalizer
                )
                if error:
                    raise wasmtime.WasmtimeError._from_ptr(error)

    def open_store(self, limits: Limits, call: Call) -> None:
        """Make the store for one instance, with an empty WASI. `CODE.close_store` frees it.

        The WASI has no directories, network, environment, arguments, standard input or output.

        Args:
            limits: The instance's ceilings.
            call: What native code keeps of the instance's calls and of the store; must live as long as the store.
        """
        at = ctypes.addressof(call)
        call.api, call.engine = ctypes.addressof(API), self.engine_pointer
        CODE.open_store(at)
        store, context = ctypes.cast(call.store or 0, _store_t), ctypes.cast(call.context or 0, _context_t)
        if self.timed:
            look = ctypes.cast(CODE.on_epoch, _epoch_t)
            raw._wasmtime_store_epoch_deadline_callback(store, look, at, self.no_finalizer)
            raw._wasmtime_context_set_epoch_deadline(context, 1)
        wasi = wasmtime.WasiConfig()
        if call.take_text:
            take = ctypes.cast(CODE.on_text, _output_t)
            raw._wasi_config_set_stderr_custom(wasi.ptr(), take, at, self.no_finalizer)
        if error := raw._wasmtime_context_set_wasi(context, wasi._consume()):
            raise wasmtime.WasmtimeError._from_ptr(error)
        most = (limits.instances + _EXTRA_INSTANCES, limits.instances + _EXTRA_TABLES, limits.memories + EXTRA_MEMORIES)
        raw._wasmtime_store_limiter(store, -1, limits.table_elements, *most)
        if limits.fuel is not None:
            self.set_fuel(limits.fuel, call)

    def set_fuel(self, fuel: int, call: Call) -> None:
        """Set the fuel of an instance's store."""
        if error := raw._wasmtime_context_set_fuel(ctypes.cast(call.context or 0, _context_t), fuel):
            raise wasmtime.WasmtimeError._from_ptr(error)

    def close(self) -> None:
        """Stop watching calls; idempotent."""
        self.timer.close()
