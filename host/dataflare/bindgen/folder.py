"""The folder of generated files: all of them are written, or none."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dataflare.bindgen.text import HEADER
from dataflare.errors import ConfigError

__all__ = ["differences", "write_folder"]

_MARK: Final = HEADER.encode()
_OURS: Final = frozenset({"py.typed", "__pycache__"})


def write_folder(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Put these files into a folder, in place of generated ones that it may hold.

    Args:
        folder: The folder; it is made where it does not exist.
        files: The text of each file by its name.

    Returns:
        What `differences` told before.

    Raises:
        ConfigError: The folder has a file that was not generated, is the current one or cannot be written; it stays as
            it was.
    """
    try:
        _require_generated(folder)
        found = differences(folder, files)
        folder.parent.mkdir(parents=True, exist_ok=True)
        token = secrets.token_hex(8)
        draft, old = (folder.parent / f".{folder.name}.{token}.{what}" for what in ("new", "old"))
        try:
            draft.mkdir()
            for name, text in files.items():
                path = draft / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8", newline="\n")
            _exchange(draft, folder, old)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
            if os.path.exists(folder):
                shutil.rmtree(old, ignore_errors=True)
        return found
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", where=str(folder)) from error
    except ValueError as error:  # a NUL, or what no name of a file can hold
        raise ConfigError(f"cannot be written: {error}", where=ascii(str(folder))) from error


def _exchange(draft: Path, folder: Path, old: Path) -> None:
    if not os.path.exists(folder):
        os.rename(draft, folder)
        return
    os.rename(folder, old)
    try:
        os.rename(draft, folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.rename(old, folder)
        raise


def _require_generated(folder: Path) -> None:
    if os.path.islink(folder) or (os.path.exists(folder) and not os.path.isdir(folder)):
        raise ConfigError("is not a folder", where=str(folder), hint="give the name of a folder, or of nothing yet")
    if not os.path.isdir(folder):
        return
    if Path.cwd().is_relative_to(folder.resolve()):
        # It is replaced as a whole, which would break any process that works in it.
        raise ConfigError("is the folder that you are in, or holds it", where=str(folder), hint="name another folder")
    for root, folders, names in os.walk(folder):
        folders[:] = [each for each in folders if each not in _OURS]
        for name in [*names, *(each for each in folders if Path(root, each).is_symlink())]:
            path = Path(root, name)
            if name in _OURS:
                continue
            if path.is_symlink() or not path.is_file() or not _is_generated(path):
                raise ConfigError(
                    f"has a file that was not generated: {path.relative_to(folder)}",
                    where=str(folder),
                    hint="choose a folder for bindings alone, or move the file away",
                )


def _is_generated(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_MARK)) == _MARK


def differences(folder: Path, files: Mapping[str, str]) -> list[str]:
    """The names of files of a folder that are missing, not as they would be written, or too many.

    Raises:
        ConfigError: The folder cannot be read.
    """
    found = []
    for name, text in files.items():
        try:
            current = (folder / name).read_bytes()
        except OSError:
            found.append(name)
            continue
        if current != text.encode():
            found.append(name)
    try:
        here = {
            str(each.relative_to(folder))
            for each in folder.rglob("*")
            if "__pycache__" not in each.parts and each.is_file()
        }
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(folder)) from error
    else:
        found += sorted(here - set(files))
    return found
