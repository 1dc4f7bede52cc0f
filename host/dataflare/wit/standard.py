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
    """The folder of the standard's packages: of the repository, or of the installed package.

    Raises:
        WitError: Neither is there: the installation is damaged.
    """
    for folder in (_PACKAGE.parent.parent / "wit", _PACKAGE / "_wit"):
        # Not any folder that happens to be called `wit`.
        if (folder / "plugin" / "worlds.wit").is_file():
            return folder
    raise WitError("the WIT of the standard is missing", hint="install the package again: pip install dataflare")


@cache
def standard() -> Catalog:
    """Give the standard, resolved, without positions.

    The first call in a process reads what was parsed before, in some 5 milliseconds. It parses the text, in some 40,
    where the text was changed since (`python -m dataflare.wit parse` keeps what is parsed).
    """
    folder = standard_folder()
    found = read_parsed(folder)
    if found is None:
        from dataflare.wit.resolve import load

        found = load(folder)
    return found
