"""The data of a core module, in fewer segments.

Go's linker leaves out every run of zeros, and so writes a segment for every few words: 45,000 of them. wasmtime makes
one function of all of them for a memory that the host owns. To compile it took four times as long as to compile the
plugin's own code.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from dataflare.component_binary import read_u32, section, sections, u32

__all__ = ["merge_segments"]

_GAP_BYTES: Final = 32
"""Zeros between two segments that are written rather than left out."""
_IMPORTS, _DATA, _DATA_COUNT = 2, 11, 12
_FUNCTION: Final = 0
_I32_CONST, _END = 0x41, 0x0B


class _Segment(NamedTuple):
    offset: int
    data: memoryview


def merge_segments(module: bytes) -> bytes:
    """Merge segments that are close to each other; what they put into memory stays the same.

    Args:
        module: A valid core module. Comes back as it is if its code may refer to segments by number, if its memory may
            be another's, or if segments overlap.
    """
    found = list(sections(memoryview(module)))
    if any(each.id == _DATA_COUNT or (each.id == _IMPORTS and not _only_functions(each.payload)) for each in found):
        return module
    parts = [module[:8]]
    for each in found:
        merged = _merged(each.payload) if each.id == _DATA else None
        parts.append(module[each.start : each.end] if merged is None else section(_DATA, merged))
    return b"".join(parts)


def _only_functions(payload: memoryview) -> bool:
    count, at = read_u32(payload, 0)
    for _ in range(count):
        for _ in range(2):
            length, at = read_u32(payload, at)
            at += length
        if payload[at] != _FUNCTION:
            return False
        _, at = read_u32(payload, at + 1)
    return True


def _merged(payload: memoryview) -> bytes | None:
    """Write a data section anew; `None` if it is to stay as it is."""
    segments = _read(payload)
    if segments is None:
        return None
    segments.sort(key=lambda each: each.offset)
    runs: list[tuple[int, bytearray]] = []
    for offset, data in segments:
        gap = offset - (runs[-1][0] + len(runs[-1][1])) if runs else _GAP_BYTES + 1
        if gap < 0:
            return None
        if gap <= _GAP_BYTES:
            runs[-1][1].extend(bytes(gap))
            runs[-1][1].extend(data)
        else:
            runs.append((offset, bytearray(data)))
    parts = [u32(len(runs))]
    for offset, run in runs:
        parts += [bytes([0, _I32_CONST]), _signed(offset), bytes([_END]), u32(len(run)), bytes(run)]
    return b"".join(parts)


def _read(payload: memoryview) -> list[_Segment] | None:
    """Return the segments; `None` if one is passive, in another memory, or not at a constant place."""
    count, at = read_u32(payload, 0)
    found = []
    for _ in range(count):
        if payload[at] != 0 or payload[at + 1] != _I32_CONST:
            return None
        offset, at = _read_signed(payload, at + 2)
        if payload[at] != _END:
            return None
        length, at = read_u32(payload, at + 1)
        found.append(_Segment(offset, payload[at : at + length]))
        at += length
    return found


def _read_signed(payload: memoryview, at: int) -> tuple[int, int]:
    """Decode an i32 in signed LEB128; returns it as an address, and where the next thing begins."""
    value = shift = 0
    while True:
        byte = payload[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            sign = -(1 << shift) if byte & 0x40 else 0
            return (value | sign) & 0xFFFF_FFFF, at


def _signed(address: int) -> bytes:
    """Encode an address as an i32 in signed LEB128."""
    value = address - (1 << 32) if address >= 1 << 31 else address
    out = bytearray()
    while not -64 <= value < 64:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value & 0x7F)
    return bytes(out)
