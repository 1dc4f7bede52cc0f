"""Wall-time limits: a thread that makes running plugins look at the clock."""

from __future__ import annotations

import threading
import time
from typing import Any, Final

from wasmtime import _bindings as raw

__all__ = ["Timer"]

_TICK_S: Final = 0.005


class Timer:
    """Watches the calls of one wasmtime engine.

    Compiled code compares the engine's epoch at each loop and function. The epoch only advances when some call is
    over its time; then every running call looks whether it is meant (`Instance`'s epoch callback). An idle timer
    sleeps.
    """

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._deadlines: dict[object, float] = {}
        self._wake = threading.Event()
        self._idle = True
        self._closed = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def enter(self, key: object, deadline: float) -> None:
        """Begin to watch a call that must end by `time.monotonic() == deadline`."""
        self._deadlines[key] = deadline
        if self._idle:
            if self._thread is None:
                self._start()
            self._wake.set()

    def leave(self, key: object) -> None:
        """The call has ended."""
        self._deadlines.pop(key, None)

    def close(self) -> None:
        """Stop the thread; idempotent."""
        self._closed = True
        self._wake.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="dataflare-timer", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._closed:
            self._idle = True
            if not self._deadlines:
                self._wake.wait()
                self._wake.clear()
            self._idle = False
            time.sleep(_TICK_S)
            now = time.monotonic()
            if any(deadline <= now for deadline in list(self._deadlines.values())):
                raw._wasmtime_engine_increment_epoch(self._engine.ptr())
