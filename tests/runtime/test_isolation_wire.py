"""Frames and values between the host and a worker."""

from __future__ import annotations

import math
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

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
from dataflare.runtime.isolation import wire as wires
from dataflare.runtime.isolation.channel import Channel, Message
from dataflare.runtime.isolation.wire import BrokenWire, TooLarge, Wire, make_memory
from dataflare.values import Err, Ok, Some, Variant

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="shared memory without a name is Linux's")
SIZE = 2**20
RESOURCES = [Resource("batch", batches.INTERFACE, True), Resource("reader", "dataflare:host/files@1.0.0", True)]
U8, U32, S64, F32, F64, TEXT, CHAR, BOOL = map(PrimT, ("u8", "u32", "s64", "f32", "f64", "string", "char", "bool"))


class Handles:
    def number_of(self, thing: Any, type_index: int, *, given: bool) -> int:
        return 7

    def host_object(self, number: int, type_index: int, *, taken: bool) -> Any:
        return {7: "seven"}[number]


def pair(size: int = SIZE) -> tuple[Wire, Wire, socket.socket]:
    """Both ends of a wire, and the socket of the second."""
    one, other = socket.socketpair()
    memory = make_memory(size)
    return Wire(one, memory, size), Wire(other, os.dup(memory), size), other


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    one, other, _ = pair()
    channels = [Channel(each, Handles(), RESOURCES, max_batch_bytes=SIZE) for each in (one, other)]
    yield channels[0], channels[1]
    for each in channels:
        each.close()


def across(ends: tuple[Channel, Channel], ty: Type | None, value: Any, **options: Any) -> Any:
    ends[0].send(ends[0].pack("x", 1, typed=[(ty, value)]), deadline=time.monotonic() + 5)
    message = ends[1].receive(deadline=time.monotonic() + 5)
    assert message.plain == ["x", 1]
    (found,), _ = ends[1].read(message, [ty], **options)
    return found


PAYLOAD = VariantT((("none", None), ("text", TEXT)))


@pytest.mark.parametrize(
    ("ty", "value"),
    [
        (None, None),
        (BOOL, True),
        (U8, 255),
        (S64, -(2**63)),
        (PrimT("u64"), 2**64 - 1),
        (F64, 1.5),
        (F32, math.inf),
        (CHAR, "\u00e9"),
        (TEXT, "text\0\u00e9"),
        (TEXT, "long " * 5000),
        (TEXT, "\u00e9" * 200_000),
        (ListT(U8), b"\0bytes"),
        (ListT(TEXT), ["a", ""]),
        (ListT(ListT(TEXT)), [["a"], []]),
        (TupleT((U8, TEXT)), (1, "a")),
        (OptionT(U8), None),
        (OptionT(OptionT(U8)), Some(None)),
        (OptionT(OptionT(U8)), Some(5)),
        (ResultT(None, None), Ok()),
        (ResultT(ListT(TEXT), TEXT), Ok(["a"])),
        (ResultT(None, PAYLOAD), Err(Variant("text", "x"))),
        (PAYLOAD, Variant("none")),
        (EnumT(("a", "b")), "b"),
        (FlagsT(("a", "b", "c")), frozenset({"a", "c"})),
        (OwnT(1), "seven"),
    ],
)
def test_value_arrives_as_it_was_sent(ends, ty, value):
    found = across(ends, ty, value)
    assert found == value and type(found) is type(value)


def test_numbers_records_and_batches_arrive(ends):
    for dtype, ty in (("<f8", F64), ("<i8", S64), ("|b1", BOOL)):
        sent = np.array([0, 1, 1], dtype)
        found = across(ends, ListT(ty), sent)
        assert found.dtype == sent.dtype and found.tolist() == sent.tolist()
    record = across(ends, RecordT((("a-b", U8), ("class", TEXT))), SimpleNamespace(a_b=1, class_="x"))
    assert (record.a_b, record.class_) == (1, "x")
    rows = pa.record_batch({"a": np.arange(50_000)})
    assert across(ends, OwnT(0), Batch(rows)).arrow.equals(rows)
    assert math.isnan(across(ends, F64, math.nan))


