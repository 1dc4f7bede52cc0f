"""Writes a table, as a destination plugin would."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

import pyarrow as pa
import pyarrow.compute as pc

from dataflare.data.casts import convert
from dataflare.data.roles import DELETE, INSERT, UPDATE
from dataflare.pipeline.databases.connection import Connection, literal, quoted
from dataflare.pipeline.databases.dialects import Dialect, decoded
from dataflare.pipeline.databases.layout import DELETED, Layout, divided, keys_alike, merging, staged_type
from dataflare.pipeline.databases.nodes import OWN_TABLES, SqlWrite
from dataflare.pipeline.databases.table_changes import TableChange, check_names, compare_table
from dataflare.pipeline.run_errors import DatabaseError, DataError
from dataflare.runtime.datasets import PlannedChange, Target
from dataflare.runtime.results import PluginStats
from dataflare.wit_types.destination import RejectedRow

__all__ = ["EMPTIED", "SqlDestination"]

EMPTIED: Final = (
    "the table is empty, and the run adds only new rows; unless it was emptied on purpose, start again with "
    "--full-refresh"
)

_TOKENS: Final = f"{OWN_TABLES}tokens"
_STAGE: Final = f"{OWN_TABLES}stage"


class SqlDestination:
    """Writes the rows of one node; one thread at a time, but for `interrupt`.

    All that is written between two flushes is one transaction, and the host's token is in it.

    Args:
        node: What is written.
        connect: Connects, and says which dialect it is.
    """

    kind: ClassVar[str] = "destination"
    stats: ClassVar[PluginStats] = PluginStats()

    def __init__(self, node: SqlWrite, connect: Callable[[], tuple[Connection, Dialect]]) -> None:
        self.name = node.shown
        self._node = node
        self._connect = connect
        self._connection: Connection | None = None
        self._pipeline = ""
        self._mine = ""
        self._generation = 0
        self._found: list[tuple[bytes | None, int]] = []
        self._claimed = False
        self._target: Target | None = None
        self._layout: Layout | None = None
        self._refusals = ""
        self._begun = False
        self.changes: list[PlannedChange] = []
        """What the last `open` or `change_schema` found changed, or changed itself."""

    def start(self) -> SqlDestination:
        """Connect.

        Raises:
            DatabaseError: The database cannot be reached, or answered with an error.
        """
        self._connection, self._dialect = self._connect()
        return self

    def abilities(self) -> frozenset[str]:
        """What it can do."""
        widens = {"widen-columns"} if self._dialect.widens else set()
        return frozenset({"append", "replace", "merge", "delete", "add-columns", "keep-token", "shut-out", *widens})

    def plan(self, target: Target) -> list[PlannedChange]:
        """What `open` would change.

        Raises:
            DataError: The table cannot take such rows.
            DatabaseError: The database answered with an error.
        """
        self._begin()
        try:
            changes, _ = self._compare(target)
            return _planned(target, changes)
        finally:
            self.abort()

    def is_empty(self) -> bool:
        """Whether the table exists without rows; `False` where that is not visible, as to a user who may only add."""
        table = quoted([self._node.table.within or "", self._node.table.table])
        self._begin()
        try:
            return not self._require().rows(f"SELECT 1 FROM {table} LIMIT 1")
        except DatabaseError:
            return False
        finally:
            self.abort()

    def kept_token(self, pipeline: str) -> bytes | None:
        """The token that `open` would return.

        Raises:
            DatabaseError: The database answered with an error.
        """
        self._begin()
        try:
            self._mine = self._position_of(pipeline)
            there = self._dialect.table(self._require(), _TOKENS, None) is not None
            kept = self._kept(lock=False) if there else []
            return kept[0][0] if kept else None
        finally:
            self.abort()

    def open(self, target: Target, *, pipeline: str, run: str, generation: int) -> bytes | None:
        """Begin a run.

        Returns:
            The token that was kept last; `None` for none.

        Raises:
            DataError: The table cannot take such rows, or another run writes it.
            DatabaseError: The database answered with an error.
        """
        connection = self._require()
        self._pipeline, self._generation, self._target = pipeline, generation, target
        self._begin()
        table = self._node.table
        check_names(self._dialect, [table.within or "", table.table, *target.schema.names])
        if not self._dialect.lock(connection, table.table, table.within):
            raise DataError(
                f"database {connection.name!r}: another run writes the table {table.table!r}, or another node of this",
                hint="wait for it, or end it; let one node write a table",
            )
        self._mine = self._position_of(pipeline)
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {_TOKENS} "
            f"(pipeline TEXT PRIMARY KEY, token {self._dialect.bytes_type}, generation BIGINT NOT NULL)"
        )
        self._found = self._kept()
        token, kept = self._found[0] if self._found else (None, 0)
        if kept > generation:
            raise self._superseded()
        self._claimed = False
        self._commit()
        emptied = bool(token) and target.mode != "replace" and self.is_empty()
        self._begin()
        self._prepare(target)
        if emptied:
            self.changes.append(PlannedChange(target.dataset, "other", EMPTIED))
        return token

    def write(self, rows: pa.RecordBatch) -> list[RejectedRow]:
        """Write a batch.

        Returns:
            The rows that the database does not take for their values.

        Raises:
            DatabaseError: The database answered with an error, or the connection is lost.
        """
        layout, connection = self._laid_out(), self._require()
        self._claim()
        rejected: list[RejectedRow] = []
        numbers, rows = self._of_keys(layout, rows, rejected)
        stored = self._stored(layout, rows)
        parts = [(numbers, stored)] if stored.num_rows else []
        while parts:
            numbers, part = parts.pop()
            if self._dialect.savepoints:
                connection.execute("SAVEPOINT dataflare")
            try:
                self._put(layout, part)
            except DatabaseError as error:
                if not error.of_rows:
                    raise
                self._roll_back(error)
                if part.num_rows == 1:
                    rejected.append(RejectedRow(numbers[0], None, error.message))
                else:
                    parts += reversed(divided(numbers, part, layout.key))
            if self._dialect.savepoints:
                connection.execute("RELEASE SAVEPOINT dataflare")
        return sorted(rejected, key=lambda each: each.row)

    def change_schema(self, schema: pa.Schema, dataset: Any = None) -> None:
        """Take rows with other columns from here on.

        Raises:
            DataError: The table cannot take such rows.
            DatabaseError: The database answered with an error.
        """
        assert self._target is not None
        target = self._target
        self._target = Target(target.dataset, schema, key=target.key, mode=target.mode)
        self._begin()
        self._prepare(self._target)

    def flush(self, token: bytes = b"") -> bool:
        """Make all rows safe, together with the token; not those that replace others, which appear at the end.

        Raises:
            DataError: A later run has begun.
            DatabaseError: The database answered with an error, or the connection is lost.
        """
        if self._node.mode == "replace":
            return False
        self._keep(token)
        return True

    def finish(self, token: bytes = b"") -> None:
        """Make all rows safe and visible, together with the token.

        Raises:
            DataError: A later run has begun.
            DatabaseError: The database answered with an error, or the connection is lost.
        """
        if self._node.mode == "replace":
            layout, connection = self._laid_out(), self._require()
            self._claim()
            self._dialect.before_renaming(connection)
            old = quoted([layout.within or "", self._node.table.table])
            connection.execute(f"DROP TABLE IF EXISTS {old}")
            new = quoted([layout.within or "", layout.table])
            connection.execute(f"ALTER TABLE {new} RENAME TO {quoted(self._node.table.table)}")
        self._keep(token)

    def abort(self) -> None:
        """Remove what is not safe."""
        self._begun = False
        if self._connection is not None:
            try:
                self._connection.rollback()
            except DatabaseError:
                return  # the connection is lost: the database has undone it

    def interrupt(self) -> None:
        """End the statement that another thread is in."""
        if self._connection is not None:
            self._connection.cancel()

    def close(self) -> None:
        """Disconnect; what is not safe is gone. Idempotent."""
        if self._connection is not None:
            self._connection.close()

    @property
    def _stage(self) -> str:
        return f"{self._dialect.temporary}.{quoted(_STAGE)}"

    def _require(self) -> Connection:
        assert self._connection is not None
        return self._connection

    def _laid_out(self) -> Layout:
        assert self._layout is not None
        return self._layout

    def _begin(self) -> None:
        if not self._begun:
            self._dialect.begin(self._require(), writes=True)
            self._begun = True

    def _commit(self) -> None:
        self._require().commit()
        self._begun = False

    def _keep(self, token: bytes) -> None:
        connection = self._require()
        self._claim()
        if [generation for _, generation in self._kept()] != [self._generation]:
            raise self._superseded()
        value = self._dialect.bytes_literal(token)
        connection.execute(f"UPDATE {_TOKENS} SET token = {value} WHERE pipeline = {self._mine}")
        self._commit()

    def _position_of(self, pipeline: str) -> str:
        # Pipelines of one name that write other tables have other positions.
        return literal(f"{pipeline} {quoted([self._node.table.within or '', self._node.table.table])}")

    def _kept(self, *, lock: bool = True) -> list[tuple[Any, ...]]:
        """Read the token and the generation, in one row or none."""
        connection = self._require()
        mine = f"SELECT token, generation FROM {_TOKENS} WHERE pipeline = {self._mine} LIMIT 2"
        return connection.rows(mine + (self._dialect.row_lock if lock else ""), bytes | None, int)

    def _claim(self) -> None:
        """Shut out earlier runs with the first row: a run that cannot begin after `open` ends no other.

        Raises:
            DataError: Another run has written since `open`.
        """
        self._begin()
        if self._claimed:
            return
        if self._kept() != self._found:
            raise self._superseded()
        self._require().execute(
            f"INSERT INTO {_TOKENS} VALUES ({self._mine}, NULL, {self._generation}) "
            f"ON CONFLICT (pipeline) DO UPDATE SET generation = {self._generation}"
        )
        self._claimed = True

    def _roll_back(self, error: DatabaseError) -> None:
        """Undo what came since the savepoint; without savepoints, only the temporary table has rows.

        Raises:
            DataError: The whole transaction is undone.
        """
        has_savepoints = self._dialect.savepoints
        undo = "ROLLBACK TO SAVEPOINT dataflare" if has_savepoints else f"DELETE FROM {self._stage}"
        try:
            self._require().execute(undo)
        except DatabaseError as lost:
            if "no such savepoint" not in lost.message and "transaction is aborted" not in lost.message:
                raise
            raise DataError(
                f"{error.message}; for such a row, the table {self._node.table.table!r} undoes the whole transaction",
                hint="take ON CONFLICT ROLLBACK out of its constraints and RAISE(ROLLBACK) out of its triggers"
                if has_savepoints
                else "leave out such rows before they are written",
            ) from lost

    def _superseded(self) -> DataError:
        return DataError(
            f"database {self._require().name!r}: a later run of {self._pipeline!r} has begun to write it",
            hint="let one run at a time write a table",
        )

    # The table

    def _compare(self, target: Target) -> tuple[list[TableChange], Layout]:
        return compare_table(self._require(), self._dialect, self._node.table, target)

    def _prepare(self, target: Target) -> None:
        connection = self._require()
        changes, self._layout = self._compare(target)
        self.changes = _planned(target, changes)
        for change in changes:
            for statement in change.statements:
                connection.execute(statement)
        if self._layout.staged:
            connection.execute(f"DROP TABLE IF EXISTS {self._stage}")
            columns = [f"{quoted(each.name)} {staged_type(each)}" for each in self._layout.columns]
            columns.append(f"{quoted(DELETED)} BOOLEAN")
            connection.execute(f"CREATE TEMPORARY TABLE {quoted(_STAGE)} ({', '.join(columns)})")
            self._refusals = self._dialect.refusals(connection, self._layout, self._stage)
            if not self._dialect.savepoints:
                self._merge(self._layout)  # no rows: what no row fits is an error now

    # Rows

    def _of_keys(
        self, layout: Layout, rows: pa.RecordBatch, rejected: list[RejectedRow]
    ) -> tuple[list[int], pa.RecordBatch]:
        """Keep the last row of each key, and reject keys with a null and operations that do not exist.

        Returns:
            The rows' numbers, and the rows.
        """
        numbers = pa.array(range(rows.num_rows), pa.int64())
        if not layout.key:
            return numbers.to_pylist(), rows
        wrong = {name: pc.is_null(rows.column(rows.schema.get_field_index(name))) for name in layout.key}
        reasons = dict.fromkeys(layout.key, "a key has no value")
        if layout.operation is not None:
            operations = rows.column(rows.schema.get_field_index(layout.operation))
            known = pa.array([INSERT, UPDATE, DELETE, None], operations.type)
            wrong[layout.operation] = pc.invert(pc.is_in(operations, known))
            reasons[layout.operation] = f"an operation is {INSERT} (insert), {UPDATE} (update) or {DELETE} (delete)"
        gone: set[int] = set()
        for name, mask in wrong.items():
            for row in pc.indices_nonzero(mask).to_pylist():
                if row not in gone:
                    gone.add(row)
                    rejected.append(RejectedRow(row, name, reasons[name]))
        keys = [decoded(rows.column(rows.schema.get_field_index(name))) for name in layout.key]
        if gone:
            numbers = pa.array([row for row in range(rows.num_rows) if row not in gone], pa.int64())
            keys = [each.take(numbers) for each in keys]
        table = pa.table([*keys, numbers], [*(f"k{at}" for at in range(len(keys))), "row"])
        last = table.group_by([f"k{at}" for at in range(len(keys))]).aggregate([("row", "max")]).column("row_max")
        taken = sorted(last.to_pylist())
        return taken, rows.take(pa.array(taken, pa.int64()))

    def _stored(self, layout: Layout, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Give rows the types in which the driver takes them.

        Raises:
            DataError: A value would change.
        """
        arrays, names = [], []
        for column in layout.columns:
            array = decoded(rows.column(rows.schema.get_field_index(column.name)))
            wanted = column.type if column.stored is None else column.stored
            try:
                values = _as_stored(array, column.type, wanted)
                if self._node.negative_zero == "zero" and pa.types.is_floating(values.type):
                    values = pc.add(values, pa.scalar(0, values.type))  # -0.0 and 0 make 0.0
                self._dialect.check_stored_unchanged(values, column)
                arrays.append(values)
            except (pa.ArrowException, ValueError) as error:
                raise DataError(
                    f"column {column.name!r}: a value does not fit {column.declared}: {error}",
                    hint="give the column another type before",
                ) from error
            names.append(column.name)
        if layout.staged:
            if layout.operation is None:
                deleted = pa.repeat(pa.scalar(False), rows.num_rows)
            else:
                operations = rows.column(rows.schema.get_field_index(layout.operation))
                deleted = pc.fill_null(pc.equal(operations, DELETE), False)
            arrays.append(deleted.cast(self._dialect.flag_type))
            names.append(DELETED)
        return pa.RecordBatch.from_arrays(arrays, names=names)

    def _put(self, layout: Layout, rows: pa.RecordBatch) -> None:
        connection = self._require()
        if not layout.staged:
            connection.ingest(layout.table, rows, within=layout.within)
            return
        connection.ingest(_STAGE, rows, temporary=True)
        for column in layout.columns:
            if column.base:
                value = f"{quoted(column.name)}::{column.base}"
                query = f"SELECT 1 FROM {self._stage} WHERE {value}::{column.declared} IS DISTINCT FROM {value} LIMIT 1"
                if connection.rows(query):
                    raise DatabaseError(
                        f"table {self._node.table.table!r}, column {column.name!r}: a value would be rounded or cut to "
                        f"fit {column.declared}",
                        of_rows=True,
                        hint="round it before, or give the table's column a type that holds it",
                    )
        self._merge(layout)

    def _merge(self, layout: Layout) -> None:
        """Put the rows of the temporary table into the table."""
        connection = self._require()
        if self._refusals and (found := connection.rows(self._refusals, str)):
            raise DatabaseError(f"table {self._node.table.table!r}: {found[0][0]}", of_rows=True)
        if (alike := keys_alike(layout, self._stage)) and connection.rows(alike):
            # Of such rows, the later one has to come later: the batch is written part by part.
            raise DatabaseError(f"table {self._node.table.table!r}: two rows have one key", of_rows=True)
        for statement in merging(layout, self._stage):
            connection.execute(statement)


def _planned(target: Target, changes: list[TableChange]) -> list[PlannedChange]:
    return [PlannedChange(target.dataset, each.kind, each.detail) for each in changes]


def _as_stored(array: pa.Array, made: pa.DataType, stored: pa.DataType) -> pa.Array:
    if array.type == stored:
        return array
    if pa.types.is_boolean(array.type) and pa.types.is_integer(stored):
        return array.cast(pa.int8()).cast(stored)
    if array.type == pa.uint64() and pa.types.is_string(stored):
        return array.cast(stored)
    if pa.types.is_string(stored) and not pa.types.is_string(made):
        # By way of the column's own type: units and zones are written as it has them.
        return convert(array, made).cast(stored)
    return convert(array, stored)
