"""`dataflare:host/random`: random bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Any, Protocol

from dataflare.grants import Grants
from dataflare.locks import Lock

__all__ = ["MAX_BYTES", "Random", "SeededRandom", "SystemRandom", "imports", "provide"]

MAX_BYTES = 65_536
"""Maximum bytes of one call."""

_BLOCK = 4096


class Random(Protocol):
    """A source of random bytes. Any thread may use it."""

    def take(self, length: int) -> bytes:
        """Return the next `length` bytes."""


class SystemRandom:
    """Unpredictable bytes from the operating system."""

    def take(self, length: int) -> bytes:
        return os.urandom(length)


class SeededRandom:
    """A stream of bytes from a seed: the same on every machine, for any sizes of calls.

    For repeatable runs, not for secrets: anyone who knows the seed knows the bytes.

    Args:
        seed: 0 to 2**64 - 1.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed.to_bytes(8, "little")
        self._lock = Lock()
        self._blocks = 0
        self._rest = b""

    def take(self, length: int) -> bytes:
        with self._lock:
            parts = [self._rest]
            have = len(self._rest)
            while have < length:
                counter = self._blocks.to_bytes(8, "little")
                parts.append(hashlib.shake_256(b"dataflare:random" + self._seed + counter).digest(_BLOCK))
                self._blocks += 1
                have += _BLOCK
            stream = b"".join(parts)
            self._rest = stream[length:]
            return stream[:length]


def imports(random: Random) -> dict[str, Callable[..., Any]]:
    """Make the functions of the interface, by their names in the WIT."""

    def get_random_bytes(length: int) -> bytes:
        return random.take(min(length, MAX_BYTES))

    return {"get-random-bytes": get_random_bytes}


class _Context(Protocol):
    @property
    def grants(self) -> Grants: ...


def provide(context: _Context) -> dict[str, Callable[..., Any]]:
    """Make the functions that one plugin gets, by their names in the WIT."""
    seed = context.grants.random_seed
    return imports(SystemRandom() if seed is None else SeededRandom(seed))
