"""What is left to gain, and what do other designs take? Peers of the same job, hand-written for it.

- The floor: wasmtime-py calls a core module that keeps what it is given; the host copies bytes into its memory and out
  of it by hand. No Python host on wasmtime can be faster, and it has neither types nor limits.
- Arrow IPC through an export, as RisingWave's arrow-udf has it: the host writes a stream into the guest's memory, the
  guest answers with one. The guest here knows where the column is, so it need not parse anything: it shows the least
  that the design takes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import wasmtime

from bench_columns import ROWS, SIZES, make_rows
from bench_echo import TRIPS
from benchkit.results import Contest
from dataflare.engine.engine import Engine
from dataflare.runtime.host import Host
from dataflare.runtime.transformer import Transformer

_CODE = """(module
  (memory (export "memory") 1)
  (func (export "reserve") (param $bytes i32) (result i32)
    (local $missing i32)
    (local.set $missing (i32.sub (i32.add (i32.const 1) (i32.shr_u (i32.add (local.get $bytes) (i32.const 65535))
      (i32.const 16))) (memory.size)))
    (if (i32.gt_s (local.get $missing) (i32.const 0)) (then (drop (memory.grow (local.get $missing)))))
    (i32.const 64))
  (func (export "echo") (param $at i32) (param $bytes i32) (result i32) (local.get $at))
  ;; Doubles numbers where they are.
  (func (export "double") (param $at i32) (param $count i32) (local $end i32)
    (local.set $end (i32.add (local.get $at) (i32.shl (local.get $count) (i32.const 3))))
    (loop $next
      (v128.store (local.get $at) (f64x2.mul (v128.load (local.get $at)) (v128.const f64x2 2 2)))
      (local.set $at (i32.add (local.get $at) (i32.const 16)))
      (br_if $next (i32.lt_u (local.get $at) (local.get $end))))))"""


class CoreModule:
    """The hand-written guest, reached by core calls; its calls can be ended, as ours can."""

    def __init__(self) -> None:
        config = wasmtime.Config()
        config.epoch_interruption = True
        engine = wasmtime.Engine(config)
        self._store = wasmtime.Store(engine)
        self._store.set_epoch_deadline(2**40)
        instance = wasmtime.Instance(self._store, wasmtime.Module(engine, _CODE), [])
        exports = instance.exports(self._store)
        self._memory: Any = exports["memory"]
        self._reserve, self._echo, self._double = exports["reserve"], exports["echo"], exports["double"]

    def _address(self) -> int:
        found = ctypes.cast(self._memory.data_ptr(self._store), ctypes.c_void_p).value
        assert found is not None
        return found

    def echo(self, data: bytes) -> bytes:
        """Bytes there and back."""
        at = self._reserve(self._store, len(data))
        ctypes.memmove(self._address() + at, data, len(data))
        at = self._echo(self._store, at, len(data))
        return ctypes.string_at(self._address() + at, len(data))

    def double(self, stream: pa.Buffer, column_at: int, rows: int) -> bytes:
        """An Arrow stream there and back, with the numbers of one column doubled."""
        at = self._reserve(self._store, stream.size)
        ctypes.memmove(self._address() + at, stream.address, stream.size)
        self._double(self._store, at + column_at, rows)
        return ctypes.string_at(self._address() + at, stream.size)


@pytest.mark.parametrize(("size", "repeats", "most"), [(8_000_000, 1, 1.5), (1000, 200, None)], ids=["8 MB", "1 KB"])
def bench_floor(
    contest: Contest, engine: Engine, guest: Callable[[str], bytes], size: int, repeats: int, most: float | None
) -> None:
    """Bytes through a typed, limited plugin, beside core calls with copies by hand."""
    contest.ask(f"{size:,} bytes echoed, against a bare core module and copies by hand", sizes=f"{size:,} B")
    octets, bare = np.random.default_rng(1).bytes(size), CoreModule()
    with engine.load(guest("bench-echo"), name="bench-echo").instantiate({}) as instance:
        assert instance.call(TRIPS, "echo-octets", octets) == bare.echo(octets) == octets
        contest.run(
            {"ours": lambda: instance.call(TRIPS, "echo-octets", octets), "bare": lambda: bare.echo(octets)},
            rounds=30,
            repeats={"ours": repeats, "bare": repeats},
        )
    contest.cost(
        f"{size:,} B echo as list<u8>, of a bare core module's time",
        "ours",
        over="bare",
        at_most=most,
        limited_by="two copies are the least that there is: into the plugin's memory, and out of it",
    )


def bench_arrow_through_an_export(contest: Contest, host: Host, guest: Callable[[str], bytes]) -> None:
    """One column of a million rows doubled, beside Arrow IPC in and out of an export."""
    contest.ask("A column doubled through column views, against Arrow IPC in and out of an export", sizes=SIZES)
    rows, bare = make_rows(), CoreModule()

    def through_ipc() -> pa.RecordBatch:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_batch(rows)
        stream = sink.getvalue()
        with pa.ipc.open_stream(bare.double(stream, column_at, ROWS)) as reader:
            return reader.read_next_batch()

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_batch(rows)
    column_at = sink.getvalue().to_pybytes().index(rows.column(0).buffers()[1].to_pybytes()[:64])
    with host.load(guest("bench-columns"), name="bench-columns", config={"column": "a"}) as plugin:
        assert isinstance(plugin, Transformer)
        assert plugin.transform(rows).equals(through_ipc())
        contest.run({"ours": lambda: plugin.transform(rows), "IPC through an export": through_ipc}, rounds=25)
    contest.cost(
        "a column of 1 M rows doubled, of the time of Arrow IPC through an export",
        "ours",
        over="IPC through an export",
        at_most=1.0,
        limited_by="the guest's own loop over 8 MB",
    )
