"""Runs tools, and reports what goes wrong."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from dataflare.errors import DataflareError

__all__ = [
    "BuildFailed",
    "Patience",
    "ToolStopped",
    "ToolchainMissing",
    "how_ended",
    "kill",
    "run",
    "start",
    "stopped_when",
]

# What would make a build depend on the machine that it runs on.
_DROPPED = (
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_MAKEFLAGS",
    "CARGO_TARGET_DIR",
    # Of a `make` that calls this: its jobs are not handed on.
    "MAKEFLAGS",
    "MFLAGS",
    "NODE_OPTIONS",
    "PYTHONPATH",
    "RUSTC",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "VIRTUAL_ENV",
)
_TAIL_LINES = 40
_LOOK_EVERY_S = 0.2
_PART_BYTES = 2**16
_MOST_PRINTED = 64 * 2**20
"""What a tool may print: a plugin's code that a tool runs, or quotes, may print without end."""
_STOPPED_WHEN: ContextVar[tuple[Callable[[], bool], float] | None] = ContextVar("_STOPPED_WHEN", default=None)


class ToolchainMissing(DataflareError):
    """A tool that a build needs is not on this machine; the hint says how to install it."""


class BuildFailed(DataflareError):
    """A tool ended with an error. `output` has its last lines."""

    def __init__(self, message: str, *, output: str = "", hint: str = "") -> None:
        super().__init__(f"{message}\n{output}" if output else message, hint=hint)
        self.output = output


class ToolStopped(DataflareError):
    """A tool was stopped because its result is no longer needed."""


@contextmanager
def stopped_when(unwanted: Callable[[], bool], *, after_s: float) -> Iterator[None]:
    """End the tools that run within this, with a `ToolStopped`, as soon as they are not wanted.

    Args:
        unwanted: Asked several times a second.
        after_s: Wall seconds that a tool gets at most, where its own limit is higher.
    """
    token = _STOPPED_WHEN.set((unwanted, after_s))
    try:
        yield
    finally:
        _STOPPED_WHEN.reset(token)


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 1800,
    hint: str = "",
    tail_lines: int = _TAIL_LINES,
) -> str:
    """Run a tool to its end and return what it printed.

    Args:
        command: The program and its arguments; no shell.
        cwd: The folder to run it in.
        env: Variables to add to this process's.
        timeout_s: Wall seconds after which it is killed, with what it started; an interrupt kills it too.
        hint: What to do when the program is not there.
        tail_lines: How many of the last printed lines an error has.

    Raises:
        ToolchainMissing: There is no such program.
        BuildFailed: It ended with an error, or not in time, or printed too much.
        ToolStopped: It was ended by `stopped_when`.
    """
    patience = Patience(timeout_s)
    with start(command, cwd=cwd, env=env, hint=hint) as tool:
        try:
            output = _output(tool, patience)
        except BaseException as exc:
            kill(tool)
            if not isinstance(exc, TimeoutError):
                raise
            raise BuildFailed(f"{_named(tool)} did not end within {patience.seconds:.0f} s") from exc
    if tool.returncode:
        tail = "\n".join(f"    {line}" for line in output.splitlines()[-tail_lines:])
        raise BuildFailed(f"{_named(tool)} {how_ended(tool.returncode)}", output=tail)
    return output


def start(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    hint: str = "",
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a tool, as `run` does; what it prints is read from its `stdout`. It also inherits the descriptors.

    Raises:
        ToolchainMissing: There is no such program.
    """
    variables = {key: value for key, value in os.environ.items() if key not in _DROPPED} | dict(env or {})
    words = [str(word) for word in command]
    try:
        return subprocess.Popen(
            words,
            cwd=cwd,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
            pass_fds=pass_fds,
        )
    except (FileNotFoundError, PermissionError) as exc:
        raise ToolchainMissing(f"{words[0]} cannot be run: {exc.strerror}", hint=hint) from exc


def kill(tool: subprocess.Popen[bytes]) -> None:
    """Kill a tool, with all that it has started: that would go on, and could keep its output open."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(tool.pid, signal.SIGKILL)


class Patience:
    """How long a tool is waited for: until its time is up, or until `stopped_when` says that it is not wanted.

    Args:
        seconds: Wall seconds from now; `stopped_when` may lower them.
    """

    def __init__(self, seconds: float) -> None:
        stopped = _STOPPED_WHEN.get()
        self._unwanted = None if stopped is None else stopped[0]
        most_s = seconds if stopped is None else stopped[1]
        self.seconds = min(seconds, most_s)
        self._end = time.monotonic() + self.seconds
        self._look_at = time.monotonic() + _LOOK_EVERY_S

    def part_s(self) -> float:
        """How many seconds to wait before this is asked again.

        Raises:
            TimeoutError: The time is up.
            ToolStopped: The tool is not wanted any more.
        """
        now = time.monotonic()
        if now >= self._end:
            raise TimeoutError
        if self._unwanted is not None and now >= self._look_at:
            if self._unwanted():
                raise ToolStopped("a tool was ended: what it does is no longer wanted")
            self._look_at = time.monotonic() + _LOOK_EVERY_S
        return min(self._end - now, _LOOK_EVERY_S)


def how_ended(code: int) -> str:
    """How a tool ended, of its exit code."""
    names = {each.value: each.name for each in signal.Signals}
    return f"was ended by {names[-code]}" if -code in names else f"ended with code {code}"


def _output(tool: subprocess.Popen[bytes], patience: Patience) -> str:
    """Wait for a tool's end; returns what it printed."""
    assert tool.stdout is not None
    printed = bytearray()
    with selectors.DefaultSelector() as ready:
        ready.register(tool.stdout, selectors.EVENT_READ)
        while True:
            if ready.select(patience.part_s()):
                if not (part := os.read(tool.stdout.fileno(), _PART_BYTES)):
                    break
                printed += part
                if len(printed) > _MOST_PRINTED:
                    raise BuildFailed(f"{_named(tool)} printed more than {_MOST_PRINTED // 2**20} MiB")
    # It may close its output, and go on.
    while tool.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            tool.wait(timeout=patience.part_s())
    return printed.decode(errors="replace").replace("\r\n", "\n")


def _named(tool: subprocess.Popen[bytes]) -> str:
    assert isinstance(tool.args, list)
    return f"`{' '.join(map(str, tool.args))}`"
