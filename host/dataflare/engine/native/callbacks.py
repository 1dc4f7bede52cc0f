"""The native code that wasmtime calls while a plugin runs, and what it shares with Python.

`callbacks.c` is its source. It keeps every Python exception that occurs during a call, such as that of a signal
handler, in `Call`. The exception is raised here once wasmtime has returned.
"""

from __future__ import annotations

import base64
import ctypes
import json
import mmap
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from wasmtime import _bindings as raw

from dataflare.errors import ConfigError

__all__ = [
    "API",
    "CODE",
    "OVER_TIME",
    "BudgetHead",
    "Call",
    "Code",
    "MemoryEntry",
    "allocate",
    "keep_forever",
    "set_callables",
    "set_thread_value",
]

OVER_TIME: Final = "dataflare: the call is over its time"
"""The message of a call that was told to stop."""

_VOID: Final = ctypes.c_void_p
_SIZE: Final = ctypes.c_size_t
_READ_WRITE: Final = mmap.PROT_READ | mmap.PROT_WRITE
_MAP_FLAGS: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
_MACHINES: Final = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
_libc: Final = ctypes.CDLL(None, use_errno=True)
_decref: Final = ctypes.PyDLL(None).Py_DecRef
_decref.argtypes = [_VOID]
_decref.restype = None


class Api(ctypes.Structure):
    """`struct api` of callbacks.c: the functions that native code calls; one for the process."""

    _fields_ = (
        *((name, _VOID) for name in ("gil_ensure", "gil_release", "call_no_args", "decref", "fetch", "normalize")),
        *((name, _VOID) for name in ("error_new", "context_data", "func_call", "instantiate", "increment_epoch")),
        *((name, _VOID) for name in ("error_delete", "store_new", "store_context", "store_delete")),
        *((name, _VOID) for name in ("thread_value", "map", "protect", "unmap", "free", "sigaction", "sigmask")),
        *((name, _VOID) for name in ("serve", "look")),
        *((name, ctypes.c_char_p) for name in ("failed", "over_time", "over_memory", "no_memory")),
        ("key", ctypes.c_ulong),
        ("map_flags", ctypes.c_int),
        ("mapped", ctypes.c_int),
        ("traps", _VOID),
        ("trap_count", _SIZE),
        ("trap_mask", ctypes.c_uint64 * 16),
        ("python_from", _SIZE),
        ("python_to", _SIZE),
    )


class _Raised(ctypes.Structure):
    """An exception within a `Call`, as objects."""

    _fields_ = (("value", ctypes.py_object), ("traceback", ctypes.py_object))


class Call(ctypes.Structure):
    """`struct call` of callbacks.c: one instance's calls, one at a time."""

    type: int | None
    value: int | None
    traceback: int | None
    outcome: int | None
    text: int | None
    store: int | None
    context: int | None

    _fields_ = (
        *((name, _VOID) for name in ("api", "engine", "store", "context", "function", "argument", "linker")),
        *(
            (name, _VOID)
            for name in ("component", "instance", "outcome", "type", "value", "traceback", "take_text", "text")
        ),
        ("text_size", _SIZE),
        ("stop", ctypes.c_int32),
        ("look", ctypes.c_int32),
        ("number", ctypes.c_int32),
    )

    def requests(self) -> ctypes.c_int64:
        """Return `stop` and `look` as one number, which can be reset in one step."""
        return ctypes.c_int64.from_buffer(self, _STOP_AT)

    def take_exception(self) -> BaseException | None:
        """Return the exception that Python raised during the call, and clear it; `None` if there is none.

        This may run at the recursion limit, so it calls no other Python function.
        """
        kind, value, traceback = self.type, self.value, self.traceback
        if not kind:
            return None
        objects = _Raised.from_buffer(self, _VALUE_AT)
        found: BaseException = objects.value if value else MemoryError("an exception could not be made")
        if value and traceback:
            found.__traceback__ = objects.traceback
        self.type = self.value = self.traceback = None
        for each in (kind, value, traceback):
            _decref(each)
        return found

    def take_outcome(self) -> Any:
        """Return the `wasmtime_error_t*` with which the call ended; the caller must free it. `None` if there is
        none."""
        outcome, self.outcome = self.outcome, None
        return ctypes.cast(outcome, _ERROR) if outcome else None


class MemoryEntry(ctypes.Structure):
    """`struct memory` of callbacks.c."""

    _fields_ = (("base", _VOID), ("size", _SIZE), ("maximum", _SIZE), ("mapped", _SIZE), ("budget", _VOID))


class BudgetHead(ctypes.Structure):
    """`struct budget` of callbacks.c, without its memories."""

    _fields_ = (
        ("api", _VOID),
        *((name, _SIZE) for name in ("limit", "used", "exempt_size")),
        *((name, ctypes.c_int32) for name in ("exempt", "refused", "shortage", "owners")),
        *((name, ctypes.c_uint32) for name in ("count", "capacity")),
    )


