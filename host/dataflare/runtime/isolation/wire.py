"""What goes between the host and a worker: values as JSON, bytes beside it, batches as sealed memory.

Nothing of what a worker sends is unpickled or run. Batches come as memory that its sender has sealed, so that it cannot
change any more when it is looked at.
"""

from __future__ import annotations

import dataclasses
import fcntl
import math
import mmap
import os
import socket
import struct
from types import SimpleNamespace
from typing import Any, Final, Protocol

import numpy as np
import orjson
import pyarrow as pa

from dataflare.data.batches import Batch
from dataflare.data.ipc import decode_stream, encode_stream
from dataflare.values import Err, Ok, Some, Variant

__all__ = ["BrokenWire", "Handles", "Wire"]

MAX_FRAME_BYTES: Final = 2**31
MAX_FDS: Final = 64
_HEAD: Final = struct.Struct("<IIQ")  # descriptors, bytes of JSON, bytes beside it
_SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_DTYPES: Final = frozenset({"|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f4", "<f8"})


class BrokenWire(Exception):
    """What came is no message."""


class Handles(Protocol):
    """Objects that stay where they are, and are known to the other side by a number."""

    def number_of(self, thing: Any) -> int:
        """The number of an object of this side, or of one of the other side."""

    def thing_of(self, number: int) -> Any:
        """The object of a number; KeyError where there is none."""


class Wire:
    """One end of a socket; one thread at a time.

    Args:
        connection: A stream socket of the Unix domain.
        handles: What stays on one side.
        max_batch_bytes: What a batch that comes may take.
    """

    def __init__(self, connection: socket.socket, handles: Handles, *, max_batch_bytes: int) -> None:
        self._socket = connection
        self._handles = handles
        self._max_batch_bytes = max_batch_bytes

    def close(self) -> None:
        """Close this end; idempotent."""
        self._socket.close()

    def send(self, *message: Any) -> None:
        """Send a message.

        Raises:
            OSError: The other side has gone.
            TypeError: Something cannot be sent.
        """
        parts: list[bytes] = []
        files: list[int] = []
        try:
            text = orjson.dumps([self._encoded(each, parts, files) for each in message])
            beside = b"".join(parts)
            head = _HEAD.pack(len(files), len(text), len(beside))
            if files:
                socket.send_fds(self._socket, [head], files)
            else:
                self._socket.sendall(head)
            self._socket.sendall(text)
            self._socket.sendall(beside)
        finally:
            for descriptor in files:
                os.close(descriptor)

    def receive(self, timeout_s: float | None = None) -> list[Any]:
        """Wait for a message.

        Raises:
            TimeoutError: None came in time.
            EOFError: The other side has gone.
            BrokenWire: What came is none.
        """
        self._socket.settimeout(timeout_s)
        files: list[int] = []
        try:
            head, files, _, _ = socket.recv_fds(self._socket, _HEAD.size, MAX_FDS)
            head += self._exactly(_HEAD.size - len(head)) if head else b""
            if not head:
                raise EOFError
            count, text_size, beside_size = _HEAD.unpack(head)
            if count != len(files) or text_size + beside_size > MAX_FRAME_BYTES:
                raise BrokenWire("a message of a size that is not allowed")
            text, beside = self._exactly(text_size), self._exactly(beside_size)
            try:
                message = orjson.loads(text)
                if not isinstance(message, list):
                    raise BrokenWire("a message that is no list")
                return [self._decoded(each, memoryview(beside), files) for each in message]
            except (ValueError, TypeError, KeyError, IndexError, RecursionError, pa.ArrowException) as error:
                raise BrokenWire(f"a message that cannot be read: {type(error).__name__}") from error
        except ConnectionError as error:
            raise EOFError from error
        finally:
            self._socket.settimeout(None)
            for descriptor in files:
                os.close(descriptor)

    def _exactly(self, size: int) -> bytes:
        data = bytearray(size)
        view = memoryview(data)
        got = 0
        while got < size:
            more = self._socket.recv_into(view[got:])
            if not more:
                raise EOFError
            got += more
        return bytes(data)

    # Values. Plain ones are JSON's own; all others are lists that begin with what they are.

    def _encoded(self, value: Any, parts: list[bytes], files: list[int]) -> Any:
        def inner(each: Any) -> Any:
            return self._encoded(each, parts, files)

        match value:
            case None | bool() | int() | str():
                return value
            case float():
                return value if math.isfinite(value) else ["float", str(value)]
            case bytes() | bytearray() | memoryview() | pa.Buffer():
                return ["bytes", _put(bytes(value), parts), len(memoryview(value).cast("B"))]
            case np.ndarray():
                data = np.ascontiguousarray(value).tobytes()
                return ["array", value.dtype.str, _put(data, parts), len(data)]
            case list():
                return ["list", *map(inner, value)]
            case tuple() if not hasattr(value, "_fields"):
                return ["tuple", *map(inner, value)]
            case frozenset() | set():
                return ["set", *map(inner, value)]
            case dict():
                return ["dict", *([inner(k), inner(v)] for k, v in value.items())]
            case Ok():
                return ["ok", inner(value.value)]
            case Err():
                return ["err", inner(value.error)]
            case Some():
                return ["some", inner(value.value)]
            case Variant():
                return ["variant", value.case, inner(value.value)]
            case Batch():
                files.append(_sealed(encode_stream(value.arrow)))
                return ["batch", len(files) - 1]
        names = _fields(value)
        if hasattr(value, "close_handle") or names is None:
            return ["handle", self._handles.number_of(value)]
        return ["record", *([name, inner(getattr(value, name))] for name in names)]

    def _decoded(self, value: Any, beside: memoryview, files: list[int]) -> Any:
        if not isinstance(value, list):
            if isinstance(value, dict):
                raise BrokenWire("an object")
            return value
        kind, *rest = value

        def inner(each: Any) -> Any:
            return self._decoded(each, beside, files)

        match kind:
            case "float":
                return float(rest[0])
            case "bytes":
                return bytes(_part(beside, *rest))
            case "array" if rest[0] in _DTYPES:
                return np.frombuffer(bytes(_part(beside, *rest[1:])), np.dtype(rest[0]))
            case "list":
                return [inner(each) for each in rest]
            case "tuple":
                return tuple(inner(each) for each in rest)
            case "set":
                return frozenset(inner(each) for each in rest)
            case "dict":
                return {inner(k): inner(v) for k, v in rest}
            case "ok":
                return Ok(inner(rest[0]))
            case "err":
                return Err(inner(rest[0]))
            case "some":
                return Some(inner(rest[0]))
            case "variant":
                return Variant(str(rest[0]), inner(rest[1]))
            case "batch":
                return Batch(
                    decode_stream(_mapped(files[rest[0]]), self._max_batch_bytes), max_bytes=self._max_batch_bytes
                )
            case "handle":
                return self._handles.thing_of(rest[0])
            case "record":
                return SimpleNamespace(**{str(name): inner(each) for name, each in rest})
        raise BrokenWire(f"a value of the kind {str(kind)[:40]!r}")


