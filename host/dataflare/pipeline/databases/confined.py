"""Reads an SQLite file in a process of its own, whose memory is limited, and which an interrupt ends.

Whoever made the file decides what reading it takes: a view can have values of a gigabyte, or rows without end. SQLite's
driver has no limits, and cannot cancel. The process answers one request at a time, each a line of JSON. An answer is
such a line too, and as many bytes behind it as it says: a schema, or a batch as an Arrow stream.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from dataflare.pipeline.reading.confined import limit_memory
from dataflare.runtime.isolation.privileges import die_with
from dataflare.runtime.isolation.spawn import Process, in_starter, start

__all__ = ["ConfinedError", "ConfinedSQLite", "serve"]

_MOST_BYTES: Final = 2**30
"""The memory that reading may take."""
_MOST_ANSWER: Final = 2**29
_MOST_LINE: Final = 2**24
_MOST_TEXT: Final = 2000
_FEW_ROWS: Final = 128
_LONG_ROWS: Final = 1024
_TOGETHER_BYTES: Final = 2**24
_PACKAGES: Final = ("adbc_driver_sqlite", "adbc_driver_manager", "typing_extensions")
_TOO_MUCH: Final = f"a value, or the rows of a batch, take more than {_MOST_BYTES // 2**20} MiB of memory to read"
_NO_MEMORY: Final = ("out of memory", "allocate memory")
_ENDED: Final = "the process that reads it has ended"


class ConfinedError(Exception):
    """SQLite failed, or its process ended."""


class ConfinedSQLite:
    """A connection that only reads. One thread at a time, but for `adbc_cancel`.

    It is a cursor of itself, with the part of ADBC's interface that `Connection` uses to read.

    Args:
        uri: What the driver connects to.

    Raises:
        ConfinedError: The file cannot be opened.
        OSError: The process cannot be started.
    """

    def __init__(self, uri: str) -> None:
        self._socket, self._process = in_starter(_start)
        self._answers = self._socket.makefile("rb")
        self._schema = pa.schema([])
        self._ask({"uri": uri})

    def execute(self, statement: str, batch_rows: int = _LONG_ROWS) -> None:
        """Run a statement.

        Raises:
            ConfinedError: It failed.
        """
        schema = self._ask({"sql": statement, "batch_rows": batch_rows})
        self._schema = pa.ipc.read_schema(pa.BufferReader(schema))

    def fetch_record_batch(self) -> _Rows:
        """The rows of the last statement, before the next one."""
        return _Rows(self._schema, self._next)

    def fetchall(self) -> list[tuple[Any, ...]]:
        """The rows of the last statement, which are few.

        Raises:
            ConfinedError: It failed.
        """
        table = pa.Table.from_batches(self.fetch_record_batch(), schema=self._schema)
        return list(zip(*(column.to_pylist() for column in table.columns), strict=True))

    def adbc_cancel(self) -> None:
        """End the process, and so what it does."""
        self._process.kill()

    def close(self) -> None:
        """End the process; idempotent."""
        self._process.end()
        self._answers.close()
        self._socket.close()

    def _next(self) -> pa.RecordBatch | None:
        data = self._ask({})
        return pa.ipc.open_stream(data).read_next_batch() if data else None

    def _ask(self, request: Mapping[str, Any]) -> bytes:
        try:
            self._socket.sendall(_line(request), socket.MSG_NOSIGNAL)
            line = self._answers.readline(_MOST_LINE)
            said: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {"error": _ENDED}
            if "error" in said:
                raise ConfinedError(said["error"])
            data = self._answers.read(said["bytes"])
        except (OSError, ValueError) as error:  # the latter where it is closed meanwhile
            raise ConfinedError(_ENDED) from error
        if len(data) < said["bytes"]:
            raise ConfinedError(_ENDED)
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


def _start() -> tuple[socket.socket, Process]:
    specs = [importlib.util.find_spec(name) for name in _PACKAGES]
    roots = {str(Path(each.origin).resolve().parents[1]) for each in specs if each is not None and each.origin}
    ours, theirs = socket.socketpair()
    with theirs, contextlib.ExitStack() as stack:
        stack.callback(ours.close)
        process = start(f"{__name__}:{serve.__name__}", (theirs.fileno(),), numbers=(_MOST_BYTES,), roots=sorted(roots))
        stack.pop_all()
    return ours, process


def serve(connection: int, most_bytes: int, parent: int) -> None:
    """Answer requests in a process of its own, until there are no more."""
    die_with(parent)
    limit_memory(most_bytes)
    import adbc_driver_sqlite
    from adbc_driver_manager import AdbcConnection

    opened: Any = None
    rows: Iterator[pa.RecordBatch] = iter(())
    with socket.socket(fileno=connection) as wire, wire.makefile("rb") as requests:
        for line in requests:
            request = json.loads(line)
            data: Any = b""
            try:
                if "uri" in request:
                    opened = AdbcConnection(adbc_driver_sqlite.connect(request["uri"]))
                    opened.set_autocommit(False)
                elif "sql" in request:
                    rows = iter(())  # an earlier statement ends first
                    schema, rows = _rows(opened, request["sql"], request["batch_rows"])
                    data = schema.serialize()
                elif (batch := next(rows, None)) is not None:
                    data = _stream(batch)
                said: dict[str, Any] = {"bytes": len(data)}
            except MemoryError:
                said = {"error": _TOO_MUCH}
            except Exception as error:  # whatever the file leads to: the other side tells of it
                # SQLite says so too where it could not open a file, and has nothing that would know why.
                is_memory = "uri" not in request and any(each in str(error) for each in _NO_MEMORY)
                said = {"error": _TOO_MUCH if is_memory else str(error)[:_MOST_TEXT]}
            if "error" in said:
                data, rows = b"", iter(())
            wire.sendall(_line(said), socket.MSG_NOSIGNAL)
            wire.sendall(data, socket.MSG_NOSIGNAL)


def _rows(opened: Any, query: str, batch_rows: int) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Run a query. Where its values may be long, the driver takes few rows at a time, of which larger batches are made.

    The driver tells nobody how long values are before it has them all.
    """
    from adbc_driver_manager import AdbcStatement

    statement = AdbcStatement(opened)
    statement.set_options(**{"adbc.sqlite.query.batch_rows": _FEW_ROWS if batch_rows <= _LONG_ROWS else batch_rows})
    statement.set_sql_query(query)
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


def _stream(batch: pa.RecordBatch) -> pa.Buffer:
    if batch.nbytes > _MOST_ANSWER:
        raise MemoryError
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def _line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"
