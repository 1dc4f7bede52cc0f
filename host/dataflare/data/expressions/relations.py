"""What expressions do to whole batches: columns, filters, orders, groups and joins."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataflare.budgets import OverTime, current
from dataflare.data.columns import column_index, empty_batch, find_column
from dataflare.data.expressions.evaluate import Plan
from dataflare.data.expressions.types import BOOLEAN, FLAT, NUMERIC, TypeClass, plain
from dataflare.data.guard.costs import expanded_bytes
from dataflare.data.shapes import malformed, out_of_range, too_large, wrong_type

__all__ = ["AGGREGATES", "Aggregate", "aggregate", "filter_by", "join", "select", "sort", "with_columns"]

_MAX_KEYS: Final = 64
_MAX_COLUMNS: Final = 10_000
_FASTEST_ROWS_PER_S: Final = 20_000_000
"""More than sorting, grouping and joining manage for each key: with less time than this takes, none is begun."""


def with_columns(
    batch: pa.RecordBatch, plan: Plan, outputs: Sequence[tuple[str, int]], max_bytes: int
) -> pa.RecordBatch:
    """Add computed columns, or put them in the place of those of the same name."""
    made = _outputs(batch, plan, outputs, max_bytes)
    fields, columns = list(batch.schema), list(batch.columns)
    for field, array in made:
        at = batch.schema.get_all_field_indices(field.name)
        if len(at) > 1:
            column_index(batch, field.name)
        if at:
            fields[at[0]], columns[at[0]] = field, array
        else:
            fields.append(field)
            columns.append(array)
    if len(fields) > _MAX_COLUMNS:
        raise too_large(f"{len(fields)} columns are more than {_MAX_COLUMNS}")
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields, batch.schema.metadata))


def select(batch: pa.RecordBatch, plan: Plan, outputs: Sequence[tuple[str, int]], max_bytes: int) -> pa.RecordBatch:
    """Make a batch of computed columns alone. A column of the batch keeps its metadata."""
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
    # What simply is a column is passed on as it is, of whatever type.
    roots = [root for _, root in outputs]
    computed = [root for root in roots if plan.column_name(root) is None]
    values = dict(zip(computed, plan.compute(batch, computed, max_bytes) if computed else [], strict=True))
    made = []
    for name, root in outputs:
        source = plan.column_name(root)
        if source is None:
            array = values[root]
            made.append((pa.field(name, array.type), array))
        else:
            at = column_index(batch, source)
            made.append((batch.schema.field(at).with_name(name), batch.column(at)))
    return made


def filter_by(batch: pa.RecordBatch, plan: Plan, max_bytes: int) -> pa.RecordBatch:
    """Keep the rows for which the last node holds; null does not."""
    if not len(plan):
        raise malformed("an expression needs at least a node")
    (mask,) = plan.compute(batch, [len(plan) - 1], max_bytes)
    if not pa.types.is_boolean(mask.type):
        raise wrong_type("filter", "boolean", mask.type)
    return batch.filter(mask)


def sort(batch: pa.RecordBatch, keys: Sequence[tuple[str, bool]], nulls_first: bool) -> pa.RecordBatch:
    """Order the rows by columns; rows that are equal in all of them keep their order.

    Args:
        keys: Names of columns, most significant first, each with whether it descends.
        nulls_first: Whether nulls, and NaN next to them, come first rather than last.
    """
    names = [name for name, _ in keys]
    _check_keys("sort", names)
    columns = [_key_column("sort", batch, name) for name in names]
    _check_time(batch.num_rows, len(keys))
    table = pa.Table.from_arrays(columns, [str(at) for at in range(len(columns))])
    placement = "at_start" if nulls_first else "at_end"
    order = [(str(at), "descending" if down else "ascending", placement) for at, (_, down) in enumerate(keys)]
    return batch.take(pc.sort_indices(table, options=pc.SortOptions(order)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """A function of a group's rows."""

    says: str
    takes: TypeClass | None
    """The class of its column; `None` where it takes none."""
    kernel: str
    options: Any = None
    needs_keys: bool = False


