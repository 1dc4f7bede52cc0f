"""Runs tools, and reports what goes wrong."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from dataflare.errors import DataflareError

__all__ = ["BuildFailed", "ToolchainMissing", "run"]

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


class ToolchainMissing(DataflareError):
    """A tool that a build needs is not on this machine; the hint says how to install it."""


class BuildFailed(DataflareError):
    """A tool ended with an error. `output` has its last lines."""

    def __init__(self, message: str, *, output: str = "", hint: str = "") -> None:
        super().__init__(f"{message}\n{output}" if output else message, hint=hint)
        self.output = output


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
        BuildFailed: It ended with an error, or not in time.
    """
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
            encoding="utf-8",
            errors="replace",
            process_group=0,
        )
    except (FileNotFoundError, PermissionError) as exc:
        raise ToolchainMissing(f"{words[0]} cannot be run: {exc.strerror}", hint=hint) from exc
    with tool:
        try:
            output, _ = tool.communicate(timeout=timeout_s)
        except BaseException as exc:
            # With all that it has started: that would go on, and could keep its output open.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(tool.pid, signal.SIGKILL)
            if not isinstance(exc, subprocess.TimeoutExpired):
                raise
            raise BuildFailed(f"`{' '.join(words)}` did not end within {timeout_s:.0f} s") from exc
    if tool.returncode:
        tail = "\n".join(f"    {line}" for line in output.splitlines()[-tail_lines:])
        raise BuildFailed(f"`{' '.join(words)}` ended with code {tool.returncode}", output=tail)
    return output
