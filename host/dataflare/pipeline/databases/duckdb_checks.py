"""What DuckDB would refuse a row for, asked before the row is written.

DuckDB undoes the whole transaction for each row that it refuses, and has no savepoints. So rows go to a temporary table
first, and one query compares them with the table's constraints.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pyarrow.types import is_nested

from dataflare.pipeline.databases.connection import Connection, literal, quoted
from dataflare.pipeline.databases.layout import DELETED, Layout

__all__ = ["checks", "here_in", "same_name"]

_MADE: Final = "_dataflare_made"
_UNIQUE: Final = ("PRIMARY KEY", "UNIQUE")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Constraint:
    """A constraint of a table, or of another one that refers to it.

    Args:
        kind: What DuckDB calls it; empty for a cast.
        why: The error of a row that violates it.
        names: The columns that it names; empty where they are not known.
        indexed: The names and expressions that have an index.
        expression: What is true.
        other: The table that it refers to; for one of another table, that one.
        referenced: The columns that are referred to.
    """

    kind: str
    why: str
    names: tuple[str, ...] = ()
    indexed: tuple[str, ...] = ()
    expression: str = ""
    other: str = ""
    referenced: tuple[str, ...] = ()


def here_in(within: str | None) -> str:
    """Write the condition of what is in a schema of the database, its own for `None`; names have no case."""
    schema = "current_schema()" if within is None else literal(within)
    return f"database_name = current_database() AND lower(schema_name) = lower({schema})"


def same_name(column: str, name: str) -> str:
    """Write the condition that a column of the catalog has a name."""
    return f"lower({column}) = lower({literal(name)})"


def checks(connection: Connection, layout: Layout, stage: str) -> str:
    """Write a query that finds one reason why the table would refuse the rows of the temporary table.

    Rows count as if they were written at once. A row may need that an earlier one is written first, so the caller
    repeats with fewer rows where there is a reason.

    Raises:
        DatabaseError: The database answered with an error.
    """
    own, referring = _constraints(connection, layout)
    return _Checks(layout, stage, _defaults(connection, layout)).query(own, referring)


class _Checks:
    """Writes the checks of one table."""

    def __init__(self, layout: Layout, stage: str, defaults: dict[str, str]) -> None:
        self._layout = layout
        self._stage = stage
        self._defaults = defaults
        self._table = quoted([layout.within or "", layout.table])
        self._values = {
            each.name: f"TRY_CAST(s.{quoted(each.name)} AS {each.cast})" if each.cast else f"s.{quoted(each.name)}"
            for each in layout.columns
        }

    def query(self, own: Sequence[_Constraint], referring: Sequence[_Constraint]) -> str:
        named = {name for each in own for name in each.names or self._defaults if name in self._defaults}
        rows = self._rows(sorted(named - set(self._values)))
        key = {quoted(name) for name in self._layout.key}
        parts = [*self._casts()]
        for each in own:
            if each.kind == "NOT NULL":
                parts.append((each, f"{rows} AS m WHERE {quoted(each.names[0])} IS NULL"))
            elif each.kind == "CHECK":
                # Neither false, nor an error.
                named_so = quoted(self._layout.table)
                parts.append((each, f"{rows} AS {named_so} WHERE TRY(({each.expression}) IS NOT FALSE) IS NOT TRUE"))
            elif each.kind in _UNIQUE and set(each.indexed) != key:
                parts += [(each, condition) for condition in self._twice(each, rows)]
            elif each.kind == "FOREIGN KEY":
                parts.append((each, self._orphans(each, rows)))
        if self._layout.key:
            parts += [(each, self._referred(each, moves=self._moves(own))) for each in referring]
        found = " UNION ALL ".join(f"(SELECT {literal(each.why)} AS why FROM {rest} LIMIT 1)" for each, rest in parts)
        return f"SELECT why FROM ({found}) LIMIT 1" if parts else ""

    def _casts(self) -> Iterator[tuple[_Constraint, str]]:
        for each in self._layout.columns:
            if each.cast:
                why = f"column {each.name!r}: a value is not a {each.declared}"
                given = f"s.{quoted(each.name)}"
                wrong = f"{given} IS NOT NULL AND {self._values[each.name]} IS NULL"
                yield _Constraint(kind="", why=why), f"{self._stage} AS s WHERE {wrong}"

    def _rows(self, others: Sequence[str]) -> str:
        """The rows as the table would have them, with the other columns that constraints name."""
        columns = [f"{value} AS {quoted(name)}" for name, value in self._values.items()]
        joined = ""
        for name in others:
            if self._layout.key:
                joined = f" LEFT JOIN {self._table} AS t ON {self._same('s', 't')}"
                columns.append(f"CASE WHEN t.rowid IS NULL THEN {self._defaults[name]} ELSE t.{quoted(name)} END")
            else:
                columns.append(self._defaults[name])
            columns[-1] += f" AS {quoted(name)}"
        return f"(SELECT {', '.join(columns)} FROM {self._stage} AS s{joined} WHERE NOT s.{quoted(DELETED)})"

    def _same(self, staged: str, other: str) -> str:
        """The condition that a staged row, or one made of it, has the key of another."""
        values = {name: f"m.{quoted(name)}" if staged == "m" else self._values[name] for name in self._layout.key}
        return " AND ".join(f"{other}.{quoted(name)} = {value}" for name, value in values.items())

    def _twice(self, each: _Constraint, rows: str) -> Iterator[str]:
        """Rows with values of which there may be one: among themselves, and in the table."""
        names = [f"{_MADE}{at}" for at in range(len(each.indexed))]
        made = ", ".join(f"{expression} AS {name}" for expression, name in zip(each.indexed, names, strict=True))
        given = " AND ".join(f"{name} IS NOT NULL" for name in names)
        grouped = ", ".join(names)
        yield f"(SELECT {made} FROM {rows} AS m) WHERE {given} GROUP BY {grouped} HAVING count(*) > 1"
        equal = " AND ".join(f"o.{name} = m.{name}" for name in names)
        if self._layout.key:
            equal += f" AND NOT ({self._same('m', 'o')})"
            gone = f"SELECT 1 FROM {self._stage} AS s WHERE s.{quoted(DELETED)} AND {self._same('s', 'o')}"
            equal += f" AND NOT EXISTS ({gone})"
        there = f"SELECT 1 FROM (SELECT *, {made} FROM {self._table}) AS o WHERE {equal}"
        yield f"(SELECT *, {made} FROM {rows} AS m) AS m WHERE EXISTS ({there})"

    def _orphans(self, each: _Constraint, rows: str) -> str:
        given = " AND ".join(f"m.{quoted(name)} IS NOT NULL" for name in each.names)
        pairs = zip(each.names, each.referenced, strict=True)
        equal = " AND ".join(f"o.{quoted(there)} = m.{quoted(here)}" for here, there in pairs)
        other = quoted([self._layout.within or "", each.other])
        return f"{rows} AS m WHERE {given} AND NOT EXISTS (SELECT 1 FROM {other} AS o WHERE {equal})"

    def _moves(self, own: Sequence[_Constraint]) -> bool:
        """Whether DuckDB updates a row by deleting and inserting it: if an indexed or nested column is given."""
        indexed = [expression for each in own for expression in each.indexed]
        return any(
            is_nested(each.type) or any(quoted(each.name) == it or _names(it, each.name) for it in indexed)
            for each in self._layout.columns
            if each.name not in self._layout.key
        )

    def _referred(self, each: _Constraint, *, moves: bool) -> str:
        """Rows to which rows of another table refer: they cannot be deleted."""
        other = quoted([self._layout.within or "", each.other])
        pairs = zip(each.names, each.referenced, strict=True)
        equal = " AND ".join(f"o.{quoted(here)} = t.{quoted(there)}" for here, there in pairs)
        gone = "true" if moves else f"s.{quoted(DELETED)}"
        return (
            f"{self._stage} AS s JOIN {self._table} AS t ON {self._same('s', 't')} "
            f"WHERE {gone} AND EXISTS (SELECT 1 FROM {other} AS o WHERE {equal})"
        )


def _names(expression: str, name: str) -> bool:
    """Whether an expression of an index may name a column."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", expression, re.IGNORECASE) is not None


