"""Connections to databases by ADBC, and their errors."""

from __future__ import annotations

import importlib.util
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import UnionType
from typing import Any, Final, TypeVar
from urllib.parse import quote, quote_plus

import pyarrow as pa

from dataflare.errors import ConfigError
from dataflare.interruptible import interruptible
from dataflare.permissions.database_keys import DatabaseGrant
from dataflare.pipeline.databases.confined import ConfinedDatabase, ConfinedError, Started
from dataflare.pipeline.databases.files import check_file
from dataflare.pipeline.run_errors import DatabaseError
from dataflare.runtime.isolation.jail import missing_barriers
from dataflare.texts import cut

__all__ = ["STRANGE", "Connection", "find_driver", "literal", "quoted"]

T = TypeVar("T")
_log = logging.getLogger("dataflare.pipeline")

_UNAVAILABLE_STATES: Final = ("08", "53", "57P", "55P03", "40001", "40P01")
"""Classes of SQLSTATE after which a new connection may do: it is lost, full, shut down, locked or in a deadlock."""
_ROW_STATES: Final = ("22", "23")
"""Classes of SQLSTATE that are about values: out of range, not null, not unique, a check."""
_LATE_TEXTS: Final = ("did not let it in within", "timeout expired")
"""What connecting to a server that says too little fails with: here, and in the driver."""
# All texts are in lower case: what begins a sentence in one version of a driver does not in another.
_UNAVAILABLE_TEXTS: Final = (
    # While a server is away, starts, ends or is full; it says something else of a wrong password, or database.
    *("connection refused", "is the server running", "could not translate host name", "network is unreachable"),
    *("connection reset", "connection timed out", "no route to host", *_LATE_TEXTS),
    *("the database system is ", "too many clients", "too many connections", "remaining connection slots"),
    # While a connection is used.
    *("server closed the connection", "no connection to the server", "terminating connection"),
    *("could not receive data from server", "could not send data to server"),
    *("database is locked", "could not set lock on file"),  # of SQLite, and of DuckDB
)
_NO_ROOM_TEXTS: Final = (
    *("database or disk is full", "disk i/o error"),  # of SQLite, which knows a file that may not grow as the latter
    *("no space left on device", "file too large", "could not write all required bytes", "disk quota exceeded"),
    "failed to offload data block",  # of DuckDB, whose own limit is for what it sorts
)
_NO_ROOM_STATE: Final = "53100"
_AGAIN: Final = "run again: the run continues from its last checkpoint"
_LOCKED: Final = (
    "another program uses the file: let none read or write it while a run does, and run again: the run continues from "
    "its last checkpoint"
)
_ERRORS: Final = (ConfinedError, OSError)
STRANGE: Final = (pa.ArrowException, UnicodeError)
"""What comes of what a database says, apart from the errors of its driver."""
_RIGHTS_LEFT: Final = "could not give up what connecting needed"
_LEFT: Final = "a statement that was interrupted has not ended"
_LEFT_S: Final = 5.0
_LOOK_S: Final = 0.01
_DRIVERS: Final = {
    "postgresql": ("adbc_driver_postgresql", "adbc-driver-postgresql", "sql"),
    "sqlite": ("adbc_driver_sqlite", "adbc-driver-sqlite", "sql"),
    "duckdb": ("adbc_driver_duckdb", "of the package duckdb", "duckdb"),
}
"""For each kind, the module of its driver, what it is called, and the extra that installs it."""
_ROW_TEXTS: Final = ("constraint failed", "datatype mismatch")
"""SQLite has no SQLSTATE."""


def find_driver(name: str, grant: DatabaseGrant) -> str:
    """Find the module of a database's driver; importing it would take half a second.

    Args:
        name: The database's name in the pipeline, for errors.
        grant: Where it is.

    Raises:
        ConfigError: The driver is not installed.
    """
    module, _, _ = _DRIVERS[grant.kind]
    if any(importlib.util.find_spec(each) is None for each in (module, "adbc_driver_manager")):
        raise _no_driver(name, grant)
    return module


def _no_driver(name: str, grant: DatabaseGrant) -> ConfigError:
    _, package, extra = _DRIVERS[grant.kind]
    return ConfigError(f"database {name!r} needs the driver {package}", hint=f"pip install 'dataflare[{extra}]'")