AGGREGATES: Final[Mapping[str, Aggregate]] = MappingProxyType(
    {
        "count_rows": Aggregate(says="the number of rows", takes=None, kernel="count_all"),
        "count": Aggregate(says="the number of values that are not null", takes=FLAT, kernel="count"),
        "count_distinct": Aggregate(
            says="the number of different values, null left out",
            takes=FLAT,
            kernel="count_distinct",
            options=pc.CountOptions(mode="only_valid"),
        ),
        "sum": Aggregate(says="the sum; integers wrap around", takes=NUMERIC, kernel="sum"),
        "product": Aggregate(says="the product; integers wrap around", takes=NUMERIC, kernel="product"),
        "mean": Aggregate(says="the arithmetic mean", takes=NUMERIC, kernel="mean"),
        "min": Aggregate(says="the least value", takes=FLAT, kernel="min"),
        "max": Aggregate(says="the greatest value", takes=FLAT, kernel="max"),
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
            says="the median, by a t-digest: exact for small groups", takes=NUMERIC, kernel="approximate_median"
        ),
        "any": Aggregate(says="whether one holds", takes=BOOLEAN, kernel="any"),
        "all": Aggregate(says="whether all hold", takes=BOOLEAN, kernel="all"),
        "first": Aggregate(says="the first value that is not null", takes=FLAT, kernel="first"),
        "last": Aggregate(says="the last value that is not null", takes=FLAT, kernel="last"),
        "list": Aggregate(
            says="all values, nulls too, in order; needs keys", takes=FLAT, kernel="list", needs_keys=True
        ),
        "distinct": Aggregate(
            says="the different values, null too, as a list; needs keys", takes=FLAT, kernel="distinct", needs_keys=True
        ),
    }
)
"""The closed list of aggregates. Nulls are left out unless it says otherwise; of nothing but nulls comes null."""


def aggregate(
    batch: pa.RecordBatch, keys: Sequence[str], wanted: Sequence[tuple[str, str, str]], max_bytes: int
) -> pa.RecordBatch:
    """Group rows by the values of columns, and compute one row of each group, in the order of their first rows.

    Null is a value of its own among keys. Without keys there is one group, of no rows perhaps.

    Args:
        keys: Names of columns; may be empty.
        wanted: For each column of the result after the keys: its name, the aggregate and the column it is of (empty for
            `count_rows`).
    """
    _check_keys("aggregate", keys, least=0)
    if len(wanted) > _MAX_COLUMNS:
        raise too_large(f"{len(wanted)} aggregates are more than {_MAX_COLUMNS}")
    names = [*keys, *(name for name, _, _ in wanted)]
    if len(set(names)) < len(names):
        raise malformed("two columns would have the same name")
    _check_time(batch.num_rows, len(keys) + len(wanted))
    arrays = [_key_column("aggregate", batch, name) for name in keys]
    labels = [f"k{at}" for at in range(len(keys))]
    steps: list[tuple[Any, str, Any]] = []
    for at, (_, function, column) in enumerate(wanted):
        known = AGGREGATES.get(function)
        if known is None:
            raise malformed(f"there is no aggregate {function[:100]!r}; there are: {', '.join(AGGREGATES)}")
        if known.needs_keys and not keys:
            raise malformed(f"the aggregate {function} needs keys")
        if known.takes is None:
            steps.append(([], known.kernel, known.options))
            continue
        array = plain(find_column(batch, column))
        if not known.takes.holds(array.type):
            raise wrong_type(column, f"{known.takes}, for {function}", array.type)
        arrays.append(array)
        labels.append(f"v{at}")
        steps.append((f"v{at}", known.kernel, known.options))
    table = pa.Table.from_arrays(arrays, labels) if arrays else pa.Table.from_batches([batch])
    try:
        grouped = table.group_by([f"k{at}" for at in range(len(keys))], use_threads=False).aggregate(steps)
    except pa.ArrowNotImplementedError as error:
        raise wrong_type("aggregate", "types that can be grouped", str(error).splitlines()[0][:200]) from None
    except pa.ArrowInvalid as error:
        raise out_of_range(f"aggregate: {str(error).splitlines()[0][:200]}") from None
    columns = _in_order(grouped, len(keys), len(wanted))
    fields = [
        batch.schema.field(column_index(batch, key)).with_type(each.type)
        for key, each in zip(keys, columns, strict=False)
    ]
    fields += [pa.field(name, each.type) for (name, _, _), each in zip(wanted, columns[len(keys) :], strict=True)]
    result = pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))
    if result.nbytes > max_bytes:
        raise too_large(f"the result is larger than {max_bytes} bytes")
    return result


def _in_order(grouped: pa.Table, keys: int, wanted: int) -> list[pa.Array]:
    """The columns, keys first; pyarrow's versions differ in where they put them."""
    at_end = keys > 0 and grouped.column_names[0][:1] != "k"
    shift = wanted if at_end else 0
    order = [*range(shift, shift + keys), *(range(wanted) if at_end else range(keys, keys + wanted))]
    return [_combined(grouped.column(each)) for each in order]


