"""A signal while a database computes an answer."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

import dataflare
from child_kit import seconds_of_work

pytest.importorskip("adbc_driver_sqlite")

ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) AS n FROM c"


def children_of(pid: int) -> list[int]:
    """The processes that a process has started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for each in tasks for child in each.read_text().split()]


@pytest.mark.parametrize(
    ("kind", "query"),
    [("sqlite", ENDLESS), ("duckdb", "SELECT count(*) AS n FROM range(1000000000000000) WHERE hash(range) = 1")],
)
def test_signal_ends_a_run_whose_query_never_ends(tmp_path: Path, kind: str, query: str) -> None:
    module = {"sqlite": sqlite3, "duckdb": duckdb}[kind]
    module.connect(str(tmp_path / "a.db")).execute("CREATE TABLE t (n int)").close()
    nodes = {
        "r": {"connector": "sql", "database": "db", "read": {"query": query}},
        "w": {"connector": "jsonl", "input": "r", "write": "out.jsonl"},
    }
    pipeline = {"name": "p", "databases": {"db": {"url": f"{kind}:a.db"}}, "nodes": nodes}
    (tmp_path / "p.yaml").write_text(json.dumps(pipeline))
    environment = {**os.environ, "PYTHONPATH": str(Path(dataflare.__file__).parents[1])}
    command = [sys.executable, "-m", "dataflare.cli.main", "run", "--no-state", "p.yaml"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE) as process:
        end = time.monotonic() + 60
        # The process of its own in which the file is read.
        while not any(seconds_of_work(child) > 2 for child in children_of(process.pid)) and time.monotonic() < end:
            time.sleep(0.05)
        assert time.monotonic() < end, "nothing computed an answer"
        process.terminate()
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (128 + signal.SIGTERM, b"ended by SIGTERM\n")
    assert sorted(os.listdir(tmp_path)) == ["a.db", "p.yaml"]
