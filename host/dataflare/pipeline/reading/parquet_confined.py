"""Reads Parquet in a process whose memory is limited, where what that takes cannot be told before."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import IO, Any, Final

import pyarrow as pa

from dataflare.data.shapes import malformed
from dataflare.pipeline.reading import confined
from dataflare.pipeline.reading.confined import BrokeDown
from dataflare.pipeline.reading.parquet_int96 import Int96Unit
from dataflare.pipeline.reading.parquet_process import Overflow, read_parts

__all__ = ["read_confined"]

_ROWS: Final = 4096
"""Rows at a time, at most: where the cost is not known, few rows are likely to fit."""
_LEAST_S: Final = 300
_BYTES_A_SECOND: Final = 10_000_000
"""How little is read in a second at the worst: it is a tenth of what a slow machine reads."""


def read_confined(
    file: IO[bytes],
    *,
    batch_rows: int,
    max_bytes: int,
    max_rows: float = math.inf,
    int96: Int96Unit = "ns",
    expected: pa.Schema | None = None,
) -> Iterator[Any]:
    """Read a file; yield its schema, then its batches.

    Args:
        file: The file. It is not to be used before the end.
        batch_rows: The most rows of a batch.
        max_bytes: The most bytes that a batch may take. The process may have twice as many plus 256 MiB.
        max_rows: The rows that the file says it has.
        int96: The unit of INT96 times.
        expected: The schema that the reader must find; `None` for any.

    Raises:
        OutOfMemory: It takes more.
        OutOfTime: The process computes for too long until a batch is there.
        Overflow: An INT96 time does not fit its unit.
        DataError: The process stands still.
        DataFailure: The file is not valid, or has types that are not on the list.
        OSError: The process cannot be started.
    """
    request = {"batch_rows": min(batch_rows, _ROWS), "int96": int96}
    size = os.fstat(file.fileno()).st_size  # before the first batch, the INT96 times of the whole file are read
    parts = confined.read_confined(
        f"{read_parts.__module__}:{read_parts.__name__}",
        file,
        request,
        max_bytes=max_bytes,
        max_rows=max_rows,
        answer_s=_LEAST_S + (size + max_bytes) / _BYTES_A_SECOND,
        errors=(Overflow,),
        expected=expected,
    )
    try:
        next(parts)
        yield from parts
    except BrokeDown as error:
        raise malformed(str(error) or "not a valid Parquet file: its reader broke down") from error
