"""What a host and a flattened component agree on: names of exports, and numbers for what is not a function."""

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

FLAT_VERSION: Final = 4
"""To be raised with every change of what is generated, since compiled components are kept."""

FLAT_EXPORT: Final = "flat-call"
"""The export of a flattened component, by which it is told from one with bridges."""
MARKS_EXPORT: Final = "marks"
"""A second name of it, where the plugin's memory can be marked."""

FILL_IMPORTS: Final = -2
FILL_EXPORTS: Final = -3
"""The numbers by which a host is asked for a buffer of its own, for a result of its functions, or for arguments."""

MARK: Final = 0
UNMARK: Final = 1
SETTLE: Final = 2
"""What can be called apart from exports, counted from their number on: marking the plugin's memory, so that the host
can tell which it is, undoing that, and, for each export, post-return of a result that the host has read in place."""
MARK_BYTES: Final = 16
