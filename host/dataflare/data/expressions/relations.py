"""Operations of expressions on whole batches: columns, filters, sorting, groups and joins."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataflare.budgets import OverTime, current
from dataflare.data.builders import keep_rows
from dataflare.data.columns import column_index, empty_batch, find_column
from dataflare.data.distinct import dictionary_of
from dataflare.data.expressions.evaluate import Plan
from dataflare.data.expressions.types import BOOLEAN, FLAT, NUMERIC, TEXT_OR_BINARY, TypeClass, plain, whole
from dataflare.data.guard.costs import batch_row_sizes, expanded_bytes, row_bytes, row_sizes
from dataflare.data.shapes import malformed, out_of_range, too_large, wrong_type

__all__ = ["AGGREGATES", "Aggregate", "aggregate", "filter_by", "join", "select", "sort", "with_columns"]

_MAX_KEYS: Final = 64
_MAX_COLUMNS: Final = 10_000
_FEW: Final = 4
_NO_TRIAL_ROWS: Final = 2**16
_TRIALS: Final = ((2**11, 64.0), (2**15, 1.0))
"""Numbers of rows of the trials, and the factor by which the real time may exceed the estimate of each. Few rows fit
into the processor's caches, so their estimate is rough. The second trial runs only if the first does not decide."""
_PLACE_BYTES: Final = 16
_NUMBERS_BYTES: Final = 64
"""Bytes that sorting, joining and grouping take for each row, in addition to its values: indices and key numbers."""
_AT_ONCE: Final = 16
"""Number of aggregates that are computed in one pass over the rows; the deadline is checked between passes."""


def with_columns(
    batch: pa.RecordBatch, plan: Plan, outputs: Sequence[tuple[str, int]], max_bytes: int
) -> pa.RecordBatch:
    """Add computed columns, or replace those of the same name and keep their metadata."""
    places = batch.schema.get_all_field_indices
    made = []
    for field, array in _outputs(batch, plan, outputs, max_bytes):
        if places(field.name):
            field = field.with_metadata(batch.schema.field(column_index(batch, field.name)).metadata or {})
        made.append((field, array))
    added = sum(not places(field.name) for field, _ in made)
    if batch.num_columns + added > _MAX_COLUMNS:
        raise too_large(f"{batch.num_columns + added} columns are more than {_MAX_COLUMNS}")
    if len(made) > _FEW:  # one by one would take quadratic time
        fields, columns = list(batch.schema), list(batch.columns)
        for field, array in made:
            if at := places(field.name):
                fields[at[0]], columns[at[0]] = field, array
            else:
                fields.append(field)
                columns.append(array)
        return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields, batch.schema.metadata))
    result = batch
    for field, array in made:
        at = places(field.name)
        result = result.set_column(at[0], field, array) if at else result.append_column(field, array)
    return result


def select(batch: pa.RecordBatch, plan: Plan, outputs: Sequence[tuple[str, int]], max_bytes: int) -> pa.RecordBatch:
    """Make a batch of only the computed columns. A column of the original batch keeps its metadata."""
    made = _outputs(batch, plan, outputs, max_bytes)
    schema = pa.schema([field for field, _ in made], batch.schema.metadata)
    if not made:
        return empty_batch(batch.num_rows).replace_schema_metadata(batch.schema.metadata)
    return pa.RecordBatch.from_arrays([array for _, array in made], schema=schema)


def _outputs(
    batch: pa.RecordBatch, plan: Plan, outputs: Sequence[tuple[str, int]], max_bytes: int
) -> list[tuple[pa.Field, pa.Array]]:
    if len(outputs) > _MAX_COLUMNS:
        raise too_large(f"{len(outputs)} columns are more than {_MAX_COLUMNS}")
    names = [name for name, _ in outputs]
    if len(set(names)) < len(names):
        raise malformed("two columns would have the same name")
    # A node that is just a column is passed on unchanged, with any type.
    sources = {root: plan.column_name(root) for _, root in outputs}
    computed = [root for root, source in sources.items() if source is None]
    values = dict(zip(computed, plan.compute(batch, computed, max_bytes) if computed else [], strict=True))
    made = []
    for name, root in outputs:
        source = sources[root]
        if source is None:
            array = values[root]
            made.append((pa.field(name, array.type), array))
        else:
            at = column_index(batch, source)
            made.append((batch.schema.field(at).with_name(name), batch.column(at)))
    return made


