"""How fast is a plugin that works on one column of a batch?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from benchkit.results import Contest
from dataflare.runtime.host import Host
from dataflare.runtime.transformer import Transformer

ROWS = 1_000_000
SIZES = "1,000,000 rows, 3 columns of double, one of them doubled"
LIMITS = {
    "bench-columns": (
        "of 5.9 ms by processor time, 1.5 are the guest's own loop, 1.5 the copy of 8 MB into the plugin, 1.4 out of "
        "it into new memory, and 0.2 the call"
    ),
    "columns-javascript": "the guest's own loop: SpiderMonkey within WebAssembly interprets",
    "columns-python": (
        "the guest: componentize-py takes two thirds of the time to turn numbers into objects and back one by one, "
        "CPython's own loop the rest; all that is ours takes 2 ms"
    ),
    "bench-arrow": (
        "24 MB each way where views copy 8: of 41 ms by processor time, 16 are arrow-rs, which writes a new stream,"
        " 8 the copy into the plugin, 8 that out of it, and 5 writing the stream for it"
    ),
}


def make_rows(rows: int = ROWS) -> pa.RecordBatch:
    """Three columns of numbers."""
    random = np.random.default_rng(1)
    return pa.record_batch({name: random.standard_normal(rows) for name in "abc"})


def natively(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Double the column with pyarrow, and copy the batch once as IPC, as a process beside this one would have to."""
    doubled = pc.multiply(rows.column(0), 2.0)
    made = rows.set_column(0, "a", doubled)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, made.schema) as writer:
        writer.write_batch(made)
    with pa.ipc.open_stream(sink.getvalue()) as reader:
        return reader.read_next_batch()


@pytest.mark.parametrize("name", ["bench-columns", "columns-javascript", "columns-python", "bench-arrow"])
def bench_doubled_column(contest: Contest, host: Host, guest: Callable[[str], bytes], name: str) -> None:
    """One column of a million rows doubled."""
    how = "an Arrow stream and arrow-rs" if name == "bench-arrow" else "column views"
    contest.ask(f"A column doubled by {name} through {how}, against pyarrow and one copy as IPC", sizes=SIZES)
    rows = make_rows()
    config = {} if name == "bench-arrow" else {"column": "a"}
    with host.load(guest(name), name=name, config=config) as plugin:
        assert isinstance(plugin, Transformer)
        assert plugin.transform(rows).equals(natively(rows))
        contest.run(
            {"ours": lambda: plugin.transform(rows), "pyarrow": lambda: natively(rows)},
            rounds=10 if "python" in name or "javascript" in name else 25,
        )
    limit = LIMITS[name]
    row = f"a column of 1 M rows doubled, {name}"
    if name in ("bench-columns", "bench-arrow"):
        contest.rate(row, "ours", amount=ROWS / 1e6, unit="M rows/s")
        most = 0.5 if name == "bench-columns" else 3.0
        contest.cost(f"{row}, of pyarrow's time", "ours", over="pyarrow", at_most=most, limited_by=limit)
    else:
        contest.rate(row, "ours", amount=ROWS / 1e6, unit="M rows/s", at_least=5.0, limited_by=limit)
        contest.cost(f"{row}, of pyarrow's time", "ours", over="pyarrow")
