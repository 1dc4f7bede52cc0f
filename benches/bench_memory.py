"""Does memory grow while plugins are loaded and closed?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchkit import cycles
from benchkit.guests import GUESTS, ROOT
from benchkit.measure import Spread
from benchkit.results import Contest

CYCLES = 10_000
EVERY = 500
LIMITED_BY = "closed instances that wait for Python's cyclic collector, and hold their code till then"


def bench_memory(contest: Contest, guest: Callable[[str], bytes], cache_dir: Path, pytestconfig: pytest.Config) -> None:
    """Load, call, close, in a process of its own."""
    count = max(4 * EVERY, round(CYCLES * pytestconfig.getoption("--share")))
    contest.ask("Resident memory over load, call and close, again and again", sizes=f"{count:,} cycles, a Rust guest")
    guest("bench-records")
    command = [
        sys.executable,
        cycles.__file__,
        str(GUESTS["bench-records"].output),
        str(cache_dir),
        str(count),
        str(EVERY),
    ]
    memory: list[int] = []

    def run() -> None:
        environment = {"PYTHONPATH": str(ROOT / "host")}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        memory[:] = map(int, done.stdout.split())

    contest.run({"all cycles": run}, rounds=1, warmups=0)
    after_first = [100 * (now - memory[0]) / memory[0] for now in memory[1:]]
    growth = Spread(max(after_first), min(after_first), max(after_first))
    contest.value(
        "memory at its most, over that after 500 cycles", growth, unit="%", at_most=5.0, limited_by=LIMITED_BY
    )
    contest.value("memory after 500 cycles", Spread.of([memory[0] / 1e6]), unit="MB")
