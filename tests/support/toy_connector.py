"""A connector of somebody else's package: numbers, one a line. One module is all that it takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from dataflare.documents.models import StrictModel
from dataflare.pipeline.connectors.connector import Connector
from dataflare.pipeline.outputs import Output
from dataflare.pipeline.reading.file_schema import FileSchema
from dataflare.pipeline.reading.inputs import InputFile


class NumbersOptions(StrictModel):
    """How to read numbers."""

    batch_rows: int = 1000
    column: str = "n"


def read_numbers(
    source: InputFile, opener: Any, options: Any, found: Any, *, sample_only: bool = False
) -> Iterator[Any]:
    schema = pa.schema([(options.column, pa.int64())])
    yield FileSchema.of_file(schema)
    if not sample_only:
        yield pa.record_batch([[int(line) for line in source.file.read().split()]], schema=schema)


class NumbersSink:
    def __init__(self, output: Output, schema: pa.Schema, options: Any) -> None:
        self._file = output.file

    def write(self, rows: pa.RecordBatch) -> None:
        self._file.write("".join(f"{each}\n" for each in rows.column(0).to_pylist()).encode())

    def flush(self) -> None: ...

    def end(self) -> None: ...

    def abandon(self) -> None: ...


NUMBERS = Connector(
    name="numbers",
    summary="Numbers, one a line.",
    endings=("num",),
    read=read_numbers,
    read_options=NumbersOptions,
    make_sink=NumbersSink,
    extension="num",
)