def filter_by(batch: pa.RecordBatch, plan: Plan, max_bytes: int) -> pa.RecordBatch:
    """Keep the rows for which the last node is true; null counts as false."""
    if not len(plan):
        raise malformed("an expression needs at least a node")
    (mask,) = plan.compute(batch, [len(plan) - 1], max_bytes)
    if not pa.types.is_boolean(mask.type):
        raise wrong_type(", ".join(sorted(plan.columns()))[:200], "boolean", mask.type, function="filter")
    if batch.nbytes > max_bytes:
        kept = np.asarray(pc.fill_null(mask, False))
        _require(float(batch_row_sizes(batch)[kept].sum()), max_bytes)
    return keep_rows(batch, mask)


def sort(batch: pa.RecordBatch, keys: Sequence[tuple[str, bool]], nulls_first: bool, max_bytes: int) -> pa.RecordBatch:
    """Sort the rows by columns; rows that are equal in all of them keep their order.

    Args:
        keys: Names of columns, most significant first, each with whether it is descending.
        nulls_first: Whether nulls and NaN come first instead of last.
    """
    names = [name for name, _ in keys]
    _check_keys("sort", names)
    current().require(int(batch.nbytes) + _PLACE_BYTES * batch.num_rows)
    columns = _plain_columns("sort", [(batch, name) for name in names], max_bytes)
    table = pa.Table.from_arrays(columns, [str(at) for at in range(len(columns))])
    placement = "at_start" if nulls_first else "at_end"
    order = [(str(at), "descending" if down else "ascending", placement) for at, (_, down) in enumerate(keys)]
    options = pc.SortOptions(order)
    _try([table], lambda tables: pc.sort_indices(tables[0], options=options))
    return batch.take(pc.sort_indices(table, options=options))


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """A function that computes one value from a group's rows."""

    says: str
    takes: TypeClass | None
    """The class of its column's types; `None` if it takes no column."""
    kernel: str
    options: Any = None
    needs_keys: bool = False
    state_bytes: int = 64
    """Bytes that it takes for each group, in addition to values that it holds."""
    holds: str = ""
    """Which values it holds: one for each `group`, or `all`; empty for none."""


AGGREGATES: Final[Mapping[str, Aggregate]] = MappingProxyType(
    {
        "count_rows": Aggregate(says="the number of rows", takes=None, kernel="count_all"),
        "count": Aggregate(says="the number of values that are not null", takes=FLAT, kernel="count"),
        "count_distinct": Aggregate(
            says="the number of different values, null left out",
            takes=FLAT,
            kernel="count_distinct",
            options=pc.CountOptions(mode="only_valid"),
            holds="all",
        ),
        "sum": Aggregate(says="the sum; integers wrap around", takes=NUMERIC, kernel="sum"),
        "product": Aggregate(says="the product; integers wrap around", takes=NUMERIC, kernel="product"),
        "mean": Aggregate(says="the arithmetic mean", takes=NUMERIC, kernel="mean"),
        "min": Aggregate(says="the least value", takes=FLAT, kernel="min", holds="group"),
        "max": Aggregate(says="the greatest value", takes=FLAT, kernel="max", holds="group"),
        "variance": Aggregate(
            says="the variance of a sample", takes=NUMERIC, kernel="variance", options=pc.VarianceOptions(ddof=1)
        ),
        "variance_population": Aggregate(
            says="the variance of all there is", takes=NUMERIC, kernel="variance", options=pc.VarianceOptions(ddof=0)
        ),
        "stddev": Aggregate(
            says="the standard deviation of a sample",
            takes=NUMERIC,
            kernel="stddev",
            options=pc.VarianceOptions(ddof=1),
        ),
        "stddev_population": Aggregate(
            says="the standard deviation of all there is",
            takes=NUMERIC,
            kernel="stddev",
            options=pc.VarianceOptions(ddof=0),
        ),
        "approximate_median": Aggregate(
            says="the median, by a t-digest: exact for small groups",
            takes=NUMERIC,
            kernel="approximate_median",
            state_bytes=16_384,
        ),
        "any": Aggregate(says="whether one holds", takes=BOOLEAN, kernel="any"),
        "all": Aggregate(says="whether all hold", takes=BOOLEAN, kernel="all"),
        "first": Aggregate(says="the first value that is not null", takes=FLAT, kernel="first", holds="group"),
        "last": Aggregate(says="the last value that is not null", takes=FLAT, kernel="last", holds="group"),
        "list": Aggregate(
            says="all values, nulls too, in order; needs keys",
            takes=FLAT,
            kernel="list",
            needs_keys=True,
            holds="all",
        ),
        "distinct": Aggregate(
            says="the different values, null too, as a list; needs keys",
            takes=FLAT,
            kernel="distinct",
            needs_keys=True,
            holds="all",
        ),
    }
)
"""The closed list of aggregates. Nulls are ignored unless `says` states otherwise; only nulls give null."""