def _put(data: bytes, parts: list[bytes]) -> int:
    at = sum(map(len, parts))
    parts.append(data)
    return at


def _part(beside: memoryview, at: int, size: int) -> memoryview:
    if not (isinstance(at, int) and isinstance(size, int)) or at < 0 or size < 0 or at + size > len(beside):
        raise BrokenWire("bytes that are not there")
    return beside[at : at + size]


def _fields(value: Any) -> tuple[str, ...] | None:
    """The fields of a record; `None` for what is none."""
    if dataclasses.is_dataclass(value):
        return tuple(each.name for each in dataclasses.fields(value))
    if isinstance(value, SimpleNamespace):
        return tuple(vars(value))
    if hasattr(value, "_fields"):
        return tuple(value._fields)
    slots = getattr(type(value), "__slots__", None)
    return (slots,) if isinstance(slots, str) else None if slots is None else tuple(slots)


def _sealed(data: pa.Buffer) -> int:
    descriptor = os.memfd_create("batch", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _mapped(descriptor: int) -> Any:
    """The contents of sealed memory, which lives as long as they are in use."""
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError:
        seals = 0
    if seals & _SEALS != _SEALS:
        raise BrokenWire("memory that could still change")
    size = os.fstat(descriptor).st_size
    return pa.py_buffer(mmap.mmap(descriptor, size, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED)) if size else b""
