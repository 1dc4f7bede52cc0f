"""Plugins in processes of their own."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dataflare import (
    CallTimeout,
    ConfigError,
    Destination,
    DirectoryGrant,
    Grants,
    Host,
    Limits,
    MemoryLogSink,
    OutOfFuel,
    PluginError,
    Processor,
    ProtocolFault,
    Source,
    Transformer,
    WorkerDied,
)
from dataflare.data.batches import Batch
from dataflare.runtime.isolation.jail import confine
from dataflare.runtime.isolation.process import IsolatedInstance
from dataflare.runtime.isolation.wire import BrokenWire, Wire
from dataflare.values import Err, Ok, Some, Variant

COMPONENTS = Path(__file__).parents[2] / "guest-sdks" / "rust" / "components"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sealed memory is Linux's")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("compiled")
    folder.chmod(0o700)
    with Host(cache_dir=folder, log_sink=lambda _: MemoryLogSink()) as made:
        yield made


def mapper(host: Host, **options: Any) -> Processor:
    loaded = host.load(COMPONENTS / "json-mapper.wasm", config={"set": {"k": 1}}, **{"isolation": "process", **options})
    assert isinstance(loaded, Processor)
    return loaded


def instance_of(plugin: Any) -> IsolatedInstance:
    plugin.start()
    worker, _ = plugin._pool._idle[0]
    assert isinstance(worker.instance, IsolatedInstance)
    return worker.instance


def test_isolated_processor_does_what_it_does_otherwise(host):
    with mapper(host) as isolated, mapper(host, isolation="none") as plain:
        for record in ('{"a":1}', '{"k":2,"b":[1,2]}', '{"s":"\u00e9"}'):
            assert isolated.process(record) == plain.process(record)
        rows = pa.record_batch({"a": [1, 2, 3], "s": ["x", None, "z"]})
        assert isolated.process_batch(rows).equals(plain.process_batch(rows))
        assert isolated.metadata == plain.metadata and isolated.health() == plain.health()
        with pytest.raises(PluginError) as caught:
            isolated.process("{")
        assert caught.value.error.case == "invalid-input"
        assert isolated.stats.calls >= 6 and isolated.stats.memory_bytes > 0


def test_isolated_plugins_use_files_through_the_host(host, tmp_path):
    (tmp_path / "rows.csv").write_text("id,name\n1,Ann\n2,Bob\n")
    grants = Grants(files={"data": DirectoryGrant(path=tmp_path, writable=True)})
    source = host.load(
        COMPONENTS / "csv-source.wasm", config={"path": "data/rows.csv"}, grants=grants, isolation="process"
    )
    sink = host.load(
        COMPONENTS / "jsonl-destination.wasm", config={"path": "data/out.jsonl"}, grants=grants, isolation="process"
    )
    assert isinstance(source, Source) and isinstance(sink, Destination)
    with source, sink:
        (rows,) = source.batches()
        sink.prepare(rows.schema)
        sink.write(rows)
        sink.flush()
        sink.finish()
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [
        {"id": 1, "name": "Ann"},
        {"id": 2, "name": "Bob"},
    ]


def test_batch_of_many_rows_goes_both_ways(host):
    columns = [{"name": "double", "op": "multiply", "left": "id", "right": 2}]
    plugin = host.load(COMPONENTS / "derive-columns.wasm", config={"columns": columns}, isolation="process")
    assert isinstance(plugin, Transformer)
    with plugin:
        rows = pa.record_batch({"id": np.arange(500_000)})
        assert plugin.transform(rows).column("double").to_numpy()[-1] == 2 * 499_999


def test_worker_that_is_killed_is_a_fault_and_is_replaced(host):
    with mapper(host) as plugin:
        first = instance_of(plugin)
        os.kill(first.pid, signal.SIGKILL)
        with pytest.raises(WorkerDied, match="signal 9"):
            plugin.process("{}")
        assert plugin.process("{}") == '{"k":1}'
        assert plugin.stats.faults == 1 and instance_of(plugin).pid != first.pid


def test_worker_that_stands_still_is_killed_in_time(host):
    with mapper(host, limits=Limits(call_timeout_s=0.3)) as plugin:
        stuck = instance_of(plugin)
        os.kill(stuck.pid, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(CallTimeout, match="its worker was killed"):
            plugin.process("{}")
        assert time.monotonic() - began < 5
        assert plugin.process("{}") == '{"k":1}'


def test_limits_hold_in_a_worker(host):
    with mapper(host, limits=Limits(fuel=20_000_000)) as plugin:
        assert plugin.process("{}") == '{"k":1}'
        with pytest.raises(OutOfFuel) as caught:
            plugin.process(json.dumps({"a": list(range(1_000_000))}))
        assert caught.value.plugin == plugin.name and caught.value.limit == "fuel"


def test_worker_with_little_memory_starts(tmp_path):
    tmp_path.chmod(0o700)
    small = Limits(memory_bytes=8 * 2**20)
    with Host(cache_dir=tmp_path, max_batch_bytes=2**20) as host, mapper(host, limits=small) as plugin:
        assert plugin.process("{}") == '{"k":1}'


def test_closing_ends_the_worker(host):
    plugin = mapper(host)
    pid = instance_of(plugin).pid
    plugin.close()
    assert not Path(f"/proc/{pid}").exists()


def test_exception_of_a_host_function_comes_through_unchanged(tmp_path_factory):
    class Broken(Exception):
        pass

    def wrap(plugin: str, namespace: str) -> Any:
        def outer(interface: str, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
            def fail(*args: Any) -> Any:
                raise Broken

            return fail if name == "open" else function

        return outer

    folder = tmp_path_factory.mktemp("compiled")
    folder.chmod(0o700)
    with Host(cache_dir=folder, wrap=wrap) as host:
        grants = Grants(files={"data": DirectoryGrant(path=folder)})
        source = host.load(
            COMPONENTS / "csv-source.wasm", config={"path": "data/x.csv"}, grants=grants, isolation="process"
        )
        with pytest.raises(Broken):
            list(source.batches())
        source.close()


def test_unknown_isolation_is_refused(host):
    with pytest.raises(ConfigError, match="none of none, process"):
        mapper(host, isolation="thread")


# The jail.


def _try(connection: Any) -> None:
    """What a confined process can still do, tried within one."""
    in_force = confine(data_bytes=2**30)
    tries: dict[str, Callable[[], object]] = {
        "read": lambda: open("/etc/passwd").close(),
        "write": lambda: open("/tmp/dataflare-jail", "w").close(),
        "list": lambda: os.listdir("/"),
        "socket": lambda: socket.socket(),
        "fork": os.fork,
        "exec": lambda: os.execv("/bin/true", ["true"]),
        "allocate": lambda: bytearray(3 * 2**30),
        "import": lambda: __import__("colorsys"),
        "memory": lambda: os.close(os.memfd_create("x")),
    }
    results = {}
    for name, attempt in tries.items():
        try:
            if attempt() == 0 and name == "fork":
                os._exit(0)
            results[name] = "done"
        except (OSError, MemoryError) as error:
            results[name] = type(error).__name__
    connection.send((in_force, results))


def test_confined_process_reaches_nothing():
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_try_in_one_thread, args=(theirs,))
    process.start()
    assert ours.poll(20)
    in_force, results = ours.recv()
    process.join()
    # What the kernel does not have is not told to be in force.
    if "seccomp" in in_force:
        assert results["socket"] == results["fork"] == results["exec"] == "PermissionError"
    if "landlock" in in_force:
        assert results["read"] == results["write"] == results["list"] == "PermissionError"
    if "rlimits" in in_force:
        assert results["allocate"] == "MemoryError"
    assert "no-new-privileges" in in_force
    assert results["import"] == results["memory"] == "done"


def _try_in_one_thread(connection: Any) -> None:
    _try(connection)


def test_worker_says_how_it_is_confined(host):
    with mapper(host) as plugin:
        instance = instance_of(plugin)
        assert "no-new-privileges" in instance.in_force
        status = Path(f"/proc/{instance.pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status
        assert ("Seccomp:\t2" in status) == ("seccomp" in instance.in_force)


# The wire.


class NoHandles:
    def number_of(self, thing: Any) -> int:
        return 7

    def thing_of(self, number: int) -> Any:
        return {7: "seven"}[number]


@pytest.fixture
def wires() -> Iterator[tuple[Wire, Wire]]:
    one, other = socket.socketpair()
    pair = Wire(one, NoHandles(), max_batch_bytes=2**20), Wire(other, NoHandles(), max_batch_bytes=2**20)
    yield pair
    for each in pair:
        each.close()


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 0, -(2**63), 2**64 - 1, 1.5, float("inf"), "text\0\u00e9", b"\0bytes", [1, [2]], (1, "a")),
        *(
            frozenset({"a"}),
            Ok(),
            Ok([1]),
            Err(Variant("case", "x")),
            Some(Some(None)),
            Variant("none", None),
            {"a": 1},
        ),
    ],
)
def test_value_arrives_as_it_was_sent(wires, value):
    wires[0].send("x", value)
    assert wires[1].receive(5) == ["x", value]


def test_batches_arrays_records_and_handles_arrive(wires):
    class Reader:
        def close_handle(self) -> None: ...

    rows = pa.record_batch({"a": [1, 2]})
    wires[0].send(Batch(rows), np.arange(3, dtype="<u8"), Some(Reader()))
    batch, array, handle = wires[1].receive(5)
    assert batch.arrow.equals(rows) and array.tolist() == [0, 1, 2] and handle == Some("seven")


@pytest.mark.parametrize(
    "text",
    [
        *(
            b"{}",
            b"[",
            b'[["bytes", 0, 99]]',
            b'[["bytes", -1, 1]]',
            b'[["batch", 0]]',
            b'[["handle", 8]]',
            b'[{"a": 1}]',
        ),
        *(
            b'[["array", "|O", 0, 8]]',
            b'[["no-such"]]',
            b'[["record", 1]]',
            b"[" + b'["list", ' * 5000 + b"0" + b"]" * 5001,
        ),
    ],
)
def test_message_that_is_none_is_refused(text):
    one, other = socket.socketpair()
    with one:
        wire = Wire(other, NoHandles(), max_batch_bytes=2**20)
        one.sendall(
            len(text).to_bytes(8, "little")[:0] + b"\0\0\0\0" + len(text).to_bytes(4, "little") + bytes(8) + text
        )
        with pytest.raises(BrokenWire):
            wire.receive(5)
        wire.close()


def test_memory_that_is_not_sealed_is_refused():
    one, other = socket.socketpair()
    with one:
        wire = Wire(other, NoHandles(), max_batch_bytes=2**20)
        descriptor = os.memfd_create("x", os.MFD_ALLOW_SEALING)
        os.write(descriptor, b"x" * 100)
        text = b'[["batch", 0]]'
        head = (1).to_bytes(4, "little") + len(text).to_bytes(4, "little") + bytes(8)
        socket.send_fds(one, [head], [descriptor])
        one.sendall(text)
        with pytest.raises(BrokenWire, match="could still change"):
            wire.receive(5)
        os.close(descriptor)
        wire.close()


def test_huge_message_is_refused_before_memory_is_taken():
    one, other = socket.socketpair()
    with one:
        wire = Wire(other, NoHandles(), max_batch_bytes=2**20)
        one.sendall(bytes(4) + b"\xff" * 4 + b"\xff" * 8)
        with pytest.raises(BrokenWire, match="size"):
            wire.receive(5)
        wire.close()


def test_worker_that_speaks_nonsense_is_killed(host, monkeypatch):
    with mapper(host) as plugin:
        instance = instance_of(plugin)
        monkeypatch.setattr(Wire, "receive", lambda *_: ["host", "dataflare:host/secrets@1.0.0", "get", ["token"]])
        with pytest.raises(ProtocolFault, match="not granted"):
            instance.call("x", "y")
        monkeypatch.undo()
        assert not instance.alive
