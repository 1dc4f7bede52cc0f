"""Runs pipelines for a long time with faults of all kinds, and accounts for every row.

    python tests/soak/soak.py [--minutes 20] [--seed 1]

Each round adds rows to a table, and runs a pipeline over the plugin `builtin:jq`, which fails on some rows at random
and runs out of its memory on others, into a table of SQLite and, where there is a server, one of PostgreSQL; both
have a constraint. Rounds are killed at random, have a small disk, slow destinations, commits that fail before or
after they are done, or a server that crashes. A round that fails is repeated. At the end, every row is delivered or a
dead letter, at each of the tables, and none is both.
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
from contextlib import ExitStack, closing
from pathlib import Path

# An allocator with a thread of its own does not survive a fork.
os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import pytest

from database_kit import Database
from dataflare.errors import DataflareError
from dataflare.pipeline.databases.connection import Connection
from dataflare.pipeline.databases.destination import SqlDestination
from dataflare.pipeline.run_errors import DatabaseError
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import load_specification
from dataflare.pipeline.state_file import StateFile
from dataflare.pipeline.stop_limits import StopLimits
from postgres_kit import Server, server

PIPELINE = """name: soak
checkpoint: {rows: 1000, every: 1s}
databases:
  events: {url: "sqlite:events.db"}
  table: {url: "sqlite:table.db", access: write}
  server: {url: "%s", access: write}
nodes:
  in: {connector: sql, database: events, read: events, mode: incremental, cursor: at}
  work:
    plugin: builtin:jq
    input: in
    config:
      script: 'if .luck == 1 then error("unlucky") elif .luck == 2 then [range(1e9)] else . end'
    limits: {memory: 48MiB, call_timeout: 20s}
    dead_letters: work.jsonl
    on_error: {rows: skip, max_faults: 1000000}
  table: {connector: sql, database: table, write: rows, input: work, dead_letters: table.jsonl}
