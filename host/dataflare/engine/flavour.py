"""One configuration of wasmtime: its engine, and what all instances under it share."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Final

import wasmtime
from wasmtime import _bindings as raw
from wasmtime import _ffi as ffi
from wasmtime import component as wc

from dataflare.engine.bridge import HOST_IMPORT
from dataflare.engine.capi import keep_forever
from dataflare.engine.features import turn_off
from dataflare.engine.instance import epoch_callback, host_callback
from dataflare.engine.memory import MEMORIES
from dataflare.engine.timer import Timer
from dataflare.limits import Limits

__all__ = ["Flavour"]

_WASMTIME: Final = version("wasmtime")
_STACK_BYTES: Final = 512 * 1024
_EXTRA_INSTANCES: Final = 8
_EXTRA_TABLES: Final = 4
_EXTRA_MEMORIES: Final = 2

_host_t = ctypes.CFUNCTYPE(
    ctypes.c_size_t,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.c_uint32),
    ctypes.c_size_t,
    ctypes.c_void_p,
    ctypes.c_size_t,
)
_epoch_t = raw._wasmtime_store_epoch_deadline_callback.argtypes[1]
_finalizer_t = raw._wasmtime_store_epoch_deadline_callback.argtypes[3]
# Native linkers and stores keep the callbacks: like those of the memories, they live to the end of the process.
_HOST_CALLBACK: Final = _host_t(host_callback)
_EPOCH_CALLBACK: Final = _epoch_t(epoch_callback)
keep_forever(_HOST_CALLBACK)
keep_forever(_EPOCH_CALLBACK)
_output_t = raw._wasi_config_set_stderr_custom.argtypes[1]


class Flavour:
    """wasmtime's engine, with or without fuel, with or without limits of time. Any thread may use it."""

    def __init__(self, *, fuel: bool, timed: bool) -> None:
        self.fuel = fuel
        self.timed = timed
        config = self._config()
        MEMORIES.install(config)
        self.engine = wasmtime.Engine(config)
        self.timer = Timer(self.engine)
        self.epoch_callback = _EPOCH_CALLBACK
        self.no_finalizer = _finalizer_t()
        self.u32_kind = ffi.WASMTIME_COMPONENT_U32.value
        self.u32_offset = raw.wasmtime_component_val_t.of.offset
        self.linker = wc.Linker(self.engine)
        self._fill_linker()

    @property
    def identity(self) -> str:
        """What a compiled component depends on, besides its bytes and the machine."""
        return f"wasmtime {_WASMTIME} fuel={self.fuel} timed={self.timed} stack={_STACK_BYTES} async=off"

    def _config(self) -> wasmtime.Config:
        config = wasmtime.Config()
        config.epoch_interruption = self.timed
        config.consume_fuel = self.fuel
        config.max_wasm_stack = _STACK_BYTES
        config.wasm_component_model = True
        turn_off(config)
        return config

    def _fill_linker(self) -> None:
        self.linker.add_wasip2()
        function = ctypes.cast(_HOST_CALLBACK, raw.wasmtime_component_func_callback_t)
        with self.linker.root() as root, root.add_instance(HOST_IMPORT) as instance:
            for name in ("call", "release"):
                error = raw._wasmtime_component_linker_instance_add_func(
                    instance.ptr(), name.encode(), len(name), function, None, self.no_finalizer
                )
                if error:
                    raise wasmtime.WasmtimeError._from_ptr(error)

    def line_sink(self, take: Callable[[str], None]) -> LineSink:
        """What a plugin's standard error goes into, line by line."""
        return LineSink(take)

    def new_store(self, limits: Limits, stderr: LineSink | None) -> wasmtime.Store:
        """A store with an empty WASI: no directories, no network, no environment, no arguments, no standard input or
        output.
        """
        store = wasmtime.Store(self.engine)
        wasi = wasmtime.WasiConfig()
        if stderr is not None:
            raw._wasi_config_set_stderr_custom(wasi.ptr(), stderr.callback, None, self.no_finalizer)
        store.set_wasi(wasi)
        store.set_limits(
            table_elements=limits.table_elements,
            instances=limits.instances + _EXTRA_INSTANCES,
            tables=limits.instances + _EXTRA_TABLES,
            memories=limits.memories + _EXTRA_MEMORIES,
        )
        return store

    def close(self) -> None:
        """Stop watching calls; idempotent."""
        self.timer.close()


class LineSink:
    """Cuts what a plugin writes into lines; long ones are cut, and nothing it writes can fail.

    It must be kept as long as the store that writes to it, and closed afterwards.
    """

    _MAX_LINE: Final = 16_384

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take = take
        self._rest = b""
        self.callback = _output_t(self._write)

    def close(self) -> None:
        """Let go of the callback, which holds this very object."""
        self.callback = _output_t()

    def _write(self, _data: Any, content: Any, size: int) -> int:
        try:
            *lines, self._rest = (self._rest + ctypes.string_at(content, size)).split(b"\n")
            if len(self._rest) > self._MAX_LINE:
                lines.append(self._rest)
                self._rest = b""
            for line in lines:
                self._take(line[: self._MAX_LINE].decode(errors="replace"))
        except Exception:
            self._rest = b""
        return size