def aggregate(
    batch: pa.RecordBatch, keys: Sequence[str], wanted: Sequence[tuple[str, str, str]], max_bytes: int
) -> pa.RecordBatch:
    """Group rows by the values of columns, and compute one row for each group, in the order of their first rows.

    Null is a separate value among keys. Without keys there is one group, which may have no rows.

    Args:
        keys: Names of columns; may be empty.
        wanted: For each column of the result after the keys: its name, the aggregate, and the aggregated column (empty
            for `count_rows`).
    """
    _check_keys("aggregate", keys, least=0)
    if len(wanted) > _MAX_COLUMNS:
        raise too_large(f"{len(wanted)} aggregates are more than {_MAX_COLUMNS}")
    names = [*keys, *(name for name, _, _ in wanted)]
    if len(set(names)) < len(names):
        raise malformed("two columns would have the same name")
    for _, function, _ in wanted:
        known = AGGREGATES.get(function)
        if known is None:
            raise malformed(f"there is no aggregate {function[:100]!r}; there are: {', '.join(AGGREGATES)}")
        if known.needs_keys and not keys:
            raise malformed(f"the aggregate {function} needs keys")
    by_keys = _plain_columns("aggregate", [(batch, key) for key in keys], max_bytes)
    if not wanted:
        columns = _grouped(batch, by_keys, [], max_bytes)
    else:
        columns = []
        room = float(max_bytes)
        for start in range(0, len(wanted), _AT_ONCE):
            some = [(function, column) for _, function, column in wanted[start : start + _AT_ONCE]]
            made = _grouped(batch, by_keys, some, room)
            columns += made if start == 0 else made[len(keys) :]
            room = max_bytes - float(sum(each.nbytes for each in columns))
    fields = [
        batch.schema.field(column_index(batch, key)).with_type(each.type)
        for key, each in zip(keys, columns, strict=False)
    ]
    fields += [pa.field(name, each.type) for (name, _, _), each in zip(wanted, columns[len(keys) :], strict=True)]
    result = pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))
    _require(result.nbytes, max_bytes)
    return result


def _grouped(
    batch: pa.RecordBatch, by_keys: Sequence[pa.Array], wanted: Sequence[tuple[str, str]], room: float
) -> list[pa.Array]:
    """Group rows once, for some aggregates; return the columns of keys, then of results."""
    current().check_time()
    names = list(dict.fromkeys(column for function, column in wanted if AGGREGATES[function].takes is not None))
    _require_small(batch, names, room)
    arrays = {name: plain(find_column(batch, name)) for name in names}
    steps: list[tuple[Any, str, Any]] = []
    for function, column in wanted:
        known = AGGREGATES[function]
        if known.takes is not None and not known.takes.holds(arrays[column].type):
            raise wrong_type(column, str(known.takes), arrays[column].type, function=function)
        place = [] if known.takes is None else f"v{names.index(column)}"
        steps.append((place, known.kernel, known.options))
    labels = [f"k{at}" for at in range(len(by_keys))]
    everything = [*by_keys, *arrays.values()]
    table = pa.Table.from_arrays(everything, [*labels, *(f"v{at}" for at in range(len(arrays)))])
    if not everything:
        table = pa.Table.from_batches([batch])

    def group(tables: Sequence[pa.Table], aggregates: Sequence[Any] = steps) -> pa.Table:
        return tables[0].group_by(labels, use_threads=False).aggregate(aggregates)

    try:

        def state_bytes(groups: int) -> float:
            return sum(_state_bytes(AGGREGATES[name], arrays.get(column), groups) for name, column in wanted)

        # There is usually room for as many groups as rows; if not, the groups are counted first.
        groups = batch.num_rows if by_keys else 1
        if by_keys and wanted and state_bytes(groups) > room:
            _try([table], lambda tables: group(tables, []))
            groups = group([table], []).num_rows
        _require(state_bytes(groups), room)
        _try([table], group)
        grouped = group([table])
        for column in grouped.columns:
            if pa.types.is_decimal(column.type):  # a sum may have more digits than its type
                column.validate(full=True)
    except pa.ArrowNotImplementedError:
        column, kinds = ", ".join(names)[:200], ", ".join(str(array.type) for array in arrays.values())[:200]
        functions = ", ".join(dict.fromkeys(function for function, _ in wanted))[:200]
        raise wrong_type(column, "a type that it can be computed of", kinds, function=functions) from None
    except pa.ArrowInvalid as error:
        raise out_of_range(f"aggregate: {str(error).splitlines()[0][:200]}") from None
    return _in_order(grouped, len(by_keys), len(wanted))


