"""The standard streams beneath what is printed: escaped where their encoding needs it, and lost without harm."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import IO

__all__ = ["OutputLost", "Stream", "abandon_stdout", "write_line"]


class OutputLost(Exception):
    """Standard output does not take what is written: it is closed, its disk is full, or its reader has gone.

    `why` is empty if nobody is left to be told.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Stream:
    """A standard stream as rich writes to it. Characters that its encoding does not have are escaped."""

    def __init__(self, stream: IO[str] | None, *, needed: bool) -> None:
        self._stream = stream
        self._needed = needed
        self.encoding: str = getattr(stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        text = text.encode(self.encoding, "backslashreplace").decode(self.encoding, "replace")
        with self._losses():
            if self._stream is None:
                raise ValueError("it is closed")
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            with self._losses():
                self._stream.flush()

    def isatty(self) -> bool:
        return self._stream is not None and not self._stream.closed and self._stream.isatty()

    def fileno(self) -> int:
        if self._stream is None:
            raise OSError("it is closed")
        return self._stream.fileno()

    @contextlib.contextmanager
    def _losses(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            self.abandon()
            if self._needed:
                gone = isinstance(error, BrokenPipeError)
                raise OutputLost("" if gone else getattr(error, "strerror", None) or str(error)) from error

    def abandon(self) -> None:
        """Let what is still written go nowhere: what is in the buffer would fail once more when Python ends."""
        with contextlib.suppress(OSError, ValueError):
            descriptor = self.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


def write_line(text: str) -> None:
    """Write a line of our own to standard output, for what must not wait for a console to be imported.

    Raises:
        OutputLost: It cannot be written.
    """
    stream = Stream(sys.stdout, needed=True)
    stream.write(f"{text}\n")
    stream.flush()


def abandon_stdout() -> None:
    """Write nothing more to standard output, of which something has failed."""
    Stream(sys.stdout, needed=False).abandon()
