"""Frames between the host and a worker: a text, and bytes beside it, over a socket and shared memory.

Neither side sends descriptors. Large bytes go through memory of fixed size. Both sides access it by system calls, and
neither maps it: received bytes are a copy, which the sender can no longer change.

Every transfer has a deadline, so that a side that hangs or sends byte by byte cannot block the other one for longer.
"""

from __future__ import annotations

import io
import math
import os
import select
import socket
import struct
import time
from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from dataflare import cancellation
from dataflare.budgets import current
from dataflare.errors import HostShortage

__all__ = ["MAX_TEXT_BYTES", "BrokenWire", "Gone", "OutOfTime", "TooLarge", "Wire", "make_memory"]

MAX_TEXT_BYTES: Final = 16 * 2**20
TRANSFER_S: Final = 60.0
"""Maximum seconds for a message that has begun, even with a later deadline."""
_TURN_S: Final = 0.02
"""Seconds between checks for cancellation in a thread whose work can be cancelled."""
_INLINE_BYTES: Final = 32 * 2**10
_TOGETHER_BYTES: Final = 2**20
"""Bytes that are sent together with their text, where there is no shared memory: a second message costs more than that
these are copied."""
_HEAD: Final = struct.Struct("<IQ")  # bytes of text, bytes beside it
_MAX_TRANSFER: Final = 2**30


class BrokenWire(Exception):
    """The received data are not a message."""


class TooLarge(Exception):
    """A message is too large to send."""


class Gone(EOFError):
    """The other side has closed the connection."""


class OutOfTime(TimeoutError):
    """The other side did not send or receive a message in time."""


