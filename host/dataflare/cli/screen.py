"""Standard output and standard error: the one place where texts reach a terminal, a pipe or a file.

Whatever is printed here goes through `printable`: no text of a plugin or of a file controls the terminal, is read as
markup, or looks like a line of its own.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from typing import IO, Any, Final

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from dataflare.cli.streams import Stream
from dataflare.printable import printable

__all__ = ["LogHandler", "Screen", "stderr", "stdout"]

_UNBROKEN: Final = 10_000
_INDENT: Final = 4


class Screen(Console):
    """A rich console that shows every text as it is: escaped, without markup, on one line or indented.

    Colour is for terminals only, and not where `NO_COLOR` is set.
    """

    def __init__(self, stream: IO[str] | None, *, needed: bool) -> None:
        file = Stream(stream, needed=needed)
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
        segments = super().render(renderable, options)
        for segment in _without_padding(segments) if isinstance(renderable, Table) else segments:
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
        """Nothing: `Stream` has told already."""


def _without_padding(segments: Iterable[Segment]) -> Iterator[Segment]:
    """A table without the blanks that fill up the ends of its lines."""
    for line in Segment.split_lines(segments):
        while line and not line[-1].control and not line[-1].text.strip(" "):
            line.pop()
        if line and not line[-1].control:
            line.append(Segment(line[-1].text.rstrip(" "), line.pop().style))
        yield from line
        yield Segment.line()


def stdout() -> Screen:
    """Where results go. Raises `OutputLost` where they cannot be written."""
    return Screen(sys.stdout, needed=True)


def stderr() -> Screen:
    """Where progress, errors and log events go. Never fails."""
    return Screen(sys.stderr, needed=False)


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
