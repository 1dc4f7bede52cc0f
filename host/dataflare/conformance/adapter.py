"""Connects the suite to a host: to this project's in the same process, or to any other through a command."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, TextIO

from dataflare.conformance.host_service import HostService

__all__ = ["AdapterFailed", "CommandHost", "HostConnection", "LocalHost", "NoAnswer", "serve"]

_MAX_LINE: Final = 64 * 2**20
_MOST_SILENCES: Final = 3
"""After how many requests without a valid answer, one after the other, an adapter is not asked again."""
_PART: Final = 2**20
_LEAST_S: Final = 1.0
"""What a command that closed its output has to end, so that its code is known."""
_LOOK_S: Final = 0.25
"""How often it is looked whether a command has ended whose output another process keeps open."""


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
        patience_s: How many seconds of waiting for answers that never came are too many.
    """

    def __init__(self, command: Sequence[str], *, patience_s: float = 300.0) -> None:
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._patience_s = patience_s
        self._waited_s = 0.0
        self._asked = 0
        self._silences = 0

    def ask(self, request: Mapping[str, Any], *, within_s: float) -> dict[str, Any]:
        """Send a line, and wait for one."""
        if self._silences >= _MOST_SILENCES:
            raise AdapterFailed(f"it gave no answer {self._silences} times in a row, and is not asked again")
        if self._waited_s >= self._patience_s:
            raise AdapterFailed(f"its host was waited for in vain for {self._waited_s:.0f} s, and is not asked again")
        self._silences += 1
        process = self._started()
        self._asked += 1
        data = json.dumps({"id": self._asked, **request}).encode() + b"\n"
        began_s = time.monotonic()
        try:
            answer = self._answer(_exchange(process, data, within_s))
        except BaseException as error:
            self.close()  # what it writes next may be an answer to an earlier request
            if isinstance(error, NoAnswer):
                self._waited_s += time.monotonic() - began_s
            raise
        self._silences = 0
        return answer

    def close(self) -> None:
        """End the command."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            try:
                self._process = subprocess.Popen(
                    self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, process_group=0
                )
            except OSError as error:
                raise AdapterFailed(f"cannot be started: {error}") from error
            assert self._process.stdin is not None
            os.set_blocking(self._process.stdin.fileno(), False)
        return self._process

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise AdapterFailed(f"the answer is not JSON: {error}") from error
        is_one = isinstance(found, dict) and type(found.get("id")) is int and found["id"] == self._asked
        if not is_one or len({"ok", "error"} & set(found)) != 1:
            raise AdapterFailed(f"the answer has not the number {self._asked} and one of `ok` and `error`")
        return dict(found)


def _exchange(process: subprocess.Popen[bytes], data: bytes, within_s: float) -> bytes:
    """Send a request, and wait for a line.

    Raises:
        NoAnswer: None came in time, or the process has ended.
        AdapterFailed: It wrote something that it was not asked for, or more than a line may have.
    """
    assert process.stdin is not None and process.stdout is not None
    requests, answers = process.stdin.fileno(), process.stdout.fileno()
    poll = select.poll()
    poll.register(answers, select.POLLIN)
    until_s = time.monotonic() + within_s
    line, is_asked, has_ended = bytearray(), False, False
    while True:
        # Before the request, and after the end, only what is there already counts.
        wait_s = min(_LOOK_S, max(0.0, until_s - time.monotonic())) if is_asked and not has_ended else 0.0
        ready = {number for number, _ in poll.poll(wait_s * 1000)}
        if answers in ready:
            part = os.read(answers, _PART)
            if not part:
                raise NoAnswer(_ending(process, line))
            if not is_asked:
                raise AdapterFailed("it wrote a line that it was not asked for")
            at = len(line)
            line += part
            if (end := line.find(b"\n", at)) >= 0:
                if end + 1 < len(line):
                    raise AdapterFailed("it wrote more than one line for a request")
                return bytes(line)
            if len(line) > _MAX_LINE:
                raise AdapterFailed(f"the answer is longer than {_MAX_LINE:,} bytes")
        elif has_ended:
            raise NoAnswer(f"{_ending(process, line)}, and a process that it started keeps its output open")
        if not is_asked:
            is_asked, rest = True, memoryview(data)
            poll.register(requests, select.POLLOUT)
        elif requests in ready:
            rest = _sent(requests, rest)
            if not rest:
                poll.unregister(requests)
        has_ended = _exit_code(process) is not None
        if not has_ended and time.monotonic() >= until_s:
            raise NoAnswer(f"{'only the beginning of an' if line else 'no'} answer came within {within_s:g} s")


def _sent(pipe: int, rest: memoryview) -> memoryview:
    """Send what fits into the pipe, and return the rest."""
    try:
        return rest[os.write(pipe, rest) :]
    except BlockingIOError:
        return rest
    except BrokenPipeError:
        return rest[:0]  # it reads no more; what it wrote before may be an answer


def _exit_code(process: subprocess.Popen[bytes]) -> int | None:
    """The code of a process that has ended, whose number then stays its own: its group is still to be ended."""
    found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    return None if found is None else found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def _ending(process: subprocess.Popen[bytes], line: bytearray) -> str:
    """Say how an adapter ended that writes no more."""
    until_s = time.monotonic() + _LEAST_S
    while (code := _exit_code(process)) is None and time.monotonic() < until_s:
        time.sleep(0.01)
    how = "closed its output" if code is None else f"ended with code {code}"
    return f"the adapter {how}{' in the middle of an answer' if line else ''}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command, with the processes of its group."""
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()


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
