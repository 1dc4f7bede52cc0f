"""Looks through folders that users name: without following links to folders, and to an end."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final

from dataflare.errors import ConfigError
from dataflare.real_paths import place_of, real_path

__all__ = ["MAX_FILES", "MAX_FOLDERS_DEEP", "files_below", "make_folder", "own_folders", "require_within"]

MAX_FOLDERS_DEEP: Final = 32
"""How many folders may be within each other."""
MAX_FILES: Final = 200_000
"""How many files and folders there may be."""


def files_below(folder: Path, *, enter: Callable[[Path], bool] = lambda _: True, links: bool = False) -> Iterator[Path]:
    """Yield what is below a folder and is not a folder itself, in the order of the names.

    Args:
        folder: The folder.
        enter: Is given each folder below, and says whether to look into it; those that are links never are.
        links: Yield links to folders too.

    Raises:
        ConfigError: A folder cannot be read, folders are nested too deeply, there are too many files, or a name is not
            UTF-8.
    """
    waiting = [folder]
    seen = 0
    while waiting:
        here = waiting.pop()
        if len(here.parts) - len(folder.parts) > MAX_FOLDERS_DEEP:
            raise ConfigError(f"has more than {MAX_FOLDERS_DEEP} folders within each other", where=str(folder))
        inner = []
        for entry in _entries(here):
            seen += 1
            if seen > MAX_FILES:
                raise ConfigError(f"has more than {MAX_FILES:,} files and folders", where=str(folder))
            if not entry.name.isascii():
                _require_text(entry)
            path = here / entry.name
            if not entry.is_dir() or (links and entry.is_symlink()):
                yield path
            elif not entry.is_symlink() and enter(path):
                inner.append(path)
        waiting += reversed(inner)


def own_folders(folder: Path, but: Collection[str]) -> Callable[[Path], bool]:
    """Make an `enter` for `files_below`: no hidden folders, and in `folder` itself none of the names `but`."""
    return lambda path: not path.name.startswith(".") and (path.parent != folder or path.name not in but)


def require_within(path: Path, folder: Path) -> None:
    """Refuse a path below a folder where a link on the way to it leads elsewhere.

    Raises:
        ConfigError: One does.
    """
    if not place_of(path).is_relative_to(real_path(folder)):
        raise ConfigError("a link leads out of the folder", where=str(path.parent), hint="remove the link")


def make_folder(folder: Path, name: Path | str) -> Path:
    """Make a folder below another, unless it is there; returns its path.

    Raises:
        ConfigError: It cannot be made, or a link leads out of `folder`.
    """
    made = folder / name
    require_within(made / "any", folder)
    try:
        made.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot be made: {error.strerror}", where=str(made)) from error
    return made


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(folder)) from error


def _require_text(entry: os.DirEntry[str]) -> None:
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        raise ConfigError("the name of a file is not UTF-8", where=ascii(entry.path), hint="rename it") from None
