"""The stack of the calling thread: compiled code may use half a megabyte of it, and checks nothing but that.

wasmtime ends a call that uses more than `STACK_BYTES`, counted from where it began. If the thread has less, the process
ends with a segmentation fault before. Threads have 8 MiB by default; `threading.stack_size` and `ulimit -s` change it.
"""

from __future__ import annotations

import ctypes
import math
import threading
from typing import Any, Final

from dataflare import budgets
from dataflare.errors import UsageError

__all__ = ["STACK_BYTES", "THREADS", "CallingThread", "too_deep"]

STACK_BYTES: Final = 512 * 1024
"""What compiled code may use in one call."""
_HOST_BYTES: Final = 384 * 1024
"""What Python, wasmtime and a host function may use besides."""
_ATTRIBUTES_BYTES: Final = 256
"""At least the size of a `pthread_attr_t` on any system."""


class CallingThread:
    """What the engine keeps for one thread. A call looks it up once: thread-specific values are slow.

    Attributes:
        instance: The instance whose call the thread is in; `None` if it is in none.
        budget: Where the thread's current budget is kept.
        calls_most: How many calls of plugins within each other its stack has room for.
        stack_bytes: The size of its stack; infinity if the system does not say.
    """

    __slots__ = ("budget", "calls_most", "instance", "stack_bytes")

    def __init__(self) -> None:
        self.instance: Any = None
        self.budget = budgets.of_thread()
        self.stack_bytes = _stack_bytes()
        self.calls_most = (self.stack_bytes - _HOST_BYTES) // STACK_BYTES


class _Threads(threading.local):
    def __init__(self) -> None:
        self.this = CallingThread()


def too_deep(thread: CallingThread, calls: int) -> UsageError:
    """Make the error for more calls of plugins within each other than a thread's stack has room for."""
    needed = calls * STACK_BYTES + _HOST_BYTES
    return UsageError(
        f"a call of a plugin needs {needed // 1024} KiB of stack here; this thread has"
        f" {thread.stack_bytes // 1024} KiB",
        hint="threading.stack_size sets it for new threads, ulimit -s for the process",
    )


def _stack_bytes() -> float:
    """Return the size of this thread's stack; infinity if the system does not say."""
    library = ctypes.CDLL(None)
    try:
        this, attributes_of, stack_of = library.pthread_self, library.pthread_getattr_np, library.pthread_attr_getstack
    except AttributeError:
        return math.inf
    this.restype = ctypes.c_void_p
    attributes = ctypes.create_string_buffer(_ATTRIBUTES_BYTES)
    if attributes_of(ctypes.c_void_p(this()), attributes):
        return math.inf
    address, size = ctypes.c_void_p(), ctypes.c_size_t()
    failed = stack_of(attributes, ctypes.byref(address), ctypes.byref(size))
    library.pthread_attr_destroy(attributes)
    return math.inf if failed else size.value


THREADS: Final = _Threads()
"""`THREADS.this` belongs to the thread that asks."""
# For the main thread the system reads a file, which a worker can only do before it confines itself.
_ = THREADS.this
