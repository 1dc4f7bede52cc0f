"""Plugins that come with this package: `builtin:NAME` stands in the place of a component's file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from dataflare.errors import ConfigError

__all__ = ["built_in_file", "built_in_plugins"]

_PREFIX: Final = "builtin:"
_PACKAGE: Final = Path(__file__).resolve().parent


def built_in_plugins() -> tuple[str, ...]:
    """The names of all of them, sorted."""
    return tuple(sorted(each.stem for each in _folder().glob("*.wasm")))


def built_in_file(component: str | os.PathLike[str]) -> Path | None:
    """The file of a built-in plugin; `None` where a file is named otherwise.

    Raises:
        ConfigError: There is no built-in plugin of this name.
    """
    text = os.fspath(component)
    if not text.startswith(_PREFIX):
        return None
    name = text.removeprefix(_PREFIX)
    if name not in built_in_plugins():
        known = ", ".join(f"{_PREFIX}{each}" for each in built_in_plugins()) or "none: install the package again"
        raise ConfigError("there is no built-in plugin of this name", where=text, hint=f"there are {known}")
    return _folder() / f"{name}.wasm"


def _folder() -> Path:
    installed = _PACKAGE / "_plugins"
    return installed if installed.is_dir() else _PACKAGE.parent.parent / "plugins"
