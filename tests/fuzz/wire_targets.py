"""Messages between the host and a worker: what either side reads of a hostile other one."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from cases import Target
from dataflare.budgets import HostBudget, OverHostBytes, serving
from dataflare.data import batches
from dataflare.data.batches import Batch
from dataflare.engine.abi.types import (
    EnumT,
    FlagsT,
    ListT,
    OptionT,
    OwnT,
    PrimT,
    RecordT,
    Resource,
    ResultT,
    TupleT,
    Type,
    VariantT,
)
from dataflare.errors import ProtocolFault
from dataflare.runtime.isolation.channel import Channel
from dataflare.runtime.isolation.wire import BrokenWire, Wire, make_memory
from dataflare.values import Ok

SIZE: Final = 2**20
_WAIT_S: Final = 0.05
_RESOURCES: Final = [Resource("batch", batches.INTERFACE, True), Resource("reader", "dataflare:host/files@1.0.0", True)]
_U8, _S64, _F64, _CHAR, _BOOL, _TEXT = map(PrimT, ("u8", "s64", "f64", "char", "bool", "string"))
_TYPES: Final[tuple[Type, ...]] = (
    ResultT(OptionT(_TEXT), VariantT((("a", _TEXT), ("b", None)))),
    TupleT((_U8, _S64, _F64, _CHAR, _BOOL)),
    ListT(RecordT((("x", _S64), ("y", ListT(_F64))))),
    TupleT((EnumT(("p", "q")), FlagsT(("r", "s")), OptionT(OptionT(_U8)))),
    ResultT(OwnT(0), _TEXT),
    TupleT((OwnT(1), ListT(_BOOL), ListT(_U8))),
)
_VALUES: Final[tuple[Any, ...]] = (
    Ok("x" * 2000),
    (1, -5, 0.5, "c", True),
    [SimpleNamespace(x=1, y=np.array([1.5, 2.0]))],
    ("q", ["r"], None),
    Ok(Batch(pa.record_batch({"n": [1, None], "s": ["a", "b"]}))),
    ("thing", np.array([True, False]), b"bytes"),
)


class _Handles:
    def number_of(self, thing: Any, type_index: int, *, given: bool) -> int:
        return 7

    def host_object(self, number: int, type_index: int, *, taken: bool) -> Any:
        return {7: "thing"}[number]


def _channel(*, charged: bool) -> tuple[Channel, socket.socket]:
    ours, theirs = socket.socketpair()
    channel = Channel(
        Wire(ours, make_memory(SIZE), SIZE), _Handles(), _RESOURCES, max_batch_bytes=SIZE, charged=charged
    )
    return channel, theirs


@cache
def _seeds() -> Sequence[bytes]:
    channel, theirs = _channel(charged=False)
    seeds = []
    with theirs:
        for number, (ty, value) in enumerate(zip(_TYPES, _VALUES, strict=True)):
            channel.send(channel.pack("result", [0] * 9, True, typed=[(ty, value)]))
            seeds.append(bytes([number]) + theirs.recv(2**16))
    channel.close()
    return seeds


def _read(data: bytes, *, charged: bool, raw_text: bool) -> None:
    """Read one message, whose first byte says of which type it is; the other side goes silent after it."""
    if not data:
        raise ProtocolFault("nothing came", plugin="fuzz", export="")
    channel, theirs = _channel(charged=charged)
    began = time.monotonic()
    budget = HostBudget(16 * SIZE)
    try:
        with theirs, serving(budget):
            theirs.setblocking(False)
            theirs.send(data[1 : 2**17])
            message = channel.receive(deadline=began + _WAIT_S)
            channel.read(message, [_TYPES[data[0] % len(_TYPES)]], raw_text=raw_text)
    except (BrokenWire, EOFError, TimeoutError, OverHostBytes) as error:
        raise ProtocolFault(str(error), plugin="fuzz", export="") from error
    finally:
        channel.close()
        if time.monotonic() > began + 2:
            raise AssertionError("a message held the reader up")


def targets() -> dict[str, Target]:
    """Both sides, by name."""
    return {
        "wire-host": Target(_seeds(), lambda data: _read(data, charged=True, raw_text=True)),
        "wire-worker": Target(_seeds(), lambda data: _read(data, charged=False, raw_text=False)),
    }
