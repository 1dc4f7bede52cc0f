"""The layout of a bridge's memory.

A memory has `MEMORY_BYTES`. The lower half belongs to the bridge: a header, room for one call's arguments or result,
and a heap that is emptied at each call. The upper half belongs to the host, which writes arguments and results there.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "DROPPED_CAPACITY",
    "DROPPED_COUNT_AT",
    "DROPPED_LIST_AT",
    "FILLED_FROM_AT",
    "FILLED_TO_AT",
    "FRAME_AT",
    "HOST_HALF_AT",
    "IN_PLACE_AT",
    "IN_PLACE_BYTES",
    "LEFT_CAPACITY",
    "LEFT_COUNT_AT",
    "LEFT_LIST_AT",
    "MARK_AT",
    "MEMORY_BYTES",
    "MEMORY_PAGES",
    "OVERFLOW_AT",
    "OWED_AT",
    "OWES_AT",
    "POINTER_AT",
]

MEMORY_PAGES: Final = 16_384
MEMORY_BYTES: Final = MEMORY_PAGES * 65_536
HOST_HALF_AT: Final = MEMORY_BYTES // 2

OVERFLOW_AT: Final = 0
"""1 when the heap was too small."""
POINTER_AT: Final = 8
"""Address of a host function's arguments (written by the bridge), then of its result (written by the host)."""
DROPPED_COUNT_AT: Final = 16
"""Number of host handles that the plugin has dropped since the host last checked."""
DROPPED_LIST_AT: Final = 64
DROPPED_CAPACITY: Final = 900

# The rest is for flattened components only. An address of at least `MEMORY_BYTES` stands for something outside this
# memory. In a plugin's values, it refers to an entry in a list of addresses in the plugin's memory; in the host's
# values, to one of the host's buffers.
IN_PLACE_BYTES: Final = 65_536
"""Texts and lists of numbers of at least this size are read and written in the plugin's own memory."""
IN_PLACE_AT: Final = 24
"""1 if the host knows the plugin's memory."""
FILLED_FROM_AT: Final = 28
"""Number of the host's buffer that must be copied into the plugin's memory."""
FILLED_TO_AT: Final = 32
"""Address in the plugin's memory to which it must be copied."""
OWED_AT: Final = 40
"""The result with which post-return must still be called."""
OWES_AT: Final = 44
"""1 if post-return must still be called."""
LEFT_COUNT_AT: Final = 48
"""Number of a call's values that were left in the plugin's memory."""
LEFT_LIST_AT: Final = 3712
"""Their addresses."""
LEFT_CAPACITY: Final = 90
MARK_AT: Final = LEFT_LIST_AT
"""The mark by which the plugin's memory is found; the list above is empty then."""
FRAME_AT: Final = 4096
"""Arguments of a host function, or the result of an export."""
