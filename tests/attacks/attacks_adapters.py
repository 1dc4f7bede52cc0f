"""Attacks of hosts that are tested by the conformance suite, through the command that they are reached by."""

from __future__ import annotations

import subprocess
import sys
import time

from arena import Arena, Mutation, attack
from dataflare.conformance import adapter
from dataflare.conformance.adapter import CommandHost, NoAnswer

LARGE = {"do": "load", "component": "x" * 2**20}


def _gives_up(arena: Arena, program: str, says: str) -> None:
    host = CommandHost([sys.executable, "-c", program])
    arena.at_close(host.close)
    began = time.monotonic()
    arena.raises(NoAnswer, lambda: host.ask(LARGE, within_s=1.0), says=says)
    assert time.monotonic() - began < 6, "it waits"


@attack("limits")
def adapter_that_does_not_read(arena: Arena) -> None:
    """Read a request larger than the pipe's buffer not at all, or a byte at a time, so that the suite waits."""
    _gives_up(arena, "import time; time.sleep(8)", "no answer came within 1 s")
    _gives_up(arena, "import os, time\nfor _ in range(80): os.read(0, 1), time.sleep(0.1)", "no answer came within 1 s")


@attack("limits")
def adapter_that_ends_its_output_alone(arena: Arena) -> None:
    """Close the output and go on, so that the suite waits for the end of a process that does not end."""
    _gives_up(arena, "import os, sys, time\nos.close(1)\nsys.stdin.read(3)\ntime.sleep(8)", "no answer came")
    _gives_up(arena, "import os, sys, time\nos.close(1)\nsys.stdin.readline()\ntime.sleep(8)", "ended with code -9")


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
