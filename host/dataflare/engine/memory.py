"""Linear memories that the host owns: it knows where they are, that they stay there, and how large they may become.

wasmtime asks for each memory through the C API's memory creator (`wasmtime_config_host_memory_creator_set`). Address
space is reserved in full, so that a memory never moves; pages cost nothing until they are touched.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import threading
from dataclasses import dataclass, field
from typing import Any, Final

from wasmtime import _bindings as raw

from dataflare.engine.capi import error_pointer as _error
from dataflare.engine.capi import keep_forever

__all__ = ["MEMORIES", "Ledger", "Memories", "Memory"]

_PROT_NONE: Final = 0
_READ_WRITE: Final = mmap.PROT_READ | mmap.PROT_WRITE
_FLAGS: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
_FAILED: Final = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_mmap = _libc.mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_munmap = _libc.munmap
_munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_mprotect = _libc.mprotect
_mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

_grow_t = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t)
_finalizer_t = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@dataclass(slots=True)
class Memory:
    """One memory. `size` bytes from the address `base` on can be used; `reserved` bytes are mapped."""

    base: int
    size: int
    maximum: int
    reserved: int
    ledger: Ledger


@dataclass(slots=True)
class Ledger:
    """The memories of one instance, in the order of their making.

    `limit_bytes` bounds what the plugin's own memories take together. Up to `exempt` memories of exactly
    `exempt_bytes`, those of the bridges, are not counted. `refused` tells that the plugin wanted more.
    """

    limit_bytes: int
    exempt_bytes: int
    exempt: int
    memories: list[Memory] = field(default_factory=list)
    used: int = 0
    refused: bool = False

    def is_exempt(self, size: int) -> bool:
        """Whether a memory of this size does not count; a plugin that imitates a bridge only makes the bridge's
        count.
        """
        if size != self.exempt_bytes or not self.exempt:
            return False
        self.exempt -= 1
        return True

    def admit(self, more: int) -> bool:
        """Whether so many bytes more are within the limit; if so they count."""
        if self.used + more > self.limit_bytes:
            self.refused = True
            return False
        self.used += more
        return True


class Memories:
    """The memory creator; one for the process (`MEMORIES`). Callbacks come in any thread that makes or grows one."""

    def __init__(self) -> None:
        self._live: dict[int, Memory] = {}
        self._keys = itertools.count(1)
        self._local = threading.local()
        self._get = raw.wasmtime_memory_get_callback_t(self._on_get)
        self._grow = _grow_t(self._on_grow)
        self._free = _finalizer_t(self._on_free)
        self._new = raw.wasmtime_new_memory_callback_t(self._on_new)
        # Called with a null pointer, `free` does nothing, and it is there to the very end of the process.
        self._creator = raw.wasmtime_memory_creator(None, self._new, ctypes.cast(_libc.free, _finalizer_t))

    def install(self, config: Any) -> None:
        """Make a `wasmtime.Config` use these memories."""
        # With copy-on-write images wasmtime 50 panics on memories that a host made.
        raw._wasmtime_config_memory_init_cow_set(config.ptr(), False)
        raw._wasmtime_config_host_memory_creator_set(config.ptr(), ctypes.byref(self._creator))

    def begin(self, ledger: Ledger | None) -> None:
        """Say into whose ledger go the memories that this thread's next instantiation makes."""
        self._local.ledger = ledger

    @property
    def mapped(self) -> int:
        """How many memories there are now."""
        return len(self._live)

    def _on_new(self, _env: Any, _ty: Any, minimum: int, maximum: int, reserved: int, guard: int, out: Any) -> int:
        try:
            ledger: Ledger = self._local.ledger
            if not ledger.is_exempt(minimum) and not ledger.admit(minimum):
                return _error(f"memory limit: {minimum} bytes more are over {ledger.limit_bytes}")
            reserved = max(reserved, minimum)
            total = reserved + guard
            base = _mmap(None, total, _PROT_NONE, _FLAGS, -1, 0)
            if base is None or base == _FAILED:
                return _error(f"cannot reserve {total} bytes of address space")
            if minimum and _mprotect(base, minimum, _READ_WRITE):
                _munmap(base, total)
                return _error(f"cannot use {minimum} bytes of memory")
            memory = Memory(base, minimum, min(maximum, reserved), total, ledger)
            ledger.memories.append(memory)
            key = next(self._keys)
            self._live[key] = memory
            made = out[0]
            made.env = key
            made.get_memory = self._get
            made.grow_memory = self._grow
            made.finalizer = self._free
            return 0
        except BaseException as error:  # nothing may leave a callback
            return _error(f"cannot make a memory: {error!r}")

    def _on_get(self, key: int, size: Any, maximum: Any) -> int:
        memory = self._live[key]
        size[0] = memory.size
        maximum[0] = memory.maximum
        return memory.base

    def _on_grow(self, key: int, new_size: int) -> int:
        try:
            memory = self._live[key]
            more = new_size - memory.size
            if new_size > memory.maximum or not memory.ledger.admit(more):
                return _error("memory limit")
            if _mprotect(memory.base, new_size, _READ_WRITE):
                return _error("out of memory")
            memory.size = new_size
            return 0
        except BaseException as error:
            return _error(f"cannot grow a memory: {error!r}")

    def _on_free(self, key: int) -> None:
        memory = self._live.pop(key, None)
        if memory is not None:
            _munmap(memory.base, memory.reserved)


MEMORIES: Final = Memories()
# Native engines keep the callbacks, and outlive whatever Python object made them: nothing may ever free these.
keep_forever(MEMORIES)
