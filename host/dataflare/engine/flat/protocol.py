"""The protocol between host and flattened component: names of exports, and call numbers of functions not in the WIT."""

from __future__ import annotations

from typing import Final

__all__ = [
    "FILL_EXPORTS",
    "FILL_IMPORTS",
    "FLAT_EXPORT",
    "FLAT_VERSION",
    "MARK",
    "MARKS_EXPORT",
    "MARK_BYTES",
    "SETTLE",
    "UNMARK",
]

FLAT_VERSION: Final = 5
"""Raise this with every change of the generated code, since compiled components are cached."""

FLAT_EXPORT: Final = "flat-call"
"""The export of a flattened component; distinguishes it from one with bridges."""
MARKS_EXPORT: Final = "marks"
"""A second name of the same export; present if the plugin's memory can be marked."""

FILL_IMPORTS: Final = -2
FILL_EXPORTS: Final = -3
"""The call numbers that ask the host to copy one of its buffers: for a host function's result, or for arguments."""

MARK: Final = 0
UNMARK: Final = 1
SETTLE: Final = 2
"""Call numbers above those of the exports, relative to the number of exports: 0 marks the plugin's memory, so that the
host can find it; 1 undoes that; from 2 on, for each export, post-return of a result that the host has read in place."""
MARK_BYTES: Final = 16
