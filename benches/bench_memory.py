"""Does memory grow while plugins are loaded and closed, and how much does a large call leave behind?"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchkit import cycles, echo_memory
from benchkit.guests import GUESTS, ROOT
from benchkit.measure import Spread
from benchkit.results import Contest

CYCLES = 10_000
EVERY = 500
ECHO = 8_000_000
ECHO_LIMITED_BY = (
    "7.8 MB are the plugin's own memory, which lasts as long as its instance; 8 MB are what the C library keeps of the"
    " result that was let go"
)
LIMITED_BY = "closed instances that wait for Python's cyclic collector, and hold their code till then"


@pytest.mark.parametrize("way", ["flattened", "with bridges"])
def bench_memory(
    contest: Contest, guest: Callable[[str], bytes], cache_dir: Path, pytestconfig: pytest.Config, way: str
) -> None:
    """Load, call, close, in a process of its own."""
    count = max(4 * EVERY, round(CYCLES * pytestconfig.getoption("--share")))
    contest.ask(
        f"Resident memory over load, call and close, again and again, {way}", sizes=f"{count:,} cycles, a Rust guest"
    )
    guest("bench-records")
    memory: list[int] = []

    def run() -> None:
        flatten = "" if way == "flattened" else "0"
        memory[:] = in_a_process(cycles.__file__, "bench-records", cache_dir, count, EVERY, flatten=flatten)

    contest.run({"all cycles": run}, rounds=1, warmups=0)
    after_first = [100 * (now - memory[0]) / memory[0] for now in memory[1:]]
    growth = Spread(max(after_first), min(after_first), max(after_first))
    contest.value(
        f"memory at its most, over that after 500 cycles, {way}", growth, unit="%", at_most=5.0, limited_by=LIMITED_BY
    )
    contest.value(f"memory after 500 cycles, {way}", Spread.of([memory[0] / 1e6]), unit="MB")


def bench_memory_of_an_echo(contest: Contest, guest: Callable[[str], bytes], cache_dir: Path) -> None:
    """Echo 8 MB some times, in a process of its own."""
    contest.ask("Resident memory that an echo leaves behind", sizes=f"{ECHO:,} B as list<u64>, 5 calls, a Rust guest")
    guest("bench-echo")
    memory: list[int] = []

    def run() -> None:
        memory[:] = in_a_process(echo_memory.__file__, "bench-echo", cache_dir, ECHO, 5)

    contest.run({"all calls": run}, rounds=1, warmups=0)
    more = Spread.of([(after - memory[0]) / 1e6 for after in memory[1:]])
    contest.value("memory after an 8 MB echo", more, unit="MB", at_most=10.0, limited_by=ECHO_LIMITED_BY)


def in_a_process(script: str, component: str, cache_dir: Path, *numbers: int, flatten: str = "") -> list[int]:
    """Run a script that measures memory; returns the numbers that it prints. `flatten` is `$DATAFLARE_FLATTEN`."""
    command = [sys.executable, script, str(GUESTS[component].output), str(cache_dir), *map(str, numbers)]
    environment = {"PYTHONPATH": f"{ROOT / 'host'}{os.pathsep}{ROOT / 'benches'}", "DATAFLARE_FLATTEN": flatten}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return [int(line) for line in done.stdout.split()]
