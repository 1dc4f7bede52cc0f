"""Attacks by code in a worker's process on the limit of its memory, past what the limit counts."""

from __future__ import annotations

import ctypes
import mmap
from typing import Final

from arena import Arena, Mutation, attack
from attacks_jail import ANONYMOUS, PRIVATE, READ, ROOM, WRITE
from dataflare.runtime.isolation.seccomp import ALLOWED, Rule
from jailed import jailed

_PART: Final = 8 * 2**20
_libc: Final = ctypes.CDLL(None)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def _fills(protection: int) -> bool:
    """Whether twice the limit can be filled where what was written is given another protection."""
    for _ in range(2 * ROOM // _PART):
        at = _libc.mmap(None, _PART, READ | WRITE, PRIVATE | ANONYMOUS, -1, 0)
        if at == ctypes.c_void_p(-1).value:
            return False
        for page in range(at, at + _PART, mmap.PAGESIZE):
            ctypes.c_char.from_address(page).value = b"x"
        if _libc.mprotect(at, _PART, protection):
            return False
    return True


@attack("processes")
def memory_that_may_be_written_no_more(arena: Arena) -> None:
    """Fill memory and make it read-only, so that the limit on private memory no longer counts it."""
    for protection in (READ, 0):
        assert jailed(lambda p=protection: _fills(p), room_bytes=ROOM) is False


MUTATIONS = [
    Mutation(
        "dataflare.runtime.isolation.seccomp:ALLOWED",
        {**ALLOWED, "mprotect": (Rule(2, within=READ | WRITE),)},
        ("memory_that_may_be_written_no_more",),
    )
]
