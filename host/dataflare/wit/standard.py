"""The standard's own WIT: `dataflare:data`, `dataflare:host` and `dataflare:plugin`."""

from __future__ import annotations

from pathlib import Path

from dataflare.wit.catalog import Catalog
from dataflare.wit.model import WitError
from dataflare.wit.resolve import load

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
    raise WitError("the WIT of the standard is missing", hint="install the package anew: pip install dataflare")


def standard() -> Catalog:
    """The standard, resolved. Reads the files anew in each call, in some 50 milliseconds."""
    return load(standard_folder())
