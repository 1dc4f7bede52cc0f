"""How fast is a plugin that lets the host compute, by expressions on handles of batches?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from bench_columns import ROWS, make_rows
from benchkit.results import Contest
from dataflare.runtime.host import Host
from dataflare.runtime.transformer import Transformer

GROUPS = 1_000
MOST = 1.3
# By parts of a call on ten rows, whose kernel takes 8 us.
LIMITED_BY = (
    "0.14 ms in Rust beside the kernel's 0.65: a call that hands a batch through 25 us, decoding the expression 30,"
    " checks and charges 55, the guest's own code 10; in Python 45, in JavaScript 105. After a kernel that filled the"
    " processor's caches it is about 0.2 ms"
)


def rows_with_a_key() -> pa.RecordBatch:
    """Three columns of numbers, and a key of 1,000 values before them."""
    keys = np.random.default_rng(2).integers(0, GROUPS, ROWS)
    rows = make_rows()
    return pa.record_batch([pa.array(keys), *rows.columns], ["k", *rows.schema.names])


def doubled(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Double a column with pyarrow."""
    return rows.set_column(0, "a", pc.multiply(rows.column(0), 2.0))


def report(rows: pa.RecordBatch) -> pa.Table:
    """Filter by two conditions, add three columns, and compute of them by the key, with pyarrow."""
    kept = rows.filter(pc.and_(pc.greater(rows["a"], 0.0), pc.less(rows["b"], 0.0)))
    wide = pa.Table.from_batches([kept])
    wide = wide.append_column("double", pc.multiply(kept["a"], 2.0))
    wide = wide.append_column("sum", pc.add(kept["a"], kept["b"])).append_column("size", pc.abs(kept["c"]))
    aggregates = [("double", "sum"), ("sum", "mean"), ("size", "max")]
    return wide.group_by("k", use_threads=False).aggregate(aggregates)


@pytest.mark.parametrize("name", ["bench-columns", "columns-javascript", "columns-python"])
def bench_column_doubled_by_an_expression(
    contest: Contest, host: Host, guest: Callable[[str], bytes], name: str
) -> None:
    """One of three columns doubled by the host."""
    contest.ask(
        f"A column doubled by {name} through an expression, against pyarrow's own kernel",
        sizes="1,000,000 rows, 3 columns of double, one of them doubled",
    )
    rows = make_rows()
    with host.load(guest(name), name=name, config={"column": "a", "by": "expressions"}) as plugin:
        assert isinstance(plugin, Transformer)
        assert plugin.transform(rows).equals(doubled(rows))
        contest.run(
            {"ours": lambda: plugin.transform(rows), "pyarrow": lambda: doubled(rows)},
            rounds=25,
            repeats={"ours": 5, "pyarrow": 5},
        )
    row = f"a column of 1 M rows doubled by an expression, {name}"
    contest.rate(row, "ours", amount=ROWS / 1e6, unit="M rows/s")
    contest.cost(f"{row}, of pyarrow's time", "ours", over="pyarrow", at_most=MOST, limited_by=LIMITED_BY)


def bench_report_by_expressions(contest: Contest, host: Host, guest: Callable[[str], bytes]) -> None:
    """Two conditions, three new columns and three aggregates by a key, from Python."""
    contest.ask(
        "A Python plugin that filters, adds columns and aggregates by expressions, against the same in pyarrow",
        sizes="1,000,000 rows, 4 columns, a quarter of the rows kept, 1,000 groups",
    )
    rows = rows_with_a_key()
    config = {"column": "a", "by": "report"}
    with host.load(guest("columns-python"), name="columns-python", config=config) as plugin:
        assert isinstance(plugin, Transformer)
        assert_same(plugin.transform(rows), report(rows))
        contest.run({"ours": lambda: plugin.transform(rows), "pyarrow": lambda: report(rows)}, rounds=25)
    row = "a report of 1 M rows by expressions, columns-python"
    contest.rate(row, "ours", amount=ROWS / 1e6, unit="M rows/s")
    contest.cost(f"{row}, of pyarrow's time", "ours", over="pyarrow", at_most=MOST, limited_by=LIMITED_BY)


def assert_same(ours: pa.RecordBatch, theirs: pa.Table) -> None:
    """Check that two reports have the same rows."""
    assert ours.schema.names == ["k", "double", "sum", "size"]
    names = {"k": "k", "double": "double_sum", "sum": "sum_mean", "size": "size_max"}
    found = pa.Table.from_batches([ours]).sort_by("k")
    expected = theirs.select(list(names.values())).sort_by("k")
    for name, other in names.items():
        assert np.allclose(found[name].to_numpy(), expected[other].to_numpy())
