"""Readers of files that the file has taken over: each is started in place of one by `read_confined`."""

from __future__ import annotations

import ctypes
import errno
import importlib
import itertools
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any
from unittest import mock

import pyarrow as pa

from dataflare.pipeline.reading import own_limits
from jailed import calls_beyond_files, syscall

SCHEMA = pa.schema({"n": pa.int64()})
_MEMORY_FILES = (("memfd_create", b"x", 0), ("memfd_secret", 0), ("shmget", 0, 4096, 0o1600), ("pipe2", 0, 0))
_LEFT = (
    *(("dup", 0), ("landlock_create_ruleset", 0, 0, 1), ("pidfd_open", 1, 0), ("ptrace", 0, 0, 0, 0), ("setsid",)),
    *(("io_uring_setup", 1, 0), ("userfaultfd", 0), ("keyctl", 0, -3, 0), ("mmap", 0, 4096, 5, 0x22, -1, 0)),
    *(("mmap", 0, 4096, 3, 0x21, -1, 0), ("prlimit64", 0, 0, b"\xff" * 16, 0), ("socketpair", 1, 1, 0, b"12345678")),
)


def tries_all(file: IO[bytes], request: Mapping[str, Any]) -> Iterator[Any]:
    """Find out what the process can do that it need not, and what it has."""
    host, folder = os.getppid(), Path(request["folder"])
    attempts: dict[str, Callable[[], Any]] = {
        "read": Path("/etc/passwd").read_text,
        "read its file by its name": Path(request["path"]).read_bytes,
        "look": lambda: os.stat("/etc/passwd"),
        "list": lambda: os.listdir("/"),
        "make": lambda: (folder / "made").write_text(""),
        "write": lambda: Path(request["path"]).write_text("gone"),
        "shorten": lambda: os.truncate(request["path"], 0),
        "write to its descriptor": lambda: os.pwrite(file.fileno(), b"gone", 0),
        "shorten its descriptor": lambda: os.ftruncate(file.fileno(), 0),
        "change its mode": lambda: os.fchmod(file.fileno(), 0o777),
        "remove": Path(request["path"]).unlink,
        "connect": lambda: socket.socket(socket.AF_INET).connect(("127.0.0.1", request["port"])),
        "abstract socket": lambda: socket.socket(socket.AF_UNIX).connect("\0" + request["abstract"]),
        "packets": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "signals to the host": lambda: os.kill(host, 0),
        "memory of the host": lambda: os.open(f"/proc/{host}/mem", os.O_RDONLY),
        "its own memory": lambda: os.open("/proc/self/mem", os.O_RDWR),
        "library": lambda: ctypes.CDLL(request["path"]),
        "module": lambda: importlib.import_module("wave"),
        "memory": lambda: resource.setrlimit(resource.RLIMIT_AS, (-1, -1)),
        "time": lambda: resource.setrlimit(resource.RLIMIT_CPU, (-1, -1)),
    }
    through = [name for name, attempt in attempts.items() if not _is_refused(attempt)]
    if not through:  # if there is no jail, some of these would end it
        calls = (*calls_beyond_files(host), *_MEMORY_FILES, *_LEFT)
        through = [str(call[0]) for call in calls if syscall(*call) != -1]
    yield {"through": through, "open": _open_descriptors(), "time": resource.getrlimit(resource.RLIMIT_CPU)}
    yield SCHEMA


def _is_refused(attempt: Callable[[], Any]) -> bool:
    try:
        attempt()
    except (OSError, ImportError, ValueError):
        return True
    return False


def _open_descriptors() -> list[str]:
    """The kinds of what is open, but for the standard streams, which lead nowhere."""
    return sorted(kind for kind in map(_kind, range(3, 256)) if kind)


def _kind(number: int) -> str:
    """What a descriptor is; empty for none."""
    try:
        os.lseek(number, 0, os.SEEK_CUR)
    except OSError as error:
        return "pipe" if error.errno == errno.ESPIPE else ""
    return "file"


def sleeps(file: IO[bytes], request: Mapping[str, Any]) -> Iterator[Any]:
    """Say nothing, and do nothing."""
    while True:
        time.sleep(1)
        yield from ()


def stops(file: IO[bytes], request: Mapping[str, Any]) -> Iterator[Any]:
    """Begin well, and stop."""
    yield {}
    yield SCHEMA
    signal.raise_signal(signal.SIGSTOP)


def repeats(file: IO[bytes], request: Mapping[str, Any]) -> Iterator[Any]:
    """Send the same batch without end."""
    yield {}
    yield SCHEMA
    yield from itertools.repeat(pa.RecordBatch.from_arrays([pa.nulls(request["rows"], SCHEMA.types[0])], schema=SCHEMA))


def drips(file: IO[bytes], request: Mapping[str, Any]) -> Iterator[Any]:
    """Begin an answer, and send a byte of it now and then."""
    pipes = [number for number in range(3, 256) if _kind(number) == "pipe"]
    while True:
        for each in pipes:
            os.write(each, b"x")
        time.sleep(0.02)
        yield from ()


def loops(file: IO[bytes], request: Mapping[str, Any]) -> Iterator[Any]:
    """Compute without end."""
    yield {}
    yield SCHEMA
    while True:
        pass


def ignores(file: IO[bytes], request: Mapping[str, Any]) -> Iterator[Any]:
    """Compute without end, and ignore the signal that says that the time is up."""
    with mock.patch.object(own_limits, "_TO_END_S", 1):
        own_limits.limit_time(1)

    def compute() -> Iterator[Any]:
        signal.signal(signal.SIGXCPU, signal.SIG_IGN)
        while True:
            yield from ()

    return compute()


def waits(file: IO[bytes], request: Mapping[str, Any]) -> Iterator[Any]:
    """Read well, and take the time that a slow disk takes."""
    yield {}
    yield SCHEMA
    for number in range(request["batches"]):
        time.sleep(request["each_s"])
        yield pa.record_batch({"n": [number]}, SCHEMA)