def make_memory(size: int) -> int:
    """Create the shared memory of a wire. Its size is fixed, so that a worker cannot enlarge it.

    Returns:
        Its descriptor.
    """
    import fcntl

    descriptor = os.memfd_create("dataflare", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, size)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class Wire:
    """One end of a connection; one thread at a time. It owns and closes its arguments.

    Args:
        connection: A Unix-domain stream socket.
        memory: The descriptor of the shared memory; `None` for a wire whose bytes all go through the connection.
        memory_bytes: The size of the shared memory, or of the most bytes beside a text.
        waits: Whether this end waits for the other one, however long that stops within a message.
    """

    def __init__(
        self, connection: socket.socket, memory: int | None, memory_bytes: int, *, waits: bool = False
    ) -> None:
        # Each closes itself, exactly once, even after an interrupt at any point.
        self._memory_file = None if memory is None else io.FileIO(memory, "r+")
        self._socket = connection
        self._memory = memory
        connection.setblocking(False)
        self._memory_bytes = memory_bytes
        self._inline_bytes = _TOGETHER_BYTES if memory is None else _INLINE_BYTES
        self._transfer_s = math.inf if waits else TRANSFER_S
        self._in = select.poll()
        self._in.register(connection, select.POLLIN)
        self._out = select.poll()
        self._out.register(connection, select.POLLOUT)

    def close(self) -> None:
        """Close this end; idempotent."""
        self._socket.close()
        if self._memory_file is not None:
            self._memory_file.close()

    def __del__(self) -> None:
        # An interrupt may have lost it before its owner could close it, or before it was made to its end.
        if hasattr(self, "_socket"):
            self.close()

    def send(self, text: bytes, parts: Sequence[memoryview] = (), *, deadline: float = math.inf) -> None:
        """Send a message.

        Args:
            text: Its text.
            parts: The bytes beside it, in order.
            deadline: The time by which it must be sent, on the clock `time.monotonic`.

        Raises:
            TooLarge: The message is too large; nothing was sent.
            OutOfTime: The other side did not receive it in time.
            Gone: The other side has closed the connection.
            HostShortage: The system has no memory for the bytes beside it.
        """
        size = sum(each.nbytes for each in parts)
        if len(text) > MAX_TEXT_BYTES or size > self._memory_bytes:
            raise TooLarge(f"a message of {len(text)} and {size} bytes")
        deadline = min(deadline, time.monotonic() + self._transfer_s)
        data = [_HEAD.pack(len(text), size), text]
        if size <= self._inline_bytes:
            data += map(bytes, parts)
        elif self._memory is not None:
            at = 0
            for part in parts:
                at = self._store(self._memory, part, at)
        self._write(memoryview(b"".join(data)), deadline)
        if size > self._inline_bytes and self._memory is None:
            for part in parts:
                self._write(part.cast("B"), deadline)

    def _write(self, rest: memoryview, deadline: float) -> None:
        while rest:
            try:
                # If the program has not disabled SIGPIPE, it would end with the worker.
                rest = rest[self._socket.send(rest, socket.MSG_NOSIGNAL) :]
            except BlockingIOError:
                self._wait(self._out, deadline)
            except ConnectionError as error:
                raise Gone from error

    def receive(self, *, deadline: float = math.inf) -> tuple[bytes, pa.Buffer]:
        """Wait for a message.

        Args:
            deadline: The time by which it must arrive, on the clock `time.monotonic`.

        Returns:
            Its text, and the bytes beside it.

        Raises:
            OutOfTime: It did not arrive in time.
            Gone: The other side has closed the connection.
            BrokenWire: The received data are not a message.
            OverHostBytes: The current budget has no room for it.
        """
        try:
            self._wait(self._in, deadline)
            deadline = min(deadline, time.monotonic() + self._transfer_s)
            text_size, size = _HEAD.unpack(self._exactly(_HEAD.size, deadline))
            if text_size > MAX_TEXT_BYTES or size > self._memory_bytes:
                raise BrokenWire(f"a message of {text_size} and {size} bytes")
            if size <= self._inline_bytes:
                data = self._exactly(text_size + size, deadline)
                return bytes(data[:text_size]), pa.py_buffer(memoryview(data)[text_size:])
            text = bytes(self._exactly(text_size, deadline))
            if self._memory is not None:
                return text, self._load(self._memory, size)
            return text, self._fill(size, deadline)
        except ConnectionError as error:
            raise Gone from error

    def _exactly(self, size: int, deadline: float) -> bytes | bytearray:
        data = bytearray()
        while len(data) < size:
            try:
                # Memory is allocated for the bytes that have arrived, not for the size that the header claims.
                more = self._socket.recv(min(size - len(data), 2**20))
            except BlockingIOError:
                self._wait(self._in, deadline)
                continue
            if len(more) == size:
                return more
            if not more:
                raise Gone
            data += more
        return data

    def _fill(self, size: int, deadline: float) -> pa.Buffer:
        current().require(size)
        # The system gives memory only for the bytes that arrive; addresses cost nothing.
        buffer = pa.allocate_buffer(size)
        rest = memoryview(buffer)
        while rest:
            try:
                arrived = self._socket.recv_into(rest)
            except BlockingIOError:
                self._wait(self._in, deadline)
                continue
            if not arrived:
                raise Gone
            rest = rest[arrived:]
        return buffer

    def _wait(self, ready: select.poll, deadline: float) -> None:
        while True:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise OutOfTime
            if cancellation.is_cancellable():
                cancellation.check()
                left_s = min(left_s, _TURN_S)
            # In milliseconds, at most what a C `int` holds.
            if ready.poll(None if left_s == math.inf else min(math.ceil(left_s * 1000), 2**30)):
                return

    @staticmethod
    def _store(memory: int, part: memoryview, at: int) -> int:
        part = part.cast("B")
        while part:
            try:
                written = os.pwrite(memory, part[:_MAX_TRANSFER], at)
            except OSError as error:
                raise HostShortage(f"there is no room for a message of {part.nbytes} bytes: {error}") from error
            part, at = part[written:], at + written
        return at

    @staticmethod
    def _load(memory: int, size: int) -> pa.Buffer:
        current().require(size)
        buffer = pa.allocate_buffer(size)
        rest, at = memoryview(buffer), 0
        while rest:
            taken = os.preadv(memory, [rest[:_MAX_TRANSFER]], at)
            if not taken:
                raise BrokenWire("bytes that are not there")
            rest, at = rest[taken:], at + taken
        return buffer