def _combined(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return pa.concat_arrays(combined.chunks) if isinstance(combined, pa.ChunkedArray) else combined


def join(
    left: pa.RecordBatch, right: pa.RecordBatch, on: Sequence[tuple[str, str]], kind: str, max_bytes: int
) -> pa.RecordBatch:
    """Bring rows of two batches together whose keys are equal, in the order of the left one's rows.

    Null equals nothing. The result has all columns of the left batch, then those of the right one but its keys;
    `left-semi` and `left-anti` have the left one's alone. How many rows come of it is counted before any is made.

    Args:
        on: Pairs of a column of the left batch and one of the right.
        kind: `inner`, `left-outer`, `left-semi` (rows of the left that have a partner) or `left-anti` (that have none).
    """
    _check_keys("join", [name for name, _ in on])
    right_keys = [name for _, name in on]
    _check_time(left.num_rows + right.num_rows, len(on))
    ours = [_key_column("join", left, name) for name, _ in on]
    theirs = [_key_column("join", right, name) for name in right_keys]
    for (name, other), one, two in zip(on, ours, theirs, strict=True):
        if one.type != two.type:
            raise wrong_type(f"{name} = {other}", f"two columns of one type ({one.type})", two.type)
    left_ids, right_ids = _group_ids(ours, theirs)
    order = np.argsort(right_ids, kind="stable")
    ordered = right_ids[order]
    begins = np.searchsorted(ordered, left_ids, "left")
    counts = np.where(left_ids < 0, 0, np.searchsorted(ordered, left_ids, "right") - begins)
    if kind in ("left-semi", "left-anti"):
        return left.filter(pa.array((counts > 0) == (kind == "left-semi")))
    outer = kind == "left-outer"
    repeats = np.maximum(counts, 1) if outer else counts
    total = int(repeats.sum())
    row_bytes = (expanded_bytes_of(left) / max(left.num_rows, 1)) + (expanded_bytes_of(right) / max(right.num_rows, 1))
    room = float(max_bytes)
    if total * row_bytes > room or total >= 2**32:
        raise too_large(
            f"the join has {total} rows of about {row_bytes:.0f} bytes, more than the {room:.0f} bytes left"
        )
    _check_time(total, 1)
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


def expanded_bytes_of(batch: pa.RecordBatch) -> int:
    """The bytes of a batch with every value written out."""
    return sum(expanded_bytes(column) for column in batch.columns)


def _group_ids(ours: Sequence[pa.Array], theirs: Sequence[pa.Array]) -> tuple[Any, Any]:
    """Number the different keys of both sides: equal keys have equal numbers; a key with a null has -1 and -2."""
    rows = len(ours[0])
    ids = np.zeros(rows + len(theirs[0]), np.int64)
    unknown = np.zeros(len(ids), bool)
    for one, two in zip(ours, theirs, strict=True):
        current().check_time()
        encoded = pa.concat_arrays([one, two]).dictionary_encode()
        indices = encoded.indices
        unknown |= np.asarray(indices.is_null())
        part = np.asarray(indices.cast(pa.int64()).fill_null(0))
        # Numbers stay small: those of the pairs seen so far are numbered anew.
        ids = np.unique(ids * max(len(encoded.dictionary), 1) + part, return_inverse=True)[1].astype(np.int64)
    left, right = ids[:rows], ids[rows:]
    return np.where(unknown[:rows], -1, left), np.where(unknown[rows:], -2, right)


def _key_column(what: str, batch: pa.RecordBatch, name: str) -> pa.Array:
    column = find_column(batch, name)
    if isinstance(column, pa.DictionaryArray) and expanded_bytes(column) > 2**31:
        raise too_large(f"{what}: column {name!r} is too large once written out")
    array = plain(column)
    if not FLAT.holds(array.type):
        raise wrong_type(name, f"{FLAT}, to {what} by", array.type)
    return array


def _check_keys(what: str, names: Sequence[str], least: int = 1) -> None:
    if not least <= len(names) <= _MAX_KEYS:
        raise malformed(f"{what} takes {least} to {_MAX_KEYS} keys, not {len(names)}")


def _check_time(rows: int, keys: int) -> None:
    """These kernels cannot be interrupted: refuse one that would surely pass the deadline."""
    current().check_time()
    if rows * max(keys, 1) / _FASTEST_ROWS_PER_S > current().deadline_s - time.monotonic():
        raise OverTime
