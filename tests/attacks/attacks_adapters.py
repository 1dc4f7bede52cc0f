"""Attacks of hosts that are tested by the conformance suite, through the command that they are reached by."""

from __future__ import annotations

import subprocess
import sys

from arena import Arena, Mutation, attack
from dataflare.conformance import adapter
from dataflare.conformance.adapter import CommandHost, NoAnswer

LARGE = {"do": "load", "component": "x" * 2**20}


def _gives_up(arena: Arena, program: str, says: str) -> None:
    """Ask a program, which is ended long before it comes to its own end and creates a file there."""
    ended = arena.folder / "ended"
    host = CommandHost([sys.executable, "-c", f"{program}\nopen({str(ended)!r}, 'x')"])
    arena.at_close(host.close)
    arena.raises(NoAnswer, lambda: host.ask(LARGE, within_s=1.0), says=says)
    assert not ended.exists(), "it waits"


@attack("limits")
def adapter_that_does_not_read(arena: Arena) -> None:
    """Read a request larger than the pipe's buffer not at all, or a byte at a time, so that the suite waits."""
    _gives_up(arena, f"import time; time.sleep({arena.patience_s})", "no answer came within 1 s")
    slowly = f"for _ in range({round(arena.patience_s * 10)}): os.read(0, 1), time.sleep(0.1)"
    _gives_up(arena, f"import os, time\n{slowly}", "no answer came within 1 s")


@attack("limits")
def adapter_that_ends_its_output_alone(arena: Arena) -> None:
    """Close the output and go on, so that the suite waits for the end of a process that does not end."""
    closed, goes_on = "import os, sys, time\nos.close(1)", f"time.sleep({arena.patience_s})"
    _gives_up(arena, f"{closed}\nsys.stdin.read(3)\n{goes_on}", "no answer came")
    _gives_up(arena, f"{closed}\nsys.stdin.readline()\n{goes_on}", "ended with code -9")


def _waits(process: subprocess.Popen[bytes], data: bytes, _: float) -> None:
    adapter.os.set_blocking(process.stdin.fileno(), True)  # type: ignore[attr-defined, union-attr]
    process.stdin.write(data)  # type: ignore[union-attr]


MUTATIONS = [
    Mutation("dataflare.conformance.adapter:_write", _waits, ("adapter_that_does_not_read",)),
    Mutation(
        "dataflare.conformance.adapter:CommandHost._ended",
        lambda _, process, __: process.wait(),
        ("adapter_that_ends_its_output_alone",),
    ),
]
