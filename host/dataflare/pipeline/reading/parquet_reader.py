"""Reads Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as parquet

from dataflare.data.guard.batches import admit_batch, admit_schema
from dataflare.data.parquet_footer import check_footer
from dataflare.pipeline.reading.common_options import BatchOptions
from dataflare.pipeline.reading.found import FoundSchema
from dataflare.pipeline.reading.inputs import InputFile, Opener
from dataflare.pipeline.reading.stored import check_same

__all__ = ["read_parquet"]


def read_parquet(
    source: InputFile, opener: Opener, options: BatchOptions, found: FoundSchema | None, *, sample_only: bool = False
) -> Iterator[Any]:
    """Read a file; see `read_csv`."""
    check_footer(source.file)  # type: ignore[arg-type]  # all that it uses of a file
    with parquet.ParquetFile(source.file) as file:
        schema = admit_schema(file.schema_arrow)
        check_same(source.path, schema, found)
        yield FoundSchema.of_file(schema)
        for batch in () if sample_only else file.iter_batches(batch_size=options.batch_rows):
            yield admit_batch(batch)
