"""How fast do records go through a record processor?"""

from __future__ import annotations

from collections.abc import Callable

import extism
import pyarrow as pa
import pyarrow.csv

from benchkit.flights import flights_csv
from benchkit.results import Contest
from dataflare.data.json_writer import encode_json_lines
from dataflare.runtime.host import Host
from dataflare.runtime.processor import Processor

RECORDS = 100_000
LIMITED_BY = "the guest's own parsing and writing of JSON"


def bench_records(contest: Contest, host: Host, guest: Callable[[str], bytes], extism_plugin: extism.Plugin) -> None:
    """Flights as JSON records, one call each, and as batches."""
    rows = pa.csv.read_csv(flights_csv()).slice(0, RECORDS).combine_chunks().to_batches()[0]
    records = bytes(encode_json_lines(rows, 2**30)).decode().splitlines()
    assert len(records) == RECORDS
    size = sum(map(len, records))
    contest.ask(
        "100,000 JSON records through the same serde code, one call each, against Extism",
        sizes=f"{RECORDS:,} flights, {size / RECORDS:.0f} B each",
    )
    with host.load(guest("bench-records"), name="records") as plugin:
        assert isinstance(plugin, Processor)
        assert plugin.process(records[7]) == extism_plugin.call("process", records[7]).decode()

        def ours() -> None:
            process = plugin.process
            for record in records:
                process(record)

        def theirs() -> None:
            call = extism_plugin.call
            for record in records:
                call("process", record).decode()

        contest.run(
            {"ours": ours, "extism": theirs, "ours, a batch": lambda: plugin.process_batch(rows)}, rounds=5, warmups=1
        )
    contest.rate("100 k JSON records, one call each", "ours", amount=RECORDS, unit="records/s")
    contest.speedup("100 k JSON records, over Extism", "ours", over="extism", at_least=1.2, limited_by=LIMITED_BY)
    contest.rate("100 k JSON records as one batch", "ours, a batch", amount=RECORDS, unit="records/s")