def _defaults(connection: Connection, layout: Layout) -> dict[str, str]:
    """Find what the columns of a table are where a row does not say it."""
    columns = connection.rows(
        "SELECT column_name, data_type, coalesce(column_default, 'NULL') FROM duckdb_columns() "
        f"WHERE NOT is_generated AND {here_in(layout.within)} AND {same_name('table_name', layout.table)}",
        *(str, str, str),
    )
    return {name: f"CAST(({value}) AS {declared})" for name, declared, value in columns}


def _constraints(connection: Connection, layout: Layout) -> tuple[list[_Constraint], list[_Constraint]]:
    """Find the constraints and indexes of a table, and the constraints of others that refer to it."""
    here, mine = here_in(layout.within), same_name("table_name", layout.table)
    wanted = (
        "SELECT constraint_type, constraint_text, expression, constraint_column_names, referenced_table, "
        f"coalesce(referenced_column_names, []), table_name FROM duckdb_constraints() WHERE {here} AND "
    )
    kinds = (str, str, str | None, list, str | None, list, str)
    own = [_constraint(row) for row in connection.rows(wanted + mine, *kinds)]
    others = connection.rows(f"{wanted}{same_name('referenced_table', layout.table)}", *kinds)
    referring = [_constraint(row, of_other=row[6]) for row in others if row[0] == "FOREIGN KEY"]
    # The catalog has the expressions of an index as a text.
    indexes = connection.rows(
        f"SELECT index_name, is_unique, CAST(expressions AS VARCHAR[]) FROM duckdb_indexes() WHERE {here} AND {mine}",
        *(str, bool, list),
    )
    for name, is_unique, indexed in indexes:
        kind = "UNIQUE" if is_unique else "INDEX"
        own.append(_Constraint(kind=kind, why=f"the unique index {name} is violated", indexed=tuple(indexed)))
    return own, referring


def _constraint(row: tuple[Any, ...], of_other: str | None = None) -> _Constraint:
    kind, text, expression, names, referenced, referenced_columns, _ = row
    told = text if of_other is None else f"{text} of the table {of_other!r}"
    return _Constraint(
        kind=kind,
        why=f"{told} is violated",
        names=tuple(names),
        indexed=tuple(map(quoted, names)) if kind in (*_UNIQUE, "FOREIGN KEY") else (),
        expression=expression or "",
        other=of_other or referenced or "",
        referenced=tuple(referenced_columns),
    )
