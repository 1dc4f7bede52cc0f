"""Uses a database in a process of its own, whose memory is limited, and which an interrupt ends.

Whoever made a file decides how much memory and time it takes to use it: a view can have values of a gigabyte, or rows
without end, and a trigger computes what it likes for each row that is written. SQLite's driver has no limits, and
cannot cancel. DuckDB can read other files, load extensions and open URLs, which is off here, and stays off. A server
answers what it likes. The process (`confined_process`) answers one request at a time: JSON, with the rows that are to
be written beside it as an Arrow stream. An answer is the text of an error and beside it its SQLSTATE; or no text, and
beside it nothing or an Arrow stream of a batch or of none. A file or a server may have taken over the process by a
fault of the driver's code: its answers are checked like a stranger's, and allocate no more than they may.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import pwd
import re
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from pyarrow import types

from dataflare.data.guard.costs import value_count
from dataflare.data.ipc import decode_stream, encode_stream
from dataflare.data.shapes import DataFailure
from dataflare.permissions.database_keys import DatabaseGrant
from dataflare.runtime.isolation import landlock
from dataflare.runtime.isolation.jail import PARTS
from dataflare.runtime.isolation.spawn import Process, in_starter, start
from dataflare.runtime.isolation.wire import BrokenWire, Gone, OutOfTime, TooLarge, Wire

__all__ = ["ConfinedDatabase", "ConfinedError", "Started", "start_process"]

Started = tuple[Wire, Process]
"""The process of a connection that is not open yet."""

_MOST_BYTES: Final = 2**30
"""The memory that the process may take."""
_MOST_GIVEN: Final = 2**28
_MOST_BESIDE: Final = 2**29
"""What may be beside a request or an answer."""
_GRACE_S: Final = 1.0
"""What connecting may take beyond its limit: the driver, which keeps the limit too, can say more of the cause."""
_LAST: Final = {"duckdb": ("checkpoint", 30), "postgresql": ("disconnect", 2)}
"""What a connection does before it is closed, and the seconds that it may take."""
_MOST_SPILLED: Final = 2**34
"""What DuckDB may put on the disk while it sorts."""
_TOGETHER_BYTES: Final = 2**24
_MOST_SAID: Final = 8192
"""What is taken of the text of an error."""
_MOST_CELLS: Final = 2**28
"""The values of a batch at all levels: nulls take no bytes, until they get another type."""
_MOST_FETCHED: Final = 2**26
_MOST_FETCHED_VALUES: Final = 2**20
_LONG_ROWS: Final = 1024
_SERVE: Final = "dataflare.pipeline.databases.confined_process:serve"
_PACKAGES: Final = (
    *("adbc_driver_sqlite", "adbc_driver_duckdb", "adbc_driver_postgresql"),
    *("adbc_driver_manager", "typing_extensions"),
)
_NOT_NEEDED: Final = ("numpy", "cloudpickle")
"""What Arrow imports if it is there: more than half of the time that the process takes to start."""
_VARIABLES: Final = (
    *("HOME", "PGUSER", "PGPASSWORD", "PGREQUIREAUTH", "PGCHANNELBINDING", "PGTARGETSESSIONATTRS"),
    *("PGSSLMODE", "PGOPTIONS"),
)
"""The variables of this process that the driver of PostgreSQL is given, until it is connected."""
_OF_FILES: Final = (
    *("PGPASSFILE", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY", "PGSSLCRL", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)
"""The same, of those that name a file."""
_SYSTEMS: Final = "system"
"""What PGSSLROOTCERT is for the certificates that the system trusts."""
_STATE: Final = re.compile(rb"[0-9A-Z]{5}")
_STATE_BYTES: Final = 5
_ENDED: Final = "the process that uses it has ended"
_STRANGE: Final = "the process that uses it gave an answer that it cannot have: is the file damaged, or of a stranger?"
_LATE: Final = "the process that uses it did not finish its answer in time"
_PARTS: Final = {name.encode(): name for name in PARTS}
_INGEST: Final = "adbc.ingest."


class ConfinedError(Exception):
    """The database failed, or its process ended.

    Args:
        text: What happened.
        sqlstate: The code of SQL for it; empty for none.
        late: Whether there was no whole answer in time.
    """

    def __init__(self, text: str, sqlstate: str = "", *, late: bool = False) -> None:
        super().__init__(text)
        self.sqlstate = sqlstate
        self.late = late


class ConfinedDatabase:
    """A connection. One thread at a time, but for `adbc_cancel`.

    It is a cursor of itself, with the part of ADBC's interface that `Connection` uses. `in_force`: the parts of the
    jail that the kernel accepted for the process.

    Args:
        grant: The database.
        password: The password of a server; `None` for none.
        started: What `start_process` returned earlier; `None` to start one now.

    Raises:
        ConfinedError: The file cannot be opened, or the server cannot be reached.
        OSError: The process cannot be started.
    """

    def __init__(self, grant: DatabaseGrant, password: str | None = None, started: Started | None = None) -> None:
        self._spilled = tempfile.TemporaryDirectory(prefix="dataflare-") if grant.is_file else None
        self._last = _LAST.get(grant.kind)
        wire, self._process = started or start_process()
        self._wire: Wire | None = wire
        self._schema = pa.schema([])
        more = _server(grant) if self._spilled is None else _file(grant, self._spilled.name)
        limit_s = math.inf if self._spilled is not None else grant.connect_s
        try:
            if limit_s < math.inf:
                self._order({})  # the start of the process does not count
            until = time.monotonic() + limit_s + _GRACE_S
            said = self._ask({"kind": grant.kind, "uri": grant.uri(password), **more}, deadline=until)
        except ConfinedError as error:
            self._process.end()  # the error may live for long, and with it this object
            if error.late and limit_s < math.inf:
                raise ConfinedError(f"the server did not let it in within {limit_s:g} s") from None
            raise
        self.in_force = _names(said)

    def execute(self, statement: str, batch_rows: int = _LONG_ROWS, values: Sequence[Any] = ()) -> None:
        """Run a statement.

        Args:
            statement: The statement.
            batch_rows: How many rows are put into a batch; the driver of PostgreSQL goes by their size.
            values: What stands where `$1` and so on do.

        Raises:
            ConfinedError: It failed.
        """
        columns = {str(at): [value] for at, value in enumerate(values)}
        given = encode_stream(pa.RecordBatch.from_pydict(columns)) if values else b""
        schema = _decoded(self._ask({"sql": statement, "batch_rows": batch_rows}, given)).schema
        _check_types(schema)
        self._schema = schema

    def fetch_record_batch(self) -> _Rows:
        """The rows of the last statement, before the next one."""
        return _Rows(self._schema, self._next)

    def fetchall(self) -> list[tuple[Any, ...]]:
        """The rows of the last statement, which are few.

        Raises:
            ConfinedError: It failed, or they are not.
        """
        found: list[tuple[Any, ...]] = []
        size = values = 0
        for batch in self.fetch_record_batch():
            size, values = size + batch.nbytes, values + _values(batch)
            if size > _MOST_FETCHED or values > _MOST_FETCHED_VALUES:
                raise ConfinedError("the answer to a query about the database is too long")
            found += zip(*(column.to_pylist() for column in batch.columns), strict=True)
        return found

    def adbc_ingest(
        self,
        table: str,
        rows: pa.RecordBatch,
        mode: str,
        *,
        db_schema_name: str | None = None,
        temporary: bool = False,
    ) -> None:
        """Add rows to a table.

        Raises:
            ConfinedError: It failed.
        """
        if rows.nbytes > _TOGETHER_BYTES and rows.num_rows > 1:
            half = rows.num_rows // 2
            for part in (rows.slice(0, half), rows.slice(half)):
                self.adbc_ingest(table, part, mode, db_schema_name=db_schema_name, temporary=temporary)
            return
        given = encode_stream(rows)
        if given.size > _MOST_GIVEN:
            raise ConfinedError(f"a row takes {given.size} bytes, more than {_MOST_GIVEN}")
        options = {"target_table": table, "mode": f"{_INGEST}mode.{mode}", "temporary": str(temporary).lower()}
        if db_schema_name is not None:
            options["target_db_schema"] = db_schema_name
        self._order({"options": {_INGEST + name: value for name, value in options.items()}}, given)

    def commit(self) -> None:
        """Make safe what was done.

        Raises:
            ConfinedError: It failed.
        """
        self._order({"end": "commit"})

    def rollback(self) -> None:
        """Undo what was not committed.

        Raises:
            ConfinedError: It failed.
        """
        self._order({"end": "rollback"})

    def adbc_cancel(self) -> None:
        """End the process, and so what it does."""
        self._process.kill()

    def close(self) -> None:
        """End the process; idempotent. DuckDB first moves what is committed from its log into the file."""
        try:
            if self._last is not None and self._wire is not None:
                what, within_s = self._last
                self._order({"end": what}, deadline=time.monotonic() + within_s)
        except ConfinedError:
            pass  # what is committed is safe in the log, or at the server
        finally:
            self._process.end()
            self._wire = None  # another thread may still be in it: it closes itself when nobody is
            if self._spilled is not None:
                self._spilled.cleanup()

    def _next(self) -> pa.RecordBatch | None:
        data = self._ask({})
        if not data.size:
            return None
        batch = _decoded(data)
        _check_fits(batch, self._schema)
        return batch

    def _order(self, request: Mapping[str, Any], given: pa.Buffer | bytes = b"", *, deadline: float = math.inf) -> None:
        """Ask for something that has no answer but that it is done."""
        if self._ask(request, given, deadline=deadline).size:
            raise ConfinedError(_STRANGE)

    def _ask(
        self, request: Mapping[str, Any], given: pa.Buffer | bytes = b"", *, deadline: float = math.inf
    ) -> pa.Buffer:
        # No other request can use the wire meanwhile. It is only put back after a whole answer.
        wire, self._wire = self._wire, None
        if wire is None:
            raise ConfinedError(_ENDED)
        try:
            wire.send(json.dumps(request).encode(), [memoryview(given)], deadline=deadline)
            said, data = wire.receive(deadline=deadline)
        except TooLarge as error:
            self._wire = wire  # nothing was sent
            raise ConfinedError(f"{error} is more than the process that uses it takes") from error
        except BrokenWire as error:
            raise ConfinedError(_STRANGE) from error
        except OutOfTime as error:
            raise ConfinedError(_LATE, late=True) from error
        except (Gone, OSError) as error:
            raise ConfinedError(_ENDED) from error
        self._wire = wire
        if said:
            state = data.to_pybytes() if data.size == _STATE_BYTES else b""
            known = state.decode() if _STATE.fullmatch(state) else ""
            raise ConfinedError(said[:_MOST_SAID].decode(errors="replace"), known)
        return data


class _Rows(Iterator[pa.RecordBatch]):
    """The rows of a query; as much of `pyarrow.RecordBatchReader` as is used."""

    def __init__(self, schema: pa.Schema, following: Callable[[], pa.RecordBatch | None]) -> None:
        self.schema = schema
        self.read_next_batch = self.__next__
        self._following = following

    def __next__(self) -> pa.RecordBatch:
        if (found := self._following()) is None:
            raise StopIteration
        return found


def _names(said: pa.Buffer) -> tuple[str, ...]:
    """The names of the parts of a jail."""
    names = said.to_pybytes().split() if said.size <= _MOST_SAID else [b""]
    if not {*names} <= _PARTS.keys():
        raise ConfinedError(_STRANGE)
    return tuple(_PARTS[name] for name in names)


def _check_types(schema: pa.Schema) -> None:
    """Refuse dictionaries, which no driver here makes, and whose few bytes become many."""
    if any(_has_dictionary(field.type) for field in schema):
        raise ConfinedError(_STRANGE)


def _check_fits(batch: pa.RecordBatch, schema: pa.Schema) -> None:
    """Refuse other columns than were told, and more values than bytes were sent for."""
    if not batch.schema.equals(schema) or _values(batch) > _MOST_CELLS:
        raise ConfinedError(_STRANGE)


def _values(batch: pa.RecordBatch) -> int:
    """Count the rows of a batch, and its values at all levels: a list of billions of nulls takes eight bytes."""
    return sum(map(value_count, batch.columns), start=batch.num_rows)


def _has_dictionary(data_type: pa.DataType) -> bool:
    within = (data_type.field(at).type for at in range(data_type.num_fields))
    return types.is_dictionary(data_type) or any(map(_has_dictionary, within))


def _decoded(data: pa.Buffer) -> pa.RecordBatch:
    """The batch of a stream, of which a file that has taken over the process may have made anything."""
    try:
        return decode_stream(data, _MOST_BYTES)
    except DataFailure as error:
        raise ConfinedError(str(error)) from error


def _file(grant: DatabaseGrant, spilled: str) -> dict[str, Any]:
    """Say how a file is opened, and what of the folders may be used for it."""
    place = Path(grant.place)
    # SQLite also writes where it only reads: the memory that its users share, and what a dead process left.
    rights = landlock.READ if grant.kind == "duckdb" and grant.access == "read" else landlock.WRITE
    options = {"options": _duckdb_options(grant, spilled)} if grant.kind == "duckdb" else {}
    return {"temporary": spilled, "folders": {str(each.parent): rights for each in (place, place.resolve())}, **options}


def _server(grant: DatabaseGrant) -> dict[str, Any]:
    """Say where a server is, and what else its driver finds in the environment."""
    given = {name: value for name in (*_VARIABLES, *_OF_FILES) if (value := os.environ.get(name))}
    names_file = {name for name, value in given.items() if name in _OF_FILES and value != _SYSTEMS}
    files = {name: os.path.abspath(given[name]) for name in names_file}
    variables = {name: value for name, value in given.items() if name not in names_file}
    with contextlib.suppress(KeyError):  # a user without a name
        user = pwd.getpwuid(os.geteuid())
        variables = {"PGUSER": user.pw_name, "HOME": user.pw_dir, **variables}
    variables.setdefault("HOME", "/")
    host, port = grant.host
    limit_s = 0 if grant.connect_s == math.inf else int(grant.connect_s)
    return {"environment": variables, "files": files, "host": host, "port": port, "connect_s": limit_s}


def _duckdb_options(grant: DatabaseGrant, spilled: str) -> dict[str, str]:
    """Configure DuckDB: it uses no other file, and what it computes stays within the limits.

    Args:
        grant: The file.
        spilled: A folder for what does not fit into memory.
    """
    return {
        "access_mode": "READ_WRITE" if grant.access == "write" else "READ_ONLY",
        "enable_external_access": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        "allow_persistent_secrets": "false",
        # Its own count leaves out what it allocates in other ways, and what is free but not returned.
        "memory_limit": f"{_MOST_BYTES // 4}B",
        "temp_directory": spilled,
        "max_temp_directory_size": f"{_MOST_SPILLED}B",
        # Rows with the same cursor value come in the same order each time.
        "threads": "1",
    }


def start_process() -> Started:
    """Start the process of a connection, which then imports what it needs.

    Raises:
        OSError: It cannot be started.
    """
    return in_starter(_start)


def _start() -> Started:
    specs = [importlib.util.find_spec(name) for name in _PACKAGES]
    roots = {str(Path(each.origin).resolve().parents[1]) for each in specs if each is not None and each.origin}
    ours, theirs = socket.socketpair()
    with theirs, contextlib.ExitStack() as stack:
        stack.callback(ours.close)
        process = start(
            _SERVE,
            (theirs.fileno(),),
            numbers=(_MOST_BYTES, _MOST_BESIDE),
            roots=sorted(roots),
            without=_NOT_NEEDED,
        )
        stack.pop_all()
    return Wire(ours, None, _MOST_BESIDE), process