def _state_bytes(known: Aggregate, array: pa.Array | None, groups: int) -> float:
    """Bound the bytes of an aggregate for all its groups."""
    size = float(groups * known.state_bytes)
    if array is None or not known.holds:
        return size
    if known.holds == "all":
        return size + expanded_bytes(array) + _NUMBERS_BYTES * float(len(array))
    if not TEXT_OR_BINARY.holds(array.type):
        return size + float(groups * row_bytes(array.type))
    # No more groups than rows: at worst the longest of all values.
    return size + (float(np.sort(row_sizes(array))[-groups:].sum()) if groups and len(array) else 0.0)


def _in_order(grouped: pa.Table, keys: int, wanted: int) -> list[pa.Array]:
    """Return the columns, keys first; versions of pyarrow differ in their order."""
    at_end = keys > 0 and grouped.column_names[0][:1] != "k"
    shift = wanted if at_end else 0
    order = [*range(shift, shift + keys), *(range(wanted) if at_end else range(keys, keys + wanted))]
    return [whole(grouped.column(each)) for each in order]


def join(
    left: pa.RecordBatch, right: pa.RecordBatch, on: Sequence[tuple[str, str]], kind: str, max_bytes: int
) -> pa.RecordBatch:
    """Join rows of two batches with equal keys, in the order of the left batch's rows.

    Null equals nothing. The result has all columns of the left batch, then those of the right batch without its keys.
    `left-semi` and `left-anti` have only the left batch's columns. The rows of the result are counted before any is
    made.

    Args:
        on: Pairs of a column of the left batch and one of the right.
        kind: `inner`, `left-outer`, `left-semi` (left rows that have a match) or `left-anti` (left rows that have
            none).
    """
    _check_keys("join", [name for name, _ in on])
    right_keys = [name for _, name in on]
    rows = left.num_rows + right.num_rows
    current().require(_NUMBERS_BYTES * rows)
    both = [(left, name) for name, _ in on] + [(right, name) for name in right_keys]
    columns = _plain_columns("join", both, max_bytes)
    ours, theirs = columns[: len(on)], columns[len(on) :]
    for (name, other), one, two in zip(on, ours, theirs, strict=True):
        if one.type != two.type:
            raise wrong_type(f"{name}, {other}", f"two columns of one type ({one.type})", two.type, function="join")
    _try([pa.Table.from_arrays(each, [str(at) for at in range(len(on))]) for each in (ours, theirs)], _try_ids)
    left_ids, right_ids = _group_ids(ours, theirs)
    order = np.argsort(right_ids, kind="stable")
    ordered = right_ids[order]
    begins = np.searchsorted(ordered, left_ids, "left")
    counts = np.where(left_ids < 0, 0, np.searchsorted(ordered, left_ids, "right") - begins)
    if kind in ("left-semi", "left-anti"):
        return keep_rows(left, pa.array((counts > 0) == (kind == "left-semi")))
    outer = kind == "left-outer"
    repeats = np.maximum(counts, 1) if outer else counts
    total = int(repeats.sum())
    size = float((batch_row_sizes(left) * repeats).sum()) + _NUMBERS_BYTES * float(total)
    sums = np.concatenate([[0.0], np.cumsum(batch_row_sizes(right)[order])])
    size += float((sums[begins + counts] - sums[begins]).sum())
    if size > max_bytes or total >= 2**32:
        pairs = ", ".join(f"{one} = {two}" for one, two in on)[:200]
        raise too_large(
            f"the join by {pairs} has {total} rows and takes {size:.0f} bytes, more than the {max_bytes} left"
        )
    current().check_time()
    from_left = np.repeat(np.arange(left.num_rows), repeats)
    within = np.arange(total) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    matched = np.repeat(counts > 0, repeats)
    places = np.repeat(begins, repeats) + within
    from_right = np.zeros(total, np.int64)
    from_right[matched] = order[places[matched]]
    taken_left = left.take(pa.array(from_left))
    taken_right = [
        (field, column)
        for field, column in zip(right.schema, right.columns, strict=True)
        if field.name not in right_keys
    ]
    names = [*left.schema.names, *(field.name for field, _ in taken_right)]
    if len(set(names)) < len(names):
        raise malformed("two columns of the join would have the same name: rename one before")
    indices = pa.array(from_right, pa.int64(), mask=~matched)
    columns = [*taken_left.columns, *(column.take(indices) for _, column in taken_right)]
    fields = [*left.schema, *(field.with_nullable(True) if outer else field for field, _ in taken_right)]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields, left.schema.metadata))


