"""The signals by which compiled code traps, which native code keeps with wasmtime before each call.

A trap of a plugin (its panic, a memory access out of bounds, a division by zero) is a signal, which wasmtime's handler
turns into an error. `faulthandler.enable()`, `signal.signal(SIGSEGV, ...)` or a blocked signal, at any time after
wasmtime's first engine was made, would have it end the process instead.
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
    """What `dladdr` says of an address (`Dl_info`)."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("at", ctypes.c_void_p),
    )


def keep_trap_signals() -> None:
    """Tell native code the handlers of wasmtime, which has made an engine; later calls do nothing.

    On systems other than Linux wasmtime takes traps in another way, and there is nothing to keep.

    Raises:
        ConfigError: Before this, others made an engine of wasmtime's and then put handlers before its own.
    """
    with _lock:
        if API.trap_count or sys.platform != "linux":
            return
        API.python_from, API.python_to = _python_code()
        actions = {number: _action(number) for number in (*_NEEDED, signal.SIGBUS)}
        if faulthandler.is_enabled() and any(_is_pythons(actions[number]) for number in _NEEDED):
            faulthandler.disable()  # which puts back what was there
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
    """The `struct sigaction` of a signal; longer than any C library's."""
    found = ctypes.create_string_buffer(_ACTION_BYTES)
    _sigaction(number, None, found)
    return found


def _handler(action: ctypes.Array[ctypes.c_char]) -> int | None:
    """The address of an action's handler, its first member."""
    return ctypes.c_void_p.from_buffer(action).value


def _is_pythons(action: ctypes.Array[ctypes.c_char]) -> bool:
    """Whether an action is the system's own or Python's: one that hands nothing on to wasmtime's."""
    handler = _handler(action) or 0
    return handler <= 1 or API.python_from <= handler < API.python_to


def _base(address: int | None) -> int | None:
    """Where the library begins that has an address; `None` for none."""
    place = _Place()
    return place.base if address and _dladdr(address, ctypes.byref(place)) else None


def _python_code() -> tuple[int, int]:
    """Where Python's own code begins and ends; twice 0 where the system does not say."""
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
