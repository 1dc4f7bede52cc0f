"""The folder of generated files: either all are written, or none."""

from __future__ import annotations

import keyword
import os
import re
import secrets
import shutil
import stat
import sys
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dataflare.bindgen.text import HEADER
from dataflare.errors import ConfigError
from dataflare.folder_exchange import exchange_folders
from dataflare.user_folders import files_below

__all__ = ["differences", "require_importable", "write_folder"]

_MARK: Final = HEADER.encode()
_COMPILED: Final = "__pycache__"
_NEEDED: Final = frozenset({"dataflare", "numpy", "pyarrow", "wasmtime"})
"""What generated code imports, directly or not."""


def require_importable(folder: Path) -> None:
    """Check that `import` can name a folder, and would find nothing else under its name.

    Raises:
        ConfigError: It cannot.
    """
    try:
        name = os.path.basename(os.path.abspath(folder))
    except ValueError:  # a NUL, which `write_folder` refuses
        return
    if not name:  # the root, which `write_folder` refuses too
        return
    # Python looks for the normal form of a name.
    plain = re.sub(r"\W", "_", unicodedata.normalize("NFKC", name.removesuffix(".py")))
    plain = f"_{plain}" if plain[:1].isdigit() or not plain else plain
    problem = ""
    if plain != name:
        problem = f"no `import` can name {name!r}: a package's name has letters, digits and underscores"
    elif keyword.iskeyword(name):
        problem = f"no `import` can name {name!r}, a keyword of Python"
    elif name.startswith("__") and name.endswith("__"):
        problem = f"the name {name!r} is Python's own"
    elif name in sys.stdlib_module_names | _NEEDED and not (folder.parent / "__init__.py").exists():
        problem = f"a package {name!r} would hide the module {name!r}, which Python or generated code imports"
    if problem:
        plain = plain.strip("_") if plain.startswith("__") else plain
        taken = plain in sys.stdlib_module_names | _NEEDED or keyword.iskeyword(plain) or not plain
        meant = f"{plain}_bindings" if plain and taken else plain or "bindings"
        raise ConfigError(problem, where=f"--output {folder}", hint=f"such as -o {folder.parent / meant}")


def write_folder(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Write these files into a folder, and remove other generated files from it.

    Args:
        folder: The folder; created if it is missing.
        files: The text of each file by its name.

    Returns:
        The result of `differences` before the change.

    Raises:
        ConfigError: The folder has a file that was not generated, is the working directory or contains it, or cannot be
            written. It stays unchanged.
    """
    try:
        _require_generated(folder)
        found = differences(folder, files)
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = folder.parent / f".{folder.name}.{secrets.token_hex(8)}.new"
        try:
            draft.mkdir()
            for name, text in files.items():
                path = draft / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8", newline="\n")
            if os.path.exists(folder):
                os.chmod(draft, stat.S_IMODE(os.stat(folder).st_mode))
                exchange_folders(draft, folder)
            else:
                os.rename(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return found
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", where=str(folder)) from error
    except ValueError as error:  # a NUL, or another character that a file name cannot have
        raise ConfigError(f"cannot be written: {error}", where=ascii(str(folder))) from error


def _require_generated(folder: Path) -> None:
    if os.path.islink(folder) or (os.path.exists(folder) and not os.path.isdir(folder)):
        what = "is a link" if os.path.islink(folder) else "is not a folder"
        raise ConfigError(what, where=str(folder), hint="give the name of a folder, or of nothing yet")
    if not os.path.isdir(folder):
        return
    if Path.cwd().is_relative_to(folder.resolve()):
        # The folder is replaced as a whole, which would break any process that works in it.
        raise ConfigError("is the folder that you are in, or holds it", where=str(folder), hint="name another folder")
    for path in files_below(folder, links=True):
        if path.is_symlink() or not path.is_file() or not _is_generated(path):
            raise ConfigError(
                f"has a file that was not generated: {path.relative_to(folder)}",
                where=str(folder),
                hint="choose a folder for bindings alone, or move the file away",
            )


def _is_generated(path: Path) -> bool:
    if path.parent.name == _COMPILED:
        return path.suffix == ".pyc"
    if path.name == "py.typed":
        return path.stat().st_size == 0
    with path.open("rb") as file:
        return file.read(len(_MARK)) == _MARK


def differences(folder: Path, files: Mapping[str, str]) -> list[str]:
    """List the names of files of a folder that are missing, different from the generated text, or superfluous.

    Raises:
        ConfigError: The folder cannot be read.
    """
    found = []
    for name, text in files.items():
        path = folder / name
        try:
            same = path.is_file() and path.read_bytes() == text.encode()
        except OSError:
            same = False
        if not same:
            found.append(name)
    here = files_below(folder, enter=lambda path: path.name != _COMPILED, links=True) if folder.is_dir() else ()
    return found + sorted({str(each.relative_to(folder)) for each in here} - set(files))
