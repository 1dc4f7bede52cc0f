"""Starts worker processes: in a new session without a terminal, with a minimal environment and no other descriptors."""

from __future__ import annotations

import _thread
import contextlib
import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

__all__ = ["Process", "in_starter", "start"]

T = TypeVar("T")

_PACKAGES: Final = ("dataflare", "wasmtime", "pyarrow", "numpy", "orjson")
"""The packages outside of the standard library that a worker imports."""
_BOOT: Final = (
    "import sys, json; sys.path += json.loads(sys.argv[1]); "
    "sys.modules.update(dict.fromkeys(json.loads(sys.argv[2]))); "
    "module, name = sys.argv[3].split(':'); "
    "getattr(__import__(module, fromlist=[name]), name)(*map(int, sys.argv[4:]))"
)
_ENVIRONMENT: Final = {
    # Libraries that start threads when they are loaded would keep Landlock and namespaces from being used.
    **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    # Arrow's other allocators start threads, or reserve memory that counts as if it were used.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    # One of these allocators starts its thread when Arrow is loaded, even if it is not used.
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
_INHERITED: Final = ("LD_LIBRARY_PATH",)
"""Variables that Python itself may need to start."""
_LOOK_S: Final = 0.001


class Process:
    """A started process, which ends with this object.

    Its methods may be called again after an interrupt at any point. `Popen` is not used for this, since it has a lock
    that an interrupt could leave locked. In a fork of the starting process, the methods do nothing.
    """

    # What a half-made object has, if an interrupt comes before the end of `__init__`.
    pid = 0
    _starter = 0
    _exit_code: int | None = None

    def __init__(self, started: subprocess.Popen[bytes]) -> None:
        self._starter = os.getpid()
        self.pid = started.pid
        started.returncode = 0  # this class reaps the process

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; `None` while it runs."""
        self._reap(os.WNOHANG)
        return self._exit_code

    def wait(self, timeout_s: float) -> int | None:
        """Wait until the process has ended or `timeout_s` seconds have passed; return like `poll`."""
        until_s = time.monotonic() + timeout_s
        while (code := self.poll()) is None and time.monotonic() < until_s:
            time.sleep(_LOOK_S)
        return code

    def computed_s(self) -> float:
        """Return the processor time that the process has taken, in seconds."""
        return time.clock_gettime(~self.pid << 3 | 2)  # as clock_getcpuclockid(3) makes the clock of a process

    def kill(self) -> None:
        """Kill it, and processes that it started (a weaker jail allows them), without waiting."""
        if self._exit_code is None and self._starter == os.getpid():
            for send in (os.killpg, os.kill):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    send(self.pid, signal.SIGKILL)

    def end(self) -> None:
        """End it, and wait until it has ended."""
        self.kill()
        self._reap(0)

    def __del__(self) -> None:
        # An interrupt may have lost it before its owner could end it. Do not wait here: the next interrupt would be
        # lost.
        if self.pid and self._exit_code is None and self._starter == os.getpid():
            self.kill()
            _dropped.append(self.pid)

    def _reap(self, options: int) -> None:
        if self._exit_code is None and self._starter == os.getpid():
            self._exit_code = _exit_code(self.pid, options)


def _exit_code(pid: int, options: int) -> int | None:
    try:
        found, status = os.waitpid(pid, options)
    except ChildProcessError:  # another caller has already reaped it, and knows the code
        return 0
    return os.waitstatus_to_exitcode(status) if found else None


_dropped: Final[list[int]] = []
"""Processes that were killed, but not yet waited for."""


def start(
    entry: str,
    descriptors: Sequence[int],
    *,
    numbers: Sequence[int] = (),
    roots: Sequence[str] = (),
    without: Sequence[str] = (),
) -> Process:
    """Start a process that calls a function with the descriptor numbers, `numbers`, and the id of this process.

    The kernel ends it with the calling thread: see `in_starter`.

    Args:
        entry: `module:function`.
        descriptors: The open descriptors that it inherits, with the same numbers.
        numbers: Further arguments of the function.
        roots: Further folders to import from.
        without: Packages that it does not import, as if they were not installed.

    Raises:
        OSError: It cannot be started.
    """
    environment = _ENVIRONMENT | {name: os.environ[name] for name in _INHERITED if name in os.environ}
    imports = [json.dumps(each) for each in ([*_roots(), *roots], [*without])]
    arguments = [*imports, entry, *map(str, (*descriptors, *numbers, os.getpid()))]
    # -I: isolated from the user's settings; -S: no site module, whose files may run code; -B: no bytecode is written.
    command = [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", _BOOT, *arguments]
    return Process(
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
            pass_fds=descriptors,
            start_new_session=True,
        )
    )


def _roots() -> list[str]:
    """Return the folders of a worker's packages, each once."""
    files = (importlib.import_module(name).__file__ for name in _PACKAGES)
    return list(dict.fromkeys(str(Path(file).resolve().parents[1]) for file in files if file is not None))


def in_starter(make: Callable[[], T]) -> T:
    """Call a function in the thread that starts processes, and wait for its result.

    The thread never ends, and no signal handler runs in it. An interrupt ends the wait at once. The result is then
    dropped, so it must clean up by itself, as `Process` and `Wire` do.
    """
    return _STARTER.run(make)


class _Order:
    """A call for the starting thread. Only queues in C are used: an interrupt could leave others locked."""

    __slots__ = ("_outcome", "_wanted", "make")

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make
        self._outcome: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._wanted = True

    def fill(self) -> None:
        try:
            self._outcome.put((self.make(), None))
        except BaseException as error:
            self._outcome.put((None, error))
        if not self._wanted:
            self._drop()

    def wait(self) -> Any:
        try:
            made, error = self._outcome.get()
        except BaseException:
            # The traceback may live for a long time.
            self._wanted = False
            self._drop()
            raise
        if error is not None:
            raise error
        return made

    def _drop(self) -> None:
        with contextlib.suppress(queue.Empty):
            self._outcome.get_nowait()


class _Starter:
    """A thread that starts processes. It must live on, since the kernel ends processes with the thread that started
    them."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Reset to having no thread: initially, and in the child of a fork."""
        self._lock = threading.Lock()
        self._orders: queue.SimpleQueue[_Order] = queue.SimpleQueue()
        self._runs = False
        _dropped.clear()

    def run(self, make: Callable[[], T]) -> T:
        """Call a function in the thread, and wait for its result."""
        with self._lock:
            if not self._runs:
                _thread.start_new_thread(self._work, (self._orders,))
                self._runs = True
        order = _Order(make)
        self._orders.put(order)
        made: T = order.wait()
        return made

    @staticmethod
    def _work(orders: queue.SimpleQueue[_Order]) -> None:
        while True:
            order = orders.get()
            _dropped[:] = [pid for pid in _dropped if _exit_code(pid, os.WNOHANG) is None]
            order.fill()
            del order  # the result belongs to the thread that waited for it


_STARTER: Final = _Starter()
os.register_at_fork(after_in_child=_STARTER.forget)
