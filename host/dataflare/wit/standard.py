"""The standard's own WIT: `dataflare:data`, `dataflare:host` and `dataflare:plugin`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from dataflare.wit.catalog import Catalog
from dataflare.wit.model import WitError
from dataflare.wit.parsed import read_parsed

__all__ = ["standard", "standard_folder"]

_PACKAGE = Path(__file__).resolve().parent.parent


def standard_folder() -> Path:
    """Return the folder of the standard's packages: in the repository, or in the installed package.

    Raises:
        WitError: There is none: the installation is damaged.
    """
    for folder in (_PACKAGE.parent.parent / "wit", _PACKAGE / "_wit"):
        # Not just any folder called `wit`.
        if (folder / "plugin" / "worlds.wit").is_file():
            return folder
    raise WitError("the WIT of the standard is missing", hint="install the package again: pip install dataflare")


@cache
def standard() -> Catalog:
    """Return the resolved standard, without positions.

    The first call in a process reads the parsed form, in about 5 milliseconds. If the text has changed since, it parses
    the text, in about 40 milliseconds (`python -m dataflare.wit parse` writes the parsed form again).
    """
    folder = standard_folder()
    found = read_parsed(folder)
    if found is None:
        from dataflare.wit.resolve import load

        found = load(folder)
    return found
