"""The process in which a database is used: see `confined`. It imports little, since each run starts one."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pyarrow as pa

from dataflare.pipeline.reading.own_limits import limit_memory
from dataflare.runtime.isolation import landlock
from dataflare.runtime.isolation.jail import confine_to_files
from dataflare.runtime.isolation.privileges import die_with
from dataflare.runtime.isolation.wire import Gone, Wire

__all__ = ["serve"]

_MOST_TEXT: Final = 2000
_FEW_ROWS: Final = 128
_MANY_ROWS: Final = 4096
_LONG_ROWS: Final = 1024
_TOGETHER_BYTES: Final = 2**24
_OF_THE_MACHINE: Final = {
    **dict.fromkeys(("/dev/urandom", "/proc/self/cgroup"), landlock.READ_FILE),
    **dict.fromkeys(("/sys/fs/cgroup", "/sys/devices/system/cpu"), landlock.READ),
}
"""What SQLite asks for chance; and DuckDB for processors and memory, without which it does not start."""
_NO_MEMORY: Final = ("out of memory", "allocate memory", "Out of Memory Error", "failed to allocate")


class _Served:
    """One connection, and the rows of its last query."""

    def __init__(self, most_bytes: int, most_answer: int) -> None:
        self._too_much = f"a value, or the rows of a batch, take more than {most_bytes // 2**20} MiB of memory"
        self._most_answer = most_answer
        self._connection: Any = None
        self._loaded: Any = None  # the driver: once the process is confined, nothing can be loaded
        self._has_option = False
        self._rows: Iterator[pa.RecordBatch] = iter(())

    def answer(self, request: Mapping[str, Any], given: pa.Buffer) -> tuple[str, Any]:
        """Do what is asked for; returns the text of an error, empty for none, and the bytes beside it: its SQLSTATE."""
        state = b""
        try:
            data = self._do(request, given)
            if len(data) <= self._most_answer:
                return "", data
            said = self._too_much
        except MemoryError:
            said = self._too_much
        except Exception as error:  # whatever the database leads to: the other side tells of it
            # What a server says is about its own memory. SQLite says so too where it could not open a file, and has
            # nothing that would know why.
            state = (getattr(error, "sqlstate", None) or "").encode()
            is_memory = not state and "uri" not in request and any(each in str(error) for each in _NO_MEMORY)
            said = self._too_much if is_memory else str(error)[:_MOST_TEXT]
        self._rows = iter(())
        return said or "it failed", state

    def _do(self, request: Mapping[str, Any], given: pa.Buffer) -> Any:
        match request:
            case {"kind": "duckdb", "uri": path, "options": options}:
                return self._open_duckdb(path, options, _kept(request))
            case {"kind": "postgresql"}:
                return self._connect(request)
            case {"uri": uri}:
                return self._open_sqlite(uri, _kept(request))
            case {"sql": query, "batch_rows": batch_rows}:
                self._rows = iter(())  # an earlier statement ends first
                statement = _statement(self._connection, query, given)
                if self._has_option:
                    statement.set_options(**{"adbc.sqlite.query.batch_rows": _at_once(batch_rows)})
                schema, self._rows = _query(statement, batch_rows)
                return _stream(schema)
            case {"options": options}:
                _ingest(self._connection, options, given)
            case {"end": "commit"}:
                self._connection.commit()
            case {"end": "rollback"}:
                self._rows = iter(())
                self._connection.rollback()
            case {"end": "checkpoint"}:
                self._rows = iter(())
                self._connection.rollback()
                self._connection.set_autocommit(True)
                _execute(self._connection, "CHECKPOINT")
            case {"end": "disconnect"}:
                self._rows = iter(())
                self._connection.close()
                self._loaded.close()
            case _:
                batch = next(self._rows, None)
                return b"" if batch is None else _stream(batch.schema, batch)
        return b""

    def _connect(self, request: Mapping[str, Any]) -> bytes:
        from dataflare.pipeline.databases import server_process

        self._loaded, self._connection, in_force = server_process.connect(request, _execute)
        return " ".join(in_force).encode()

    def _open_sqlite(self, uri: str, kept: Mapping[str, int]) -> bytes:
        import adbc_driver_sqlite
        from adbc_driver_manager import AdbcConnection

        self._loaded = adbc_driver_sqlite.connect(":memory:")
        in_force = confine_to_files(kept)
        self._connection = AdbcConnection(adbc_driver_sqlite.connect(uri))
        # What the file itself has computed may call no function that does more than to compute.
        for guard in ("trusted_schema = OFF", "cell_size_check = ON"):
            _execute(self._connection, f"PRAGMA {guard}")
        self._connection.set_autocommit(False)
        self._has_option = True
        return " ".join(in_force).encode()

    def _open_duckdb(self, path: str, options: Mapping[str, str], kept: Mapping[str, int]) -> bytes:
        import adbc_driver_duckdb
        from adbc_driver_manager import AdbcConnection, AdbcDatabase

        driver = adbc_driver_duckdb.driver_path()
        self._loaded = ctypes.CDLL(driver)
        in_force = confine_to_files(kept)
        made = AdbcDatabase(driver=driver, entrypoint="duckdb_adbc_init", path=path, **options)
        self._connection = AdbcConnection(made)
        # From here on, nothing in the file or in a query gives itself more.
        for setting in ("TimeZone = 'UTC'", "default_collation = ''", "lock_configuration = true"):
            _execute(self._connection, f"SET {setting}")
        self._connection.set_autocommit(False)
        return " ".join(in_force).encode()


def _kept(request: Mapping[str, Any]) -> Mapping[str, int]:
    """What the process may open: the file's folder, its folder for temporary files, and what says of the machine."""
    os.environ["SQLITE_TMPDIR"] = request["temporary"]
    time.tzset()  # reads the machine's time zone
    return {**request["folders"], request["temporary"]: landlock.WRITE, **_OF_THE_MACHINE}


