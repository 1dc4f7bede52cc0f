"""Finds lines in CSV files that Arrow, which counts records, complains of."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

__all__ = ["QuoteCounter", "line_of_record", "open_record"]


class QuoteCounter(io.RawIOBase):
    """Reads a file, and counts its quotes: in well-formed CSV they come in pairs, whatever is between them."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._quotes = 0

    @property
    def unbalanced(self) -> bool:
        """Whether a quote of what was read so far is left over."""
        return self._quotes % 2 == 1

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._quotes += data.count(b'"')
        return data


def line_of_record(path: Path, delimiter: str, number: int) -> int:
    """Find the line in which a record begins.

    Args:
        path: The file.
        delimiter: What stands between its fields.
        number: Which record, from 1, the header included and empty lines left out.

    Returns:
        The line, from 1; 0 where there is no such record.
    """
    seen = 0
    with _records(path, delimiter, strict=False) as records:
        line = 1
        for record in records:
            seen += bool(record)
            if seen == number:
                return line
            line = records.line_num + 1
    return 0


def open_record(path: Path, delimiter: str) -> int:
    """Find the line in which the record begins whose quote is never closed; 0 where there is none."""
    with _records(path, delimiter, strict=True) as records:
        line = 1
        try:
            for _ in records:
                line = records.line_num + 1
        except csv.Error as error:
            return line if "unexpected end of data" in str(error) else 0
    return 0


@contextmanager
def _records(path: Path, delimiter: str, *, strict: bool) -> Iterator[Any]:
    # Latin-1 has a character for every byte, so nothing about the encoding can fail here.
    with path.open(encoding="latin-1", newline="") as file:
        yield csv.reader(file, delimiter=delimiter, strict=strict)
