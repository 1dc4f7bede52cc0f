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
    "FRAME_AT",
    "HOST_HALF_AT",
    "MEMORY_BYTES",
    "MEMORY_PAGES",
    "OVERFLOW_AT",
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
DROPPED_CAPACITY: Final = 1000
FRAME_AT: Final = 4096
"""Arguments of a host function, or the result of an export."""
