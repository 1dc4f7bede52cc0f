"""Which bytes of a CSV file stand within quotes, followed from part to part."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Quotes"]


class Quotes:
    """Follows the quotes of a CSV file.

    A field is in quotes where it begins with one; a quote in the middle of another field is a character like any other.
    Mostly the quotes of a part can be counted: only where they do not alternate as they should is each one looked at.

    Attributes:
        opened: Whether what was taken so far ends within quotes.
        misplaced: Whether something other than the end of the field came after a closing quote.
    """

    def __init__(self, delimiter: str, quote: str, escape: str) -> None:
        self.opened = False
        self.misplaced = False
        self._quote = quote.encode()
        self._escape = escape.encode()
        self._before = b"\n"
        self._held = b""
        if not quote:
            return
        self._ends = np.zeros(256, np.bool_)
        self._ends[[ord(delimiter), ord("\r"), ord("\n")]] = True
        one, end = re.escape(self._quote), re.escape(delimiter.encode()) + rb"\r\n"
        self._opening = re.compile(rb"(?<=[%b])%b" % (end, one))
        self._closing = re.compile(rb"[^%b]*+(?:%b%b[^%b]*+)*+%b" % (one, one, one, one, one))
        self._escaped = re.compile(re.escape(self._escape) + rb".", re.DOTALL)

    def take(self, data: bytes, *, last: bool = False) -> None:
        """Take the next bytes; `last` says that these are the last."""
        if not self._quote or not (data or last):
            return
        if self._quote not in data and not self._held and not self._escape:
            self._before = data[-1:] or self._before
            return
        data = self._held + data
        # A quote at the end may be the first of two.
        cut = len(data) if last else len(data.rstrip(self._quote + self._escape))
        data, self._held = data[:cut], data[cut:]
        if data:
            text = self._before + data + (b"\n" if last else b"")
            self._before = data[-1:]
            if self._escape:
                text = self._escaped.sub(b"__", text)
            self._look(text)

    def _look(self, text: bytes) -> None:
        """Follow the quotes of a part that begins with the byte before it, and does not end with a quote."""
        data = np.frombuffer(text, np.uint8)
        places = np.flatnonzero(data[1:] == self._quote[0]) + 1
        if not len(places):
            return
        if self._alternate(data, places):
            self.opened ^= len(places) % 2 == 1
        else:
            self._walk(text)

    def _alternate(self, data: npt.NDArray[np.uint8], places: npt.NDArray[Any]) -> bool:
        """Whether each quote can only be what it is by the count of those before it."""
        gaps = np.diff(places) > 1
        firsts = np.concatenate([[True], gaps])
        lasts = np.concatenate([gaps, [True]])
        odd = (np.flatnonzero(lasts) - np.flatnonzero(firsts)) % 2 == 0
        opened = (np.cumsum(odd) - odd + self.opened) % 2 == 1
        begins = self._ends[data[places[firsts] - 1]]
        # The last byte of a part is not a quote, but that of a file may be.
        ends = self._ends[data[places[lasts] + 1]]
        # Within quotes they are doubled, and one alone ends the field; outside, one alone begins a field.
        fits = np.where(opened, ends | ~odd, np.where(begins, ends | odd, ~odd))
        return bool(fits.all())

    def _walk(self, text: bytes) -> None:
        place = 1
        while True:
            if self.opened:
                if (match := self._closing.match(text, place)) is None:
                    return
                place = match.end()
                self.misplaced |= not self._ends[text[place]]
                self.opened = False
            if (match := self._opening.search(text, place)) is None:
                return
            place = match.end()
            self.opened = True