"""
ON_SERVER = "  server: {connector: sql, database: server, write: rows, input: work, dead_letters: server.jsonl}\n"
TABLE = "CREATE TABLE rows (n BIGINT NOT NULL CHECK (n % 211 <> 1), at BIGINT, x TEXT, luck BIGINT)"


def add_events(folder: Path, chosen: random.Random, begin: int) -> int:
    """Add rows; returns the number of the next one."""
    count = chosen.randrange(1, 4_000)
    with closing(sqlite3.connect(folder / "events.db")) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS events (n INTEGER, at INTEGER, x TEXT, luck INTEGER)")
        rows = [(n, n // 11, "x" * (n % 50), chosen.randrange(2_000)) for n in range(begin, begin + count)]
        connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", rows)
    return begin + count


def small_disk() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (random.randrange(20_000, 400_000), resource.RLIM_INFINITY))


def slow_destination() -> None:
    real = SqlDestination.write

    def write(self: SqlDestination, rows: object) -> object:
        time.sleep(random.uniform(0, 0.3))
        return real(self, rows)  # type: ignore[arg-type]

    SqlDestination.write = write  # type: ignore[assignment,method-assign]


def failing_commits() -> None:
    real = Connection.commit

    def commit(self: Connection) -> None:
        lot = random.random()
        if lot < 0.05:
            raise DatabaseError("the commit did not reach the database", unavailable=True)
        real(self)
        if lot > 0.95:
            raise DatabaseError("the answer to the commit was lost", unavailable=True)

    Connection.commit = commit  # type: ignore[method-assign]


def nothing() -> None:
    """No fault."""


FAULTS: tuple[Callable[[], None], ...] = (nothing, small_disk, slow_destination, failing_commits)


class Soak:
    """The folder of a pipeline, and its server, if there is one."""

    def __init__(self, folder: Path, chosen: random.Random, made: Server | None) -> None:
        self.folder, self.chosen, self.server = folder, chosen, made
        self.tables = {"table": Database("sqlite", f"sqlite:{folder / 'table.db'}")}
        if made is not None:
            self.tables["server"] = Database("postgresql", made.url)
        text = PIPELINE % (made.url if made else "sqlite:none.db")
        (folder / "pipeline.yaml").write_text(text + (ON_SERVER if made else ""))
        for each in self.tables.values():
            each.execute(TABLE)

    def try_once(self) -> str:
        """Run with a fault; returns which, and how the run ended."""
        fault = self.chosen.choice(FAULTS)
        limits = StopLimits(max_rows=self.chosen.choice((None, None, 300, 1700)))
        child = self._fork(fault, self.chosen.randrange(2**31), limits)
        lot, after_s = self.chosen.random(), self.chosen.uniform(0, 3)
        name = fault.__name__
        if lot < 0.3:
            time.sleep(after_s)
            os.kill(child, signal.SIGKILL)
        elif lot < 0.5 and self.server is not None:
            time.sleep(after_s)
            self.server.stop()
            self.server.start()
            name += " and a crash of the server"
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code != 2, "a run failed with an error that is not one of this program's"
        return f"{name}: {({0: 'completed', 1: 'failed'}).get(code, 'killed')}"

    def finish(self) -> None:
        """Run without a fault until nothing is left."""
        child = self._fork(nothing, 0, StopLimits())
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "a run without a fault failed"

    def account(self) -> dict[str, int]:
        """Count the rows that are delivered and dead, and compare them with those that there were.

        Raises:
            AssertionError: A row is lost, or is there twice.
        """
        events = Database("sqlite", f"sqlite:{self.folder / 'events.db'}")
        expected = Counter(row[0] for row in events.rows("SELECT n FROM events"))
        failed, counts = self._letters("work"), {"rows": len(expected)}
        for name, table in self.tables.items():
            delivered, rejected = [row[0] for row in table.rows("SELECT n FROM rows")], self._letters(name)
            found = Counter([*delivered, *failed, *rejected])
            lost, more = list(expected - found)[:10], list(found - expected)[:10]
            assert found == expected, f"{name}: lost {lost}, too many {more}"
            counts |= {f"{name}: delivered": len(delivered), f"{name}: rejected": len(rejected)}
        return {**counts, "failed in the plugin": len(failed)}

    def _letters(self, name: str) -> list[int]:
        path = self.folder / f"{name}.jsonl"
        return [json.loads(line)["values"]["n"] for line in path.read_text().splitlines()] if path.exists() else []

    def _fork(self, fault: Callable[[], None], seed: int, limits: StopLimits) -> int:
        if child := os.fork():
            return child
        try:
            os.chdir(self.folder)
            random.seed(seed)
            fault()
            with StateFile("state", pipeline="soak") as state:
                run(load_specification("pipeline.yaml"), state=state, limits=limits)
        except DataflareError as error:
            if fault is nothing and seed == 0:
                os.write(2, f"{error!r}\n".encode()[:4000])
            os._exit(1)
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode()[:4000])
            os._exit(2)
        os._exit(0)


def main() -> None:
    """Soak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    ends_s = time.monotonic() + given.minutes * 60
    outcomes: Counter[str] = Counter()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        try:
            made = stack.enter_context(server())
        except pytest.skip.Exception as error:
            print(f"without PostgreSQL: {error}", flush=True)
            made = None
        soak, number, rounds = Soak(folder, random.Random(given.seed), made), 0, 0
        while time.monotonic() < ends_s:
            number = add_events(folder, soak.chosen, number)
            for _ in range(soak.chosen.randrange(1, 4)):
                outcomes[soak.try_once()] += 1
            rounds += 1
            if rounds % 10 == 0:
                soak.finish()
                print(soak.account(), sum(outcomes.values()), "runs", flush=True)
        soak.finish()
        print("every row is accounted for:", json.dumps(soak.account() | dict(sorted(outcomes.items())), indent=1))


if __name__ == "__main__":
    main()
