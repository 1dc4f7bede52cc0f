"""How fast do records go through a record processor?"""

from __future__ import annotations

from collections.abc import Callable

import extism
import pyarrow as pa
import pyarrow.csv

from benchkit.flights import flights_csv
from benchkit.guests import ROOT
from benchkit.results import Contest
from dataflare.data.json_writer import encode_json_lines
from dataflare.runtime.host import Host
from dataflare.runtime.processor import Processor

RECORDS = 100_000
JSON_MAPPER = ROOT / "guest-sdks/rust/components/json-mapper.wasm"
MAPPING = {
    "keep_if": {"field": "air_time", "op": "!=", "value": None},
    "drop": ["year", "month", "day", "hour", "minute"],
    "rename": {"dest": "destination", "tailnum": "aircraft", "air_time": "air_minutes", "distance": "miles"},
    "set": {"dataset": "nycflights13"},
}
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
    contest.speedup("100 k JSON records, over Extism", "ours", over="extism", at_least=3.0, limited_by=LIMITED_BY)
    contest.rate(
        "100 k JSON records as one batch",
        "ours, a batch",
        amount=RECORDS,
        unit="records/s",
        at_least=250_000.0,
        limited_by=f"{LIMITED_BY}: 6.1 of 10.7 us of a record, 163,000 records/s if the host took no time; outside "
        "of any sandbox the same code takes 2.3 us, which would make 147,000; the host decodes in 3.5 us, of which "
        "Arrow's reader takes 2.3, and encodes in 1.0; see the records mapped by columns",
    )


def bench_records_by_columns(contest: Contest, host: Host) -> None:
    """The record processor of the flights, which maps batches by columns, beside what it makes of each record."""
    rows = pa.csv.read_csv(flights_csv()).slice(0, RECORDS).combine_chunks().to_batches()[0]
    records = bytes(encode_json_lines(rows, 2**30)).decode().splitlines()
    contest.ask(
        "100,000 records through a record processor in Rust that filters, drops, renames and sets",
        sizes=f"{RECORDS:,} flights of 19 columns, as one batch and as JSON one call each",
    )
    with host.load(JSON_MAPPER, name="json-mapper", config=MAPPING) as plugin:
        assert isinstance(plugin, Processor)
        kept = [made for record in records[:1000] if (made := plugin.process(record)) is not None]
        assert bytes(encode_json_lines(plugin.process_batch(rows.slice(0, 1000)), 2**30)).decode().splitlines() == kept

        def one_by_one() -> None:
            process = plugin.process
            for record in records:
                process(record)

        contest.run({"a batch": lambda: plugin.process_batch(rows), "one call each": one_by_one}, rounds=5, warmups=1)
    contest.rate("100 k records mapped by columns", "a batch", amount=RECORDS, unit="records/s", at_least=250_000.0)
    contest.rate("100 k records mapped one by one", "one call each", amount=RECORDS, unit="records/s")
