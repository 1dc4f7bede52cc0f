"""Reads Parquet in a process of its own: see `parquet_confined`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import IO, Any, Final

from dataflare.pipeline.reading.parquet_int96 import find_overflow, open_parquet

__all__ = ["Overflow", "read_parts"]

_WINDOW_BYTES: Final = 2**20


class Overflow(Exception):
    """An INT96 time does not fit the unit that it is read in; the text says which."""


def read_parts(file: IO[bytes], request: Mapping[str, Any]) -> Iterator[Any]:
    """Read a file in the process; see `dataflare.pipeline.reading.confined.read_confined`."""
    unit, rows = request["int96"], request["batch_rows"]
    opened = open_parquet(file, unit, _WINDOW_BYTES)
    yield {}
    yield opened.schema_arrow
    if overflow := find_overflow(file, opened.schema, unit, batch_rows=rows, buffer_size=_WINDOW_BYTES):
        raise Overflow(overflow)
    yield from opened.iter_batches(batch_size=rows, use_threads=False)