def serve(connection: int, most_bytes: int, most_beside: int, parent: int) -> None:
    """Answer requests in a process of its own, until there are no more."""
    die_with(parent)
    limit_memory(most_bytes)
    served = _Served(most_bytes, most_beside)
    wire = Wire(socket.socket(fileno=connection), None, most_beside, waits=True)
    with contextlib.suppress(Gone):
        while True:
            request, given = wire.receive()
            said, data = served.answer(json.loads(request), given)
            wire.send(said.encode(errors="replace"), [memoryview(data)])


def _execute(connection: Any, statement: str) -> None:
    from adbc_driver_manager import AdbcStatement

    with AdbcStatement(connection) as made:
        made.set_sql_query(statement)
        made.execute_update()


def _ingest(connection: Any, options: Mapping[str, str], given: pa.Buffer) -> None:
    """Add the rows of a stream to a table, as ADBC's options say."""
    from adbc_driver_manager import AdbcStatement

    with AdbcStatement(connection) as statement, pa.ipc.open_stream(given) as rows:
        statement.set_options(**options)
        statement.bind_stream(rows)
        statement.execute_update()


def _at_once(batch_rows: int) -> int:
    """How many rows SQLite's driver takes at a time: few where values may be long.

    The driver tells nobody how long values are before it has them all. That of DuckDB always takes 2,048 rows, and that
    of PostgreSQL goes by their size.
    """
    return _FEW_ROWS if batch_rows <= _LONG_ROWS else min(batch_rows, _MANY_ROWS)


def _statement(connection: Any, query: str, given: pa.Buffer) -> Any:
    """Make a statement; `given` is a stream with the values that stand in it, or is empty."""
    from adbc_driver_manager import AdbcStatement

    statement = AdbcStatement(connection)
    statement.set_sql_query(query)
    if given.size:
        statement.prepare()
        statement.bind_stream(pa.ipc.open_stream(given))
    return statement


def _query(statement: Any, batch_rows: int) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Run a query; of the rows that the driver takes at a time, larger batches are made."""
    stream, _ = statement.execute_query()
    reader = pa.RecordBatchReader._import_from_c(stream.address)

    def rows() -> Iterator[pa.RecordBatch]:
        with contextlib.closing(statement), contextlib.closing(reader):
            waiting: list[pa.RecordBatch] = []
            taken = size = 0
            for batch in reader:
                waiting.append(batch)
                taken, size = taken + batch.num_rows, size + batch.nbytes
                if taken >= batch_rows or size >= _TOGETHER_BYTES:
                    yield _joined(waiting)
                    waiting, taken, size = [], 0, 0
            if waiting:
                yield _joined(waiting)

    return reader.schema, rows()


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.Table.from_batches(batches).combine_chunks().to_batches()[0]


def _stream(schema: pa.Schema, *batches: pa.RecordBatch) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for each in batches:
            writer.write_batch(each)
    return sink.getvalue()
