"""`python echo_memory.py COMPONENT CACHE SIZE CALLS`: echo numbers through a plugin, and see what stays in memory.

Prints the resident memory in bytes before the first call of that size and after each, its result let go. A process of
its own, so that nothing else's memory is measured.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from benchkit.cycles import resident_bytes
from dataflare.engine.engine import Engine

TRIPS = "bench:echo/trips"


def main(component: str, cache: str, size: int, calls: int) -> None:
    """Make the calls."""
    words = np.random.default_rng(1).integers(0, 2**64, size // 8, np.uint64)
    with (
        Engine(cache_dir=Path(cache)) as engine,
        engine.load(Path(component).read_bytes(), name="echo").instantiate({}) as instance,
    ):
        instance.call(TRIPS, "echo-words", words[:100])
        print(resident_bytes())
        for _ in range(calls):
            instance.call(TRIPS, "echo-words", words)
            print(resident_bytes(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
