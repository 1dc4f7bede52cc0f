"""Files that may be pipes: a wait for what somebody writes to one comes to an end."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final

__all__ = ["Pipe", "open_plain"]

_PIPE_S: Final = 60.0
"""How long a pipe is waited for that nobody writes to."""
_LOOK_MS: Final = 200


def open_plain(path: Path) -> IO[bytes]:
    """Open a file without asking anyone; of a pipe, wait until something is written to it, for up to 60 seconds.

    Raises:
        OSError: It cannot be read, or nobody writes to it.
    """
    # A plain `open` of a pipe that nobody writes to would wait without end.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            ready = select.poll()
            ready.register(descriptor, select.POLLIN)
            if not ready.poll(_PIPE_S * 1000):
                raise OSError(errno.ETIMEDOUT, f"nothing was written to this pipe within {_PIPE_S:g} s")
            return io.BufferedReader(Pipe(descriptor, ready))
        os.set_blocking(descriptor, True)
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


class Pipe(io.RawIOBase):
    """A pipe; a thread that waits for what is written to it looks now and then whether it is `stopped`.

    Attributes:
        is_late: Asked while nothing comes, whether to wait no longer.
        was_late: Whether that ended a wait.
    """

    def __init__(self, descriptor: int, ready: select.poll) -> None:
        self._descriptor = descriptor
        self._ready = ready
        self.stopped = self.was_late = False
        self.is_late: Callable[[], bool] = lambda: False

    def fileno(self) -> int:
        return self._descriptor

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.stopped:
            # Another program may read the same pipe, and take what was ready.
            if self._ready.poll(_LOOK_MS):
                with contextlib.suppress(BlockingIOError):
                    return os.readv(self._descriptor, [buffer])
            elif self.is_late():
                self.stopped = self.was_late = True
        raise OSError(errno.ECANCELED, "nobody waits for this pipe any more")

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._descriptor)
