"""Where a path leads, and where the name itself is.

One rule: a path that somebody named is resolved once, by one of these two, before anything is decided about it, and
what was decided holds for the result alone. A link that is changed later leads nowhere else, and `..` means the same to
all.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["place_of", "real_path"]


def real_path(path: str | os.PathLike[str]) -> Path:
    """Follow all links of a path, which may be absent: what would be opened."""
    return Path(os.path.realpath(path))


def place_of(path: str | os.PathLike[str]) -> Path:
    """Follow the links of the folder alone, and keep the name: what would be made, replaced or removed."""
    named = Path(path)
    return real_path(named.parent) / named.name
