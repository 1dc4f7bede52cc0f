"""`python cycles.py COMPONENT CACHE CYCLES EVERY`: load, call and close a plugin again and again.

Prints the resident memory in bytes after each EVERY cycles. A process of its own, so that nothing else's memory is
measured.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dataflare.engine.engine import Engine
from dataflare.runtime.host import Host


def resident_bytes() -> int:
    """What this process has in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(component: str, cache: str, cycles: int, every: int) -> None:
    """Run the cycles."""
    binary = Path(component).read_bytes()
    with Engine(cache_dir=Path(cache)) as engine, Host(engine=engine) as host:
        for cycle in range(1, cycles + 1):
            with host.load(binary, name="cycle") as plugin:
                plugin.process('{"air_time": 60, "distance": 400}')  # type: ignore[attr-defined]
            if cycle % every == 0:
                print(resident_bytes(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
