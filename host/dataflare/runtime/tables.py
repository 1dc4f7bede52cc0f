"""Tables and iterables of batches as arguments of plugins that take a batch."""

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
    """Yield the batches of a table, at least one and each with at most 65,536 rows, or those of an iterable.

    Raises:
        ValueTypeError: It is neither, or an item of the iterable is not a batch.
    """
    if isinstance(rows, pa.RecordBatch):
        return iter([rows])
    if (table := _table_of(rows)) is not None:
        return iter(table.to_batches(max_chunksize=_BATCH_ROWS) or [no_rows(table.schema)])
    if isinstance(rows, Iterable) and not isinstance(rows, str | bytes | Mapping):
        return map(_batch, rows)
    raise _not_rows(rows, "a pyarrow.RecordBatch, a table or an iterable of batches")


def _table_of(rows: Any) -> pa.Table | None:
    """Return a table of Arrow, or of another library that exports Arrow streams, such as polars; otherwise `None`."""
    if isinstance(rows, pa.Table):
        return rows
    # A reader yields its batches one by one.
    if isinstance(rows, pa.RecordBatchReader) or not hasattr(rows, "__arrow_c_stream__"):
        return None
    try:
        return pa.RecordBatchReader.from_stream(rows).read_all()
    except pa.ArrowInvalid as error:
        raise _not_rows(rows, "a table") from error


def _batch(each: Any) -> pa.RecordBatch:
    if not isinstance(each, pa.RecordBatch):
        raise _not_rows(each, "a pyarrow.RecordBatch, as each item of an iterable has to be")
    return each


def _not_rows(given: Any, wanted: str) -> ValueTypeError:
    return ValueTypeError(
        f"a {type(given).__name__} is not {wanted}",
        hint="make one with `pyarrow.RecordBatch.from_pylist` or `from_pydict`",
    )


def map_rows(rows: Any, one: Callable[[pa.RecordBatch], pa.RecordBatch]) -> Any:
    """Apply a function of batches to a table, which gives a table, or to an iterable, which gives a lazy iterator.

    Raises:
        ValueTypeError: It is neither.
    """
    if (table := _table_of(rows)) is not None:
        return pa.Table.from_batches([one(batch) for batch in batches_of(table)])
    return (one(batch) for batch in batches_of(rows))


def merge_reports(rows: Any, check: Callable[[pa.RecordBatch], Report]) -> Report:
    """Check batch by batch, and merge the reports; row numbers of violations count over all batches.

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
