"""What all commands share: where output goes, how errors are shown, and what exit codes mean."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from dataflare.errors import ComponentError, ConfigError, DataflareError, PermissionDenied, PluginFault, UsageError
from dataflare.pipeline.failures import NodeFailed

__all__ = [
    "EXIT_CONFIG",
    "EXIT_DENIED",
    "EXIT_FAILED",
    "EXIT_NO_PLUGIN",
    "error_json",
    "exit_code",
    "printed_errors",
    "show_error",
    "stderr",
    "stdout",
    "write_json",
]

EXIT_FAILED: Final = 1
"""The work was begun and failed: a plugin, its data, or something outside."""
EXIT_CONFIG: Final = 2
"""The command line, a pipeline or another file that the user wrote is wrong; nothing was begun."""
EXIT_NO_PLUGIN: Final = 3
"""A file is no component, or a component for no world."""
EXIT_DENIED: Final = 4
"""A plugin needs what was not granted."""
_UNBROKEN: Final = 10_000


def stdout() -> Console:
    """Where results go. Colour only on a terminal, and not where `NO_COLOR` is set."""
    terminal = sys.stdout.isatty()
    # Into a file or a pipe nothing is broken into lines.
    return Console(highlight=False, width=None if terminal else _UNBROKEN)


def stderr() -> Console:
    """Where progress and errors go."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def write_json(document: Any) -> None:
    """Write one JSON document, and nothing else, to standard output; in ASCII, which every encoding has."""
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")
    sys.stdout.flush()


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
            out[name] = value
    if isinstance(error, PluginFault):
        out["backtrace"] = list(error.backtrace)
        out["log_lines"] = list(error.log_lines)
    if isinstance(error.__cause__, DataflareError):
        out["cause"] = error_json(error.__cause__)
    return out


def show_error(error: DataflareError) -> None:
    """Write an error for people to standard error."""
    head, *rest = str(error).splitlines() or [""]
    console = stderr()
    console.print(f"[bold red]error:[/] {escape(head)}")
    for line in rest:
        console.print(escape(line), style="dim" if not line.lstrip().startswith("hint:") else "yellow")


@contextmanager
def printed_errors(*, as_json: bool = False) -> Iterator[None]:
    """Turn the package's errors into messages and exit codes; errors that are no one's on purpose pass."""
    try:
        yield
    except DataflareError as error:
        if as_json:
            write_json({"status": "failed", "error": error_json(error)})
        show_error(error)
        raise typer.Exit(exit_code(error)) from None
    except KeyboardInterrupt as error:
        number = getattr(error, "signal", signal.SIGINT)
        with suppress(OSError):  # after SIGHUP there may be no terminal any more
            if as_json:
                report = getattr(error, "report", None)
                write_json({"status": "interrupted"} if report is None else report.to_json())
            stderr().print("interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}")
        raise typer.Exit(128 + number) from None
    except BrokenPipeError:
        _leave_quietly()
    except OSError as error:
        if error.filename is not None:
            raise
        # Files have names, and their errors are the package's own by now: this is what we write to.
        stderr().print(f"[bold red]error:[/] the output cannot be written: {error.strerror}")
        raise typer.Exit(EXIT_FAILED) from None


def _leave_quietly() -> NoReturn:
    # Who read our output has gone: nobody is left to tell.
    sys.stderr.close()
    raise typer.Exit(EXIT_FAILED)
