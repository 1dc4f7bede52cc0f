"""The lock file of published interfaces and worlds, which never change.

`wit/published.json` maps full names to digests of the binding parts (`dataflare.wit.canonical`). Entries are only
added.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from dataflare.wit.canonical import interface_digest, world_digest
from dataflare.wit.catalog import Catalog
from dataflare.wit.model import Position, WitError

__all__ = ["digests", "drift", "publish", "read_lock", "write_text"]


def digests(catalog: Catalog) -> dict[str, str]:
    """Return the digest of each interface and world, by full name."""
    found = {name: interface_digest(interface) for name, interface in catalog.interfaces()}
    return found | {name: world_digest(catalog.world(name)) for name, _ in catalog.worlds()}


def read_lock(path: Path) -> dict[str, str]:
    """Read a lock.

    Raises:
        WitError: The file cannot be read or is not a lock.
    """
    position = Position(str(path), 1, 1)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise WitError(f"cannot be read: {exc.strerror or exc}", position=position) from exc
    except (ValueError, RecursionError) as exc:
        raise WitError(f"is not JSON: {exc}", position=position) from exc
    if not isinstance(value, dict) or not all(isinstance(digest, str) for digest in value.values()):
        raise WitError("does not map names to digests", position=position)
    return value


def drift(catalog: Catalog, lock: Mapping[str, str]) -> list[str]:
    """List the differences from the lock: items changed or removed after publication, or not published yet."""
    now = digests(catalog)
    faults = []
    for name in sorted(lock.keys() | now.keys()):
        if name not in now:
            faults.append(f"{name} is published, and gone")
        elif name not in lock:
            faults.append(f"{name} is not published yet: python -m dataflare.wit publish")
        elif now[name] != lock[name]:
            faults.append(f"{name} is published, and changed: a change needs a new version of its package")
    return faults


def publish(catalog: Catalog, path: Path) -> list[str]:
    """Add the missing interfaces and worlds to the lock.

    Returns:
        The names that were added.

    Raises:
        WitError: A published item has changed or is missing; nothing is written.
    """
    lock = read_lock(path) if path.exists() else {}
    now = digests(catalog)
    broken = [name for name, digest in sorted(lock.items()) if now.get(name) != digest]
    if broken:
        hint = "give the package a new version; the old one stays as it is"
        raise WitError(
            f"published, and changed or gone: {', '.join(broken)}", position=Position(str(path), 1, 1), hint=hint
        )
    added = sorted(now.keys() - lock.keys())
    if added:
        write_text(path, json.dumps(dict(sorted(now.items())), indent=2) + "\n")
    return added


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: it has either the complete old text or the complete new text."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
