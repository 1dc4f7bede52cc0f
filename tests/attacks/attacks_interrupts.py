"""Attacks with interrupts that come between any two steps of the host's own work."""

from __future__ import annotations

import contextlib
import gc
import os
import time
from collections.abc import Callable
from typing import Any

from arena import Arena, Mutation, attack
from attacks_limits import monster
from attacks_processes import Impostor
from dataflare.limits import Limits
from interrupts import attempts, interrupted, moments


def descriptors() -> int:
    """How many files are open."""
    return len(os.listdir("/proc/self/fd"))


def children() -> set[str]:
    """The processes that this one has started, and that nobody has waited for."""
    found: set[str] = set()
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/self/task/{task}/children") as file:
            found.update(file.read().split())
    return found


def leaves_nothing(action: Callable[[], Any], *, most: int) -> None:
    """Interrupt something at many moments: no descriptor and no process is left, and it can be done afterwards."""
    action()
    count = moments(action)
    gc.collect()
    gc.disable()
    try:
        files, processes, came_out = descriptors(), children(), 0
        for at in attempts(count, most):
            came_out += interrupted(action, at)
            until = time.monotonic() + 2.0
            while descriptors() > files and time.monotonic() < until:
                time.sleep(0.002)
            assert descriptors() <= files, f"{descriptors() - files} descriptors are left, moment {at} of {count}"
        assert came_out > most // 3
        action()
        until = time.monotonic() + 2.0
        while children() - processes and time.monotonic() < until:
            action()  # what was dropped is waited for by the next start
        assert not children() - processes, "processes are left"
    finally:
        gc.enable()


@attack("processes")
def interrupts_while_a_worker_starts(arena: Arena) -> None:
    """Interrupt the start of a worker at any moment, so that descriptors and processes are lost one by one."""
    Impostor(arena, lambda _: None)
    plugin = arena.load(monster().binary, isolation="process", limits=Limits(call_timeout_s=5.0))
    arena.at_close(plugin.close)
    leaves_nothing(lambda: plugin._launcher._instantiate().instance.close(), most=170)


MUTATIONS = [
    Mutation(
        "dataflare.runtime.isolation.spawn:in_starter",
        lambda make: make(),
        ("interrupts_while_a_worker_starts",),
    ),
]
