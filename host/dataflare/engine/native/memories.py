"""Linear memories that the host owns: it knows where they are, that they stay there, and how large they may become.

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
    """How many memories there are now in this process."""
    return int(API.mapped)


class MemoryBudget:
    """The memories of one instance, in the order of their making. Lives as long as any of them.

    Args:
        limit_bytes: What the plugin's own memories may take together.
        exempt_bytes: The size of the bridges' memories, which are not counted. A plugin that imitates a bridge only
            makes the bridge's count.
        exempt: How many those are.
        capacity: The most memories.
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

    def __del__(self) -> None:
        address = getattr(self, "_address", None)
        if address is not None:
            CODE.leave_budget(address)

    def __len__(self) -> int:
        return int(self._head.count)

    def base(self, index: int) -> int:
        """Where a memory begins, by the order of their making; -1 is the last."""
        return int(self._memories[range(len(self))[index]].base)

    def find(self, mark: bytes) -> int | None:
        """The number of the only memory that begins with these bytes; `None` where none does, or several do."""
        found = [
            number
            for number in range(len(self))
            if self.size(number) >= len(mark) and ctypes.string_at(self.base(number), len(mark)) == mark
        ]
        return found[0] if len(found) == 1 else None

    def size(self, number: int) -> int:
        """How many bytes a memory has now."""
        return int(self._memories[number].size)

    def contents(self, number: int) -> memoryview:
        """A memory as large as it is now; to be used before it grows or goes."""
        return memoryview((ctypes.c_ubyte * self.size(number)).from_address(self.base(number))).cast("B")

    @property
    def used_bytes(self) -> int:
        """What the plugin's own memories take."""
        return int(self._head.used)

    @property
    def refused(self) -> bool:
        """Whether the plugin wanted more than its limit."""
        return bool(self._head.refused)

    @property
    def shortage(self) -> bool:
        """Whether the system had no memory or address space for what is within the limit."""
        return bool(self._head.shortage)

    def begin(self) -> None:
        """Take the memories that this thread's next instantiation makes."""
        set_thread_value(self._address)
