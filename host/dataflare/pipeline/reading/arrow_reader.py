"""Reads Arrow IPC: files and streams, distinguished by their first bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dataflare.data.ipc import read_file, read_stream
from dataflare.pipeline.reading.common_options import BatchOptions
from dataflare.pipeline.reading.file_kinds import check_kind
from dataflare.pipeline.reading.file_schema import FileSchema
from dataflare.pipeline.reading.inputs import InputFile, Opener
from dataflare.pipeline.reading.stored_schema import check_same

__all__ = ["read_arrow"]

_FILE_MAGIC = b"ARROW1"
_STREAM_BEGIN = b"\xff\xff\xff\xff"
_MAX_BATCH_BYTES = 2 * 2**30


def read_arrow(
    source: InputFile, opener: Opener, options: BatchOptions, found: FileSchema | None, *, sample_only: bool = False
) -> Iterator[Any]:
    """Read a file; see `read_csv`. It must be one that can be read twice, not a pipe."""
    check_kind(source.path, source.file, "an Arrow file", (_FILE_MAGIC, _STREAM_BEGIN))
    head = source.file.read(len(_FILE_MAGIC))
    source.file.seek(0)
    parts = (read_file if head == _FILE_MAGIC else read_stream)(source.file, _MAX_BATCH_BYTES)  # type: ignore[arg-type]
    schema = next(parts)
    check_same(source.path, schema, found)
    yield FileSchema.of_file(schema)
    if not sample_only:
        yield from parts
