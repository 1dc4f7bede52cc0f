"""A catalog as JSON: the standard is parsed when its text changes, not in each process.

`wit/parsed.json` is committed and ships in the package. It has the digest of the text from which it was made; if that
does not match, `standard` parses the text instead. Positions are left out, since they are needed only for errors in the
text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from dataflare.wit import model
from dataflare.wit.catalog import Catalog

__all__ = ["PARSED_FILE", "read_parsed", "text_digest", "to_json"]

PARSED_FILE: Final = "parsed.json"
_CLASS: Final = "is"
_CLASSES: Final = {
    name: value for name in model.__all__ if is_dataclass(value := getattr(model, name)) and isinstance(value, type)
}


def text_digest(folder: Path) -> str:
    """Return `sha256:` and the digest of all WIT files below a folder, with their names."""
    digest = sha256()
    for file in sorted(folder.rglob("*.wit")):
        data = file.read_bytes()
        digest.update(f"{file.relative_to(folder).as_posix()} {len(data)}\n".encode())
        digest.update(data)
    return f"sha256:{digest.hexdigest()}"


def to_json(catalog: Catalog, folder: Path) -> str:
    """Write a catalog that was parsed from a folder's files."""
    packages = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(_plain(package), separators=(',', ':'), ensure_ascii=False)}"
        for name, package in catalog.packages.items()
    )
    return f'{{"text": "{text_digest(folder)}", "packages": {{\n{packages}\n}}}}\n'


def read_parsed(folder: Path) -> Catalog | None:
    """Read the catalog that was parsed from a folder's files; `None` if there is none or the files have changed."""
    try:
        document = json.loads((folder / PARSED_FILE).read_bytes())
        if document["text"] != text_digest(folder):
            return None
        packages = {name: _value(package) for name, package in document["packages"].items()}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Catalog(packages=MappingProxyType(packages))


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if is_dataclass(value):
        return {_CLASS: type(value).__name__, **{name: _plain(each) for name, each in _kept(value)}}
    return value


def _kept(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the fields without positions and default values."""
    for each in fields(value):
        found = getattr(value, each.name)
        if each.name != "position" and (each.default is MISSING or found != each.default):
            yield each.name, found


def _value(plain: Any) -> Any:
    if isinstance(plain, list):
        return tuple([_value(each) for each in plain])
    if isinstance(plain, dict):
        return _CLASSES[plain.pop(_CLASS)](**{name: _value(each) for name, each in plain.items()})
    return plain
