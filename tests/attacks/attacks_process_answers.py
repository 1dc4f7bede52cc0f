"""Attacks by files that have taken over the process in which they are read or used, and say what it cannot say."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import IO, Any
from unittest import mock

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from arena import Arena, Mutation, answers, attack
from attacks_database_processes import answer, rows, taken_over
from dataflare.data.shapes import DataFailure
from dataflare.pipeline.databases import confined as databases
from dataflare.pipeline.databases.confined import ConfinedError
from dataflare.pipeline.reading import confined, parquet_reader
from dataflare.pipeline.reading.confined import BrokeDown, Found, read_confined
from dataflare.pipeline.reading.excel_reader import ExcelReadOptions, read_excel
from dataflare.pipeline.reading.file_schema import FileColumn, FileSchema
from dataflare.pipeline.reading.inputs import InputFile
from dataflare.pipeline.reading.parquet_reader import ParquetReadOptions, read_parquet
from dataflare.pipeline.run_errors import DataError

ONE = pa.schema({"n": pa.int64()})
FOUND = b'{"found": [{}, []]}\n'


@contextlib.contextmanager
def reader_taken_over(words: bytes, schema: pa.Schema = ONE) -> Iterator[None]:
    """A reader's process that says these words, and sends a stream without rows."""
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, schema):
        """It has no batches."""

    def start(*_: Any) -> tuple[io.FileIO, io.FileIO, Any]:
        return _filled(stream.getvalue()), _filled(words), mock.Mock(wait=answers(0), computed_s=answers(0.0))

    with mock.patch.object(confined, "_start", start):
        yield


def _filled(data: bytes) -> io.FileIO:
    read, write = os.pipe()

    def fill() -> None:
        with contextlib.suppress(OSError), open(write, "wb") as file:
            file.write(data)

    threading.Thread(target=fill, daemon=True).start()
    return io.FileIO(read)


@attack("files-in")
def words_of_a_reader_that_took_over(arena: Arena) -> None:
    """Say in place of a file's reader what is not JSON, is nested without end, or has other parts than it can have."""
    with open(os.devnull, "rb") as file:

        def read(words: bytes) -> list[Any]:
            with reader_taken_over(words):
                return list(read_confined("a:b", file, {}, max_bytes=2**20))

        assert read(FOUND + b'{"done": true}\n') == [Found({}, ()), ONE]
        strange = (
            *(b"x", b"5", b"null", b'"\xff"', b"[" * 100_000, b'{"found":' * 5000, b'{"error": ' + b"9" * 5000 + b"}"),
            *(b'{"error": 5}', b'{"error": [1, 2]}', b'{"error": ["text", "1", ""]}', b'{"error": ["text", 1, []]}'),
            *(b'{"raised": 3}', b'{"raised": [[], {}]}', b'{"raised": ["a", "\\ud800"]}', b'{"found": {}, "error": 5}'),
            *(
                b'{"found": {}}',
                b'{"found": [{}, ["everything"]]}',
                b'{"found": [{}, "seccomp"]}',
                b'{"found": [[], []]}',
            ),
            *(b"{}", b'{"done": 1}', b'{"found": []}', b"[]", b'{"done": true}'),
        )
        for each in strange:
            arena.raises(BrokeDown, lambda each=each: read(each + b"\n"))
        for each in (*strange[:-1], FOUND.strip(), b""):
            arena.raises(BrokeDown, lambda each=each: read(FOUND + each + b"\n"))
        for each in (b"", b"{", b"x" * 2**25):
            arena.raises(BrokeDown, lambda each=each: read(each))


