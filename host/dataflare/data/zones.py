"""Which time zones Arrow knows."""

from __future__ import annotations

from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["arrow_has_zone"]


@cache
def arrow_has_zone(name: str) -> bool:
    """Whether Arrow finds a zone: it reads only the system's database, which may not have old names."""
    try:
        pc.local_timestamp(pa.scalar(0, pa.timestamp("s", name)))
    except pa.ArrowException:
        return False
    return True
