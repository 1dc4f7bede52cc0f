"""What do checkpoints cost, what does a run repeat, and how fast do rows come into PostgreSQL?"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi as postgresql
import pyarrow.csv
import pytest

from benchkit import many_rows, singer_postgres
from benchkit.flights import ROWS, flights_csv
from benchkit.guests import ROOT
from benchkit.measure import Spread
from benchkit.results import Contest
from dataflare.pipeline.run_errors import NodeFailed
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import Specification, build_specification
from dataflare.pipeline.state_file import StateFile
from dataflare.runtime.host import Host
from postgres_kit import Server, server

COMPONENTS = ROOT / "guest-sdks" / "rust" / "components"
INTERVAL = 10_000
TEXTS = ("tailnum", "dest", "origin", "carrier", "time_hour")
MANY = 100_000_000
SAMPLES = 20
TO_A_TABLE = (
    "reading the CSV file, one plugin and the transaction: with `COPY` alone, no rows are looked at. The driver has a"
    " process of its own: 0.19 s of processor time to start it, and the rows go to it over a socket"
)


@pytest.fixture(scope="module")
def postgres() -> Any:
    """A server of its own."""
    with server() as made:
        yield made


def csv_source(source: Path) -> dict[str, Any]:
    """A source with a position, over a file."""
    return {
        "plugin": str(COMPONENTS / "csv-source.wasm"),
        "config": {"path": f"data/{source.name}"},
        "grants": {"files": {"data": {"path": str(source.parent)}}},
    }


def bench_checkpoints(contest: Contest, host: Host, tmp_path: Path) -> None:
    """From a file to a file, with a checkpoint every 10,000 rows and without any on the way."""
    contest.ask(
        f"Flights from csv-source (Rust) to jsonl-destination (Rust), with a checkpoint every {INTERVAL:,} rows",
        sizes=f"{ROWS:,} rows; a checkpoint: a flush of the destination, and two transactions of the state file",
    )
    source = flights_csv()

    def copy(rows: int) -> None:
        nodes = {
            "in": csv_source(source),
            "out": {
                "plugin": str(COMPONENTS / "jsonl-destination.wasm"),
                "input": "in",
                "config": {"path": "out/flights.jsonl"},
                "grants": {"files": {"out": {"path": str(tmp_path), "access": "write"}}},
            },
        }
        made = {"name": "checkpoints", "checkpoint": {"rows": rows, "every": "1h"}, "nodes": nodes}
        for path in tmp_path.iterdir():
            path.unlink()
        with StateFile(tmp_path / "state", pipeline="checkpoints") as state:
            report = run(build_specification(made, folder=tmp_path), host=host, state=state)
        assert report.nodes[1].rows_in == ROWS

    contest.run({"checkpoints": lambda: copy(INTERVAL), "none": lambda: copy(10**9)}, rounds=7, warmups=1)
    contest.cost(f"a checkpoint every {INTERVAL:,} rows, over none", "checkpoints", over="none", at_most=1.05)


def to_table(source: Path, url: str, **more: Any) -> Specification:
    """From a CSV file through a Rust plugin to a table of PostgreSQL."""
    columns = [{"name": "made_up", "op": "subtract", "left": "dep_delay", "right": "arr_delay"}]
    options = {"nulls": ["NA", ""], "columns": {name: "string" for name in TEXTS}}
    nodes = {
        "in": {"connector": "csv", "read": str(source), "options": options},
        "derive": {"plugin": str(COMPONENTS / "derive-columns.wasm"), "input": "in", "config": {"columns": columns}},
        "out": {"connector": "sql", "database": "db", "write": "ours", "input": "derive"},
    }
    databases = {"db": {"url": url, "access": "write"}}
    made = {"name": "flights", "databases": databases, "nodes": nodes, **more}
    return build_specification(made, folder=source.parent)


def bench_to_postgresql(contest: Contest, host: Host, postgres: Server, tmp_path: Path) -> None:
    """Into a table, against a Singer target, and against `COPY` by ADBC alone."""
    share = 10
    contest.ask(
        "Flights from CSV through a Rust plugin to PostgreSQL, against a Singer target and `COPY` by ADBC alone",
        sizes=f"{ROWS:,} rows, 19 columns; Singer: a tap and a target of singer-sdk, which has 1 of {share} rows",
    )
    source = flights_csv()
    part = tmp_path / "part.csv"
    with source.open(encoding="utf-8", newline="") as whole, part.open("w", encoding="utf-8", newline="") as few:
        writer = csv.writer(few)
        for number, row in enumerate(csv.reader(whole)):
            if number <= ROWS // share:
                writer.writerow(row)
    kinds = {name: pyarrow.string() for name in TEXTS}
    convert = pyarrow.csv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True, column_types=kinds)
    specification = to_table(source, postgres.url)

    def forget(table: str) -> None:
        with postgresql.connect(postgres.url, autocommit=True) as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {table}")

    def ours() -> None:
        forget("ours")
        assert run(specification, host=host).nodes[2].rows_in == ROWS

    def copied() -> None:
        forget("copied")
        with postgresql.connect(postgres.url) as connection, connection.cursor() as cursor:
            table = pyarrow.csv.read_csv(source, convert_options=convert)
            assert cursor.adbc_ingest("copied", table, mode="create") == ROWS
            connection.commit()

    def singer() -> None:
        forget("singer")
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "benches"), "LOGLEVEL": "ERROR"}
        environment["SINGER_SDK_LOG_LEVEL"] = "ERROR"
        quiet: dict[str, Any] = {"stderr": subprocess.DEVNULL, "env": environment}
        command = [sys.executable, singer_postgres.__file__]
        with subprocess.Popen([*command, "tap", str(part)], stdout=subprocess.PIPE, **quiet) as tap:
            subprocess.run([*command, "target", postgres.url], stdin=tap.stdout, check=True, **quiet)
        assert tap.returncode == 0

    contest.run({"ours": ours, "ADBC alone": copied, "singer": singer}, rounds=5, warmups=1)
    contest.rate("flights, CSV to PostgreSQL", "ours", amount=ROWS, unit="rows/s")
    contest.rate("flights, CSV to PostgreSQL, Singer", "singer", amount=ROWS // share, unit="rows/s")
    rounds = zip(contest.question.sides["ours"].walls, contest.question.sides["singer"].walls, strict=True)
    times = Spread.of([share * theirs / mine for mine, theirs in rounds])
    contest.value("flights to PostgreSQL, over Singer", times, unit="x", clock="wall", at_least=10.0)
    contest.cost(
        "flights to PostgreSQL, of the time of ADBC alone",
        "ours",
        over="ADBC alone",
        at_most=1.5,
        limited_by=TO_A_TABLE,
    )


def bench_repeated(contest: Contest, host: Host, postgres: Server, tmp_path: Path) -> None:
    """Stop a run by an error in the middle of its rows, and count what the next one reads again."""
    contest.ask(
        "Rows that a run reads again after another one was stopped in the middle of its rows",
        sizes=f"{ROWS:,} rows from csv-source to PostgreSQL, a checkpoint every {INTERVAL:,} rows",
    )
    source = flights_csv()
    again: list[float] = []

    def stop_and_resume() -> None:
        with postgresql.connect(postgres.url, autocommit=True) as connection, connection.cursor() as cursor:
            for table in ("repeated", "_dataflare_tokens"):
                cursor.execute(f"DROP TABLE IF EXISTS {table}")
            # A row after two thirds that the table does not take ends the run as a lost connection does.
            cursor.execute("CREATE TABLE repeated (month bigint CHECK (month <> 6), day bigint, flight bigint)")
        output = {"connector": "sql", "database": "db", "write": "repeated", "input": "in"}
        nodes = {"in": csv_source(source) | {"source": {"columns": ["month", "day", "flight"]}}, "out": output}
        made = {
            "name": "repeated",
            "databases": {"db": {"url": postgres.url, "access": "write"}},
            "checkpoint": {"rows": INTERVAL, "every": "1h"},
            "nodes": nodes,
        }
        specification = build_specification(made, folder=tmp_path)
        (tmp_path / "state").unlink(missing_ok=True)
        with StateFile(tmp_path / "state", pipeline="repeated") as state:
            with pytest.raises(NodeFailed) as stopped:
                run(specification, host=host, state=state)
            with postgresql.connect(postgres.url, autocommit=True) as connection, connection.cursor() as cursor:
                cursor.execute("ALTER TABLE repeated DROP CONSTRAINT repeated_month_check")
            report = run(specification, host=host, state=state)
        assert stopped.value.report is not None
        again.append(stopped.value.report.nodes[0].rows_out + report.nodes[0].rows_out - ROWS)

    contest.run({"both runs": stop_and_resume}, rounds=1, warmups=0)
    contest.value(
        "rows that are read again after a stop",
        Spread.of(again),
        unit="rows",
        at_most=float(INTERVAL),
    )


def bench_many_rows(contest: Contest, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """Run over rows that a query makes, in a process of its own."""
    count = max(SAMPLES * 65_536 * 2, round(MANY * pytestconfig.getoption("--share")))
    contest.ask("Resident memory of a run over many rows", sizes=f"{count:,} rows of 3 columns, a query to Parquet")
    memory: list[int] = []

    def copy() -> None:
        command = [sys.executable, many_rows.__file__, str(tmp_path), str(count), str(SAMPLES)]
        environment = os.environ | {"PYTHONPATH": f"{ROOT / 'host'}{os.pathsep}{ROOT / 'benches'}"}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        memory[:] = [int(line) for line in done.stdout.split()]

    contest.run({"the run": copy}, rounds=1, warmups=0)
    contest.rate("rows of a query to Parquet", "the run", amount=count, unit="rows/s")
    begin = max(memory[: SAMPLES // 5])
    growth = Spread.of([100 * (each - begin) / begin for each in memory[SAMPLES // 5 :]])
    contest.value("memory after a fifth of the rows, over that before", growth, unit="%", at_most=10.0)
    contest.value("memory of a run over many rows", Spread.of([each / 1e6 for each in memory]), unit="MB")
