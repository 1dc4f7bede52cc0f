"""What databases differ in: the types of columns, what a table is made of, and how a value is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from dataflare.data.casts import convert
from dataflare.data.decimal_texts import read_decimals
from dataflare.data.guard.types import DECIMAL_DIGITS
from dataflare.pipeline.databases.connection import Connection, quoted
from dataflare.pipeline.databases.layout import Column, Layout
from dataflare.pipeline.run_errors import DataError

__all__ = ["Dialect", "cast_all", "decimal_type", "decoded", "has_infinite_time", "no_cursor", "no_type", "selected"]


class Dialect(Protocol):
    """One kind of database. It has no state."""

    widens: bool
    """Whether a column of a table can be given another type."""
    savepoints: bool
    """Whether a part of a transaction can be undone. Without, `refusals` says what the table would refuse."""
    temporary: str
    """What stands before the name of a temporary table; empty for nothing."""
    bytes_type: str
    """The type of a column of bytes."""
    flag_type: pa.DataType
    """The type of a column of true and false, as the driver takes it."""
    row_lock: str
    """What ends a query whose rows nobody else may change until the transaction ends; empty for nothing."""

    def begin(self, connection: Connection, *, writes: bool) -> None:
        """Begin a transaction."""
        ...

    longest_name: int | None
    """How many bytes of a name the database keeps; `None` for all."""

    def lock(self, connection: Connection, table: str, within: str | None) -> bool:
        """Keep other writers of a table out until the connection ends. `False`: another connection does so."""
        ...

    def bytes_literal(self, value: bytes) -> str:
        """Write bytes as a literal."""
        ...

    def before_renaming(self, connection: Connection) -> None:
        """Have views of a table stay as they are when another takes its name."""
        ...

    def refusals(self, connection: Connection, layout: Layout, stage: str) -> str:
        """Write a query for a reason why a table would refuse rows of the temporary table; empty for none."""
        ...

    def replacing_obstacle(self, connection: Connection, table: str, within: str | None) -> str:
        """Find what keeps a table that exists from being replaced; empty for nothing."""
        ...

    def tables(self, connection: Connection, within: str | None) -> list[str]:
        """List the tables of a schema, by name, without views; `None` is the database's own."""
        ...

    def table(self, connection: Connection, table: str, within: str | None) -> list[Column] | None:
        """Find the columns of a table; `None`: there is no such table."""
        ...

    def query(self, connection: Connection, query: str) -> list[Column] | None:
        """Find the columns of a query; `None` where only its rows tell."""
        ...

    def key(self, connection: Connection, table: str, within: str | None) -> tuple[str, ...]:
        """Find the primary key; empty for none."""
        ...

    def new(self, field: pa.Field) -> Column:
        """Make the column of a new table.

        Raises:
            DataError: There is no type for it.
        """
        ...

    def check_stored_unchanged(self, values: pa.Array, column: Column) -> None:
        """Make sure that the database keeps values, as they are handed to the driver.

        Raises:
            ValueError: It would store another value in the place of one.
        """
        ...

    def select(self, columns: Sequence[Column] | None, source: str, *, where: str, order: str) -> tuple[str, int]:
        """Write a query; say how many of its first rows are samples, which only tell SQLite the types.

        Args:
            columns: What is read; `None` for all.
            source: The table, or the query in brackets.
            where: A condition; empty for none.
            order: The column that rows are ordered by, as `ordered` writes it; empty for none.
        """
        ...

    def ordered(self, name: str, column: Column | None) -> str:
        """Write a cursor column as it is both compared and ordered by: that of the source, not what is selected.

        Args:
            name: Its name.
            column: The same; `None` where only the rows tell its type.
        """
        ...

    def unfit(self, connection: Connection, source: str, name: str, column: Column | None, last: str | None) -> str:
        """Write a condition that values have which a cursor must not have; empty for none.

        Args:
            connection: Where the values are.
            source: The table, or the query in brackets.
            name: The cursor column.
            column: The same; `None` where only the rows tell its type.
            last: What `value` returned in an earlier run.

        Raises:
            DataError: The column is of a type that cannot be a cursor.
        """
        ...

    def value(self, raw: pa.Array, column: Column | None) -> str:
        """Write the last value of a cursor column, as it came, so that a query can compare with it."""
        ...

    def literal(self, value: str, column: Column | None) -> str:
        """Write what `value` returned as SQL."""
        ...


