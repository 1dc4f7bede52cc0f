"""`python many_rows.py FOLDER ROWS SAMPLES`: run a pipeline from a query that makes rows to a file of Parquet.

Prints the resident memory in bytes at each of SAMPLES equal steps of the run, by the rows that were written.
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb

from benchkit.cycles import resident_bytes
from dataflare.pipeline.databases.source import SqlSource
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import build_specification
from dataflare.runtime.datasets import Chunk, Ended


def main(folder: str, rows: int, samples: int) -> None:
    """Run, and print."""
    read = SqlSource.read
    seen = 0

    def watched(self: SqlSource, max_rows: int = 65_536) -> Chunk | Ended:
        nonlocal seen
        chunk = read(self, max_rows)
        before, seen = seen, seen + (chunk.rows.num_rows if isinstance(chunk, Chunk) else 0)
        if seen * samples // rows > before * samples // rows:
            print(resident_bytes(), flush=True)
        return chunk

    SqlSource.read = watched  # type: ignore[method-assign]
    nodes = {
        "in": {
            "connector": "sql",
            "database": "made",
            "read": {"query": f"SELECT range AS id, range % 1000 AS x, 'text ' || range % 7 AS t FROM range({rows})"},
        },
        "out": {"connector": "parquet", "input": "in", "write": "many.parquet"},
    }
    made = {"name": "many", "databases": {"made": {"url": "duckdb:many.duckdb"}}, "nodes": nodes}
    duckdb.connect(str(Path(folder) / "many.duckdb")).close()
    run(build_specification(made, folder=Path(folder)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
