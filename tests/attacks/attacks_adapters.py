"""Attacks of hosts that are tested by the conformance suite, through the command that they are reached by."""

from __future__ import annotations

import os
import subprocess
import sys

from arena import Arena, Mutation, attack
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
    _gives_up(arena, f"{closed}\nsys.stdin.read(3)\n{goes_on}", "closed its output")
    _gives_up(arena, f"{closed}\nsys.stdin.readline()\n{goes_on}", "closed its output")


@attack("limits")
def adapter_that_leaves_its_output_to_another(arena: Arena) -> None:
    """End, and leave the output to a process of another session, so that the suite waits for its end."""
    other = f"import time; time.sleep({arena.patience_s}); open({str(arena.folder / 'ended')!r}, 'x')"
    start = f"import os, subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {other!r}], start_new_session=True)"
    host = CommandHost([sys.executable, "-c", f"{start}\nos._exit(3)"])
    arena.at_close(host.close)
    says = "ended with code 3, and a process that it started keeps its output open"
    arena.raises(NoAnswer, lambda: host.ask(LARGE, within_s=arena.patience_s * 2), says=says)
    assert not (arena.folder / "ended").exists(), "it waits"


def _sent_whole(pipe: int, rest: memoryview) -> memoryview:
    os.set_blocking(pipe, True)
    return rest[os.write(pipe, rest) :]


def _after_its_end(process: subprocess.Popen[bytes], _: bytearray) -> str:
    return f"ended with code {process.wait()}"


MUTATIONS = [
    Mutation("dataflare.conformance.adapter:_sent", _sent_whole, ("adapter_that_does_not_read",)),
    Mutation("dataflare.conformance.adapter:_ending", _after_its_end, ("adapter_that_ends_its_output_alone",)),
    Mutation(
        "dataflare.conformance.adapter:_exit_code", lambda _: None, ("adapter_that_leaves_its_output_to_another",)
    ),
]
