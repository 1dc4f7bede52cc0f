"""The little of wasmtime's C API that several modules use directly."""

from __future__ import annotations

import ctypes
from typing import Any

from wasmtime import _bindings as raw
from wasmtime import _ffi as ffi

__all__ = ["error_message", "error_pointer", "error_trace", "keep_forever"]


def keep_forever(thing: object) -> None:
    """Keep an object to the end of the process, since native code may call it until then."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def error_pointer(message: str) -> int:
    """A new `wasmtime_error_t`, as a callback returns it; the caller of the callback frees it."""
    return ctypes.cast(raw.wasmtime_error_new(message.encode()), ctypes.c_void_p).value or 0


def error_message(error: Any) -> str:
    """The text of a `wasmtime_error_t*`."""
    text = ffi.wasm_byte_vec_t()
    raw.wasmtime_error_message(error, ctypes.byref(text))
    message: str = ffi.to_bytes(text).decode(errors="replace")
    raw.wasm_byte_vec_delete(ctypes.byref(text))
    return message


def error_trace(error: Any) -> tuple[str, ...]:
    """The guest's frames of a `wasmtime_error_t*`, innermost first, as `module!function`."""
    frames = ffi.wasm_frame_vec_t()
    raw.wasmtime_error_wasm_trace(error, ctypes.byref(frames))
    lines = []
    for i in range(frames.size):
        frame = frames.data[i]
        module = raw.wasmtime_frame_module_name(frame)
        function = raw.wasmtime_frame_func_name(frame)
        name = ffi.to_str(function.contents) if function else f"function {raw.wasm_frame_func_index(frame)}"
        lines.append(f"{ffi.to_str(module.contents)}!{name}" if module else name)
    raw.wasm_frame_vec_delete(ctypes.byref(frames))
    return tuple(lines)
