"""Reads files in a process whose memory, time and rights are limited, where what reading takes cannot be told before.

The process (`confined_process`) gets the open file, and can open nothing. It sends what it reads as an Arrow stream,
and beside it words in JSON. A file may have taken over the process by a fault of the reader's code: both are checked
like a stranger's, and it cannot keep the host waiting.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import os
import select
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, Final, NamedTuple

import orjson
import pyarrow as pa

from dataflare import cancellation
from dataflare.data.ipc import read_stream
from dataflare.data.shapes import DataFailure
from dataflare.pipeline.reading.confined_process import MOST_SAID, serve
from dataflare.pipeline.run_errors import DataError
from dataflare.runtime.isolation.jail import PARTS, missing_barriers
from dataflare.runtime.isolation.spawn import Process, in_starter, start

__all__ = ["BrokeDown", "Found", "OutOfMemory", "OutOfTime", "read_confined"]

_log = logging.getLogger("dataflare.pipeline")
_FIXED_BYTES: Final = 256 * 2**20
_STRANGE: Final = "its reader said what it cannot say"
_STILL_S: Final = 300.0
"""How long the host waits for an answer of a process that does not compute."""
_LOAD: Final = 10
"""How many seconds more the host waits for each second that the process computes, which has its processor not alone."""
_MOST_EMPTY: Final = 100_000
"""How many batches may have no rows: Parquet may have parts without any."""
_TURN_MS: Final = 100
_MOST_TURN_S: Final = 1.0
_NOT_NEEDED: Final = ("cloudpickle", "pandas", "PIL", "lxml", "defusedxml")
"""What Arrow and openpyxl import if it is there."""


class OutOfMemory(Exception):
    """Reading the file takes more memory than it may."""


class OutOfTime(Exception):
    """Reading the file takes more time than it may."""


class BrokeDown(Exception):
    """The reader failed otherwise; the text says how, and is empty where it died without a word."""


class Found(NamedTuple):
    """What a reader found out about a file, and the parts of the jail that are in force for it; see `jail.PARTS`."""

    own: Any
    in_force: tuple[str, ...]


def read_confined(
    reader: str,
    file: IO[bytes],
    request: Mapping[str, Any],
    *,
    max_bytes: int,
    max_rows: float = math.inf,
    answer_s: float = math.inf,
    roots: Sequence[str] = (),
    errors: Sequence[type[Exception]] = (),
    expected: pa.Schema | None = None,
) -> Iterator[Any]:
    """Read a file; yield a `Found`, its schema, then its batches.

    Each of these is an answer. The host waits for it for 300 s, and ten times as long as the process computes.

    Args:
        reader: `module:function`. The function takes the file and the request, imports what it needs, and returns an
            iterator of what it finds out, the schema and batches. What that does is confined.
        file: The file. It is not to be used before the end.
        request: What else the reader has to know, as JSON has it.
        max_bytes: The most bytes that a batch may take. The process may have twice as many plus 256 MiB.
        max_rows: The most rows that the file can have.
        answer_s: How many seconds the process may compute for an answer.
        roots: Further folders to import from.
        errors: What the reader raises, with a text, and this raises too.
        expected: The schema that the reader must find; `None` for any.

    Raises:
        OutOfMemory: It takes more.
        OutOfTime: It takes more than `answer_s`, or than it gave itself with `limit_time`.
        DataError: The file is not what it should be, or its reader stands still; the error names no file.
        DataFailure: It has types that are not on the list.
        BrokeDown: The reader died, or raised something else.
        OSError: The process cannot be started.
    """
    raw_batches, raw_words, process = in_starter(lambda: _start(reader, file.fileno(), request, max_bytes, roots))
    patience = _Patience(process, answer_s)
    batches, words = (io.BufferedReader(_Awaited(each, patience)) for each in (raw_batches, raw_words))
    failure: DataFailure | None = None
    try:
        first = last = _next_word(words)
        if "found" in first:
            found = Found(first["found"][0], tuple(first["found"][1]))
            if missing := missing_barriers(found.in_force):
                what = "%s: this machine's kernel has no %s: the process that reads it is confined less"
                _log.warning(what, file.name, missing)
            yield found
            try:
                parts = read_stream(batches, max_bytes)
                patience.begin()
                schema = next(parts)
                _check_columns(schema, expected)
                yield schema
                patience.begin()
                for batch in _counted(parts, max_rows):
                    yield batch
                    patience.begin()
            except DataFailure as error:
                failure = error
                process.kill()
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


class _Patience:
    """How long the host waits for an answer, from `begin` on: however many bytes of it come in between.

    What the process does while nobody waits does not count.
    """

    def __init__(self, process: Process, answer_s: float) -> None:
        self._process = process
        self._answer_s = answer_s
        self.begin()

    def begin(self) -> None:
        """Wait for the next answer."""
        self._waited_s = 0.0
        self._before_s = self._process.computed_s()

    def wait(self, ready: select.poll) -> None:
        """Wait for more of an answer.

        Raises:
            DataError: The process stands still, or nearly.
            OutOfTime: It computes for too long.
        """
        while True:
            cancellation.check()
            computed_s = self._process.computed_s() - self._before_s
            if computed_s > self._answer_s:
                raise OutOfTime
            if self._waited_s > _STILL_S + _LOAD * computed_s:
                hint = "is its disk, or the machine, too slow? If not, the file was made to hold up whoever reads it"
                raise DataError(f"its reader gave no answer for {_STILL_S:.0f} s, and stands still", hint=hint)
            before = time.monotonic()
            is_ready = ready.poll(_TURN_MS)
            # Not: the time for which this process itself was stopped.
            self._waited_s += min(time.monotonic() - before, _MOST_TURN_S)
            if is_ready:
                return


class _Awaited(io.RawIOBase):
    """A pipe from the process."""

    def __init__(self, pipe: io.FileIO, patience: _Patience) -> None:
        self._pipe = pipe
        self._patience = patience
        self._ready = select.poll()
        self._ready.register(pipe, select.POLLIN)

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._pipe.fileno()

    def readinto(self, into: Any) -> int | None:
        self._patience.wait(self._ready)
        return self._pipe.readinto(into)

    def close(self) -> None:
        self._pipe.close()
        super().close()


def _counted(batches: Iterator[pa.RecordBatch], max_rows: float) -> Iterator[pa.RecordBatch]:
    """Yield batches up to what a file can have: a reader that took over could send more of them without end."""
    rows = empty = 0
    for batch in batches:
        rows += batch.num_rows
        empty += not batch.num_rows
        if rows > max_rows or empty > _MOST_EMPTY:
            raise BrokeDown(_STRANGE)
        yield batch


def _check_columns(schema: pa.Schema, expected: pa.Schema | None) -> None:
    if expected is not None and not schema.equals(expected):
        raise BrokeDown("its reader found other columns")


def _next_word(words: IO[bytes]) -> dict[str, Any]:
    """The next word of the process; empty where it died without one.

    Raises:
        BrokeDown: It is not one that a reader says.
    """
    line = words.readline(MOST_SAID)
    if not line.endswith(b"\n"):
        return {}
    try:
        word = orjson.loads(line)
    except ValueError as error:
        raise BrokeDown(_STRANGE) from error
    if isinstance(word, dict) and len(word) == 1:
        match word:
            case {"found": [dict(), [*names]]} if all(each in PARTS for each in names):
                return word
            case {"done": True} | {"memory": True}:
                return word
            case {"raised": [str(), str()]} | {"error": [str(), int() | None, str()]}:
                return word
    raise BrokeDown(_STRANGE)


def _start(
    reader: str, file: int, request: Mapping[str, Any], max_bytes: int, roots: Sequence[str]
) -> tuple[io.FileIO, io.FileIO, Process]:
    with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
        (batches, to_batches), (words, to_words) = (_pipe(ours, theirs) for _ in range(2))
        asked = os.memfd_create("request")
        theirs.callback(os.close, asked)
        os.pwrite(asked, json.dumps([reader, request]).encode(), 0)
        entry = f"{serve.__module__}:{serve.__name__}"
        process = start(
            entry,
            (file, to_batches, to_words, asked),
            numbers=(2 * max_bytes + _FIXED_BYTES,),
            roots=roots,
            without=_NOT_NEEDED,
        )
        ours.pop_all()
    return io.FileIO(batches), io.FileIO(words), process


def _pipe(ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[int, int]:
    read, write = os.pipe()
    ours.callback(os.close, read)
    theirs.callback(os.close, write)
    return read, write
