"""Arrow: batches as they are in memory, in an IPC file or stream."""

from __future__ import annotations

from typing import Final

from dataflare.pipeline.connectors.connector import Connector
from dataflare.pipeline.reading.arrow_reader import read_arrow
from dataflare.pipeline.reading.common_options import BatchOptions
from dataflare.pipeline.sinks import ArrowSink, ArrowWriteOptions

__all__ = ["CONNECTOR"]

CONNECTOR: Final = Connector(
    name="arrow",
    summary="Arrow: batches as they are in memory, in an IPC file or stream.",
    endings=("arrow", "feather", "ipc", "arrows"),
    read=read_arrow,
    read_options=BatchOptions,
    make_sink=ArrowSink,
    write_options=ArrowWriteOptions,
)
