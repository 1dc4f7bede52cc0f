"""Attacks by streams whose strings are views: they point where they like, and may all show the same bytes."""

from __future__ import annotations

import struct

import pyarrow as pa

from arena import Arena, Mutation, answers, attack
from attacks_arrow import MIB, one, refused_stream, stream


@attack("memory")
def views_that_lie(arena: Arena) -> None:
    """Send views of buffers that are not there, before their beginning, past their end, and of negative length."""
    good = stream(one(pa.array(["x" * 100], pa.string_view())))
    honest = struct.pack("<i4sii", 100, b"xxxx", 0, 0)
    assert good.count(honest) == 1
    for lie in ((100, 1, 0), (100, -1, 0), (100, 0, 1), (100, 0, -1), (2**31 - 1, 0, 0), (-1, 0, 0)):
        refused_stream(good.replace(honest, struct.pack("<i4sii", lie[0], b"xxxx", *lie[1:])), "malformed", "too-large")


@attack("memory")
def bytes_that_many_views_share(arena: Arena) -> None:
    """Show one text of a MiB in a hundred views: what is copied is a hundred times what was sent."""
    view = struct.pack("<i4sii", MIB, b"xxxx", 0, 0)
    shared = [None, pa.py_buffer(view * 100), pa.py_buffer(b"x" * MIB)]
    refused_stream(stream(one(pa.Array.from_buffers(pa.string_view(), 100, shared))), "too-large")


MUTATIONS = [
    Mutation("dataflare.data.ipc_views:_check_within", answers(None), ("views_that_lie",)),
    Mutation("dataflare.data.ipc:_Decoder._add", answers(None), ("bytes_that_many_views_share",)),
]
