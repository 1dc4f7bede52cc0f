"""Internal errors: faults of the command line itself, shown like everything else."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["shown_faults"]


@contextmanager
def shown_faults() -> Iterator[None]:
    """Show exceptions that nobody handles, in any thread, escaped like other texts; exit with 1 after one."""
    threading.excepthook = lambda fault: _show(fault.exc_value)
    sys.unraisablehook = lambda fault: _show(fault.exc_value)
    try:
        yield
    except Exception as error:
        _show(error)
        sys.exit(1)


def _show(error: BaseException | None) -> None:
    from dataflare.cli.screen import stderr  # most commands have nothing to show here

    screen = stderr()
    screen.say("error: dataflare itself has failed; please report this", style="bold red")
    if error is not None:
        for line in "".join(traceback.format_exception(error)).rstrip().split("\n"):
            screen.say(f"  {line}", indent=8)
