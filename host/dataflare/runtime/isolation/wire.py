"""Frames between the host and a worker: a text, and bytes beside it, over a socket and a piece of shared memory.

Neither side sends descriptors. Large bytes go through memory of a fixed size that both sides write to and read from by
system calls, and that neither maps: what has been received is a copy, which the sender cannot change any more.

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
"""What a message that has begun may take, whatever the deadline."""
_TURN_S: Final = 0.02
"""How long a thread whose work can be cancelled waits before it looks whether it was."""
_INLINE_BYTES: Final = 32 * 2**10
_HEAD: Final = struct.Struct("<IQ")  # bytes of text, bytes beside it
_MAX_TRANSFER: Final = 2**30


class BrokenWire(Exception):
    """What came is not a message."""


class TooLarge(Exception):
    """What was to be sent is larger than a message may be."""


class Gone(EOFError):
    """The other side has gone."""


class OutOfTime(TimeoutError):
    """The other side did not send or take a message in time."""


def make_memory(size: int) -> int:
    """Make the shared memory of a wire: its size is fixed, so that a worker cannot take more by it.

    Returns:
        A descriptor.
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
    """One end of a connection; one thread at a time. Closes what it is given.

    Args:
        connection: A stream socket of the Unix domain.
        memory: The descriptor of the shared memory.
        memory_bytes: How large that is.
    """

    def __init__(self, connection: socket.socket, memory: int, memory_bytes: int) -> None:
        # Each closes itself, once, whenever an interrupt comes.
        self._memory_file = io.FileIO(memory, "r+")
        self._socket = connection
        self._memory = memory
        connection.setblocking(False)
        self._memory_bytes = memory_bytes
        self._in = select.poll()
        self._in.register(connection, select.POLLIN)
        self._out = select.poll()
        self._out.register(connection, select.POLLOUT)

    def close(self) -> None:
        """Close this end; idempotent."""
        self._socket.close()
        self._memory_file.close()

    def __del__(self) -> None:
        # An interrupt may have kept it from everybody who would close it.
        self.close()

    def send(self, text: bytes, parts: Sequence[memoryview] = (), *, deadline: float = math.inf) -> None:
        """Send a message.

        Args:
            text: Its text.
            parts: The bytes beside it, in order.
            deadline: When it must have left, on the clock `time.monotonic`.

        Raises:
            TooLarge: It is larger than a message may be; nothing was sent.
            OutOfTime: The other side did not take it in time.
            Gone: The other side has gone.
            HostShortage: The system has no memory for the bytes beside it.
        """
        size = sum(each.nbytes for each in parts)
        if len(text) > MAX_TEXT_BYTES or size > self._memory_bytes:
            raise TooLarge(f"a message of {len(text)} and {size} bytes")
        deadline = min(deadline, time.monotonic() + TRANSFER_S)
        data = [_HEAD.pack(len(text), size), text]
        if size <= _INLINE_BYTES:
            data += map(bytes, parts)
        else:
            at = 0
            for part in parts:
                at = self._store(part, at)
        rest = memoryview(b"".join(data))
        while rest:
            try:
                # Where the program has not turned SIGPIPE off, it would end with the worker.
                rest = rest[self._socket.send(rest, socket.MSG_NOSIGNAL) :]
            except BlockingIOError:
                self._wait(self._out, deadline)
            except ConnectionError as error:
                raise Gone from error

    def receive(self, *, deadline: float = math.inf) -> tuple[bytes, pa.Buffer]:
        """Wait for a message.

        Args:
            deadline: When it must be there, on the clock `time.monotonic`.

        Returns:
            Its text, and the bytes beside it.

        Raises:
            OutOfTime: It did not come in time.
            Gone: The other side has gone.
            BrokenWire: What came is not a message.
            OverHostBytes: There is no room for it in the current budget.
        """
        try:
            self._wait(self._in, deadline)
            deadline = min(deadline, time.monotonic() + TRANSFER_S)
            text_size, size = _HEAD.unpack(self._exactly(_HEAD.size, deadline))
            if text_size > MAX_TEXT_BYTES or size > self._memory_bytes:
                raise BrokenWire(f"a message of {text_size} and {size} bytes")
            if size <= _INLINE_BYTES:
                data = self._exactly(text_size + size, deadline)
                return data[:text_size], pa.py_buffer(data[text_size:])
            return self._exactly(text_size, deadline), self._load(size)
        except ConnectionError as error:
            raise Gone from error

    def _exactly(self, size: int, deadline: float) -> bytes:
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
        return bytes(data)

    def _wait(self, ready: select.poll, deadline: float) -> None:
        while True:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise OutOfTime
            if cancellation.is_cancellable():
                cancellation.check()
                left_s = min(left_s, _TURN_S)
            # In milliseconds, as many as an `int` of C holds.
            if ready.poll(None if left_s == math.inf else min(math.ceil(left_s * 1000), 2**30)):
                return

    def _store(self, part: memoryview, at: int) -> int:
        part = part.cast("B")
        while part:
            try:
                written = os.pwrite(self._memory, part[:_MAX_TRANSFER], at)
            except OSError as error:
                raise HostShortage(f"there is no room for a message of {part.nbytes} bytes: {error}") from error
            part, at = part[written:], at + written
        return at

    def _load(self, size: int) -> pa.Buffer:
        current().require(size)
        buffer = pa.allocate_buffer(size)
        rest, at = memoryview(buffer), 0
        while rest:
            taken = os.preadv(self._memory, [rest[:_MAX_TRANSFER]], at)
            if not taken:
                raise BrokenWire("bytes that are not there")
            rest, at = rest[taken:], at + taken
        return buffer
