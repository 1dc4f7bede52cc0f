"""How fast does a source read, through the interface `source`?"""

from __future__ import annotations

import pyarrow.csv

from benchkit.flights import ROWS, flights_csv
from benchkit.guests import ROOT
from benchkit.results import Contest
from dataflare.grants import DirectoryGrant, Grants
from dataflare.runtime.host import Host
from dataflare.runtime.source import Source

CSV_SOURCE = ROOT / "guest-sdks" / "rust" / "components" / "csv-source.wasm"
CHUNK = 65_536


def bench_source(contest: Contest, host: Host) -> None:
    """Read the flights with csv-source, and with pyarrow alone."""
    path = flights_csv()
    contest.ask(
        "Flights read from a granted directory by csv-source, against pyarrow's own reader on one thread",
        sizes=f"{ROWS:,} rows of 19 columns, {path.stat().st_size:,} B, up to {CHUNK:,} rows a call",
    )
    grants = Grants(files={"data": DirectoryGrant(path=path.parent)})
    config = {"path": f"data/{path.name}"}
    options = pyarrow.csv.ReadOptions(use_threads=False)
    with host.load(CSV_SOURCE, name="csv-source", config=config, grants=grants) as source:
        assert isinstance(source, Source)

        def read() -> None:
            assert sum(batch.num_rows for batch in source.batches(max_rows=CHUNK)) == ROWS

        def read_with_pyarrow() -> None:
            assert pyarrow.csv.read_csv(path, read_options=options).num_rows == ROWS

        contest.run({"ours": read, "pyarrow": read_with_pyarrow}, rounds=8, warmups=1)
    contest.rate("flights read through `source`, csv-source", "ours", amount=ROWS, unit="rows/s")
    contest.cost("flights read through `source`, csv-source, of pyarrow's time", "ours", over="pyarrow")
