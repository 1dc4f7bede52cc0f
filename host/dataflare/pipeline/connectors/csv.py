"""CSV: records of text, one a line."""

from __future__ import annotations

from typing import Final

from dataflare.pipeline.connectors.connector import Connector
from dataflare.pipeline.reading.csv_reader import CsvReadOptions, read_csv
from dataflare.pipeline.sinks import CsvSink, CsvWriteOptions

__all__ = ["CONNECTOR"]

CONNECTOR: Final = Connector(
    name="csv",
    summary="CSV: records of text, one a line.",
    endings=("csv", "tsv", "txt"),
    read=read_csv,
    read_options=CsvReadOptions,
    make_sink=CsvSink,
    write_options=CsvWriteOptions,
    appendable=True,
)
