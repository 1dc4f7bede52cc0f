"""What a plugin writes to its standard error, line by line."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Final

from dataflare.engine.native.callbacks import Call

__all__ = ["LineSink"]


class LineSink:
    """Splits what a plugin writes into lines; truncates long lines. Must live as long as the instance's store.

    Args:
        take: Called with each line; its exceptions are dropped, so that a plugin's write cannot fail.
        call: Where native code puts the text.
    """

    _MAX_LINE: Final = 16_384

    def __init__(self, take: Callable[[str], None], call: Call) -> None:
        self._take = take
        self._rest = b""
        # Threads of wasmtime call it too. It must not refer to the instance, which refers to it.
        self._callable = lambda: self.write(ctypes.string_at(call.text or 0, call.text_size))
        call.take_text = id(self._callable)

    def write(self, text: bytes) -> None:
        """Take the next part of the text."""
        try:
            *lines, self._rest = (self._rest + text).split(b"\n")
            if len(self._rest) > self._MAX_LINE:
                lines.append(self._rest)
                self._rest = b""
            for line in lines:
                self._take(line[: self._MAX_LINE].decode(errors="replace"))
        except Exception:
            self._rest = b""