def _try_ids(tables: Sequence[pa.Table]) -> None:
    ours, theirs = ([whole(column) for column in table.columns] for table in tables)
    _group_ids(ours, theirs)


def _group_ids(ours: Sequence[pa.Array], theirs: Sequence[pa.Array]) -> tuple[Any, Any]:
    """Number the distinct keys of both sides: equal keys get equal numbers; a key with a null gets -1 or -2."""
    rows = len(ours[0])
    ids = np.zeros(rows + len(theirs[0]), np.int64)
    unknown = np.zeros(len(ids), bool)
    for one, two in zip(ours, theirs, strict=True):
        current().check_time()
        encoded = dictionary_of(pa.concat_arrays([one, two]))
        indices = encoded.indices
        unknown |= np.asarray(indices.is_null())
        part = np.asarray(indices.cast(pa.int64()).fill_null(0))
        # Renumber the pairs seen so far, so that numbers stay small.
        ids = np.unique(ids * max(len(encoded.dictionary), 1) + part, return_inverse=True)[1].astype(np.int64)
    left, right = ids[:rows], ids[rows:]
    return np.where(unknown[:rows], -1, left), np.where(unknown[rows:], -2, right)


def _plain_columns(what: str, keys: Sequence[tuple[pa.RecordBatch, str]], room: float) -> list[pa.Array]:
    """Return the columns to sort, group or join by, with dictionaries written out, in at most `room` bytes."""
    columns = []
    for batch, name in keys:
        _require_small(batch, [name], room)
        column = find_column(batch, name)
        array = plain(column)
        if not FLAT.holds(array.type):
            raise wrong_type(name, str(FLAT), array.type, function=what)
        columns.append(array)
        room -= 0 if array is column else array.nbytes
    return columns


def _require_small(batch: pa.RecordBatch, names: Sequence[str], room: float) -> None:
    """Check that the dictionaries among some columns take at most `room` bytes once written out."""
    columns = [find_column(batch, name) for name in names]
    _require(sum(expanded_bytes(each) for each in columns if pa.types.is_dictionary(each.type)), room)


def _require(size: float, room: float) -> None:
    if size > room:
        raise too_large(f"it would take {size:.0f} bytes, more than the {max(room, 0.0):.0f} that are left")


def _check_keys(what: str, names: Sequence[str], least: int = 1) -> None:
    if not least <= len(names) <= _MAX_KEYS:
        raise malformed(f"{what} takes {least} to {_MAX_KEYS} keys, not {len(names)}")


def _try(tables: Sequence[pa.Table], run: Callable[[Sequence[pa.Table]], object]) -> None:
    """Refuse an uninterruptible operation that would pass the deadline; estimate its time with some of the rows.

    Args:
        tables: The operation's input.
        run: Runs the operation; takes about the same time for each row.

    Raises:
        OverTime: It would take longer than the call has left.
    """
    budget = current()
    budget.check_time()
    rows = sum(table.num_rows for table in tables)
    left_s = budget.deadline_s - time.monotonic()
    if rows <= _NO_TRIAL_ROWS or left_s == math.inf:
        return
    for trial_rows, margin in _TRIALS:
        # Rows from all parts, so that their order matters little.
        step = -(-rows // trial_rows)
        some = [table.take(pa.array(np.arange(0, table.num_rows, step))) for table in tables]
        began_s = time.monotonic()
        run(some)
        took_s = time.monotonic() - began_s
        if took_s * step * margin <= left_s:
            return
    raise OverTime
