"""Starts the processes of workers: a new session, no environment, no descriptors but two, nothing of the terminal."""

from __future__ import annotations

import importlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Final, TypeAlias

__all__ = ["Starting", "end", "start"]

Starting: TypeAlias = Future[subprocess.Popen[bytes]]
"""A process that may have been started. Who makes it can `end` it, whenever an interrupt comes."""

_PACKAGES: Final = ("dataflare", "wasmtime", "pyarrow", "numpy", "orjson")
"""What a worker imports that is not in the standard library."""
_BOOT: Final = (
    "import sys, json; sys.path += json.loads(sys.argv[1]); "
    "module, name = sys.argv[2].split(':'); "
    "getattr(__import__(module, fromlist=[name]), name)(*map(int, sys.argv[3:]))"
)
_ENVIRONMENT: Final = {
    # Libraries that start threads when they are loaded would keep Landlock and namespaces from being used.
    **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    # Arrow's other allocators start threads, or reserve memory that counts as if it were used.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
_INHERITED: Final = ("LD_LIBRARY_PATH",)
"""Variables that Python itself may need to start."""


def start(
    entry: str, descriptors: Sequence[int], *, roots: Sequence[str] = (), process: Starting | None = None
) -> subprocess.Popen[bytes]:
    """Start a process that calls a function with the numbers of the descriptors and that of this process.

    Args:
        entry: `module:function`.
        descriptors: What it keeps of this process's open files, under the same numbers.
        roots: Further folders to import from.
        process: What becomes the process.

    Raises:
        OSError: It cannot be started.
    """
    environment = _ENVIRONMENT | {name: os.environ[name] for name in _INHERITED if name in os.environ}
    arguments = [json.dumps([*_roots(), *roots]), entry, *map(str, descriptors), str(os.getpid())]
    # -I: nothing of the user's; -S: no site, whose files may run code; -B: nothing is written.
    command = [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", _BOOT, *arguments]
    return _STARTER.run(
        lambda: subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
            pass_fds=descriptors,
            start_new_session=True,
        ),
        Future() if process is None else process,
    )


def _roots() -> list[str]:
    """The folders that hold the packages of a worker, each once."""
    files = (importlib.import_module(name).__file__ for name in _PACKAGES)
    return list(dict.fromkeys(str(Path(file).resolve().parents[1]) for file in files if file is not None))


class _Starter:
    """A thread that starts processes: the kernel ends them with the thread that started them, so it has to stay."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """There is no thread: none was started yet, or this is the child of a fork."""
        self._lock = threading.Lock()
        self._orders: queue.SimpleQueue[tuple[Starting, Callable[[], subprocess.Popen[bytes]]]]
        self._orders = queue.SimpleQueue()
        self._runs = False

    def run(self, make: Callable[[], subprocess.Popen[bytes]], made: Starting) -> subprocess.Popen[bytes]:
        """Have a process started, and wait until it is."""
        with self._lock:
            if not self._runs:
                threading.Thread(target=self._work, args=(self._orders,), name="dataflare-starter", daemon=True).start()
                self._runs = True
        self._orders.put((made, make))
        try:
            return made.result()
        except BaseException:
            # Interrupted, it may be: nobody would own the process.
            made.add_done_callback(end)
            raise

    @staticmethod
    def _work(
        orders: queue.SimpleQueue[tuple[Starting, Callable[[], subprocess.Popen[bytes]]]],
    ) -> None:
        while True:
            made, make = orders.get()
            try:
                made.set_result(make())
            except BaseException as error:
                made.set_exception(error)


def end(made: Starting) -> None:
    """End a process that was started, if it was."""
    if made.exception() is None:
        process = made.result()
        process.kill()
        process.wait()


_STARTER: Final = _Starter()
os.register_at_fork(after_in_child=_STARTER.forget)
