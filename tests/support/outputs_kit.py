"""Rows, and the destinations that the tests of outputs write them to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter

from dataflare.pipeline.models import Node
from dataflare.pipeline.writers import FileDestination, open_destination

ROWS = pa.RecordBatch.from_pydict({"n": pa.array([1, 2], pa.int64()), "t": pa.array(["x", None])})
CONNECTORS = ["csv", "jsonl", "parquet", "arrow"]
TEXTS = {"csv": '"n","t"\n1,"x"\n2,\n', "jsonl": '{"n":1,"t":"x"}\n{"n":2,"t":null}\n'}


def destination_of(connector: str, path: Path, **keys: Any) -> FileDestination:
    """Open a destination for a node of these keys."""
    node = TypeAdapter(Node).validate_python({"connector": connector, "write": str(path), "input": "in", **keys})
    return open_destination(node, path)


def write(connector: str, path: Path, rows: pa.RecordBatch = ROWS, **keys: Any) -> FileDestination:
    """Write rows to a file, to the end."""
    destination = destination_of(connector, path, **keys)
    destination.prepare(rows.schema)
    destination.write(rows)
    destination.finish()
    destination.close()
    return destination
