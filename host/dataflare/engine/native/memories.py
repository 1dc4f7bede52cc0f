"""Linear memories that the host owns: it knows their addresses, which never change, and limits their sizes.

wasmtime asks for each memory through the C API's memory creator (`wasmtime_config_host_memory_creator_set`), which is
native code (`callbacks.c`): no Python runs when a memory is made, grown or freed. Address space is reserved in full, so
that a memory never moves; pages cost nothing until they are touched.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

from wasmtime import _bindings as raw

from dataflare.engine.native.callbacks import (
    API,
    CODE,
    BudgetHead,
    MemoryEntry,
    allocate,
    keep_forever,
    set_thread_value,
)

__all__ = ["MemoryBudget", "install", "mapped"]

_finalizer_t = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_CREATOR: Final = raw.wasmtime_memory_creator(
    ctypes.addressof(API),
    ctypes.cast(CODE.new_memory, raw.wasmtime_new_memory_callback_t),
    # There is nothing to free: `API` lives as long as the process.
    ctypes.cast(0, _finalizer_t),
)
keep_forever(_CREATOR)


def install(config: Any) -> None:
    """Make a `wasmtime.Config` use the host's memories."""
    # With copy-on-write images wasmtime 50 panics on memories that a host made.
    raw._wasmtime_config_memory_init_cow_set(config.ptr(), False)
    raw._wasmtime_config_host_memory_creator_set(config.ptr(), ctypes.byref(_CREATOR))


def mapped() -> int:
    """Return the number of memories that exist in this process."""
    return int(API.mapped)


class MemoryBudget:
    """The memories of one instance, in the order of their creation. Lives as long as any of them.

    Args:
        limit_bytes: The maximum size of all the plugin's own memories together.
        exempt_bytes: The size of a bridge's memory, which is not counted. If a plugin creates a memory of this size, a
            bridge's memory is counted instead.
        exempt: How many memories are exempt.
        capacity: The maximum number of memories.
    """

    def __init__(self, limit_bytes: int, exempt_bytes: int, exempt: int, capacity: int) -> None:
        self._address = allocate(ctypes.sizeof(BudgetHead) + capacity * ctypes.sizeof(MemoryEntry))
        self._head = BudgetHead.from_address(self._address)
        self._memories = (MemoryEntry * capacity).from_address(self._address + ctypes.sizeof(BudgetHead))
        self._head.api = ctypes.addressof(API)
        self._head.limit = limit_bytes
        self._head.exempt_size, self._head.exempt = exempt_bytes, exempt
        self._head.capacity = capacity
        self._head.owners = 1
        self.used = ctypes.c_size_t.from_address(self._address + BudgetHead.__dict__["used"].offset)
        """Total size of the plugin's own memories in bytes, as `value`."""

    def __del__(self) -> None:
        address = getattr(self, "_address", None)
        if address is not None:
            CODE.leave_budget(address)

    def __len__(self) -> int:
        return int(self._head.count)

    def base(self, index: int) -> int:
        """Return a memory's address, by its index in the order of creation; -1 is the last."""
        return int(self._memories[range(len(self))[index]].base)

    def find(self, mark: bytes) -> int | None:
        """Return the index of the only memory that begins with these bytes; `None` if none or several do."""
        found = [
            number
            for number in range(len(self))
            if self.size(number) >= len(mark) and ctypes.string_at(self.base(number), len(mark)) == mark
        ]
        return found[0] if len(found) == 1 else None

    def size(self, number: int) -> int:
        """Return the current size of a memory in bytes."""
        return int(self._memories[number].size)

    def contents(self, number: int) -> memoryview:
        """Return a view of a memory at its current size; valid until the memory grows or is freed."""
        return memoryview((ctypes.c_ubyte * self.size(number)).from_address(self.base(number))).cast("B")

    @property
    def refused(self) -> bool:
        """Whether the plugin asked for more than its limit."""
        return bool(self._head.refused)

    @property
    def shortage(self) -> bool:
        """Whether the system had no memory or address space for what is within the limit."""
        return bool(self._head.shortage)

    def begin(self) -> None:
        """Collect the memories that this thread's next instantiation creates."""
        set_thread_value(self._address)
