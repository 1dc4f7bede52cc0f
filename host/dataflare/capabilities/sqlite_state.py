"""State in an SQLite file."""

from __future__ import annotations

import math
import os
import re
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from dataflare.budgets import current
from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.sql_state import DAMAGED, SqlStateStore
from dataflare.capabilities.state import ENTRY_BYTES, StateLimits
from dataflare.errors import ConfigError
from dataflare.locks import ReentrantLock
from dataflare.texts import cut_name
from dataflare.user_files import as_path, check_journal

__all__ = ["Guard", "SqliteStateStore", "problem_of", "transaction"]

_APPLICATION_ID: Final = 0x44464C52
_SCHEMA_VERSION: Final = 3
# With smaller pages, each of the longest keys would take a page of its own.
_PAGE_BYTES: Final = 8192
_BUSY_TIMEOUT_S = 10.0
_MAX_LOG_BYTES: Final = 256 * 2**20
"""Maximum size of the write-ahead log: it grows while another process reads in one transaction."""
# By primary result code (https://sqlite.org/rescode.html): the case of `state-error`, and a text.
_PROBLEMS: Final = {
    sqlite3.SQLITE_BUSY: ("unavailable", "the state is locked by another process"),
    sqlite3.SQLITE_LOCKED: ("unavailable", "the state is locked by another process"),
    sqlite3.SQLITE_INTERRUPT: ("unavailable", "the call was interrupted"),
    sqlite3.SQLITE_FULL: ("other", "the disk of the state is full"),
    sqlite3.SQLITE_READONLY: ("other", "the state cannot be written: it is read-only"),
    sqlite3.SQLITE_PERM: ("other", "the state may not be used"),
    sqlite3.SQLITE_CANTOPEN: ("other", "the state's file cannot be opened"),
    sqlite3.SQLITE_IOERR: ("other", "the state's disk failed, or is full"),
    sqlite3.SQLITE_CORRUPT: ("other", DAMAGED),
    sqlite3.SQLITE_NOTADB: ("other", "the state's file is damaged, or not one of this program's"),
}
_HINTS: Final = {
    sqlite3.SQLITE_BUSY: "end the other process, or try again",
    sqlite3.SQLITE_LOCKED: "end the other process, or try again",
    sqlite3.SQLITE_FULL: "make room on its disk",
    sqlite3.SQLITE_READONLY: "let the file and its directory be written by the user who runs this",
    sqlite3.SQLITE_PERM: "let the file and its directory be written by the user who runs this",
    sqlite3.SQLITE_CANTOPEN: "name a file in a directory that exists and can be written",
}


T = TypeVar("T")

_MAX_VALUE_BYTES: Final = 2**28
_STEPS: Final = 2_000_000
"""Steps of SQLite's virtual machine between two checks of the time, about 20 ms."""
_MOST_S: Final = 10.0
_TABLE: Final = re.compile(
    r"CREATE TABLE \w+ ?\((?!.*\b(?:CHECK|GENERATED|AS|DEFAULT \()).*\)", re.DOTALL | re.IGNORECASE
)
"""Matches a plain table, without computed values; not views, triggers or indices."""


