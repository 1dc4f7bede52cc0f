"""The process in which a file is read: see `confined`. It imports little, since it is started for each file."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Sequence
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.compute  # methods of arrays import it when they are first used

from dataflare.pipeline.reading.own_limits import limit_memory
from dataflare.pipeline.run_errors import DataError
from dataflare.runtime.isolation.jail import confine
from dataflare.runtime.isolation.privileges import die_with

__all__ = ["MOST_SAID", "serve"]

MOST_SAID: Final = 2**24
"""The longest word."""
_MOST_TEXT: Final = 2000


def serve(file: int, batches: int, words: int, asked: int, most_bytes: int, parent: int) -> None:
    """Read a file in a process of its own; see `dataflare.pipeline.reading.confined.read_confined`."""
    die_with(parent)
    with open(asked, "rb") as told:
        told.seek(0)
        reader, request = json.load(told)
    limit_memory(most_bytes)
    with open(words, "wb", buffering=0) as said:
        try:
            module, _, name = reader.partition(":")
            with open(file, "rb") as source, open(batches, "wb") as sink:
                source.seek(0)  # the other process may have read from it
                parts = getattr(importlib.import_module(module), name)(source, request)
                # From here on it uses what is open, and nothing can be imported.
                _send(parts, confine(data_bytes=None, parent=parent, best_effort=True), sink, said)
            last: dict[str, Any] = {"done": True}
        except MemoryError:
            last = {"memory": True}
        except DataError as error:
            last = {"error": [error.message[:_MOST_TEXT], error.line, error.hint[:_MOST_TEXT]]}
        except Exception as error:  # whatever a damaged file leads to: the other side tells of it
            last = {"raised": [type(error).__name__, str(error)[:_MOST_TEXT]]}
        said.write(_line(last))


def _send(parts: Iterator[Any], in_force: Sequence[str], sink: IO[bytes], said: IO[bytes]) -> None:
    if len(found := _line({"found": [next(parts), in_force]})) > MOST_SAID:
        raise MemoryError
    said.write(found)
    with pa.ipc.new_stream(sink, next(parts)) as writer:
        for batch in parts:
            writer.write_batch(batch)


def _line(value: Any) -> bytes:
    # Names in a damaged file may have halves of surrogate pairs.
    return json.dumps(value, ensure_ascii=False).encode(errors="replace") + b"\n"
