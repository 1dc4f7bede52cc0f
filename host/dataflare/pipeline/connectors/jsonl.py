"""JSON Lines: one object a line. One JSON array of objects is read too."""

from __future__ import annotations

from typing import Final

from dataflare.pipeline.connectors.connector import Connector
from dataflare.pipeline.reading.jsonl_reader import JsonlReadOptions, read_json_lines
from dataflare.pipeline.sinks import JsonLinesSink, NoOptions

__all__ = ["CONNECTOR"]

CONNECTOR: Final = Connector(
    name="jsonl",
    summary="JSON Lines: one object a line. One JSON array of objects is read too.",
    endings=("jsonl", "ndjson", "json"),
    read=read_json_lines,
    read_options=JsonlReadOptions,
    make_sink=JsonLinesSink,
    write_options=NoOptions,
    appendable=True,
)
