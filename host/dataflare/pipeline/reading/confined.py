"""Reads files in a process whose memory and time are limited, where what reading takes cannot be told before.

The process sends what it reads as an Arrow stream, and beside it words in JSON. A file may have taken over the process
by a fault of the reader's code: both are checked like a stranger's.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, Final

import orjson
import pyarrow as pa

from dataflare.data.ipc import read_stream
from dataflare.data.shapes import DataFailure
from dataflare.pipeline.reading.own_limits import limit_memory
from dataflare.pipeline.run_errors import DataError
from dataflare.runtime.isolation.privileges import die_with
from dataflare.runtime.isolation.spawn import Process, in_starter, start

__all__ = ["BrokeDown", "OutOfMemory", "OutOfTime", "read_confined", "serve"]

_FIXED_BYTES: Final = 256 * 2**20
_MOST_SAID: Final = 2**24
_MOST_TEXT: Final = 2000
_STRANGE: Final = "its reader said what it cannot say"


class OutOfMemory(Exception):
    """Reading the file takes more memory than it may."""


class OutOfTime(Exception):
    """Reading the file takes more time than it may."""


class BrokeDown(Exception):
    """The reader failed otherwise; the text says how, and is empty where it died without a word."""


def read_confined(
    reader: str,
    file: IO[bytes],
    request: Mapping[str, Any],
    *,
    max_bytes: int,
    roots: Sequence[str] = (),
    errors: Sequence[type[Exception]] = (),
    expected: pa.Schema | None = None,
) -> Iterator[Any]:
    """Read a file; yield what the reader found out about it, its schema, then its batches.

    Args:
        reader: `module:function`. The function takes the file and the request, and is a generator of the same as this.
        file: The file. It is not to be used before the end.
        request: What else the reader has to know, as JSON has it.
        max_bytes: The most bytes that a batch may take. The process may have twice as many plus 256 MiB.
        roots: Further folders to import from.
        errors: What the reader raises, with a text, and this raises too.
        expected: The schema that the reader must find; `None` for any.

    Raises:
        OutOfMemory: It takes more.
        OutOfTime: It takes more than it gave itself with `limit_time`.
        DataError: The file is not what it should be; the error names no file.
        DataFailure: It has types that are not on the list.
        BrokeDown: The reader died, or raised something else.
        OSError: The process cannot be started.
    """
    batches, words, process = in_starter(lambda: _start(reader, file.fileno(), request, max_bytes, roots))
    failure: DataFailure | None = None
    try:
        first = last = _next_word(words)
        if "found" in first:
            yield first["found"]
            try:
                parts = read_stream(batches, max_bytes)  # type: ignore[arg-type]  # all that it uses of a file
                schema = next(parts)
                _check_columns(schema, expected)
                yield schema
                yield from parts
            except DataFailure as error:
                failure = error
                process.end()
            # A stream that ends may also be one whose sender has died: its last word tells.
            last = _next_word(words)
        code = process.wait(1.0)
    finally:
        process.end()
        batches.close()
        words.close()
    if code == -signal.SIGXCPU:
        raise OutOfTime
    if failure is not None and failure.error.case == "too-large":
        raise OutOfMemory
    if "error" in last:
        what, line, hint = last["error"]
        raise DataError(what, line=line, hint=hint)
    if "memory" in last:
        raise OutOfMemory
    if "raised" in last:
        name, text = last["raised"]
        raise next((each for each in errors if each.__name__ == name), BrokeDown)(text)
    if failure is not None:
        raise failure
    if "done" not in last or "found" not in first:
        raise BrokeDown


def _check_columns(schema: pa.Schema, expected: pa.Schema | None) -> None:
    if expected is not None and not schema.equals(expected):
        raise BrokeDown("its reader found other columns")


def _next_word(words: IO[bytes]) -> dict[str, Any]:
    """The next word of the process; empty where it died without one.

    Raises:
        BrokeDown: It is not one that a reader says.
    """
    line = words.readline(_MOST_SAID)
    if not line.endswith(b"\n"):
        return {}
    try:
        word = orjson.loads(line)
    except ValueError as error:
        raise BrokeDown(_STRANGE) from error
    if isinstance(word, dict) and len(word) == 1:
        match word:
            case {"found": dict()} | {"done": True} | {"memory": True}:
                return word
            case {"raised": [str(), str()]} | {"error": [str(), int() | None, str()]}:
                return word
    raise BrokeDown(_STRANGE)


def _start(
    reader: str, file: int, request: Mapping[str, Any], max_bytes: int, roots: Sequence[str]
) -> tuple[IO[bytes], IO[bytes], Process]:
    with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
        (batches, to_batches), (words, to_words) = (_pipe(ours, theirs) for _ in range(2))
        asked = os.memfd_create("request")
        theirs.callback(os.close, asked)
        os.pwrite(asked, json.dumps([reader, request]).encode(), 0)
        entry = f"{__name__}:{serve.__name__}"
        process = start(
            entry, (file, to_batches, to_words, asked), numbers=(2 * max_bytes + _FIXED_BYTES,), roots=roots
        )
        ours.pop_all()
    return open(batches, "rb"), open(words, "rb"), process


def _pipe(ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[int, int]:
    read, write = os.pipe()
    ours.callback(os.close, read)
    theirs.callback(os.close, write)
    return read, write


def serve(file: int, batches: int, words: int, asked: int, most_bytes: int, parent: int) -> None:
    """Read a file in a process of its own; see `read_confined`."""
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
                _send(getattr(importlib.import_module(module), name)(source, request), sink, said)
            last: dict[str, Any] = {"done": True}
        except MemoryError:
            last = {"memory": True}
        except DataError as error:
            last = {"error": [error.message[:_MOST_TEXT], error.line, error.hint[:_MOST_TEXT]]}
        except Exception as error:  # whatever a damaged file leads to: the other side tells of it
            last = {"raised": [type(error).__name__, str(error)[:_MOST_TEXT]]}
        said.write(_line(last))


def _send(parts: Iterator[Any], sink: IO[bytes], said: IO[bytes]) -> None:
    if len(found := _line({"found": next(parts)})) > _MOST_SAID:
        raise MemoryError
    said.write(found)
    with pa.ipc.new_stream(sink, next(parts)) as writer:
        for batch in parts:
            writer.write_batch(batch)


def _line(value: Any) -> bytes:
    # Names in a damaged file may have halves of surrogate pairs.
    return json.dumps(value, ensure_ascii=False).encode(errors="replace") + b"\n"
