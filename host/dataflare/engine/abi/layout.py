"""Where things lie in a bridge's memory.

A memory has `MEMORY_BYTES`. The lower half belongs to the bridge: a header, room for one call's arguments or result,
and a heap that is emptied at each call. The upper half is the host's, which writes arguments and results there.
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
"""Where a host function's arguments are (written by the bridge), then where its result is (written by the host)."""
DROPPED_COUNT_AT: Final = 16
"""How many of the host's handles were dropped since the host last looked."""
DROPPED_LIST_AT: Final = 64
DROPPED_CAPACITY: Final = 900

# The rest is for flattened components only. An address from `MEMORY_BYTES` on stands for something outside of this
# memory: of what a plugin gives, for one of the places on a list of addresses in the plugin's memory; of what the host
# gives, for one of the host's own buffers.
IN_PLACE_BYTES: Final = 65_536
"""From here on, texts and lists of numbers are read where they are, and written where they will be."""
IN_PLACE_AT: Final = 24
"""1 where the host knows the plugin's memory."""
FILLED_FROM_AT: Final = 28
"""The number of the host's buffer that is wanted in the plugin's memory."""
FILLED_TO_AT: Final = 32
"""Where it is wanted."""
OWED_AT: Final = 40
"""The result that post-return still has to be called with."""
OWES_AT: Final = 44
"""1 where it has."""
LEFT_COUNT_AT: Final = 48
"""How many of a call's values were left in the plugin's memory."""
LEFT_LIST_AT: Final = 3712
"""Their addresses."""
LEFT_CAPACITY: Final = 90
MARK_AT: Final = LEFT_LIST_AT
"""A mark in the plugin's memory, while nothing else is there."""
FRAME_AT: Final = 4096
"""Arguments of a host function, or the result of an export."""
