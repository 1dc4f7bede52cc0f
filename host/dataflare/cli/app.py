"""The command `dataflare`."""

from __future__ import annotations

import errno
import logging
import os
import signal
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from dataflare import __version__
from dataflare.cli.commands import CommandGroup
from dataflare.cli.exit_codes import EXIT_CONFIG, EXIT_FAILED
from dataflare.cli.streams import OutputLost, abandon_stdout, write_line

if TYPE_CHECKING:
    from dataflare.cli.screen import Screen

__all__ = ["app", "run"]

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

_FORMATS: Final = ("text", "json")
_OUTPUT_ERRORS: Final = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF)

app = typer.Typer(
    cls=CommandGroup,
    name="dataflare",
    help="Run data pipelines of sandboxed plugins, written in any language that makes WebAssembly components.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        write_line(f"dataflare {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    log_level: Annotated[
        str,
        typer.Option(help="Write log events of this level or above to standard error: debug, info, warning, error."),
    ] = "warning",
    log_format: Annotated[
        str, typer.Option(help="How log events are written: text, or json (one object a line).")
    ] = "text",
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    if log_level.lower() not in _LEVELS:
        raise typer.BadParameter(f"{log_level!r} is not one of {', '.join(_LEVELS)}", param_hint="--log-level")
    if log_format not in _FORMATS:
        raise typer.BadParameter(f"{log_format!r} is not one of {', '.join(_FORMATS)}", param_hint="--log-format")
    handler = _json_handler() if log_format == "json" else _text_handler()

    # Other libraries' details (of requests, say) are not for logs: only ours are asked for.
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("dataflare").setLevel(_LEVELS[log_level.lower()])
    logging.captureWarnings(True)


def run(arguments: list[str]) -> int:
    """Run a command line; returns its exit code. What typer says of a wrong one is printed here."""
    try:
        result = app(arguments, prog_name="dataflare", standalone_mode=False)
    except typer.Abort:
        _screen().say("interrupted")
        return 128 + signal.SIGINT
    except OutputLost as lost:
        return _say_lost(lost)
    except OSError as error:
        if error.errno not in _OUTPUT_ERRORS or error.filename is not None:
            raise
        # typer writes its help itself.
        abandon_stdout()
        return _say_lost(OutputLost("" if error.errno == errno.EPIPE else os.strerror(error.errno)))
    except Exception as error:
        # typer's own errors, whose class is in a private module: they know what to say.
        say = getattr(error, "format_message", None)
        if say is None:
            raise
        _say_usage_error(say(), getattr(error, "ctx", None))
        return EXIT_CONFIG
    return result if isinstance(result, int) else 0


def _text_handler() -> logging.Handler:
    from dataflare.cli.screen import LogHandler

    return LogHandler()


def _json_handler() -> logging.Handler:
    from dataflare.cli.json_logs import JsonLogHandler

    return JsonLogHandler()


def _screen() -> Screen:
    """Standard error; imported when there is something to say, since most runs have nothing."""
    from dataflare.cli.screen import stderr

    return stderr()


def _say_lost(lost: OutputLost) -> int:
    if lost.why:
        _screen().say(f"error: standard output cannot be written: {lost.why}")
    return EXIT_FAILED


def _say_usage_error(message: str, context: Any) -> None:
    screen = _screen()
    if message.startswith("Usage: "):  # where no command is given, the message is the help
        for line in message.split("\n"):
            screen.print(line, soft_wrap=True)
        return
    if context is not None:
        screen.say(context.get_usage())
        screen.say(f"Try '{context.command_path} --help' for help.")
    screen.say_lines(f"error: {message}")
