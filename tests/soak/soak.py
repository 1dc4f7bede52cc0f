"""Runs pipelines for a long time with faults of all kinds, and accounts for every row.

    python tests/soak/soak.py [--minutes 20] [--seed 1]

Each round adds rows to a table, and runs a pipeline over a plugin that fails on some rows, into a table with a
constraint. Rounds are killed at random, have a small disk or a plugin that breaks down. A round that
fails is repeated. At the end, every row is delivered or a dead letter, and none is both.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import pyarrow as pa

from dataflare.errors import DataflareError, GuestPanic, PluginError
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import load_specification
from dataflare.pipeline.state_file import StateFile
from dataflare.pipeline.stop_limits import StopLimits
from dataflare.values import Variant
from pipeline_fakes import FakeHost, FakeProcessor

PIPELINE = """name: soak
checkpoint: {rows: 500, every: 1s}
databases:
  events: {url: "sqlite:events.db"}
  table: {url: "sqlite:table.db", access: write}
nodes:
  in: {connector: sql, database: events, read: events, mode: incremental, cursor: at}
  work: {plugin: work.wasm, input: in, dead_letters: work.jsonl, on_error: {rows: skip, max_faults: 1000000}}
  out: {connector: sql, database: table, write: rows, input: work, dead_letters: out.jsonl}
"""


def add_events(folder: Path, chosen: random.Random, begin: int) -> int:
    """Add rows; returns the number of the next one."""
    count = chosen.randrange(1, 4_000)
    with sqlite3.connect(folder / "events.db") as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS events (n INTEGER, at INTEGER, x TEXT)")
        rows = [(n, n // 11, "x" * (n % 50)) for n in range(begin, begin + count)]
        connection.executemany("INSERT INTO events VALUES (?, ?, ?)", rows)
    connection.close()
    return begin + count


def working(rows: pa.RecordBatch, away: float = 0.002) -> pa.RecordBatch:
    """A plugin that fails on some rows, breaks down on others, and fails a share of its calls, which ends the run."""
    numbers = set(rows.column("n").to_pylist())
    if any(n % 997 == 0 for n in numbers):
        raise GuestPanic("unreachable")
    if any(n % 389 == 0 for n in numbers):
        raise PluginError("it does not like the row", error=Variant("invalid-input", "it does not like the row"))
    if random.random() < away:
        raise PluginError("away", error=Variant("unavailable", "away"))
    return rows


def small_disk(chosen: random.Random) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    size = chosen.randrange(20_000, 400_000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def nothing(chosen: random.Random) -> None:
    """No fault."""


FAULTS: tuple[Callable[[random.Random], None], ...] = (nothing, nothing, small_disk)


def round_of(folder: Path, seed: int, limits: StopLimits) -> None:
    """The body of a process: one run, with a fault."""
    os.chdir(folder)
    chosen = random.Random(seed)
    random.seed(seed)
    chosen.choice(FAULTS)(chosen)
    with StateFile("state", pipeline="soak") as state:
        run(load_specification("pipeline.yaml"), host=FakeHost(work=FakeProcessor(working)), state=state, limits=limits)  # type: ignore[arg-type]


def in_child(folder: Path, seed: int, kill_after_s: float | None, limits: StopLimits) -> str:
    """Run a round in a process; returns how it ended."""
    child = os.fork()
    if not child:
        try:
            round_of(folder, seed, limits)
        except DataflareError:
            os._exit(1)
        except BaseException as error:
            os.write(2, (repr(error) + "\n").encode()[:4000])
            os._exit(2)
        os._exit(0)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == 2:
        raise AssertionError("a run failed with an error that is not one of this program's")
    return {0: "completed", 1: "failed"}.get(code, "killed")


def account(folder: Path) -> dict[str, int]:
    """Count the rows that are delivered and dead, and compare them with those that there were.

    Raises:
        AssertionError: A row is lost, or is there twice.
    """

    def numbers(file: str, table: str) -> list[int]:
        connection = sqlite3.connect(folder / file)
        try:
            return [row[0] for row in connection.execute(f"SELECT n FROM {table}")]
        finally:
            connection.close()

    def letters(file: str) -> list[int]:
        path = folder / file
        return [json.loads(line)["values"]["n"] for line in path.read_text().splitlines()] if path.exists() else []

    delivered, failed, rejected = numbers("table.db", "rows"), letters("work.jsonl"), letters("out.jsonl")
    found = Counter([*delivered, *failed, *rejected])
    expected = Counter(numbers("events.db", "events"))
    assert found == expected, f"lost {list(expected - found)[:10]}, too many {list(found - expected)[:10]}"
    return {"rows": len(expected), "delivered": len(delivered), "failed": len(failed), "rejected": len(rejected)}


def main() -> None:
    """Soak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    chosen = random.Random(given.seed)
    ends_s = time.monotonic() + given.minutes * 60
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder, number = Path(name), 0
        (folder / "work.wasm").touch()
        (folder / "pipeline.yaml").write_text(PIPELINE)
        with sqlite3.connect(folder / "table.db") as connection:
            connection.execute("CREATE TABLE rows (n INTEGER NOT NULL CHECK (n % 211 <> 1), at INTEGER, x TEXT)")
        connection.close()
        while time.monotonic() < ends_s:
            number = add_events(folder, chosen, number)
            for _ in range(chosen.randrange(1, 4)):
                kill_after_s = chosen.uniform(0, 1.5) if chosen.random() < 0.4 else None
                limits = StopLimits(max_rows=chosen.choice((None, None, 300, 1700)))
                outcomes[in_child(folder, chosen.randrange(2**31), kill_after_s, limits)] += 1
            if sum(outcomes.values()) % 40 < 3:
                finish(folder)
                print(account(folder), dict(outcomes), flush=True)
        finish(folder)
        print("every row is accounted for:", account(folder), dict(outcomes))


def finish(folder: Path) -> None:
    """Run without a fault until nothing is left."""
    child = os.fork()
    if not child:
        try:
            os.chdir(folder)
            with StateFile("state", pipeline="soak") as state:
                steady = FakeProcessor(partial(working, away=0))
                run(load_specification("pipeline.yaml"), host=FakeHost(work=steady), state=state)  # type: ignore[arg-type]
        except BaseException as error:
            os.write(2, (repr(error) + "\n").encode()[:4000])
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "a run without a fault failed"


if __name__ == "__main__":
    main()