class Connection:
    """One connection, with a transaction that is open from `begin` to `commit` or `rollback`. One thread at a time.

    `cancel` may come from any thread.

    Args:
        name: The database's name in the pipeline, for errors.
        grant: Where it is.
        password: The password; `None` for none.
        started: A process for it that was started earlier; `None` to start one now.

    Raises:
        ConfigError: The driver is not installed.
        DatabaseError: The database cannot be reached, or its file is not one.
    """

    def __init__(self, name: str, grant: DatabaseGrant, password: str | None, started: Started | None = None) -> None:
        self.name = name
        self.kind = grant.kind
        self._password = password
        self._shown = grant.shown
        find_driver(name, grant)
        check_file(name, grant)
        # The driver of PostgreSQL does not know savepoints: there, transactions are statements.
        self._begins = grant.kind == "postgresql"
        self._cursor: ConfinedDatabase | None = None
        with self.translated("connect"):
            opened = ConfinedDatabase(grant, password, started)
        if missing := missing_barriers(opened.in_force):
            what = "database %r: this machine's kernel has no %s: the process that uses it is confined less"
            _log.warning(what, name, missing)
        self._cursor = opened
        self._is_busy = False

    def close(self) -> None:
        """Close it; what was not committed is gone. Idempotent."""
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            try:
                cursor.close()
            except _ERRORS:
                return  # it was lost: there is nothing to close

    def cancel(self) -> None:
        """End the statement that another thread is in."""
        cursor = self._cursor
        if cursor is not None:
            cursor.adbc_cancel()

    def begin(self, how: str = "") -> None:
        """Begin a transaction.

        Raises:
            DatabaseError: It failed.
        """
        if self._begins:
            self.execute(f"BEGIN {how}")

    def execute(self, statement: str) -> None:
        """Run a statement.

        Raises:
            DatabaseError: It failed.
        """
        with self.translated(statement):
            self._wait_for(lambda cursor: cursor.execute(statement))

    def rows(self, query: str, *kinds: type | UnionType) -> list[tuple[Any, ...]]:
        """Run a query with few rows.

        Args:
            query: The query.
            kinds: The Python types that its columns must have; without any, they are not checked.

        Raises:
            DatabaseError: It failed, or its answer has other columns.
        """

        def work(cursor: Any) -> list[tuple[Any, ...]]:
            cursor.execute(query)
            return list(cursor.fetchall())

        with self.translated(query):
            try:
                found = self._wait_for(work)
                fits = not kinds or all(len(row) == len(kinds) and all(map(isinstance, row, kinds)) for row in found)
            except UnicodeError:
                raise
            except (ValueError, ArithmeticError):  # of values that Python does not have, such as the year 0
                fits = False
            if not fits:
                raise self._database_error(query, f"the answer to a query is not one that it can have: {query}", "")
        return found

    def answer(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run a statement whose values stand where `$1` and so on do; returns its rows, if it has any.

        Raises:
            DatabaseError: It failed.
        """

        def work(cursor: Any) -> list[tuple[Any, ...]]:
            cursor.execute(statement, values=values)
            return list(cursor.fetchall())

        with self.translated(statement):
            return self._wait_for(work)

    def one(self, query: str, kind: type | UnionType) -> Any:
        """Run a query that has one value; see `rows`."""
        found = self.rows(query, kind)
        if len(found) != 1:
            raise self._database_error(query, f"a query has {len(found)} rows, and not one: {query}", "")
        return found[0][0]

    def reader(self, query: str, *, batch_rows: int = 65_536) -> Any:
        """Run a query; its rows come as they are read (`pyarrow.RecordBatchReader`), before the next statement.

        Args:
            query: The query.
            batch_rows: How many rows are put into a batch; the driver of PostgreSQL goes by their size.

        Raises:
            DatabaseError: It failed.
        """

        def work(cursor: Any) -> Any:
            cursor.execute(query, batch_rows)
            found = cursor.fetch_record_batch()
            found.schema.names  # noqa: B018  # pyarrow decodes them here
            return found

        with self.translated(query):
            return self._wait_for(work)

    def ingest(self, table: str, rows: pa.RecordBatch, *, within: str | None = None, temporary: bool = False) -> None:
        """Add rows to a table that has their columns, with exactly their types.

        Raises:
            DatabaseError: It failed.
        """
        with self.translated(f"add rows to {table}"):
            more: dict[str, Any] = {"temporary": True} if temporary else {"db_schema_name": within}
            self._wait_for(lambda cursor: cursor.adbc_ingest(table, rows, mode="append", **more))

    def commit(self) -> None:
        """Make safe what was done.

        Raises:
            DatabaseError: It failed, and nothing was done.
        """
        self._end("commit")

    def rollback(self) -> None:
        """Undo what was not committed.

        Raises:
            DatabaseError: It failed: the connection is lost, and what was not committed with it.
        """
        if self._cursor is not None:
            self._end("rollback")

    def _end(self, how: str) -> None:
        with self.translated(how):
            self._wait_for(lambda cursor: cursor.execute(how) if self._begins else getattr(cursor, how)())

    def _wait_for(self, work: Callable[[Any], T]) -> T:
        """Work with the cursor in such a way that an interrupt need not wait.

        Raises:
            ConfinedError, OSError: It failed; what an interrupt has left in the cursor did not end either.
        """
        cursor = self._cursor
        self._settle()
        wanted = True

        def body() -> T:
            # In this order: either this sees that nobody waits any more, or `_settle` sees that it works.
            self._is_busy = True
            try:
                if not wanted:
                    raise TimeoutError(_LEFT)
                return work(cursor)
            finally:
                self._is_busy = False

        try:
            return interruptible(body)
        finally:
            wanted = False

    def _settle(self) -> None:
        """End what an interrupt has left in the cursor: two threads must not use it.

        Raises:
            OSError: It does not end.
        """
        until_s = time.monotonic() + _LEFT_S
        while self._is_busy:
            self.cancel()
            if time.monotonic() > until_s:
                raise TimeoutError(_LEFT)
            time.sleep(_LOOK_S)

    @contextmanager
    def translated(self, what: str) -> Iterator[None]:
        """Translate the errors of the driver.

        Raises:
            DatabaseError: There is one.
        """
        try:
            yield
        except (*_ERRORS, *STRANGE) as error:
            text = "a name, a type or a value is not UTF-8" if isinstance(error, UnicodeError) else str(error).strip()
            if self._password:
                for write in (str, lambda text: quote(text, safe=""), quote, quote_plus):
                    text = text.replace(write(self._password), "***")
            state = getattr(error, "sqlstate", None) or ""
            raise self._database_error(what, text, state) from None

    def _database_error(self, what: str, text: str, state: str) -> DatabaseError:
        lower = text.casefold()
        unavailable = state.startswith(_UNAVAILABLE_STATES) or any(each in lower for each in _UNAVAILABLE_TEXTS)
        of_rows = state.startswith(_ROW_STATES) or any(each in lower for each in _ROW_TEXTS)
        hint = "is the server running, and is the URL right?" if what == "connect" and self.kind == "postgresql" else ""
        if what == "connect" and any(each in lower for each in _LATE_TEXTS):
            hint = "does a PostgreSQL server answer there? `?connect_timeout=SECONDS` in the URL gives it longer"
        if _RIGHTS_LEFT in lower:
            hint = "the kernel took the first filter of system calls, and not the second: try again, or look at `dmesg`"
        if "could not set lock on file" in lower:
            hint = "one process at a time writes a DuckDB file, and none reads it then: wait for the other one"
        if unavailable and what != "connect":
            hint = _LOCKED if "database is locked" in lower else _AGAIN
        if state == _NO_ROOM_STATE or any(each in lower for each in _NO_ROOM_TEXTS):
            where = (
                "the server's disk" if self.kind == "postgresql" else "the disk of this file, or of temporary files,"
            )
            hint = f"{where} is full, has failed, or may not take more (a quota, `ulimit -f`): make room, and {_AGAIN}"
        return DatabaseError(
            cut(f"database {self.name!r} ({self._shown}): {text}"),
            sqlstate=state,
            unavailable=unavailable,
            of_rows=of_rows,
            hint=hint,
        )


def quoted(names: str | Sequence[str]) -> str:
    """Write a name, or names with dots in between, as SQL does."""
    parts = [names] if isinstance(names, str) else [each for each in names if each]
    return ".".join('"' + each.replace('"', '""') + '"' for each in parts)


def literal(text: str) -> str:
    """Write a text as SQL does."""
    return "'" + text.replace("'", "''") + "'"
