"""Attacks on the jail of real workers: what is said to be in force is all that the machine can do, and it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import dataflare
from arena import Arena, Mutation, attack
from attacks_limits import monster
from attacks_processes import SUPPORT
from dataflare.runtime.isolation import spawn
from dataflare.runtime.isolation.instance import IsolatedInstance

ALONE: Final = """
import json, os
from dataflare.runtime.isolation.jail import confine
print(json.dumps(confine(data_bytes=None, parent=os.getppid())), flush=True)
os._exit(0)
"""
STATUS: Final = Path("/proc")


def worker(arena: Arena) -> IsolatedInstance:
    """A worker that is ready."""
    plugin = arena.load(monster().binary, isolation="process").start()
    plugin.process(monster().order("well"))
    found = plugin._pool._idle[0][0].instance
    assert isinstance(found, IsolatedInstance)
    return found


@attack("processes")
def thread_that_keeps_the_jail_open(arena: Arena) -> None:
    """Rely on a library's thread: with more than one, the kernel takes neither Landlock nor namespaces of a process."""
    environment = {**os.environ, "PYTHONPATH": str(Path(dataflare.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", ALONE], env=environment, capture_output=True, check=True, timeout=60)
    possible = json.loads(done.stdout)
    in_force = list(worker(arena).in_force)
    assert in_force == possible, f"of {possible} only {in_force} is in force"


@attack("processes")
def jail_that_is_said_and_not_there(arena: Arena) -> None:
    """Rely on a part of the confinement that is reported to the operator but that the kernel does not support."""
    instance = worker(arena)
    process = STATUS / str(instance.pid)
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    limits = (process / "limits").read_text()
    own = {name: os.readlink(process / "ns" / name) for name in ("user", "net", "ipc", "uts")}
    ours = {name: os.readlink(Path("/proc/self/ns", name)) for name in own}
    told = {
        "unprivileged": not {"0", str(os.getuid())} & set(status["Uid"].split()) and not status["Groups"].split(),
        "namespaces": not set(own.values()) & set(ours.values()),
        "no-capabilities": all(int(status[f"Cap{each}"], 16) == 0 for each in ("Inh", "Prm", "Eff", "Amb")),
        "rlimits": all(
            each in " ".join(line.split()) for line, each in _lines(limits, ("open files 32 32", "core file size 0 0"))
        ),
        "ended-first": (process / "oom_score_adj").read_text() == "1000\n",
        "no-new-privileges": status["NoNewPrivs"].split() == ["1"],
        "seccomp": status["Seccomp"].split() == ["2"],
    }
    false = [name for name, holds in told.items() if name in instance.in_force and not holds]
    assert not false, f"{false} is said to be in force"


def _lines(text: str, wanted: tuple[str, ...]) -> list[tuple[str, str]]:
    begin = {each: " ".join(each.split()[:2]) for each in wanted}
    return [(line, each) for each in wanted for line in text.splitlines() if begin[each] in line]


_ROOTS = spawn._roots
MUTATIONS = [
    Mutation(
        "dataflare.runtime.isolation.instance:ENTRY",
        "unconfined_worker:main",
        ("jail_that_is_said_and_not_there",),
        also={"dataflare.runtime.isolation.spawn:_roots": lambda: [*_ROOTS(), SUPPORT]},
    ),
    Mutation(
        "dataflare.runtime.isolation.spawn:_ENVIRONMENT",
        {name: value for name, value in spawn._ENVIRONMENT.items() if not name.startswith("JE_")},
        ("thread_that_keeps_the_jail_open",),
    ),
]
