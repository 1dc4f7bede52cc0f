"""Records of CSV files with their places: the header, and the lines that errors name. The rows are Arrow's to read."""

from __future__ import annotations

import atexit
import csv
import io
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import IO, Any

from dataflare.pipeline.reading.compression import Prefixed
from dataflare.pipeline.reading.csv_quotes import Quotes

__all__ = ["CsvForm", "DataBytes", "NumberedLines", "RowBytes", "read_records"]

_FIELD_CHARACTERS = 2**31 - 1
_HELD_BYTES = 2**26
_LAST_READ_S = 0.2
_BLOCKS_HELD = 5
"""Arrow needs the block of a record's begin, the one of its end, and the one after."""


@dataclass(frozen=True, slots=True)
class CsvForm:
    """How a CSV file is written.

    Args:
        delimiter: The character between fields.
        quote: What stands around a field; empty if there is none. Within a field it is doubled.
        escape: What stands before a character that is to be taken as it is; empty if there is none.
        comment: What a line begins with that is left out; empty if there is none.
        skip_lines: Lines before the header that are left out.
    """

    delimiter: str = ","
    quote: str = '"'
    escape: str = ""
    comment: str = ""
    skip_lines: int = 0

    def quotes(self) -> Quotes:
        """Follow the quotes of a file from its beginning."""
        return Quotes(self.delimiter, self.quote, self.escape)


class NumberedLines:
    """The lines of a CSV file for `csv.reader`, without comments and skipped lines.

    `line` is the number of the last line taken, from 1, those that are left out counted; `record_line` that of the
    first one taken since it was set to 0, and `record_begin` that line's first byte; `used_bytes` counts all bytes.
    """

    def __init__(self, file: IO[bytes], form: CsvForm, line: int = 0) -> None:
        self._lines = iter(_lines(file))
        self._form = form
        self._quotes = form.quotes()
        self.line = line
        self.record_line = 0
        self.record_begin = 0
        self.used_bytes = 0

    def __iter__(self) -> Iterator[str]:
        for data in self._lines:
            self.line += 1
            self.used_bytes += len(data)
            if self.line <= self._form.skip_lines:
                continue
            comment = self._form.comment.encode()
            if comment:
                if data.startswith(comment) and not self._quotes.opened:
                    continue
                self._quotes.take(data)
            if not self.record_line:
                self.record_line, self.record_begin = self.line, self.used_bytes - len(data)
            # Nothing about the encoding may fail here; what is not UTF-8 is found where it is read.
            yield data.decode("utf-8", "surrogateescape")


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while data := file.read(2**20):
        lines = (rest + data).splitlines(keepends=True)
        # The last one may go on, and so may `\r` with `\n`.
        rest = lines.pop()
        if rest.endswith(b"\n"):
            lines.append(rest)
            rest = b""
        yield from lines
    if rest:
        yield from rest.splitlines(keepends=True)


def read_records(lines: NumberedLines, form: CsvForm, *, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Read records, each with the number of the line in which it begins; empty ones too.

    Raises:
        csv.Error: With `strict`, a quote is never closed.
    """
    csv.field_size_limit(_FIELD_CHARACTERS)
    reader: Any = csv.reader(
        iter(lines),
        delimiter=form.delimiter,
        quotechar=form.quote or None,
        quoting=csv.QUOTE_MINIMAL if form.quote else csv.QUOTE_NONE,
        escapechar=form.escape or None,
        strict=strict,
    )
    while True:
        lines.record_line = 0
        record = next(reader, None)
        if record is None:
            return
        yield lines.record_line, record


class DataBytes(io.RawIOBase):
    """The bytes of the rows, for Arrow: comments are left out, and quotes are followed.

    Attributes:
        quotes: The state of the quotes after what was read so far.
    """

    def __init__(self, file: IO[bytes], form: CsvForm) -> None:
        self._file = file
        self._comment = form.comment.encode()
        self._held = b""
        self.quotes = form.quotes()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Read some bytes, none at the end; fewer than asked for if there are comments."""
        while True:
            data = self._file.read(size)
            if not self._comment:
                self.quotes.take(data, last=not data)
                return data
            if kept := self._without_comments(data):
                return kept
            if not data:
                self.quotes.take(b"", last=True)
                return b""

    def _without_comments(self, data: bytes) -> bytes:
        """Leave out the lines that are comments; of what was read, the last line is held back."""
        ended = not data or len(self._held) > _HELD_BYTES  # of a line as long as that, Arrow will complain
        data = self._held + data
        cut = len(data) if ended else max(data.rfind(b"\n"), data.rfind(b"\r", 0, -1)) + 1
        data, self._held = data[:cut], data[cut:]
        if self._comment not in data:
            self.quotes.take(data)
            return data
        kept = []
        for line in data.splitlines(keepends=True):
            if line.startswith(self._comment) and not self.quotes.opened:
                continue
            self.quotes.take(line)
            kept.append(line)
        return b"".join(kept)


class RowBytes(Prefixed):
    """What Arrow reads: it reads ahead in a thread of its own, which outlives the reader.

    Arrow would go 32 blocks ahead, each as large as the longest record may be. Here its thread waits while it still
    has some of them.
    """

    def __init__(self, head: bytes, rest: Any) -> None:
        super().__init__(head, rest)
        self._stopped = False
        self._at_end = threading.Event()
        self._held: dict[int, weakref.ref[memoryview]] = {}
        self._free: SimpleQueue[None] = SimpleQueue()  # a block may be released at any instruction
        for _ in range(_BLOCKS_HELD):
            self._free.put(None)
        _open.add(self)

    def read(self, size: int = -1) -> Any:
        """Read as many bytes as asked for; fewer at the end, and none once it is stopped."""
        if not self._stopped:
            self._free.get()
        data = b"" if self._stopped else super().read(size)
        if not data:
            self._at_end.set()
            return data
        block = memoryview(data)
        self._held[id(block)] = weakref.ref(block, partial(self._release, id(block)))
        return block

    def _release(self, block_id: int, _: object) -> None:
        del self._held[block_id]
        self._free.put(None)

    def stop(self) -> None:
        """End the stream, and wait until Arrow's thread has seen it.

        If Python ended while that thread asked for it, the process would be aborted. A thread that is many blocks
        ahead does not read, so that there is nothing to wait for.
        """
        self._stopped = True
        self._free.put(None)
        self._at_end.wait(_LAST_READ_S)


# Those whose thread may wait for a block to be released.
_open: weakref.WeakSet[RowBytes] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    for each in list(_open):
        each.stop()
