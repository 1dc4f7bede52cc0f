"""Reads a table or a query, as a source plugin would."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from dataflare.data.guard.batches import admit_batch
from dataflare.data.roles import with_roles
from dataflare.data.shapes import DataFailure
from dataflare.json_values import parse_json
from dataflare.pipeline.databases.connection import Connection, quoted
from dataflare.pipeline.databases.dialects import Dialect, cast_all
from dataflare.pipeline.databases.layout import Column
from dataflare.pipeline.databases.nodes import SqlRead, TablesModel
from dataflare.pipeline.databases.statements import check_one_statement
from dataflare.pipeline.run_errors import DataError, StateError
from dataflare.runtime.datasets import Chunk, Dataset, DatasetName, Ended, Estimate
from dataflare.runtime.results import PluginStats
from dataflare.suggestions import known_names

__all__ = ["SqlSource"]

_OURS = "_dataflare_"
"""How the tables begin that runs keep for themselves."""
_BATCH_ROWS = 65_536
_BATCH_BYTES = 64 * 1024 * 1024
_LONG_ROWS = 1024
"""How many rows of a file are put into a batch where there are texts or bytes, whose length nobody knows."""
_MOST_TIES = 100_000
"""How many rows may have one cursor value: the state has a digest of each."""


class SqlSource:
    """Reads the rows of one node; one thread at a time, but for `interrupt`.

    An incremental read is in the order of the cursor. Its state is the last cursor value, and digests of the rows that
    have it: of their primary key, or of all columns that there were. Later rows with this value are read; rows already
    read are skipped.

    Args:
        node: What is read.
        connect: Connects, and says which dialect it is.
    """

    kind: ClassVar[str] = "source"
    stats: ClassVar[PluginStats] = PluginStats()

    def __init__(self, node: SqlRead, connect: Callable[[], tuple[Connection, Dialect]]) -> None:
        self.name = node.shown
        self._node = node
        self._connect = connect
        self._connection: Connection | None = None
        self._columns: list[Column] | None = None
        self._schema = pa.schema([])
        self._key: tuple[str, ...] = ()
        self._rows: Iterator[tuple[pa.RecordBatch, pa.Array | None]] = iter(())
        self._waiting: tuple[pa.RecordBatch, pa.Array | None] | None = None
        self._last: str | None = None
        self._seen: list[str] = []
        self._digested: list[str] = []
        self._read_before: Counter[str] = Counter()
        """Digests of rows with the previous run's last cursor value that were not met again so far."""

    def start(self) -> SqlSource:
        """Connect, and find the columns.

        Raises:
            ConfigError: The query is not one statement.
            DataError: There is no such table, or no such column.
            DatabaseError: The database cannot be reached, or answered with an error.
        """
        self._connection, self._dialect = self._connect()
        self._dialect.begin(self._connection, writes=False)
        if isinstance(self._node.read, TablesModel):
            return self
        node, table = self._node, self._node.table
        if isinstance(table, str):
            check_one_statement(table, self._connection.kind)
            self._source = f"({table}\n)"
            found = self._dialect.query(self._connection, table)
        else:
            self._source = quoted([table.within or "", table.table])
            found = self._dialect.table(self._connection, table.table, table.within)
            if found is None:
                raise DataError(
                    f"database {self._connection.name!r}: there is no table {table.table!r}",
                    hint="write names as the database has them; `within` names the schema",
                )
            self._key = self._dialect.key(self._connection, table.table, table.within)
        if found is None:
            self._read_beginning()
        else:
            self._choose(found)
        names = self._schema.names
        if node.cursor is not None and node.cursor not in names:
            raise DataError(f"there is no cursor column {node.cursor!r}", hint=known_names(node.cursor, names))
        key = tuple(each for each in self._key if each in names)
        self._key = key if len(key) == len(self._key) else ()
        self._schema = with_roles(self._schema, key=self._key, cursor=node.cursor)
        return self

    def discover(self) -> list[Dataset]:
        """The tables among which a node chooses that reads several, without their columns.

        Raises:
            DatabaseError: The database answered with an error.
        """
        assert isinstance(self._node.read, TablesModel)
        within = self._node.read.within
        names = self._dialect.tables(self._require(), within)
        return [
            Dataset(DatasetName(name, within or ""), "", pa.schema([])) for name in names if not name.startswith(_OURS)
        ]

    def dataset(self, selection: Any = None) -> Dataset:
        """What is read."""
        options = self._node.source
        assert options.dataset is not None
        cursors = () if self._node.cursor is None else (self._node.cursor,)
        modes = frozenset({"full", "incremental"})
        return Dataset(DatasetName(options.dataset, options.namespace), "", self._schema, self._key, cursors, modes)

    def estimate(self, selections: Any = None) -> Estimate | None:
        """Return `None`: a count would scan the table."""
        return None

    def open(self, selections: Any = None, state: bytes | None = None) -> list[pa.Schema]:
        """Begin to read.

        Raises:
            DataError: Rows have no value in the cursor column.
            DatabaseError: The database answered with an error.
            StateError: The state is not one of this source.
        """
        connection, cursor = self._require(), self._node.cursor
        where = order = ""
        if cursor is not None:
            column = self._column(cursor)
            name = self._dialect.ordered(cursor, column)
            self._digested = self._digest_columns()
            if state is not None:
                self._last, self._seen, self._digested = _parsed(state)
                self._read_before = Counter(self._seen)
                if gone := set(self._digested) - set(self._schema.names):
                    raise StateError(
                        f"the state tells rows apart by the column {min(gone)!r}, which is no longer read",
                        hint="read it again, or start again with --full-refresh",
                    )
            if connection.rows(f"SELECT 1 FROM {self._source} AS asked WHERE {name} IS NULL LIMIT 1"):
                raise DataError(
                    f"database {connection.name!r}: rows have no value in the cursor column {cursor!r}, and would "
                    "never be read",
                    hint="read by another cursor, or by a query that leaves them out or gives them a value",
                )
            unfit = self._dialect.unfit(connection, self._source, cursor, column, self._last)
            if unfit and connection.rows(f"SELECT 1 FROM {self._source} AS asked WHERE {unfit} LIMIT 1"):
                raise DataError(
                    f"database {connection.name!r}: rows have values in the cursor column {cursor!r} that have no "
                    "place in its order, such as NaN, infinity, bytes, or a date that is written unlike the others",
                    hint="correct them, read by another cursor, or by a query that leaves them out",
                )
            order = name
            if self._last is not None:
                try:
                    where = f"{name} >= {self._dialect.literal(self._last, column)}"
                except ValueError as error:
                    raise StateError("the state has no value of the cursor column") from error
        query, skipped = self._dialect.select(self._columns, self._source, where=where, order=order)
        self._rows = self._batches(query, skipped)
        self._waiting = None
        return [self._schema]

    def read(self, max_rows: int = _BATCH_ROWS) -> Chunk | Ended:
        """Read on: as many rows as are asked for, wherever the driver divides them, so that reads repeat.

        Raises:
            DataError: A value does not fit the type of its column.
            DatabaseError: The database answered with an error, or the connection is lost.
        """
        left = min(max_rows, _BATCH_ROWS)
        parts: list[pa.RecordBatch] = []
        size = 0
        while left and size < _BATCH_BYTES and (part := self._next(left)) is not None:
            parts.append(part)
            left -= part.num_rows
            size += part.nbytes
        if not parts:
            return Ended()
        try:
            rows = parts[0] if len(parts) == 1 else pa.concat_batches(parts)
        except pa.ArrowException as error:
            raise DataError(f"rows do not fit into one batch: {error}", hint="read fewer, or shorter values") from error
        if self._node.cursor is None:
            return Chunk(self.dataset().name, rows, None)
        state = json.dumps({"cursor": self._last, "columns": self._digested, "seen": self._seen}).encode()
        return Chunk(self.dataset().name, rows, state)

    def _next(self, most: int) -> pa.RecordBatch | None:
        """Some rows that were not read before; `None` at the end."""
        waiting = self._waiting if self._waiting is not None else next(self._rows, None)
        if waiting is None:
            return None
        rows, raw = waiting
        self._waiting = (rows.slice(most), None if raw is None else raw.slice(most)) if rows.num_rows > most else None
        rows, raw = rows.slice(0, most), None if raw is None else raw.slice(0, most)
        return rows if raw is None else self._take(rows, raw)

    def acknowledge(self, state: bytes) -> None:
        """Do nothing: the table stays as it is."""

    def interrupt(self) -> None:
        """End the statement that another thread is in."""
        if self._connection is not None:
            self._connection.cancel()

    def close(self) -> None:
        """Disconnect; idempotent."""
        self._rows = iter(())
        if self._connection is not None:
            self._connection.close()

    def _require(self) -> Connection:
        assert self._connection is not None
        return self._connection

    def _column(self, name: str) -> Column | None:
        return next((each for each in self._columns or () if each.name == name), None)

    def _choose(self, found: list[Column]) -> None:
        wanted = self._node.columns
        names = [each.name for each in found]
        if missing := [name for name in wanted if name not in names]:
            raise DataError(f"there is no column {missing[0]!r}", hint=known_names(missing[0], names))
        also = {*self._key, *(() if self._node.cursor is None else (self._node.cursor,))}
        self._columns = [each for each in found if not wanted or each.name in wanted or each.name in also]
        self._schema = pa.schema([pa.field(each.name, each.type) for each in self._columns])

    def _read_beginning(self) -> None:
        """Take the types of a query's columns from its first rows."""
        self._columns = None
        query, _ = self._dialect.select(None, self._source, where="", order="")
        with self._require().translated(query):
            self._schema = self._require().reader(query).schema

    def _batches(self, query: str, skipped: int) -> Iterator[tuple[pa.RecordBatch, pa.Array | None]]:
        connection = self._require()
        has_long = any(not types.is_primitive(each.type) for each in self._columns or ())
        reader = connection.reader(query, batch_rows=_LONG_ROWS if has_long else _BATCH_ROWS)
        wanted = self._schema.names if self._columns is None else [each.name for each in self._columns]
        if reader.schema.names != wanted:
            raise DataError(
                f"database {connection.name!r}: the answer to a query has other columns than it asks for",
                hint="does another program change the table meanwhile?",
            )
        while True:
            with connection.translated(query):
                try:
                    rows = reader.read_next_batch()
                except StopIteration:
                    return
            rows, skipped = rows.slice(skipped), max(0, skipped - rows.num_rows)
            if not rows.num_rows:
                continue
            rows = self._admitted(rows)
            raw = None if self._node.cursor is None else self._comparable(rows)
            if self._columns is not None:
                rows = cast_all(rows, self._columns, connection.name)
            yield self._typed(rows), raw

    def _typed(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        try:
            return pa.RecordBatch.from_arrays(rows.columns, schema=self._schema)
        except (pa.ArrowException, TypeError) as error:
            raise DataError(
                f"database {self._require().name!r}: values do not have the type of the query's first ones: {error}",
                hint="cast them in the query: `CAST(... AS TEXT)`",
            ) from error

    def _admitted(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        try:
            return admit_batch(rows)
        except DataFailure as error:
            raise DataError(
                f"database {self._require().name!r}: {error}", hint="correct the rows that have it"
            ) from error

    def _comparable(self, rows: pa.RecordBatch) -> pa.Array:
        """The cursor values, those that the database takes for equal written alike."""
        raw, column = rows.column(rows.schema.get_field_index(self._node.cursor)), self._column(self._node.cursor or "")
        if types.is_floating(raw.type):
            return pc.add(raw, pa.scalar(0, raw.type))  # -0.0 is 0.0
        if column is not None and column.declared.startswith("numeric"):
            shorter = pc.replace_substring_regex(raw, r"(\.[0-9]*[1-9])0+$", r"\1")
            return pc.replace_substring_regex(shorter, r"\.0*$", "")
        return raw

    def _digest_columns(self) -> list[str]:
        return list(self._key) or list(self._schema.names)

    def _take(self, rows: pa.RecordBatch, raw: pa.Array) -> pa.RecordBatch:
        """Leave out the rows that an earlier run has read, and take note of those that have the last value."""
        column = self._column(self._node.cursor or "")
        if self._read_before:
            same = _run_of(raw) if self._dialect.value(raw.slice(0, 1), column) == self._last else 0
            new = [True] * rows.num_rows
            for at, digest in enumerate(_digests(rows.slice(0, same), self._digested)):
                if self._read_before[digest] > 0:
                    self._read_before[digest] -= 1
                    new[at] = False
            if same < rows.num_rows:
                self._read_before.clear()
            rows, raw = rows.filter(pa.array(new)), raw.filter(pa.array(new))
        if not rows.num_rows:
            return rows
        last = self._dialect.value(raw, column)
        if last != self._last:
            self._last, self._seen, self._digested = last, [], self._digest_columns()
        tail = pc.indices_nonzero(pc.equal(raw, raw[len(raw) - 1]))
        if len(self._seen) + len(tail) > _MOST_TIES:
            raise DataError(
                f"more than {_MOST_TIES} rows have one value in the cursor column {self._node.cursor!r}",
                hint="read by a cursor with more values, or by `mode: full`",
            )
        self._seen += _digests(rows.take(tail), self._digested)
        return rows


def _run_of(cursor: pa.Array) -> int:
    """How many rows at the beginning have the same value."""
    same = pc.equal(cursor, cursor[0])
    first = pc.index(same, False).as_py()
    return len(cursor) if first < 0 else int(first)


def _digests(rows: pa.RecordBatch, names: list[str]) -> list[str]:
    columns = [_plain(rows.column(rows.schema.get_field_index(name))).to_pylist() for name in sorted(names)]
    return [sha256(repr(row).encode()).hexdigest()[:16] for row in zip(*columns, strict=True)]


def _plain(array: pa.Array) -> pa.Array:
    """Write dates and times as numbers: Python has none beyond the year 9999."""
    if types.is_list(array.type):
        inner = _number(array.type.value_type)
        return array if inner is None else array.cast(pa.list_(inner))
    number = _number(array.type)
    return array if number is None else array.cast(number)


def _number(data_type: pa.DataType) -> pa.DataType | None:
    if types.is_date32(data_type):
        return pa.int32()
    return pa.int64() if types.is_timestamp(data_type) or types.is_time64(data_type) else None


def _parsed(state: bytes) -> tuple[str, list[str], list[str]]:
    try:
        value = parse_json(state)
        last, seen, columns = value["cursor"], value["seen"], value["columns"]
        if not isinstance(last, str) or not all(isinstance(each, str) for each in [*seen, *columns]):
            raise ValueError("it has other values")
    except (ValueError, TypeError, KeyError) as error:
        raise StateError(
            "the state of a table is not one that this program wrote", hint="start again with --full-refresh"
        ) from error
    return last, seen, columns
