"""Resolves paths: to the file that would be opened, or to the place of the name itself.

One rule: a path is resolved once, by one of these two functions, before anything is decided about it, and the decision
only applies to the result. So a link that is changed later has no effect, and `..` has one meaning everywhere.
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
