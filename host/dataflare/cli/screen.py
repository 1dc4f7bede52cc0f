"""Standard output and standard error: the one place where texts reach a terminal, a pipe or a file.

Whatever is printed here goes through `printable`: no text of a plugin or of a file controls the terminal, is read as
markup, or looks like a line of its own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from typing import IO, Any, Final

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from dataflare.printable import printable

__all__ = ["LogHandler", "OutputLost", "Screen", "abandon_stdout", "stderr", "stdout"]

_UNBROKEN: Final = 10_000
_INDENT: Final = 4


class OutputLost(Exception):
    """Standard output does not take what is written: it is closed, its disk is full, or its reader has gone.

    `why` is empty where nobody is left to be told.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class _Stream:
    """A standard stream as rich writes to it. Characters that its encoding does not have are escaped."""

    def __init__(self, stream: IO[str] | None, *, needed: bool) -> None:
        self._stream = stream
        self._needed = needed
        self.encoding: str = getattr(stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        text = text.encode(self.encoding, "backslashreplace").decode(self.encoding, "replace")
        with self._losses():
            if self._stream is None:
                raise ValueError("it is closed")
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            with self._losses():
                self._stream.flush()

    def isatty(self) -> bool:
        return self._stream is not None and not self._stream.closed and self._stream.isatty()

    def fileno(self) -> int:
        if self._stream is None:
            raise OSError("it is closed")
        return self._stream.fileno()

    @contextlib.contextmanager
    def _losses(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            self.abandon()
            if self._needed:
                gone = isinstance(error, BrokenPipeError)
                raise OutputLost("" if gone else getattr(error, "strerror", None) or str(error)) from error

    def abandon(self) -> None:
        """Let what is still written go nowhere: what is in the buffer would fail once more when Python ends."""
        with contextlib.suppress(OSError, ValueError):
            descriptor = self.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


class Screen(Console):
    """A rich console that shows every text as it is: escaped, without markup, on one line or indented.

    Colour is for terminals only, and not where `NO_COLOR` is set.
    """

    def __init__(self, stream: IO[str] | None, *, needed: bool) -> None:
        file = _Stream(stream, needed=needed)
        terminal = file.isatty()
        super().__init__(
            file=file,  # type: ignore[arg-type]  # all that rich uses of a file
            force_terminal=terminal,
            markup=False,
            emoji=False,
            highlight=False,
            # Into a file or a pipe nothing is broken into lines.
            width=None if terminal else _UNBROKEN,
            legacy_windows=False,
        )

    def render_str(self, text: str, *, style: Any = "", justify: Any = None, overflow: Any = None, **_: Any) -> Text:
        return Text(printable(text), style=style, justify=justify, overflow=overflow)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            # What did not come as a string is looked at here; line ends are the layout's own by now.
            shown = segment.text if segment.control else "\n".join(map(printable, segment.text.split("\n")))
            yield segment if shown == segment.text else Segment(shown, segment.style)

    def say(self, text: str | Text, *, style: str = "", indent: int = _INDENT) -> None:
        """Write one line; on a terminal, what is too long for it goes on below, indented."""
        line = self.render_str(text, style=style) if isinstance(text, str) else text
        if not self.is_terminal:
            self.print(line, soft_wrap=True)
            return
        parts = line.wrap(self, max(20, self.width - indent), overflow="fold")
        for number, part in enumerate(parts):
            self.print(Text(" " * indent * (number > 0)).append_text(part), soft_wrap=True)

    def say_lines(self, text: str, *, style: str = "") -> None:
        """Write a text of several lines, all but the first of them indented."""
        first, *rest = text.split("\n")
        self.say(first, style=style)
        for line in rest:
            self.say(f"{'':{_INDENT}}{line}", style="dim", indent=2 * _INDENT)

    def on_broken_pipe(self) -> None:
        """Nothing: `_Stream` has told already."""


def stdout() -> Screen:
    """Where results go. Raises `OutputLost` where they cannot be written."""
    return Screen(sys.stdout, needed=True)


def stderr() -> Screen:
    """Where progress, errors and log events go. Never fails."""
    return Screen(sys.stderr, needed=False)


def abandon_stdout() -> None:
    """Write nothing more to standard output, of which something has failed."""
    _Stream(sys.stdout, needed=False).abandon()


class LogHandler(logging.Handler):
    """Writes log events to standard error, each beginning a line, with what follows it indented."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields = getattr(record, "fields", {})
            pairs = "".join(f" {key}={value!r}" for key, value in fields.items())
            text = self.format(record)
            head, *rest = text.split("\n")
            stderr().say_lines("\n".join([f"{record.levelname} {record.name}: {head}{pairs}", *rest]))
        except RecursionError:
            raise
        except Exception as error:
            # A log event that cannot be written (an argument that has no text) must not end the run.
            stderr().say(f"ERROR dataflare.cli: a log event of {record.name!r} is lost: {error!r}")
