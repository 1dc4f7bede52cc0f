"""The parts of wasmtime's C API that the engine uses directly."""

from __future__ import annotations

import ctypes
from typing import Any, Final

from wasmtime import _bindings as raw
from wasmtime import _ffi as ffi

from dataflare import texts

__all__ = ["error_message", "error_trace", "exported_function"]

_MAX_MESSAGE_BYTES: Final = 16_384
_context_t: Final[Any] = raw._wasmtime_store_context.restype


def error_message(error: Any) -> str:
    """Return the text of a `wasmtime_error_t*`; a long text keeps only its beginning and its end."""
    text = ffi.wasm_byte_vec_t()
    raw.wasmtime_error_message(error, ctypes.byref(text))
    try:
        address, size = ctypes.addressof(text.data.contents) if text.size else 0, text.size
        if size <= _MAX_MESSAGE_BYTES:
            found = ctypes.string_at(address, size) if size else b""
        else:
            half = _MAX_MESSAGE_BYTES // 2
            found = ctypes.string_at(address, half) + b"\n[...]\n" + ctypes.string_at(address + size - half, half)
        return found.decode(errors="replace")
    finally:
        raw.wasm_byte_vec_delete(ctypes.byref(text))


def error_trace(error: Any) -> tuple[str, ...]:
    """Return the guest's frames of a `wasmtime_error_t*`, innermost first, as `module!function`.

    At most as many are copied as `dataflare.texts` lets an error show.
    """
    frames = ffi.wasm_frame_vec_t()
    raw.wasmtime_error_wasm_trace(error, ctypes.byref(frames))
    try:
        lines = []
        for i in range(min(frames.size, texts.FRAMES)):
            frame = frames.data[i]
            module = raw.wasmtime_frame_module_name(frame)
            function = raw.wasmtime_frame_func_name(frame)
            name = _beginning(function.contents) if function else f"function {raw.wasm_frame_func_index(frame)}"
            lines.append(f"{_beginning(module.contents)}!{name}" if module else name)
        return tuple(lines)
    finally:
        raw.wasm_frame_vec_delete(ctypes.byref(frames))


def _beginning(name: Any) -> str:
    if not name.size:
        return ""
    size = min(name.size, 4 * texts.FRAME_CHARACTERS)
    return ctypes.string_at(ctypes.addressof(name.data.contents), size).decode(errors="replace")


def exported_function(context: int | None, instance: Any, index: Any) -> Any:
    """Return an exported function of an instance, as a `wasmtime_component_func_t`.

    Args:
        context: The address of the store's context.
        instance: The `wasmtime_component_instance_t`.
        index: The export's `ExportIndex`.
    """
    found = raw.wasmtime_component_func_t()
    at = ctypes.cast(context or 0, _context_t)
    if not raw._wasmtime_component_instance_get_func(ctypes.byref(instance), at, index.ptr(), ctypes.byref(found)):
        raise AssertionError("the component lacks the export")
    return found
