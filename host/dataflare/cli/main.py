"""The entry point of the command `dataflare`.

It imports next to nothing before it can be interrupted without a traceback; the rest takes a second to load.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from typing import NoReturn

from dataflare.cli.interrupts import leave, usual_handlers

__all__ = ["main"]

_EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the command line, and exit."""
    # Nothing has begun: there is nothing to clean up, and a module that is being imported must not see an exception.
    # Where a signal is ignored, as behind `nohup`, it stays so.
    usual = usual_handlers()
    for number in usual:
        signal.signal(number, leave)
    _open_standard_descriptors()
    from dataflare.cli.app import run
    from dataflare.cli.commands import preload
    from dataflare.cli.internal_errors import shown_faults

    preload(sys.argv[1:])

    with shown_faults():
        try:
            if signal.SIGINT in usual:
                signal.signal(signal.SIGINT, usual[signal.SIGINT])
            code = run(sys.argv[1:])
        except KeyboardInterrupt:
            code = _EXIT_INTERRUPTED
        finally:
            if signal.SIGINT in usual:
                signal.signal(signal.SIGINT, leave)
    _end_at_once(code)


def _end_at_once(code: int) -> NoReturn:
    """End without what Python does for up to a second at its end.

    The user who pressed Ctrl-C waits for it. And a thread of Arrow that still reads ahead, in a file of which a command
    needed a part, would abort the process if it asked for Python while Python ends.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105  # importing `contextlib` takes time in which an interrupt has a traceback
            stream.flush()
        except (OSError, ValueError, AttributeError):  # closed, or there is none
            pass
    os._exit(code)


def _open_standard_descriptors() -> None:
    """Have something behind 0, 1 and 2: a file that is opened must not get one of these, and what is printed in it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


if __name__ == "__main__":
    main()
