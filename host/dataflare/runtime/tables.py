"""Tables, and iterables of batches, where a plugin takes a batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import pyarrow as pa

from dataflare.data.columns import no_rows
from dataflare.errors import ValueTypeError
from dataflare.runtime.results import Report
from dataflare.wit_types.validator import RuleCount

__all__ = ["batches_of", "map_rows", "merge_reports"]

_BATCH_ROWS: Final = 65_536


def batches_of(rows: Any) -> Iterator[pa.RecordBatch]:
    """Give the batches of a table, of at most 65,536 rows and at least one, or those of an iterable.

    Raises:
        ValueTypeError: It is neither.
    """
    if isinstance(rows, pa.RecordBatch):
        return iter([rows])
    if isinstance(rows, pa.Table):
        return iter(rows.to_batches(max_chunksize=_BATCH_ROWS) or [no_rows(rows.schema)])
    if isinstance(rows, Iterable) and not isinstance(rows, str | bytes | Mapping):
        return iter(rows)
    what = f"a {type(rows).__name__} is not a pyarrow.RecordBatch, a pyarrow.Table or an iterable of batches"
    raise ValueTypeError(what, hint="make one with `pyarrow.RecordBatch.from_pylist` or `from_pydict`")


def map_rows(rows: Any, one: Callable[[pa.RecordBatch], pa.RecordBatch]) -> Any:
    """Apply a function of batches to a table, which gives a table, or to an iterable, batch by batch as it is taken.

    Raises:
        ValueTypeError: It is neither.
    """
    batches = batches_of(rows)
    if isinstance(rows, pa.Table):
        return pa.Table.from_batches([one(batch) for batch in batches])
    return (one(batch) for batch in batches)


def merge_reports(rows: Any, check: Callable[[pa.RecordBatch], Report]) -> Report:
    """Check batch by batch; the rows of violations are counted over all batches.

    Raises:
        ValueTypeError: It is neither a table nor an iterable.
    """
    before, checked = 0, 0
    counts: Counter[str] = Counter()
    violations = []
    for batch in batches_of(rows):
        report = check(batch)
        checked += report.rows_checked
        counts.update({count.rule: count.violations for count in report.counts})
        violations += [each if each.row is None else replace(each, row=before + each.row) for each in report.violations]
        before += batch.num_rows
    return Report(checked, tuple(RuleCount(rule, number) for rule, number in counts.items()), tuple(violations))
