"""Reads Parquet in a process whose memory is limited, where what that takes cannot be told before.

The process sends what it reads as an Arrow stream, which is checked like a stranger's.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from typing import IO, Any, Final

import pyarrow as pa

from dataflare.data.ipc import read_stream
from dataflare.data.shapes import DataFailure, malformed
from dataflare.pipeline.reading.parquet_int96 import Int96Unit, find_overflow, open_parquet
from dataflare.runtime.isolation.privileges import die_with
from dataflare.runtime.isolation.spawn import Process, in_starter, start

__all__ = ["OutOfMemory", "Overflow", "read_confined", "serve"]

_ROWS: Final = 4096
"""Rows at a time, at most: where the cost is not known, few rows are likely to fit."""
_FIXED_BYTES: Final = 256 * 2**20
_WINDOW_BYTES: Final = 2**20
_MOST_TEXT: Final = 2000
_DONE, _MEMORY, _OVERFLOW = b"done", b"memory", b"overflow: "
_UNITS: Final[tuple[Int96Unit, ...]] = ("ns", "us")


class OutOfMemory(Exception):
    """Reading the file takes more memory than it may."""


class Overflow(Exception):
    """An INT96 time does not fit the unit that it is read in; the text says which."""


def read_confined(file: IO[bytes], *, batch_rows: int, max_bytes: int, int96: Int96Unit = "ns") -> Iterator[Any]:
    """Read a file; yield its schema, then its batches.

    Args:
        file: The file. It is not to be used before the end.
        batch_rows: The most rows of a batch.
        max_bytes: The most bytes that a batch may take. The process may have twice as many.
        int96: The unit of INT96 times.

    Raises:
        OutOfMemory: It takes more.
        Overflow: An INT96 time does not fit its unit.
        DataFailure: The file is not valid, or has types that are not on the list.
        OSError: The process cannot be started.
    """
    numbers = (min(batch_rows, _ROWS), max_bytes, _UNITS.index(int96))
    batches, words, process = in_starter(lambda: _start(file.fileno(), numbers))
    failure: DataFailure | None = None
    try:
        try:
            yield from read_stream(batches, max_bytes)  # type: ignore[arg-type]  # all that it uses of a file
        except DataFailure as found:
            failure = found
            process.end()
        # A stream that ends may also be one whose sender has died: its last word tells.
        said = words.read()
    finally:
        process.end()
        batches.close()
        words.close()
    if said == _MEMORY or (failure is not None and failure.error.case == "too-large"):
        raise OutOfMemory
    if said.startswith(_OVERFLOW):
        raise Overflow(said.removeprefix(_OVERFLOW).decode("utf-8", "replace"))
    if failure is not None and not said:
        raise failure
    if said != _DONE:
        raise malformed(said.decode("utf-8", "replace") or "not a valid Parquet file: its reader broke down")


def _start(file: int, numbers: tuple[int, ...]) -> tuple[IO[bytes], IO[bytes], Process]:
    (batches, to_batches), (words, to_words) = os.pipe(), os.pipe()
    try:
        entry = f"{__name__}:{serve.__name__}"
        process = start(entry, (file, to_batches, to_words), numbers=numbers)
    except BaseException:
        os.close(batches)
        os.close(words)
        raise
    finally:
        os.close(to_batches)
        os.close(to_words)
    return open(batches, "rb"), open(words, "rb"), process


def serve(file: int, batches: int, words: int, batch_rows: int, max_bytes: int, unit: int, parent: int) -> None:
    """Read a file in a process of its own; see `read_confined`."""
    die_with(parent)
    with open("/proc/self/statm", "rb") as statm:
        taken = int(statm.read().split()[0]) * resource.getpagesize()
    most = taken + 2 * max_bytes + _FIXED_BYTES
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    try:
        with open(file, "rb") as source, open(batches, "wb") as sink:
            _send(source, sink, batch_rows, _UNITS[unit])
        said = _DONE
    except Overflow as error:
        said = _OVERFLOW + str(error).encode("utf-8", "replace")[:_MOST_TEXT]
    except MemoryError:
        said = _MEMORY
    except Exception as error:  # whatever a damaged file leads to: the other side tells of it
        said = str(error).encode("utf-8", "replace")[:_MOST_TEXT]
    os.write(words, said)


def _send(source: IO[bytes], sink: IO[bytes], batch_rows: int, unit: Int96Unit) -> None:
    file = open_parquet(source, unit, _WINDOW_BYTES)
    with pa.ipc.new_stream(sink, file.schema_arrow) as writer:
        if overflow := find_overflow(source, file.schema, unit, batch_rows=batch_rows, buffer_size=_WINDOW_BYTES):
            raise Overflow(overflow)
        for batch in file.iter_batches(batch_size=batch_rows, use_threads=False):
            writer.write_batch(batch)
