"""Finds times of Parquet's INT96, a day and a time of day, that overflow: Arrow wraps them silently."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any, Final, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

__all__ = ["Int96Unit", "find_overflow", "open_parquet"]

Int96Unit: TypeAlias = Literal["ns", "us"]

_PER_SECOND: Final = {"ns": 10**9, "us": 10**6}


def open_parquet(file: IO[bytes], unit: str, buffer_size: int = 0) -> parquet.ParquetFile:
    """Open a file; `unit` is that of its INT96 times."""
    # Buffered beforehand, all groups of rows would be in memory at once.
    return parquet.ParquetFile(file, pre_buffer=False, buffer_size=buffer_size, coerce_int96_timestamp_unit=unit)


def find_overflow(file: IO[bytes], schema: Any, unit: Int96Unit, *, batch_rows: int, buffer_size: int) -> str:
    """Look for an INT96 time that the unit does not reach; read all of them a second time, in seconds.

    Args:
        file: The file.
        schema: A `pyarrow.parquet.ParquetSchema`, that of the file.
        unit: What the times are read in.
        batch_rows: The most rows at a time.
        buffer_size: The bytes to read at a time; 0 for a column of a group of rows at once.

    Returns:
        What is wrong; empty if nothing is.
    """
    leaves = [schema.column(place) for place in range(len(schema))]
    paths = [leaf.path for leaf in leaves if leaf.physical_type == "INT96"]
    if not paths:
        return ""
    in_unit, in_seconds = (
        open_parquet(file, each, buffer_size).iter_batches(batch_size=batch_rows, columns=paths, use_threads=False)
        for each in (unit, "s")
    )
    first_row = 1
    for times, seconds in zip(in_unit, in_seconds, strict=True):
        for field, one, other in zip(times.schema, times.columns, seconds.columns, strict=True):
            for made, true in zip(_leaves(one), _leaves(other), strict=True):
                overflown = _overflown(made, true, _PER_SECOND[unit])
                if not overflown.any():
                    continue
                place = f", row {first_row + int(overflown.argmax())}" if made is one else ""
                return f"column {field.name!r}{place}: an INT96 time is beyond what timestamp[{unit}] reaches"
        first_row += times.num_rows
    return ""


def _leaves(array: pa.Array) -> Iterator[pa.Array]:
    """The arrays of times within an array."""
    if pa.types.is_timestamp(array.type):
        yield array
    elif pa.types.is_struct(array.type):
        for each in array.flatten():
            yield from _leaves(each)
    elif pa.types.is_map(array.type):
        yield from _leaves(array.keys)
        yield from _leaves(array.items)
    elif pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type):
        yield from _leaves(array.flatten())


def _overflown(made: pa.Array, seconds: pa.Array, per_second: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    numbers, whole = (np.asarray(each.cast(pa.int64()).fill_null(0)) for each in (made, seconds))
    # At the edges the sign tells; an INT96 holds seconds without fail.
    edge = 2**63 // per_second
    found: np.ndarray[Any, np.dtype[np.bool_]] = (whole > edge) | (whole < -edge - 1) | ((numbers < 0) != (whole < 0))
    return found