def test_text_arrives_as_bytes_where_that_is_asked_for(ends):
    assert across(ends, TEXT, "\u00e9", raw_text=True) == b"\xc3\xa9"
    assert across(ends, TEXT, memoryview(b"\xc3\xa9"), raw_text=True) == b"\xc3\xa9"


@pytest.mark.parametrize(
    ("ty", "value"),
    [(U8, 256), (U8, True), (U8, "1"), (BOOL, 1), (F64, "x"), (CHAR, "ab"), (TEXT, 1), (ListT(TEXT), "ab"), (None, 0)],
)
def test_value_that_does_not_fit_is_not_sent(ends, ty, value):
    with pytest.raises((TypeError, OverflowError, ValueError)):
        ends[0].pack(typed=[(ty, value)])


NOT_TYPED: list[tuple[Type | None, Any]] = [
    (None, 0),
    (BOOL, 1),
    (U8, True),
    (U8, 1.0),
    (U8, 256),
    (U8, -1),
    (S64, 2**63),
    (F64, 1),
    (F64, "infinity"),
    (CHAR, 0xD800),
    (CHAR, 0x110000),
    (TEXT, 5),
    (TEXT, [0, 99]),
    (TEXT, [8, 1]),
    (TEXT, [0, 1]),  # of \xff
    (ListT(U8), "ab"),
    (ListT(U8), [0]),
    (ListT(U8), [-1, 1]),
    (ListT(U8), [0, -1]),
    (ListT(U8), [0, 2**70]),
    (ListT(U32), [0, 3]),
    (ListT(BOOL), [0, 2]),
    (ListT(TEXT), {"a": "b"}),
    (ListT(TEXT), ["a", 1]),
    (TupleT((U8,)), [1, 2]),
    (RecordT((("a", U8),)), []),
    (RecordT((("a", U8),)), {"a": 1}),
    (OptionT(U8), 1),
    (OptionT(U8), [1, 2]),
    (OptionT(U8), []),
    (ResultT(U8, U8), [2, 1]),
    (ResultT(U8, U8), [True, 1]),
    (ResultT(U8, U8), [0, None]),
    (ResultT(None, None), [0, 1]),
    (PAYLOAD, [2, None]),
    (PAYLOAD, ["text", "x"]),
    (PAYLOAD, [0, "x"]),
    (EnumT(("a",)), "a"),
    (EnumT(("a",)), 1),
    (FlagsT(("a",)), [1]),
    (FlagsT(("a",)), 1),
    (OwnT(0), [0, 4]),
    (OwnT(0), 1),
    (OwnT(1), 8),
    (OwnT(1), "7"),
    (OwnT(1), -7),
]


@pytest.mark.parametrize(("ty", "value"), NOT_TYPED)
def test_value_of_another_type_is_refused(ends, ty, value):
    message = Message([], [value], pa.py_buffer(b"\xff\x02\0\0"))
    with pytest.raises(BrokenWire):
        ends[1].read(message, [ty])


def test_number_of_values_must_be_right(ends):
    with pytest.raises(BrokenWire, match="2 values in place of 1"):
        ends[1].read(Message([], [1, 2], pa.py_buffer(b"")), [U8])


@pytest.mark.parametrize("text", [b"", b"{}", b"[", b"[[]]", b"[[],{}]", b"[[],[],[]]", b"\xff", b"[" * 100_000])
def test_text_that_is_not_a_message_is_refused(text):
    one, other, raw = pair()
    channel = Channel(one, Handles(), RESOURCES, max_batch_bytes=SIZE)
    raw.setblocking(True)
    raw.sendall(struct.pack("<IQ", len(text), 0) + text)
    with pytest.raises(BrokenWire):
        channel.receive(deadline=time.monotonic() + 5)
    channel.close()
    other.close()


