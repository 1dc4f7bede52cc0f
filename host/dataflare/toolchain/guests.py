"""The guests of a repository: `guest-sdks/guests.toml`."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataflare.errors import ConfigError
from dataflare.toolchain import languages

__all__ = ["Guest", "Project", "find_root", "load_project"]

_LIST = Path("guest-sdks/guests.toml")
_KEYS: dict[str, type] = {
    "name": str,
    "language": str,
    "folder": str,
    "world": str,
    "output": str,
    "committed": bool,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A plugin's project.

    `folder` and `output` are absolute. A committed guest's component is in the repository, byte for byte as one pinned
    toolchain makes it; any other's is built where it is needed.
    """

    name: str
    language: str
    folder: Path
    world: str
    output: Path
    committed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A repository with guests, by name, in the order of the list."""

    root: Path
    guests: dict[str, Guest]

    @property
    def wit(self) -> Path:
        """The folder of the WIT packages `data`, `host` and `plugin`."""
        return self.root / "wit"

    def select(self, names: list[str]) -> list[Guest]:
        """The guests of these names.

        Raises:
            ConfigError: A name is not in the list.
        """
        for name in names:
            if name not in self.guests:
                raise ConfigError(
                    f"there is no guest {name!r}", where=str(_LIST), hint=f"there are {', '.join(self.guests)}"
                )
        return [self.guests[name] for name in dict.fromkeys(names)]


def find_root(start: Path) -> Path:
    """The nearest folder, from `start` upwards, that has a list of guests.

    Raises:
        ConfigError: There is none.
    """
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / _LIST).is_file():
            return folder
    raise ConfigError(f"no {_LIST} in {start} or above", hint="run this inside the repository, or give --root")


def load_project(root: Path) -> Project:
    """Read the list of guests.

    Raises:
        ConfigError: The list is absent, is not TOML, or an entry is wrong; the error names it.
    """
    path = root / _LIST
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ConfigError(f"cannot be read: {exc}", where=str(path)) from exc
    entries = document.pop("guest", [])
    if document or not isinstance(entries, list):
        raise ConfigError("only [[guest]] tables belong here", where=str(path))
    guests: dict[str, Guest] = {}
    for number, entry in enumerate(entries, 1):
        guest = _parse(root.resolve(), entry, f"{path}: guest {number}")
        if guest.name in guests:
            raise ConfigError(f"the name {guest.name!r} is taken", where=f"{path}: guest {number}")
        guests[guest.name] = guest
    return Project(root=root.resolve(), guests=guests)


def _parse(root: Path, entry: dict[str, Any], where: str) -> Guest:
    if unknown := entry.keys() - _KEYS.keys():
        raise ConfigError(
            f"unknown keys: {', '.join(sorted(unknown))}", where=where, hint=f"there are {', '.join(_KEYS)}"
        )
    for key, kind in _KEYS.items():
        if not isinstance(entry.get(key), kind):
            raise ConfigError(f"{key}: give a {kind.__name__}", where=where)
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,63}", entry["name"]):
        raise ConfigError(f"name: {entry['name']!r} is not [a-z][a-z0-9-]{{0,63}}", where=where)
    if entry["language"] not in languages.names():
        raise ConfigError(
            f"language: {entry['language']!r}", where=where, hint=f"there are {', '.join(languages.names())}"
        )
    folder, output = (_inside(root, entry[key], f"{where}: {key}") for key in ("folder", "output"))
    return Guest(
        name=entry["name"],
        language=entry["language"],
        folder=folder,
        world=entry["world"],
        output=output,
        committed=entry["committed"],
    )


def _inside(root: Path, path: str, where: str) -> Path:
    resolved = (root / path).resolve()
    if not resolved.is_relative_to(root):
        raise ConfigError(f"{path!r} is outside the repository", where=where)
    return resolved
