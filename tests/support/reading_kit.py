"""Reading and writing files with the built-in connectors, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter

from dataflare.pipeline.models import Node
from dataflare.pipeline.readers import FileSource, open_source

NODES: TypeAdapter[Any] = TypeAdapter(Node)


def source_of(connector: str, paths: Path | Sequence[Path], **options: Any) -> FileSource:
    """Open files with a connector and its options."""
    names = str(paths) if isinstance(paths, Path) else [str(path) for path in paths]
    return open_source(NODES.validate_python({"connector": connector, "read": names, "options": options}), paths)


def read(connector: str, paths: Path | Sequence[Path], **options: Any) -> pa.Table:
    """Read files to their end."""
    source = source_of(connector, paths, **options)
    try:
        return pa.Table.from_batches(source.batches(), source.schema())
    finally:
        source.close()
