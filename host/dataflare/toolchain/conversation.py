"""Talks with a tool that runs: one message there, one back, over pipes beside its standard streams."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from dataflare.toolchain.run_tool import BuildFailed, Patience, how_ended, kill, start

__all__ = ["Conversation", "ToolEnded"]

_PART_BYTES: Final = 2**16
_MOST_BYTES: Final = 64 * 2**20
"""The largest message, and the most that a tool may print."""


class ToolEnded(BuildFailed):
    """The tool ended in place of an answer; `output` has the last of what it printed."""


class Conversation:
    """A tool with two more descriptors, which `DATAFLARE_PIPES` has as `7,9`: it reads messages from the first, and
    writes them to the second. Each is JSON, after its length as four bytes, little end first. Close it.

    Args:
        command: The program and its arguments.
        cwd: The folder to run it in.
        hint: What to do when the program is not there.
        printed: Is given what the tool prints, as it comes.

    Raises:
        ToolchainMissing: There is no such program.
    """

    def __init__(
        self, command: Sequence[str | Path], *, cwd: Path, hint: str, printed: Callable[[bytes], object]
    ) -> None:
        self._printed = printed
        self._tail = b""
        self._room = _MOST_BYTES
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        try:
            env = {"DATAFLARE_PIPES": f"{theirs_in},{theirs_out}"}
            self._tool = start(command, cwd=cwd, env=env, hint=hint, pass_fds=(theirs_in, theirs_out))
        except BaseException:
            os.close(self._to)
            os.close(self._from)
            raise
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        os.set_blocking(self._to, False)
        self._open = True

    def ask(self, message: Any, patience: Patience) -> Any:
        """Send a message, and wait for the next one.

        Raises:
            TimeoutError: The answer does not come in time.
            ToolStopped: It is no longer wanted.
            ToolEnded: The tool ended.
            BuildFailed: It printed too much, or its answer is too long, or not JSON.
        """
        data = json.dumps(message).encode()
        self._send(len(data).to_bytes(4, "little") + data, patience)
        return self.hear(patience)

    def hear(self, patience: Patience) -> Any:
        """Wait for the next message; raises what `ask` does."""
        length = int.from_bytes(self._receive(4, patience), "little")
        if length > _MOST_BYTES:
            raise BuildFailed(f"a message has {length} bytes; at most {_MOST_BYTES} are read")
        try:
            return json.loads(self._receive(length, patience))
        except (ValueError, RecursionError) as error:
            raise BuildFailed(f"a message is not JSON: {error}") from error

    def close(self) -> None:
        """End the tool. A second call does nothing."""
        if not self._open:
            return
        self._open = False
        os.close(self._to)
        os.close(self._from)
        kill(self._tool)
        with self._tool:
            self._drain()

    def _send(self, data: bytes, patience: Patience) -> None:
        left = memoryview(data)
        while left:
            self._wait(self._to, selectors.EVENT_WRITE, patience)
            try:
                left = left[os.write(self._to, left) :]
            except BlockingIOError:
                continue
            except BrokenPipeError as error:
                raise self._ended(patience) from error

    def _receive(self, length: int, patience: Patience) -> bytes:
        data = bytearray()
        while len(data) < length:
            self._wait(self._from, selectors.EVENT_READ, patience)
            part = os.read(self._from, min(length - len(data), _PART_BYTES))
            if not part:
                raise self._ended(patience)
            data += part
        return bytes(data)

    def _wait(self, descriptor: int, event: int, patience: Patience) -> None:
        """Wait until a descriptor is ready, and take what is printed until then."""
        with selectors.DefaultSelector() as ready:
            ready.register(descriptor, event)
            printing = self._stdout
            ready.register(printing, selectors.EVENT_READ)
            while True:
                found = {key.fd for key, _ in ready.select(patience.part_s())}
                if printing in found and not self._take():
                    ready.unregister(printing)
                if descriptor in found:
                    return

    def _ended(self, patience: Patience) -> ToolEnded:
        while self._tool.poll() is None:
            try:
                self._tool.wait(timeout=patience.part_s())
            except subprocess.TimeoutExpired:
                continue
        self._drain()
        return ToolEnded(how_ended(self._tool.returncode), output=self._tail.decode(errors="replace"))

    @property
    def _stdout(self) -> int:
        assert self._tool.stdout is not None
        return self._tool.stdout.fileno()

    def _take(self) -> bool:
        """Take a part of what was printed; returns whether there may be more."""
        part = os.read(self._stdout, _PART_BYTES)
        self._room -= len(part)
        if self._room < 0:
            raise BuildFailed(f"it printed more than {_MOST_BYTES // 2**20} MiB")
        self._tail = (self._tail + part)[-_PART_BYTES:]
        self._printed(part)
        return bool(part)

    def _drain(self) -> None:
        """Take the last of what was printed; not all of it, where the tool was ended as it went on and on."""
        os.set_blocking(self._stdout, False)
        # Something that it started may still have it open.
        with suppress(BlockingIOError, BuildFailed):
            while self._take():
                pass
