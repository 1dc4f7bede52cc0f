"""Reads Parquet, within a limit of memory that holds whatever the file says.

Where the headers of the pages tell what reading takes, Arrow reads in this process, as many rows at a time as fit. Else
it does so in a process that cannot have more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import IO, Any, Final

import pyarrow as pa
from pydantic import Field

from dataflare.data.columns import empty_batch
from dataflare.data.guard.batches import admit_batch, admit_schema
from dataflare.data.shapes import malformed
from dataflare.documents.quantities import Size, parse_size
from dataflare.pipeline.reading.common_options import BatchOptions
from dataflare.pipeline.reading.confined import OutOfMemory, OutOfTime
from dataflare.pipeline.reading.file_kinds import check_kind
from dataflare.pipeline.reading.file_schema import FileSchema
from dataflare.pipeline.reading.inputs import InputFile, Opener
from dataflare.pipeline.reading.parquet_confined import read_confined
from dataflare.pipeline.reading.parquet_costs import costs_of
from dataflare.pipeline.reading.parquet_footer import Footer, read_footer
from dataflare.pipeline.reading.parquet_int96 import Int96Unit, find_overflow, open_parquet
from dataflare.pipeline.reading.parquet_process import Overflow
from dataflare.pipeline.reading.stored_schema import check_same
from dataflare.pipeline.run_errors import DataError

__all__ = ["ParquetReadOptions", "read_parquet"]

_MOST_FOOTER_BYTES: Final = 2**20
"""The footer of a file that is read in this process: Arrow makes up to 250 bytes of one."""
_WHOLE_BYTES: Final = 2**28
"""What the columns of a group of rows may take in the file to be read at once; of more, a part at a time."""
_WINDOW_BYTES: Final = 2**20


class ParquetReadOptions(BatchOptions):
    """How to read Parquet."""

    max_batch: Size = Field(
        default="1GiB",
        description="What a batch may take in memory; where it would be more, fewer rows are read at a time.",
    )
    int96: Int96Unit = Field(
        default="ns",
        description="The unit of times stored as INT96. `us` reaches beyond the years 1677 to 2262, and cuts off "
        "nanoseconds.",
    )


def read_parquet(
    source: InputFile,
    opener: Opener,
    options: ParquetReadOptions,
    found: FileSchema | None,
    *,
    sample_only: bool = False,
) -> Iterator[Any]:
    """Read a file; see `read_csv`."""
    check_kind(source.path, source.file, "a Parquet file", (b"PAR1",))
    footer = read_footer(source.file, most_bytes=_MOST_FOOTER_BYTES)  # type: ignore[arg-type]  # all it uses of a file
    parts = _Parts(source, options).read(footer)
    schema = next(parts)
    check_same(source.path, schema, found)
    yield FileSchema.of_file(schema)
    if not sample_only:
        yield from parts


class _Parts:
    """Yields the schema of a file, then its batches."""

    def __init__(self, source: InputFile, options: ParquetReadOptions) -> None:
        self._source = source
        self._rows = options.batch_rows
        self._most = options.max_batch
        self._int96 = options.int96

    def read(self, footer: Footer) -> Iterator[Any]:
        if footer.groups is None:
            yield from self._confined("its footer")
            return
        file: IO[bytes] = self._source.file
        with open_parquet(file, self._int96) as opened:
            known = admit_schema(opened.schema_arrow)
            yield known
            if opened.metadata.num_columns == 0:
                yield from self._only_rows(opened.metadata.num_rows)
                return
            most = parse_size(self._most)
            costs = costs_of(opened, footer.groups, file.fileno(), batch_rows=self._rows, max_bytes=most)
            if costs.are_known:
                window = 0 if costs.compressed_bytes <= _WHOLE_BYTES else _WINDOW_BYTES
                self._check_int96(
                    find_overflow(file, opened.schema, self._int96, batch_rows=costs.rows, buffer_size=window)
                )
                file_to_read = open_parquet(file, self._int96, window) if window else opened
                for batch in file_to_read.iter_batches(batch_size=costs.rows):
                    yield admit_batch(batch)
                return
            rows = opened.metadata.num_rows
        parts = self._confined(f"column {costs.column!r}", known, rows)
        next(parts)  # the schema, which is known
        yield from parts

    def _only_rows(self, rows: int) -> Iterator[Any]:
        """Yield rows without columns: Arrow plans all their batches before the first one."""
        if rows < 0:
            raise malformed("not a valid Parquet file: fewer rows than none")
        while rows > 0:
            yield empty_batch(min(rows, self._rows))
            rows -= self._rows

    def _confined(self, what: str, known: pa.Schema | None = None, max_rows: float = math.inf) -> Iterator[Any]:
        try:
            most = parse_size(self._most)
            yield from read_confined(
                self._source.file,
                batch_rows=self._rows,
                max_bytes=most,
                max_rows=max_rows,
                int96=self._int96,
                expected=known,
            )
        except Overflow as error:
            self._check_int96(str(error))
        except DataError as error:
            raise DataError(error.message, file=str(self._source.path), line=error.line, hint=error.hint) from error
        except (OutOfMemory, OutOfTime) as error:
            kind = "time" if isinstance(error, OutOfTime) else "memory"
            why = f"{what} takes more {kind} to read than max_batch = {self._most} allows"
            hint = "if you trust the file, set max_batch to more; or read fewer rows at a time: batch_rows"
            raise DataError(why, file=str(self._source.path), hint=hint) from error

    def _check_int96(self, overflow: str) -> None:
        if overflow:
            hint = "options: {int96: us} reads microseconds" if self._int96 == "ns" else "correct the file"
            raise DataError(overflow, file=str(self._source.path), hint=hint)
