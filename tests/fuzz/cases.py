"""What is fed with cases, and how cases are made of good ones."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Target", "mutated"]

sys.path.append(str(Path(__file__).parents[1] / "support"))  # for targets that are guests


@dataclass(frozen=True)
class Target:
    """Something that reads files: good files, and what reads them; `make` makes cases in a way of its own.

    `address_bytes` is the address space that a child may have; memories of WebAssembly take gigabytes of it. `weight`
    is how many cases of others one of its cases takes.
    """

    seeds: Sequence[bytes]
    read: Callable[[bytes], object]
    make: Callable[[random.Random, Sequence[bytes]], bytes] | None = None
    address_bytes: int = 4 * 2**30
    weight: int = 1


def mutated(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """A random file, or a good one that was damaged."""
    if rng.random() < 0.05:
        return rng.randbytes(rng.randrange(256))
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        if not data:
            break
        at = rng.randrange(len(data))
        match rng.randrange(8):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            case 2:
                del data[at:]
            case 3:
                del data[at : at + rng.randrange(1, 16)]
            case 4:
                data[at:at] = rng.randbytes(rng.randrange(1, 16))
            case 5:
                other = rng.choice(seeds)
                start = rng.randrange(len(other))
                data[at : at + 8] = other[start : start + rng.randrange(1, 64)]
            case 6:
                data[at:at] = data[at : at + rng.randrange(1, 64)] * rng.randrange(1, 8)
            case 7:
                data[at : at + 4] = rng.choice(
                    (b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\xff\xff\xff\x7f", b"\xff\xff\xff\x0f")
                )
    return bytes(data[: 2**20])
