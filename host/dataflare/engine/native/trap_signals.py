"""The signals of traps: native code makes sure before each call that wasmtime's handlers are installed.

A trap of a plugin (a panic, a memory access out of bounds, a division by zero) is a signal, which wasmtime's handler
turns into an error. After `faulthandler.enable()`, `signal.signal(SIGSEGV, ...)` or blocking the signal, at any time
after wasmtime's first engine was made, it would end the process instead.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import platform
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Final

from wasmtime import _bindings as raw

from dataflare.engine.native.callbacks import API, keep_forever
from dataflare.errors import ConfigError

__all__ = ["keep_trap_signals"]

_ACTION_BYTES: Final = 256
_NEEDED: Final = (signal.SIGILL, signal.SIGSEGV, *((signal.SIGFPE,) if platform.machine() == "x86_64" else ()))
_lock: Final = threading.Lock()


class _Trap(ctypes.Structure):
    """`struct trap` of callbacks.c."""

    _fields_ = (("action", ctypes.c_void_p), ("number", ctypes.c_int))


class _Place(ctypes.Structure):
    """The result of `dladdr` for an address (`Dl_info`)."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("at", ctypes.c_void_p),
    )


def keep_trap_signals() -> None:
    """Tell native code wasmtime's handlers, after the first engine was made; later calls do nothing.

    Systems other than Linux handle traps in another way, so nothing is done there.

    Raises:
        ConfigError: Other code made a wasmtime engine earlier, and then installed its own handlers.
    """
    with _lock:
        if API.trap_count or sys.platform != "linux":
            return
        API.python_from, API.python_to = _python_code()
        actions = {number: _action(number) for number in (*_NEEDED, signal.SIGBUS)}
        if faulthandler.is_enabled() and any(_is_pythons(actions[number]) for number in _NEEDED):
            faulthandler.disable()  # which restores the earlier handlers
            actions = {number: _action(number) for number in actions}
            with contextlib.suppress(
                RuntimeError, OSError, AttributeError, ValueError
            ):  # no standard error to write to
                faulthandler.enable()
        wasmtimes = _base(ctypes.cast(raw._wasmtime_component_func_call, ctypes.c_void_p).value)
        kept = [number for number, action in actions.items() if _base(_handler(action)) == wasmtimes]
        for number in _NEEDED:
            if number not in kept and _is_pythons(actions[number]):
                raise ConfigError(
                    f"the program handles {number.name} itself, by which plugins trap",
                    hint=f"leave {number.name} alone, or make the host before the program handles it",
                )
        traps = (_Trap * len(kept))(*(_Trap(ctypes.addressof(actions[number]), number) for number in kept))
        keep_forever(actions)
        keep_forever(traps)
        API.trap_mask[0] = sum(1 << (number - 1) for number in kept)
        API.traps = ctypes.addressof(traps)
        API.trap_count = len(kept)


def _action(number: int) -> ctypes.Array[ctypes.c_char]:
    """Return the `struct sigaction` of a signal, in a buffer longer than that of any C library."""
    found = ctypes.create_string_buffer(_ACTION_BYTES)
    _sigaction(number, None, found)
    return found


def _handler(action: ctypes.Array[ctypes.c_char]) -> int | None:
    """Return the address of an action's handler, its first member."""
    return ctypes.c_void_p.from_buffer(action).value


def _is_pythons(action: ctypes.Array[ctypes.c_char]) -> bool:
    """Whether an action is the system's or Python's, which do not forward signals to wasmtime's handler."""
    handler = _handler(action) or 0
    return handler <= 1 or API.python_from <= handler < API.python_to


def _base(address: int | None) -> int | None:
    """Return the base address of the library that contains an address; `None` if there is none."""
    place = _Place()
    return place.base if address and _dladdr(address, ctypes.byref(place)) else None


def _python_code() -> tuple[int, int]:
    """Return the start and end address of Python's own code; 0 and 0 if the system does not say."""
    within = ctypes.cast(ctypes.pythonapi.PyErr_Fetch, ctypes.c_void_p).value or 0
    try:
        lines = Path("/proc/self/maps").read_text(errors="replace").splitlines()
    except OSError:
        return 0, 0
    for line in lines:
        begin, _, end = line.split(" ", 1)[0].partition("-")
        if int(begin, 16) <= within < int(end, 16):
            return int(begin, 16), int(end, 16)
    return 0, 0


_libc: Final[Any] = ctypes.CDLL(None)
_sigaction: Final[Any] = _libc.sigaction
_sigaction.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
_dladdr: Final[Any] = _libc.dladdr
_dladdr.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
