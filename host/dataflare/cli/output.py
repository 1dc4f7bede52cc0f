"""What all commands share: where output goes, how errors are shown, and what exit codes mean."""

from __future__ import annotations

import json
import math
import signal
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.text import Text

from dataflare.cli.exit_codes import EXIT_CONFIG, EXIT_DENIED, EXIT_FAILED, EXIT_NO_PLUGIN
from dataflare.cli.interrupts import interrupt_message
from dataflare.cli.screen import stderr, stdout
from dataflare.cli.streams import OutputLost
from dataflare.errors import (
    MAX_SHOWN_FRAMES,
    MAX_SHOWN_LOG_LINES,
    ComponentError,
    ConfigError,
    DataflareError,
    PermissionDenied,
    PluginFault,
    UsageError,
)
from dataflare.pipeline.run_errors import NodeFailed
from dataflare.printable import printable
from dataflare.shortages import told_shortages
from dataflare.texts import LOG_CHARACTERS, cut

__all__ = [
    "by_the_way",
    "error_json",
    "exit_code",
    "json_text",
    "printed_errors",
    "show_error",
    "write_json",
    "write_json_line",
]


def write_json(document: Any, *, indent: int | None = 2) -> None:
    """Write one JSON document, and nothing else, to standard output.

    It is in ASCII, which every encoding has, and a terminal shows: all other characters are escaped, none is lost.
    """
    stream = stdout().file
    stream.write(json_text(document, indent=indent) + "\n")
    stream.flush()


def json_text(document: Any, *, indent: int | None = None) -> str:
    """Write a document as JSON, in ASCII and without control characters other than line breaks."""
    try:
        text = json.dumps(document, indent=indent, allow_nan=False)
    except ValueError:  # such as a state that says NaN, of which JSON knows nothing
        text = json.dumps(_finite(document), indent=indent)
    # The only character of ASCII that JSON leaves as it is though it is a control character.
    return text.replace("\x7f", "\\u007f")


def write_json_line(document: Any) -> None:
    """Write a JSON document on one line to standard output, as one of several."""
    write_json(document, indent=None)


def _finite(value: Any) -> Any:
    """The same, with texts in the place of NaN and infinite numbers."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


@contextmanager
def by_the_way() -> Iterator[None]:
    """Write what the exit code does not depend on: where standard output is lost, say so, and go on."""
    try:
        yield
    except OutputLost as lost:
        _tell_lost(lost)


def exit_code(error: BaseException) -> int:
    """The exit code for what ended a command; for a node of a pipeline that failed, that of the cause."""
    cause = error.__cause__
    if isinstance(error, NodeFailed) and isinstance(cause, UsageError):
        return EXIT_FAILED  # the run was under way
    for each in (error, cause):
        if isinstance(each, PermissionDenied):
            return EXIT_DENIED
        if isinstance(each, ComponentError):
            return EXIT_NO_PLUGIN
        if isinstance(each, ConfigError | UsageError):
            return EXIT_CONFIG
    return EXIT_FAILED


def error_json(error: DataflareError) -> dict[str, Any]:
    """An error as JSON: `type`, `message`, `hint` and those of the fields that it has."""
    out: dict[str, Any] = {"type": type(error).__name__, "message": error.message}
    if error.hint:
        out["hint"] = error.hint
    for name in ("where", "plugin", "export", "capability", "component", "node", "file", "line"):
        value = getattr(error, name, None)
        if value:
            out[name] = cut(value, LOG_CHARACTERS) if isinstance(value, str) else value
    if notes := getattr(error, "__notes__", ()):
        out["notes"] = list(notes)
    if isinstance(error, PluginFault):
        out["backtrace"] = list(error.backtrace)
        out["log_lines"] = list(error.log_lines)
    if isinstance(error.__cause__, DataflareError):
        out["cause"] = error_json(error.__cause__)
    return out


def show_error(error: DataflareError) -> None:
    """Write an error for people to standard error: its message, its hint, and what else it knows."""
    screen = stderr()
    first, *rest = error.message.split("\n")
    screen.say(Text.assemble(("error:", "bold red"), " ", printable(first)))
    # Compilers point with spaces: those that all lines have go, the others stay.
    for line in textwrap.dedent("\n".join(rest)).splitlines():
        screen.say(f"    {line.rstrip()}", style="dim", indent=6)
    for note in getattr(error, "__notes__", ()):
        screen.say(f"  note: {note}", indent=6)
    if error.hint:
        first, *rest = error.hint.split("\n")
        screen.say(f"  hint: {first}", style="yellow", indent=6)
        for line in rest:
            screen.say(f"    {line}", style="yellow", indent=6)
    fault = error if isinstance(error, PluginFault) else error.__cause__
    if isinstance(fault, PluginFault):
        for title, lines in (
            ("last log lines", fault.log_lines[-MAX_SHOWN_LOG_LINES:]),
            ("guest backtrace", fault.backtrace[:MAX_SHOWN_FRAMES]),
        ):
            if lines:
                screen.say(f"  {title}:", style="dim")
            for line in lines:
                screen.say(f"    {line}", style="dim", indent=6)


@contextmanager
def printed_errors(*, as_json: bool = False, write: Callable[[Any], None] = write_json) -> Iterator[None]:
    """Turn the package's errors into messages and exit codes; errors that nobody raised on purpose pass.

    Args:
        as_json: Whether they are written to standard output too.
        write: How: as one document, or as a line.
    """
    try:
        with told_shortages():
            yield
    except DataflareError as error:
        with by_the_way():
            if as_json:
                write({"status": "failed", "error": error_json(error)})
        show_error(error)
        raise typer.Exit(exit_code(error)) from None
    except KeyboardInterrupt as error:
        number = getattr(error, "signal", signal.SIGINT)
        with by_the_way():
            if as_json:
                report = getattr(error, "report", None)
                write({"status": "interrupted"} if report is None else report.to_json())
        stderr().say(interrupt_message(number))
        raise typer.Exit(128 + number) from None
    except OutputLost as lost:
        _tell_lost(lost)
        raise typer.Exit(EXIT_FAILED) from None


def _tell_lost(lost: OutputLost) -> None:
    if lost.why:
        stderr().say(Text.assemble(("error:", "bold red"), f" standard output cannot be written: {lost.why}"))
