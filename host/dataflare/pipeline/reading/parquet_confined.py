"""Reads Parquet in a process whose memory is limited, where what that takes cannot be told before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import IO, Any, Final

import pyarrow as pa

from dataflare.data.shapes import malformed
from dataflare.pipeline.reading import confined
from dataflare.pipeline.reading.confined import BrokeDown
from dataflare.pipeline.reading.parquet_int96 import Int96Unit, find_overflow, open_parquet

__all__ = ["Overflow", "read_confined", "read_parts"]

_ROWS: Final = 4096
"""Rows at a time, at most: where the cost is not known, few rows are likely to fit."""
_WINDOW_BYTES: Final = 2**20


class Overflow(Exception):
    """An INT96 time does not fit the unit that it is read in; the text says which."""


def read_confined(
    file: IO[bytes], *, batch_rows: int, max_bytes: int, int96: Int96Unit = "ns", expected: pa.Schema | None = None
) -> Iterator[Any]:
    """Read a file; yield its schema, then its batches.

    Args:
        file: The file. It is not to be used before the end.
        batch_rows: The most rows of a batch.
        max_bytes: The most bytes that a batch may take. The process may have twice as many plus 256 MiB.
        int96: The unit of INT96 times.
        expected: The schema that the reader must find; `None` for any.

    Raises:
        OutOfMemory: It takes more.
        Overflow: An INT96 time does not fit its unit.
        DataFailure: The file is not valid, or has types that are not on the list.
        OSError: The process cannot be started.
    """
    request = {"batch_rows": min(batch_rows, _ROWS), "int96": int96}
    reader = f"{__name__}:{read_parts.__name__}"
    parts = confined.read_confined(reader, file, request, max_bytes=max_bytes, errors=(Overflow,), expected=expected)
    try:
        next(parts)
        yield from parts
    except BrokeDown as error:
        raise malformed(str(error) or "not a valid Parquet file: its reader broke down") from error


def read_parts(file: IO[bytes], request: Mapping[str, Any]) -> Iterator[Any]:
    """Read a file in the process; see `dataflare.pipeline.reading.confined.read_confined`."""
    unit, rows = request["int96"], request["batch_rows"]
    opened = open_parquet(file, unit, _WINDOW_BYTES)
    yield {}
    yield opened.schema_arrow
    if overflow := find_overflow(file, opened.schema, unit, batch_rows=rows, buffer_size=_WINDOW_BYTES):
        raise Overflow(overflow)
    yield from opened.iter_batches(batch_size=rows, use_threads=False)
