"""How long many calls took, in little memory that does not grow."""

from __future__ import annotations

import math
from collections import Counter
from typing import Final

__all__ = ["SHARES", "Latencies"]

SHARES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
"""The percentiles that reports have, by name."""
_PER_OCTAVE: Final = 16
_LEAST_S: Final = 1e-7


class Latencies:
    """Counts durations in ranges, each 4.4 % wider than the one before. One thread at a time adds; all may read.

    Attributes:
        count: How many there are.
        total_s: Their sum, in seconds.
        least_s: The shortest; 0 if there are none.
        most_s: The longest; 0 if there are none.
    """

    __slots__ = ("_ranges", "count", "least_s", "most_s", "total_s")

    def __init__(self) -> None:
        self.count = 0
        self.total_s = 0.0
        self.least_s = 0.0
        self.most_s = 0.0
        self._ranges: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """Count one."""
        self._ranges[math.floor(math.log2(max(seconds, _LEAST_S)) * _PER_OCTAVE)] += 1
        self.least_s = seconds if not self.count else min(self.least_s, seconds)
        self.most_s = max(self.most_s, seconds)
        self.total_s += seconds
        self.count += 1

    def percentile(self, share: float) -> float:
        """The duration that this share of all does not pass, in seconds, to within 2.2 %; 0 if there are none.

        Args:
            share: From 0 to 1.
        """
        wanted = max(1, math.ceil(share * self.count))
        for number, count in sorted(self._ranges.copy().items()):
            wanted -= count
            if wanted <= 0:
                return min(max(2 ** ((number + 0.5) / _PER_OCTAVE), self.least_s), self.most_s)
        return self.most_s

    def to_json(self) -> dict[str, float]:
        """Write the count, the percentiles and the longest as what JSON can hold, in seconds."""
        shares = {name: round(self.percentile(share), 7) for name, share in SHARES.items()}
        return {"batches": self.count, **shares, "max": round(self.most_s, 7)}
