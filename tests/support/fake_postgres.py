"""A server that lets everybody in by PostgreSQL's protocol, and then answers what a script says."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dataflare.permissions.database_keys import DatabaseGrant

Step = bytes | Callable[[socket.socket, int], None]


def message(kind: bytes, body: bytes, size: int | None = None) -> bytes:
    """A message of the server, with the length that it claims."""
    return kind + struct.pack(">i", len(body) + 4 if size is None else size) + body


LET_IN: Final = (
    message(b"R", struct.pack(">i", 0))
    + message(b"S", b"server_version\x0015.0\0")
    + message(b"S", b"client_encoding\0UTF8\0")
    + message(b"K", struct.pack(">ii", 1, 1))
    + message(b"Z", b"I")
)


class FakeServer:
    """A server with a socket in a folder; `close` it.

    Args:
        folder: The folder.
        script: What it sends to each connection, one step after each thing that it receives; after the last one, it
            waits until the other side has gone.

    Attributes:
        peers: The ids of the processes that connected.
    """

    def __init__(self, folder: Path, *script: Step) -> None:
        self.grant = DatabaseGrant(kind="postgresql", place=f"postgresql://tester@/shop?host={folder}")
        self.peers: list[int] = []
        self._script = script
        place = folder / ".s.PGSQL.5432"
        place.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(place))
        self._socket.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Let nobody in any more."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        size = struct.calcsize("3i")
        pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
        self.peers.append(pid)
        with contextlib.suppress(OSError), connection:
            for step in self._script:
                if not connection.recv(2**16):
                    return
                if callable(step):
                    step(connection, pid)
                else:
                    connection.sendall(step)
            while connection.recv(2**16):
                pass


def ends_it(number: int) -> Callable[[socket.socket, int], None]:
    """What a fault of the driver's does that the server has found; not to this process."""

    def end(connection: socket.socket, pid: int) -> None:
        assert pid != os.getpid()
        os.kill(pid, number)

    return end


def last(data: bytes) -> Callable[[socket.socket, int], None]:
    """What is sent before the connection ends."""

    def send(connection: socket.socket, pid: int) -> None:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_RDWR)

    return send
