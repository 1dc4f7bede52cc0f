"""What does a node cost that does not look at its batch?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench_columns import make_rows
from benchkit.results import Contest
from dataflare.runtime.host import Host
from dataflare.runtime.transformer import Transformer

LIMITED_BY = "the call itself"


@pytest.mark.parametrize("name", ["bench-columns", "columns-javascript", "columns-python"])
def bench_passthrough(contest: Contest, host: Host, guest: Callable[[str], bytes], name: str) -> None:
    """A batch that goes in and comes out as it is."""
    contest.ask(f"A transformer that hands a batch through, {name}", sizes="3 columns; 10, 1 M and 10 M rows (240 MB)")
    sizes = {"10 M rows": 10_000_000, "1 M rows": 1_000_000, "10 rows": 10}
    with host.load(guest(name), name=name) as plugin:
        assert isinstance(plugin, Transformer)

        def sender(rows: int) -> Callable[[], object]:
            batch = make_rows(rows)
            assert plugin.transform(batch).column(0).buffers()[1].address == batch.column(0).buffers()[1].address
            return lambda: plugin.transform(batch)

        contest.run({side: sender(rows) for side, rows in sizes.items()}, rounds=15, repeats=dict.fromkeys(sizes, 500))
    contest.time(
        f"a batch of 10 M rows handed through, {name}", "10 M rows", unit="us", at_most=100.0, limited_by=LIMITED_BY
    )
    contest.cost(f"10 M rows against 10 rows, {name}", "10 M rows", over="10 rows")
