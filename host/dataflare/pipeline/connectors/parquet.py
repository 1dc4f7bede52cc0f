"""Parquet: columns, compressed, with their types."""

from __future__ import annotations

from typing import Final

from dataflare.pipeline.connectors.connector import Connector
from dataflare.pipeline.reading.parquet_reader import ParquetReadOptions, read_parquet
from dataflare.pipeline.sinks import ParquetSink, ParquetWriteOptions

__all__ = ["CONNECTOR"]

CONNECTOR: Final = Connector(
    name="parquet",
    summary="Parquet: columns, compressed, with their types.",
    endings=("parquet", "pq"),
    read=read_parquet,
    read_options=ParquetReadOptions,
    make_sink=ParquetSink,
    write_options=ParquetWriteOptions,
)