@pytest.mark.parametrize(("text", "beside"), [(wires.MAX_TEXT_BYTES + 1, 0), (2, SIZE + 1), (2**32 - 1, 2**64 - 1)])
def test_message_that_is_too_large_is_refused_from_its_head(text, beside):
    one, other, raw = pair()
    raw.send(struct.pack("<IQ", text, beside))
    with pytest.raises(BrokenWire, match="bytes"):
        one.receive(deadline=time.monotonic() + 5)
    one.close()
    other.close()


def test_message_that_is_too_large_is_not_sent():
    one, other, _ = pair(4096)
    with pytest.raises(TooLarge):
        one.send(b"[]", [memoryview(bytes(4097))])
    one.close()
    other.close()


def test_memory_is_taken_within_the_budget_alone():
    one, other, _ = pair()
    one.send(b"[]", [memoryview(bytes(500_000))])
    with serving(HostBudget(100_000)), pytest.raises(OverHostBytes):
        other.receive()
    one.close()
    other.close()


def test_end_of_the_other_side_is_told():
    one, other, _ = pair()
    one.close()
    one.close()
    with pytest.raises(EOFError):
        other.receive(deadline=time.monotonic() + 5)
    other.close()


@pytest.mark.parametrize("sent", [b"", b"\0", struct.pack("<IQ", 100, 0) + b"half"])
def test_message_that_does_not_come_to_its_end_is_out_of_time(sent):
    one, other, raw = pair()
    raw.send(sent)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        one.receive(deadline=began + 0.2)
    assert 0.15 < time.monotonic() - began < 2
    one.close()
    other.close()


def test_message_that_drips_is_out_of_time():
    one, other, raw = pair()
    raw.setblocking(True)
    stop = threading.Event()

    def drip() -> None:
        raw.send(struct.pack("<IQ", 1000, 0))
        while not stop.wait(0.02):
            raw.send(b" ")

    thread = threading.Thread(target=drip)
    thread.start()
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        one.receive(deadline=began + 0.3)
    assert time.monotonic() - began < 2
    stop.set()
    thread.join()
    one.close()
    other.close()


def test_message_that_nobody_takes_is_out_of_time():
    one, other, _ = pair()
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        one.send(b" " * 8 * 2**20, deadline=began + 0.2)
    assert time.monotonic() - began < 2
    one.close()
    other.close()


def test_message_that_has_begun_ends_within_its_own_time(monkeypatch):
    monkeypatch.setattr(wires, "TRANSFER_S", 0.2)
    one, other, raw = pair()
    raw.send(b"\0")
    with pytest.raises(TimeoutError):
        one.receive()
    with pytest.raises(TimeoutError):
        one.send(b" " * 8 * 2**20)
    one.close()
    other.close()


def test_deadline_far_away_can_be_waited_for():
    one, other, _ = pair()
    threading.Timer(0.1, other.send, (b"[[],[]]",)).start()
    assert one.receive(deadline=time.monotonic() + 10**9)[0] == b"[[],[]]"
    one.close()
    other.close()


def test_shared_memory_has_one_size():
    descriptor = make_memory(SIZE)
    for size in (0, SIZE - 1, SIZE + 1):
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, size)
    with pytest.raises(PermissionError):
        os.pwrite(descriptor, b"x", SIZE)
    os.close(descriptor)


def test_descriptors_that_are_sent_along_go_nowhere():
    one, other, raw = pair()
    before = len(os.listdir("/proc/self/fd"))
    text = orjson.dumps([[], []])
    socket.send_fds(raw, [struct.pack("<IQ", len(text), 0) + text], [0, 0, 0])
    assert one.receive(deadline=time.monotonic() + 5)[0] == text
    assert len(os.listdir("/proc/self/fd")) == before
    one.close()
    other.close()
