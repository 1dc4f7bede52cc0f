"""Reads a Parquet file in a process with little address space, and tells what that took.

read_parquet.py FILE OPTIONS
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

import pyarrow as pa

from dataflare.errors import DataflareError
from reading_kit import source_of

_MOST_BATCHES = 200


def _most_bytes() -> int:
    (line,) = [each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def main() -> None:
    """Read the file, and print one object of JSON."""
    pool = pa.proxy_memory_pool(pa.system_memory_pool())
    pa.set_memory_pool(pool)
    resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))
    before, rows = _most_bytes(), 0
    told = {"error": "", "message": "", "hint": ""}
    try:
        source = source_of("parquet", Path(sys.argv[1]), **json.loads(sys.argv[2]))
        try:
            for number, batch in enumerate(source.batches()):
                rows += batch.num_rows
                if number == _MOST_BATCHES:
                    break
        finally:
            source.close()
    except DataflareError as error:
        told = {"error": type(error).__name__, "message": error.message, "hint": error.hint}
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    sizes = {"grown_bytes": _most_bytes() - before, "child_bytes": child, "arrow_bytes": pool.max_memory()}
    print(json.dumps({**told, **sizes, "rows": rows}), flush=True)
    os._exit(0)  # Arrow would give memory back to a pool that has gone


main()
