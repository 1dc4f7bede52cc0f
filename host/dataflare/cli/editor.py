"""The user's editor, for texts that a command gives to be changed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dataflare.errors import ConfigError

__all__ = ["EditedFile", "edited"]

_HINT: Final = "name an editor in EDITOR, for example EDITOR=nano"


@dataclass(frozen=True, slots=True)
class EditedFile:
    """What an editor left: the file, which is in nobody else's reach, and whether its content is another one."""

    path: Path
    changed: bool


@contextmanager
def edited(text: str, *, name: str) -> Iterator[EditedFile]:
    """Open a text in `$VISUAL`, `$EDITOR` or vi, and give the file when the editor has ended.

    The file is removed at the end of the `with` block, unless that ends with an error: what somebody wrote is not lost.

    Args:
        text: What is edited.
        name: The file's name; its suffix tells editors what it is.

    Raises:
        ConfigError: There is no editor, or it failed; the text is not used.
    """
    given = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        command = shlex.split(given)
    except ValueError as error:
        raise ConfigError(f"{given!r} is not a valid command: {error}", where="EDITOR", hint=_HINT) from error
    if not command or shutil.which(command[0]) is None:
        raise ConfigError(f"there is no editor {given!r}", where="EDITOR", hint=_HINT)
    folder = Path(tempfile.mkdtemp(prefix="dataflare-"))
    path = folder / name
    try:
        path.write_text(text, encoding="utf-8")
        code = subprocess.run([*command, str(path)], check=False).returncode
        if code:
            raise ConfigError(f"{given!r} ended with {code}: nothing is changed", where="EDITOR", hint=_HINT)
        changed = not path.is_file() or path.read_bytes() != text.encode()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    yield EditedFile(path, changed)
    shutil.rmtree(folder, ignore_errors=True)