def decimal_type(precision: int, scale: int) -> pa.DataType | None:
    """Make the type of decimals with so many digits, `scale` of them behind the point; `None` where there is none.

    A scale beyond the digits, which Arrow takes, leads it past its tables.
    """
    if not (1 <= precision <= DECIMAL_DIGITS["decimal256"] and 0 <= scale <= precision):
        return None
    return (pa.decimal128 if precision <= DECIMAL_DIGITS["decimal128"] else pa.decimal256)(precision, scale)


def decoded(array: pa.Array) -> pa.Array:
    """Decode dictionaries and run-end encoding."""
    if types.is_dictionary(array.type):
        return array.dictionary_decode()
    if types.is_run_end_encoded(array.type):
        return pc.run_end_decode(array)
    return array


def selected(columns: Sequence[Column], source: str, *, where: str, order: str) -> str:
    """Write a query for columns of a source, which it calls `asked`."""
    listed = ", ".join(f"{each.expression} AS {quoted(each.name)}" for each in columns) or "NULL AS nothing"
    text = f"SELECT {listed} FROM {source} AS asked"
    return text + (f" WHERE {where}" if where else "") + (f" ORDER BY {order}" if order else "")


def has_infinite_time(array: pa.Array) -> bool:
    """Whether dates or times, also within lists and structures, are those that stand for infinity."""
    if types.is_list(array.type) or types.is_map(array.type):
        return has_infinite_time(array.flatten() if types.is_list(array.type) else array.items)
    if types.is_struct(array.type):
        return any(map(has_infinite_time, array.flatten()))
    if not (types.is_date32(array.type) or types.is_timestamp(array.type)):
        return False
    numbers = array.view(pa.int32() if types.is_date32(array.type) else pa.int64())
    most = 2 ** (numbers.type.bit_width - 1) - 1
    return bool(pc.any(pc.is_in(numbers, pa.array([most, -most], numbers.type))).as_py())


def cast_all(rows: pa.RecordBatch, columns: Sequence[Column], database: str) -> pa.RecordBatch:
    """Give what came from a database the types of its columns.

    Raises:
        DataError: A value does not fit.
    """
    arrays = []
    for array, column in zip(rows.columns, columns, strict=True):
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        if column.stored is not None and array.type not in (column.stored, pa.null()):
            raise DataError(
                f"database {database!r}: column {column.name!r} is declared as {column.declared}, and has values that "
                f"are {array.type}",
                hint="read it by a query that casts them: `read: {query: SELECT CAST(...) ...}`",
            )
        try:
            if has_infinite_time(array):
                raise ValueError("infinity")
            arrays.append(array if array.type == column.type else _cast(array, column.type))
        except (pa.ArrowException, ValueError) as error:
            raise DataError(
                f"database {database!r}: column {column.name!r}, {column.declared}, has a value that is not "
                f"{column.type}: {error}",
                hint="read it by a query that casts it to text: `read: {query: SELECT CAST(...) ...}`",
            ) from error
    fields = [pa.field(column.name, column.type) for column in columns]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _cast(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    if types.is_time(wanted) and types.is_string(array.type):
        # Arrow reads no times of day, only those of a day.
        array = pc.binary_join_element_wise("1970-01-01", array, " ").cast(pa.timestamp("us"))
    if types.is_decimal(wanted) and types.is_string(array.type):
        return read_decimals(array, wanted)
    return convert(array, wanted)


def no_cursor(name: str, declared: str, hint: str) -> DataError:
    """The error of a column whose order is not that of its values as they are compared."""
    return DataError(f"column {name!r}, {declared}, cannot be a cursor", hint=hint)


def no_type(field: pa.Field, database: str) -> DataError:
    """The error of a column that a database has no type for."""
    return DataError(
        f"column {field.name!r} is {field.type}, for which {database} has no type",
        hint="give the column another type before, or leave it out",
    )
