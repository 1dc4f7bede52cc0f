"""Connects the suite to a host: to this project's in the same process, or to any other through a command."""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any, Final, Protocol, TextIO, cast

from dataflare.conformance.host_service import HostService

__all__ = ["AdapterFailed", "CommandHost", "HostConnection", "LocalHost", "NoAnswer", "serve"]

_MAX_LINE: Final = 64 * 2**20
_MOST_SILENCES: Final = 3
"""After how many requests without a valid answer, one after the other, an adapter is not asked again."""
_MOST_WAITING: Final = 16
"""How many unexpected lines may wait: a host that writes more is ended."""
_BUFFER: Final = 2**16
_LEAST_S: Final = 1.0
"""What a command that closed its output has to end, whatever is left of its time."""
_END: Final = object()


class AdapterFailed(Exception):
    """The adapter broke the protocol: nothing is known about its host."""


class NoAnswer(Exception):
    """The host did not answer in time, or its process ended."""


class HostConnection(Protocol):
    """A host that takes requests."""

    def ask(self, request: Mapping[str, Any], *, within_s: float) -> dict[str, Any]:
        """Send a request, and wait for the answer.

        Raises:
            NoAnswer: None came in time, or none can come any more.
            AdapterFailed: What came is not an answer.
        """

    def close(self) -> None:
        """End it; idempotent."""


class LocalHost:
    """A host in this process. A call that never ends cannot be given up here."""

    def __init__(self, service: HostService) -> None:
        self.service = service

    def ask(self, request: Mapping[str, Any], *, within_s: float) -> dict[str, Any]:
        """Ask the service."""
        # As over a pipe: what JSON cannot hold does not come through.
        return dict(json.loads(json.dumps(self.service.answer(request))))

    def close(self) -> None:
        """End the host."""
        self.service.close()


class CommandHost:
    """A host behind a command that reads requests and writes answers, a JSON object a line.

    The command is started with the first request, and again after it died or was ended.

    Args:
        command: The command and its arguments.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._asked = 0
        self._silences = 0

    def ask(self, request: Mapping[str, Any], *, within_s: float) -> dict[str, Any]:
        """Send a line, and wait for one."""
        if self._silences >= _MOST_SILENCES:
            raise AdapterFailed(f"it gave no answer {self._silences} times in a row, and is not asked again")
        self._silences += 1
        process = self._started()
        self._asked += 1
        until_s = time.monotonic() + within_s
        try:
            _write(process, json.dumps({"id": self._asked, **request}).encode() + b"\n", until_s)
            line = self._lines.get(timeout=max(0.0, until_s - time.monotonic()))
        except OSError as error:
            self.close()
            raise NoAnswer(f"the adapter has ended: {error}") from error
        except queue.Empty:
            self.close()
            raise NoAnswer(f"no answer came within {within_s:g} s") from None
        if line is _END:
            raise NoAnswer(f"the adapter ended with code {self._ended(process, until_s)}")
        try:
            answer = self._answer(line)
        except AdapterFailed:
            self.close()  # what it writes next may be an answer to an earlier request
            raise
        self._silences = 0
        return answer

    def close(self) -> None:
        """End the command."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdin.close()

    def _ended(self, process: subprocess.Popen[bytes], until_s: float) -> int:
        """Its exit code: negative where it had to be ended, since it went on without an output."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(_LEAST_S, until_s - time.monotonic()))
        self.close()
        return process.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            try:
                self._process = subprocess.Popen(
                    self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, process_group=0
                )
                assert self._process.stdin is not None
                os.set_blocking(self._process.stdin.fileno(), False)
            except OSError as error:
                raise AdapterFailed(f"cannot be started: {error}") from error
            self._lines = queue.SimpleQueue()
            assert self._process.stdout is not None
            threading.Thread(target=_read, args=(self._process.stdout, self._lines), daemon=True).start()
        return self._process

    def _answer(self, line: bytes) -> dict[str, Any]:
        if len(line) > _MAX_LINE:
            raise AdapterFailed(f"the answer is longer than {_MAX_LINE:,} bytes")
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise AdapterFailed(f"the answer is not JSON: {error}") from error
        if not isinstance(found, dict) or found.get("id") != self._asked or len({"ok", "error"} & set(found)) != 1:
            raise AdapterFailed(f"the answer has not the number {self._asked} and one of `ok` and `error`")
        return found


def _write(process: subprocess.Popen[bytes], data: bytes, until_s: float) -> None:
    """Send a request; one that stands still takes nothing once its pipe is full.

    Raises:
        queue.Empty: It did not take all of it in time.
        OSError: It has ended.
    """
    assert process.stdin is not None
    pipe, rest = process.stdin.fileno(), memoryview(data)
    poll = select.poll()
    poll.register(pipe, select.POLLOUT)
    while rest:
        if not poll.poll(max(0.0, until_s - time.monotonic()) * 1000):
            raise queue.Empty
        with contextlib.suppress(BlockingIOError):
            rest = rest[os.write(pipe, rest) :]


def _read(stream: IO[bytes], lines: queue.SimpleQueue[Any]) -> None:
    # Lines of the pipe itself would be read a byte at a time.
    with io.BufferedReader(cast(io.RawIOBase, stream), _BUFFER) as buffered:
        while lines.qsize() < _MOST_WAITING and (line := buffered.readline(_MAX_LINE + 1)):
            lines.put(line)
    lines.put(_END)


def serve(service: HostService, requests: TextIO, answers: TextIO) -> None:
    """Answer requests, a line each, until there are no more."""
    try:
        for line in requests:
            try:
                request = json.loads(line)
                if not isinstance(request, dict):
                    raise ValueError("it is not an object")
            except (ValueError, RecursionError) as error:
                answer: dict[str, Any] = {"error": {"kind": "config", "message": f"the request is not JSON: {error}"}}
            else:
                answer = service.answer(request)
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
    finally:
        service.close()
