"""Exchanges two folders' names, so that a folder is replaced as a whole."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

__all__ = ["exchange_folders"]

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2


def exchange_folders(one: Path, other: Path) -> None:
    """Give two folders each other's name: in one step where the system can, else `other` is missing for a moment.

    Args:
        one: A folder beside the other.
        other: The folder that others look at; it is whole after an error or an interrupt too.

    Raises:
        OSError: They cannot be renamed, and have the names that they had.
    """
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        done = -1
    else:
        done = call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    if done != 0:
        _exchange_in_steps(one, other)


def _exchange_in_steps(one: Path, other: Path) -> None:
    aside = one.with_name(one.name + ".before")
    try:
        os.rename(other, aside)
        os.rename(one, other)
        os.rename(aside, one)
    except BaseException:
        if os.path.lexists(aside):
            os.rename(aside, one if os.path.lexists(other) else other)
        raise