class Code:
    """The native code, in memory. Attributes are addresses of its functions, except for those that Python calls."""

    def __init__(self) -> None:
        document = json.loads(Path(__file__).with_name("callbacks.json").read_text())
        machine = _MACHINES.get(platform.machine().lower(), "")
        if machine not in document["machines"] or ctypes.sizeof(_VOID) != 8:
            raise ConfigError(
                f"the engine has no native code for the processor {platform.machine()!r}",
                hint=f"it runs on {' and '.join(document['machines'])}, with 64-bit Python",
            )
        made = document["machines"][machine]
        base = _executable(base64.b64decode(made["code"]))
        at = {name: base + offset for name, offset in made["symbols"].items()}
        self.on_call, self.on_epoch, self.on_text = at["on_call"], at["on_epoch"], at["on_text"]
        self.new_memory = at["new_memory"]
        # These release Python's lock while they run.
        enter, tried = ctypes.CFUNCTYPE(None, _VOID), ctypes.CFUNCTYPE(ctypes.c_int, _VOID)
        self.run = tried(at["run"])
        """Calls a plugin's function, given the address of a `Call`; 0 if it returned."""
        self.start = tried(at["start"])
        """Instantiates a component, given the address of a `Call`; 0 if it is done."""
        self.open_store, self.close_store = enter(at["open_store"]), enter(at["close_store"])
        """Create and free the store of a `Call`, given its address; `close_store` is idempotent."""
        self.leave_budget = enter(at["leave_budget"])
        """Releases the instance's reference to a budget, given its address."""


def keep_forever(thing: object) -> None:
    """Keep an object until the end of the process, since native code may use it until then."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _executable(code: bytes) -> int:
    """Put code into memory that is executable and not writable, for the life of the process; return its address."""
    size = -(-len(code) // mmap.PAGESIZE) * mmap.PAGESIZE
    base = _libc.mmap(None, size, _READ_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    if base in (None, _VOID(-1).value):
        raise ConfigError("there is no memory for native code")
    ctypes.memmove(base, code, len(code))
    if _libc.mprotect(base, size, mmap.PROT_READ | mmap.PROT_EXEC):
        raise ConfigError("the system refuses memory for native code", hint="wasmtime needs such memory as well")
    if (flush := getattr(_libc, "sys_icache_invalidate", None)) is not None:
        flush(_VOID(base), _SIZE(size))
    return int(base)


def _address(function: Any) -> int | None:
    return ctypes.cast(function, _VOID).value


def _make_api() -> Api:
    python = ctypes.pythonapi
    api = Api(
        gil_ensure=_address(python.PyGILState_Ensure),
        gil_release=_address(python.PyGILState_Release),
        call_no_args=_address(python.PyObject_CallNoArgs),
        decref=_address(python.Py_DecRef),
        fetch=_address(python.PyErr_Fetch),
        normalize=_address(python.PyErr_NormalizeException),
        error_new=_address(raw._wasmtime_error_new),
        context_data=_address(raw._wasmtime_context_get_data),
        func_call=_address(raw._wasmtime_component_func_call),
        instantiate=_address(raw._wasmtime_component_linker_instantiate),
        increment_epoch=_address(raw._wasmtime_engine_increment_epoch),
        error_delete=_address(raw._wasmtime_error_delete),
        store_new=_address(raw._wasmtime_store_new),
        store_context=_address(raw._wasmtime_store_context),
        store_delete=_address(raw._wasmtime_store_delete),
        thread_value=_address(_libc.pthread_getspecific),
        map=_address(_libc.mmap),
        protect=_address(_libc.mprotect),
        unmap=_address(_libc.munmap),
        free=_address(_libc.free),
        sigaction=_address(_libc.sigaction),
        sigmask=_address(_libc.pthread_sigmask),
        failed=b"dataflare: the host failed",
        over_time=OVER_TIME.encode(),
        over_memory=b"dataflare: over the memory limit",
        no_memory=b"dataflare: the host has no memory left",
        map_flags=_MAP_FLAGS,
    )
    key = ctypes.c_ulong()
    if _libc.pthread_key_create(ctypes.byref(key), None):
        raise ConfigError("the process has no thread-specific values left")
    api.key = key.value
    return api


def set_callables(serve: Callable[[], object], look: Callable[[], object]) -> None:
    """Set the Python functions that native code calls: for a host function, and to check for signals."""
    for name, function in (("serve", serve), ("look", look)):
        keep_forever(function)
        setattr(API, name, id(function))


_VALUE_AT: Final[int] = Call.__dict__["value"].offset
_STOP_AT: Final[int] = Call.__dict__["stop"].offset
_ERROR: Final[Any] = raw._wasmtime_component_func_call.restype
_libc.mmap.restype = _VOID
_libc.mmap.argtypes = [_VOID, _SIZE, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.mprotect.argtypes = [_VOID, _SIZE, ctypes.c_int]
_libc.pthread_setspecific.argtypes = [ctypes.c_ulong, _VOID]
_libc.calloc.restype = _VOID
_libc.calloc.argtypes = [_SIZE, _SIZE]
API: Final = _make_api()
keep_forever(API)
CODE: Final = Code()


def set_thread_value(address: int | None) -> None:
    """Set the address that native code uses as this thread's budget."""
    _libc.pthread_setspecific(API.key, address)


def allocate(size: int) -> int:
    """Allocate zeroed memory of `size` bytes that native code frees; return its address.

    Raises:
        MemoryError: The system has no memory left.
    """
    address = _libc.calloc(1, size)
    if not address:
        raise MemoryError
    return int(address)
