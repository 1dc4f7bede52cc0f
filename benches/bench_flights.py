"""How fast does a whole pipeline run, against a pipe of processes?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as parquet

from benchkit import singer_pipe
from benchkit.flights import ROWS, flights_csv
from benchkit.guests import ROOT
from benchkit.measure import Spread
from benchkit.results import Contest
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import load_specification
from dataflare.runtime.host import Host
from dataflare.toolchain.build import build
from dataflare.toolchain.guests import load_project

PIPELINE = Path(__file__).with_name("flights.yaml")
OURS = ROOT / "build" / "flights" / "bench.parquet"
THEIRS = ROOT / "build" / "flights" / "bench-singer.parquet"
LIMITED_BY = "the validator, a Python guest that looks at the values of six columns, and loading"


def run_singer(source: Path) -> None:
    """Run the pipe of five processes to its end."""
    environment = {**os.environ, "LOGLEVEL": "ERROR", "SINGER_SDK_LOG_LEVEL": "ERROR"}
    command = [sys.executable, singer_pipe.__file__]
    stages = [["tap", str(source)], ["check"], ["tidy"], ["speed"], ["target", str(THEIRS)]]
    processes: list[subprocess.Popen[bytes]] = []
    for number, stage in enumerate(stages):
        before = processes[-1].stdout if processes else subprocess.DEVNULL
        after = subprocess.DEVNULL if number == len(stages) - 1 else subprocess.PIPE
        processes.append(
            subprocess.Popen([*command, *stage], stdin=before, stdout=after, stderr=subprocess.DEVNULL, env=environment)
        )
        if number:
            # Or the process before would not learn that its reader is gone.
            before.close()  # type: ignore[union-attr]
    codes = [process.wait() for process in processes]
    if any(codes):
        raise RuntimeError(f"the pipe ended with {codes}")


def bench_flights(contest: Contest, host: Host) -> None:
    """CSV, three plugins, Parquet."""
    contest.ask(
        "Flights from CSV through 3 plugins (Python, Rust, Rust) to Parquet, loading included, against a Singer pipe",
        sizes=f"{ROWS:,} rows, 19 columns; Singer: 5 processes with singer-sdk's own reader and writer",
    )
    source = flights_csv()
    build(load_project(ROOT).guests["range-validator"])
    reports = []

    def ours() -> None:
        reports.append(run(load_specification(PIPELINE), host=host))

    ours()
    contest.run({"ours": ours, "singer": lambda: run_singer(source)}, rounds=3, warmups=0)
    mine, other = parquet.read_table(OURS), parquet.read_table(THEIRS)
    assert mine.equals(other.select(mine.column_names).cast(mine.schema))
    contest.rate("flights, CSV to Parquet", "ours", amount=ROWS, unit="rows/s")
    contest.rate("flights, CSV to Parquet, Singer", "singer", amount=ROWS, unit="rows/s")
    contest.speedup("flights, over Singer", "ours", over="singer", at_least=40.0, limited_by=LIMITED_BY)
    counted = reports[1:]
    contest.value("flights, loading", Spread.of([each.load_seconds for each in counted]), unit="s", clock="wall")
    for nodes in zip(*(each.nodes for each in counted), strict=True):
        name = f"flights, node {nodes[0].name}"
        contest.value(name, Spread.of([node.seconds for node in nodes]), unit="s", clock="wall")
