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

__all__ = ["BuildFailed", "ToolStopped", "ToolchainMissing", "run", "stopped_when"]

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
    unwanted, most_s = _STOPPED_WHEN.get() or (None, timeout_s)
    timeout_s = min(timeout_s, most_s)
    variables = {key: value for key, value in os.environ.items() if key not in _DROPPED} | dict(env or {})
    words = [str(word) for word in command]
    try:
        tool = subprocess.Popen(
            words,
            cwd=cwd,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    except (FileNotFoundError, PermissionError) as exc:
        raise ToolchainMissing(f"{words[0]} cannot be run: {exc.strerror}", hint=hint) from exc
    with tool:
        try:
            output = _output(tool, timeout_s, unwanted)
        except BaseException as exc:
            # With all that it has started: that would go on, and could keep its output open.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(tool.pid, signal.SIGKILL)
            if not isinstance(exc, subprocess.TimeoutExpired):
                raise
            raise BuildFailed(f"{_named(tool)} did not end within {timeout_s:.0f} s") from exc
    if tool.returncode:
        tail = "\n".join(f"    {line}" for line in output.splitlines()[-tail_lines:])
        raise BuildFailed(f"{_named(tool)} {_how(tool.returncode)}", output=tail)
    return output


def _how(code: int) -> str:
    """How a tool ended, of its exit code."""
    names = {each.value: each.name for each in signal.Signals}
    return f"was ended by {names[-code]}" if -code in names else f"ended with code {code}"


def _output(tool: subprocess.Popen[bytes], timeout_s: float, unwanted: Callable[[], bool] | None) -> str:
    """Wait for a tool's end; returns what it printed."""
    assert tool.stdout is not None
    deadline = time.monotonic() + timeout_s
    look_at = time.monotonic() + _LOOK_EVERY_S
    printed = bytearray()
    with selectors.DefaultSelector() as ready:
        ready.register(tool.stdout, selectors.EVENT_READ)
        while True:
            now = time.monotonic()
            if now >= deadline:
                raise subprocess.TimeoutExpired(tool.args, timeout_s)
            if unwanted is not None and now >= look_at:
                if unwanted():
                    raise ToolStopped("a tool was ended: what it does is no longer wanted")
                look_at = time.monotonic() + _LOOK_EVERY_S
            if ready.select(min(deadline - now, _LOOK_EVERY_S)):
                if not (part := os.read(tool.stdout.fileno(), _PART_BYTES)):
                    break
                printed += part
                if len(printed) > _MOST_PRINTED:
                    raise BuildFailed(f"{_named(tool)} printed more than {_MOST_PRINTED // 2**20} MiB")
    tool.wait(timeout=max(0.0, deadline - time.monotonic()))
    return printed.decode(errors="replace").replace("\r\n", "\n")


def _named(tool: subprocess.Popen[bytes]) -> str:
    assert isinstance(tool.args, list)
    return f"`{' '.join(map(str, tool.args))}`"