@attack("files-in")
def sheet_of_a_reader_that_took_over(arena: Arena) -> None:
    """Say of a workbook's columns what is not of their kind, or read others than those of the first of its files."""
    place = arena.folder / "a.xlsx"
    place.write_bytes(b"PK")

    def read(own: Any, found: FileSchema | None = None) -> list[Any]:
        words = orjson.dumps({"found": [own, []]}) + b'\n{"done": true}\n'
        with reader_taken_over(words), closing(InputFile(place)) as source:
            return list(read_excel(source, mock.Mock(), ExcelReadOptions(), found))

    own = {"inferred": ["n"], "valued": ["n"], "notes": {}, "rows": 1}
    column = FileColumn("n", pa.int64(), inferred=True)
    assert read(own)[0].columns == (column,)
    for wrong in (
        {"inferred": 5},
        {"inferred": [5]},
        {"valued": 5},
        {"notes": []},
        {"notes": {"n": 5}},
        {"rows": "x"},
        {"rows": -1},
    ):
        arena.raises(DataError, lambda wrong=wrong: read({**own, **wrong}), says="cannot be")
        arena.raises(DataError, lambda wrong=wrong: read({name: own[name] for name in own if name not in wrong}))
    assert read(own, FileSchema((column,)))
    other = FileSchema((FileColumn("m", pa.string()),))
    arena.raises(DataError, lambda: read(own, other), says="other columns")


@attack("files-in")
def columns_of_a_reader_that_took_over(arena: Arena) -> None:
    """Read other columns of a Parquet file than its footer has."""
    place = arena.folder / "a.parquet"
    pq.write_table(pa.table({"n": [1]}), place)
    costs = mock.Mock(are_known=False)
    for schema in (pa.schema({"m": pa.int64()}), pa.schema({"n": pa.string()}), pa.schema({})):
        with (
            reader_taken_over(FOUND + b'{"done": true}\n', schema),
            mock.patch.object(parquet_reader, "costs_of", answers(costs)),
            closing(InputFile(place)) as source,
        ):
            parts = read_parquet(source, mock.Mock(), ParquetReadOptions(), None)
            arena.raises(DataFailure, lambda parts=parts: list(parts), says="columns")


@attack("memory")
def few_bytes_of_a_database_that_are_many_values(arena: Arena) -> None:
    """Answer for a database with a list of billions of nulls in eight bytes, or with as many in hundreds of columns."""
    count = 2**31 - 2
    nested = pa.record_batch({"n": pa.ListArray.from_arrays(pa.array([0, count], pa.int32()), pa.nulls(count))})
    with taken_over(rows(schema=nested.schema), rows(nested)) as database:
        database.execute("SELECT n FROM t")
        arena.raises(ConfinedError, database.fetch_record_batch().read_next_batch, says="cannot have")
    wide = pa.record_batch({f"c{at}": pa.nulls(2**13) for at in range(256)})
    with taken_over(rows(schema=wide.schema), rows(wide), answer()) as database:
        database.execute("SELECT * FROM t")
        arena.raises(ConfinedError, database.fetchall, says="too long")


@attack("processes")
def names_of_a_jail_without_end(arena: Arena) -> None:
    """Name the parts of a database's jail in megabytes, or name parts that there are not."""
    for said in (b"seccomp " * 2**16, b"everything", b"\xff", bytes(2**20)):
        arena.raises(ConfinedError, lambda said=said: databases._names(pa.py_buffer(said)), says="cannot have")
    assert databases._names(pa.py_buffer(b"rlimits seccomp")) == ("rlimits", "seccomp")


def _any_word(words: IO[bytes]) -> Any:
    line = words.readline()
    return orjson.loads(line) if line.endswith(b"\n") else {}


def _at_the_top(batch: pa.RecordBatch) -> int:
    return int(batch.num_rows)


_OF = "dataflare.pipeline"
MUTATIONS = [
    Mutation(f"{_OF}.reading.confined:_next_word", _any_word, ("words_of_a_reader_that_took_over",)),
    Mutation(f"{_OF}.reading.excel_reader:ValidationError", ZeroDivisionError, ("sheet_of_a_reader_that_took_over",)),
    Mutation(
        f"{_OF}.reading.confined:_check_columns",
        answers(None),
        ("columns_of_a_reader_that_took_over", "sheet_of_a_reader_that_took_over"),
    ),
    Mutation(f"{_OF}.databases.confined:_values", _at_the_top, ("few_bytes_of_a_database_that_are_many_values",)),
    Mutation(f"{_OF}.databases.confined:_MOST_SAID", 2**40, ("names_of_a_jail_without_end",)),
]
