"""When SpiderMonkey collects garbage: limits in the memory that a component in JavaScript starts with.

It collects when its heap, or what objects have outside the heap, has grown by tens of MiB: right for a browser, and
too much for a plugin, of which each instance would take over 100 MiB in the end. ComponentizeJS has no option for the
limits. They are found by their values, which the locked release always has.
"""

from __future__ import annotations

import struct
from typing import Final

from dataflare.toolchain.run_tool import BuildFailed

__all__ = ["LIMITS", "collect_early"]

_MIB: Final = 2**20
_NURSERY: Final = 1 * _MIB
_BASE: Final = 2 * _MIB
_GROWTH: Final = 1.5
# Its `GCSchedulingTunables`: bytes at most, of the nursery at least and at most, of a zone before the first collection,
# of a small and a large heap; how much of a threshold may pass in steps; what collections often means, and the growth
# between two of them: seldom, often in a small heap, often in a large one; bytes outside the heap before the first.
_SETTINGS: Final = struct.Struct("<6I 2d Q 3d I")


def _settings(*, nursery: int, heap: int, growth: float, outside: int) -> bytes:
    small, large = 100 * _MIB, 500 * _MIB
    return _SETTINGS.pack(32 * _MIB, _MIB // 4, nursery, heap, small, large, 1.7, 1.1, 10**9, 1.5, growth, 1.5, outside)


_KNOWN: Final = _settings(nursery=64 * _MIB, heap=27 * _MIB, growth=3.0, outside=38 * _MIB)
LIMITS: Final = _settings(nursery=_NURSERY, heap=_BASE, growth=_GROWTH, outside=_BASE)
"""What the limits become: a component depends on them."""
# The thresholds of a zone that has not been collected, which follow from them: the first word is the one that counts.
_ZONE_HEAP: Final = struct.Struct("<3I").pack(30_504_029, 97_612_893, 2**32 - 1)
_ZONE_OUTSIDE: Final = struct.Struct("<2I").pack(57 * _MIB, 121 * _MIB)


def collect_early(component: bytes) -> bytes:
    """Let the engine in a component collect when its heap has grown by half, from 2 MiB on.

    Args:
        component: What ComponentizeJS made.

    Returns:
        The component with other limits, and as long as it was.

    Raises:
        BuildFailed: It has other limits than those of the locked release.
    """
    if component.count(_KNOWN) != 1:
        raise BuildFailed(
            "the limits of SpiderMonkey's garbage collector are not in the component",
            hint="use the release of ComponentizeJS that package-lock.json names",
        )
    first = struct.pack("<I", int(_BASE * _GROWTH))
    changed = component.replace(_KNOWN, LIMITS)
    for threshold in (_ZONE_HEAP, _ZONE_OUTSIDE):
        changed = changed.replace(threshold, first + threshold[len(first) :])
    return changed