class Guard:
    """Limits each use of a connection, for any content of the file: 256 MiB for a value, and 10 s.

    The deadline of a plugin's call can end it earlier. Signal handlers run every 20 ms during it.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._until_s = math.inf
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
        connection.set_progress_handler(lambda: time.monotonic() > self._until_s, _STEPS)

    def begin(self) -> None:
        """Begin a use."""
        self._until_s = min(time.monotonic() + _MOST_S, current().deadline_s)


class SqliteStateStore(SqlStateStore):
    """State in one SQLite file, which several processes may share.

    It has one connection, and calls run one at a time. A write is on the disk when it returns. A forked process must
    open its own store.

    Args:
        path: The file; created if it is missing (its directory is not).
        limits: The limits of each namespace; `None` for the defaults.

    Raises:
        ConfigError: The file cannot be opened, or is not a state file.
    """

    def __init__(self, path: str | os.PathLike[str], *, limits: StateLimits | None = None) -> None:
        super().__init__(limits)
        self._lock = ReentrantLock()
        self._path = _absolute(as_path(path, where="state"))
        self._process = os.getpid()
        self._busy_ms = round(_BUSY_TIMEOUT_S * 1000)
        self._closed = False
        if self._path.exists() and not self._path.is_file():
            # SQLite would leave a journal beside a device.
            raise ConfigError(f"{self._path} is not a regular file", where="state", hint="name another file")
        check_journal(self._path)
        try:
            self._connection = sqlite3.connect(
                self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        try:
            self._prepare()
            self._file = _identity(self._path)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self._connection.close()
            raise self._unusable(error) from error
        except BaseException:
            self._connection.close()
            raise

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                self._connection.close()

    def _unusable(self, error: Exception) -> ConfigError:
        code, _, text = problem_of(error)
        hint = _HINTS.get(code, "name another file" if code in _PROBLEMS else "")
        return ConfigError(f"{self._path}: {text} ({error})", where="state", hint=hint)

    def _prepare(self) -> None:
        connection = self._connection
        self._guard = Guard(connection)
        self._guard.begin()
        self._is_made()  # first, so that the database of another program is not changed
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # applies to a new file
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        transaction(connection, self._make_tables)

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        if self._is_made():
            return
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        connection.execute(
            "CREATE TABLE entries (namespace TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,"
            " PRIMARY KEY (namespace, key))"
        )
        # Stored with the entries, so that a write need not sum up the whole namespace.
        connection.execute("CREATE TABLE usage (namespace TEXT PRIMARY KEY, bytes INTEGER NOT NULL)")

    def _check_tables(self) -> None:
        """Refuse a state with views, triggers or checks, whose computations might never end."""
        for kind, name, statement in self._connection.execute("SELECT type, name, sql FROM sqlite_schema"):
            is_plain = kind == "table" and isinstance(statement, str) and _TABLE.fullmatch(statement)
            if not is_plain and not (kind == "index" and statement is None):
                what = f"{self._path} is not a state: {cut_name(str(name))!r} is not a plain table"
                raise ConfigError(what, where="state", hint="name another file")

    def _is_made(self) -> bool:
        (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if tables and application != _APPLICATION_ID:
            raise ConfigError(f"{self._path} is a database of something else", where="state", hint="name another file")
        self._check_tables()
        if tables and version in (1, 2):
            transaction(self._connection, _count_entries)
        elif tables and version != _SCHEMA_VERSION:
            raise ConfigError(f"{self._path} has version {version}, not {_SCHEMA_VERSION}", where="state")
        return bool(tables)

    def _use(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._require_own()
        # A call waits for other threads and processes at most until its deadline.
        left_s = max(0.0, min(_BUSY_TIMEOUT_S, current().deadline_s - time.monotonic()))
        try:
            if not self._lock.acquire(timeout=left_s):
                raise CapabilityFailure("unavailable", "the state is in use by other plugins")
            if self._closed:
                raise CapabilityFailure("unavailable", "the store is closed")
            if _identity(self._path) != self._file:
                raise CapabilityFailure("other", "the state's file was deleted or replaced while it was in use")
            _roll_back(self._connection)  # left open by a second interrupt
            if (busy_ms := round(left_s * 1000)) != self._busy_ms:
                self._connection.execute(f"PRAGMA busy_timeout = {busy_ms}")
                self._busy_ms = busy_ms
            self._guard.begin()
            return work(self._connection)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            _, case, text = problem_of(error)
            raise CapabilityFailure(case, text) from error
        finally:
            # Regardless of the result of `acquire`: an interrupt may have come in between. Nothing else is called
            # first.
            try:  # noqa: SIM105  # see above
                self._lock.release()
            except RuntimeError:
                pass  # this thread does not hold it

    def _require_own(self) -> None:
        # SQLite's locks belong to the other process, and a thread that holds our lock does not exist here.
        if os.getpid() != self._process:
            raise CapabilityFailure("other", "the state was opened by the process that this one was forked from")

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def write(connection: sqlite3.Connection) -> T:
            self._bound_log(connection)
            return transaction(connection, work)

        return self._use(write)

    def _bound_log(self, connection: sqlite3.Connection) -> None:
        """Refuse writes while SQLite's write-ahead log is at its limit and cannot be emptied."""
        log = f"{self._path}-wal"
        if _length(log) <= _MAX_LOG_BYTES:
            return
        connection.execute("PRAGMA busy_timeout = 0")
        self._busy_ms = 0
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if _length(log) > _MAX_LOG_BYTES:
            why = "since another process keeps the state open to read"
            raise CapabilityFailure("unavailable", f"the state's log has more than {_MAX_LOG_BYTES} bytes, {why}")


def _absolute(path: Path) -> Path:
    """Make a path absolute: so it is not a special name of SQLite (`:memory:`), and a later `chdir` has no effect."""
    return Path(os.path.abspath(path))


def _length(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _identity(path: os.PathLike[str]) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def transaction(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    """Run `work` in a transaction: all its writes are done, or none after an exception."""
    try:
        # IMMEDIATE takes the write lock at once: otherwise another process could write between our read and write.
        connection.execute("BEGIN IMMEDIATE")
        result = work(connection)
        connection.execute("COMMIT")
        return result
    finally:
        _roll_back(connection)


def _roll_back(connection: sqlite3.Connection) -> None:
    """End a transaction that was not committed."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _count_entries(connection: sqlite3.Connection) -> None:
    """Migrate a file of an earlier version, in which entries counted for less."""
    connection.execute("DELETE FROM usage")
    connection.execute(
        "INSERT INTO usage SELECT namespace, sum(length(key) + length(value) + ?) FROM entries GROUP BY 1",
        (ENTRY_BYTES,),
    )
    connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")


def problem_of(error: Exception) -> tuple[int, str, str]:
    """Describe an exception of SQLite: its primary result code, the case of `state-error`, and a text."""
    if isinstance(
        error, UnicodeDecodeError
    ):  # SQLite's message quotes a key, or a name of the schema, that is not UTF-8
        return sqlite3.SQLITE_CORRUPT, "other", DAMAGED
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    case, text = _PROBLEMS.get(code, ("other", str(error)))
    return code, case, text
