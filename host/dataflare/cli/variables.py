"""Where the variables of a pipeline's file come from: the environment, files, and the command line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from dataflare.documents.variables import NAME_PATTERN, SECRET_PREFIX, Variables
from dataflare.errors import ConfigError
from dataflare.user_files import read_file

__all__ = ["EnvFiles", "Settings", "gather_variables"]

Settings: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="The value of a variable, as NAME=VALUE; the pipeline has it as ${NAME}. May be repeated."
    ),
]
EnvFiles: TypeAlias = Annotated[
    list[Path] | None, typer.Option("--env-file", help="A file of variables, a line NAME=VALUE each. May be repeated.")
]

_MAX_BYTES: Final = 2**20
_ASSIGNMENT: Final = re.compile(rf"({NAME_PATTERN})\s*=(.*)", re.DOTALL)
_EXPORT: Final = re.compile(r"^export\s+")
_NAMES: Final = "a name has letters, digits and _"
_QUOTED: Final = re.compile(r"""(?:'([^']*)'|"([^"]*)")\s*(?:#.*)?""", re.DOTALL)
_COMMENT: Final = re.compile(r"\s#")


def gather_variables(
    settings: Iterable[str],
    files: Iterable[Path],
    environment: Mapping[str, str] | None = None,
    *,
    policy: bool = False,
) -> Variables:
    """Gather variables: those of `--set` go before those of files, and these before the environment's.

    Args:
        settings: Words such as `NAME=VALUE`.
        files: Files of such lines; the last one that names a variable counts.
        environment: The process's, where it is `None`.
        policy: Whether a policy holds: the author of the pipeline may then not be trusted with the environment.

    Raises:
        ConfigError: A word or a line is of another form, or a file cannot be read.
    """
    values: dict[str, str] = {}
    settings = tuple(settings)
    if not policy:
        found = os.environ if environment is None else environment
        values |= {name: value for name, value in found.items() if not name.startswith(SECRET_PREFIX)}
    for file in files:
        values |= _read(file)
    for word in settings:
        match = _ASSIGNMENT.fullmatch(word)
        if match is None:
            hint = f"such as --set day=2026-01-31; {_NAMES}"
            raise ConfigError(f"{word!r} is not of the form NAME=VALUE", where="--set", hint=hint)
        values[match[1]] = match[2]
    given = frozenset(match[1] for word in settings if (match := _ASSIGNMENT.fullmatch(word)))
    return Variables(values, given=given, hidden="with a policy, the environment is not used" if policy else "")


def _read(file: Path) -> dict[str, str]:
    try:
        text = read_file(file, _MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError("is not UTF-8", where=str(file)) from error
    values = {}
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _ASSIGNMENT.fullmatch(_EXPORT.sub("", line, count=1))
        if match is None:
            hint = f"a comment begins with #; {_NAMES}"
            raise ConfigError("is not of the form NAME=VALUE", where=f"{file}:{number}", hint=hint)
        values[match[1]] = _value(match[2], f"{file}:{number}")
    return values


def _value(text: str, where: str) -> str:
    """Take off the comment and the quotes of a value."""
    if not text.lstrip().startswith(("'", '"')):
        return _COMMENT.split(text, maxsplit=1)[0].strip()
    quoted = _QUOTED.fullmatch(text.strip())
    if quoted is None:
        hint = "only a comment may follow the closing quote; a value that holds one quote needs the other ones"
        raise ConfigError("the quotes of the value are not closed, or text follows", where=where, hint=hint)
    return quoted[1] or quoted[2] or ""
