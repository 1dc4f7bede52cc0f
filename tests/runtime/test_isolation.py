"""Plugins in processes of their own."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
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
    Source,
    Target,
    Transformer,
    UsageError,
    WorkerDied,
)
from dataflare.runtime.isolation.instance import IsolatedInstance
from dataflare.runtime.options import Services

COMPONENTS = Path(__file__).parents[2] / "guest-sdks" / "rust" / "components"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sealed memory is Linux's")


@pytest.fixture(scope="module")
def host(compiled: Path) -> Iterator[Host]:
    with Host(cache_dir=compiled, services=Services(log_sink=lambda _: MemoryLogSink())) as made:
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
    grants = Grants(files={"data": DirectoryGrant(path=tmp_path, access="write")})
    source = host.load(
        COMPONENTS / "csv-source.wasm", config={"path": "data/rows.csv"}, grants=grants, isolation="process"
    )
    sink = host.load(
        COMPONENTS / "jsonl-destination.wasm", config={"path": "data/out.jsonl"}, grants=grants, isolation="process"
    )
    assert isinstance(source, Source) and isinstance(sink, Destination)
    with source, sink:
        (rows,) = source.batches()
        sink.open(Target("rows", rows.schema))
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
    with (
        Host(cache_dir=tmp_path, services=Services(max_batch_bytes=2**20)) as host,
        mapper(host, limits=small) as plugin,
    ):
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

            return fail if name == "stat" else function

        return outer

    folder = tmp_path_factory.mktemp("compiled")
    folder.chmod(0o700)
    with Host(cache_dir=folder, services=Services(wrap=wrap)) as host:
        grants = Grants(files={"data": DirectoryGrant(path=folder)})
        source = host.load(
            COMPONENTS / "csv-source.wasm", config={"path": "data/x.csv"}, grants=grants, isolation="process"
        )
        with pytest.raises(Broken):
            list(source.batches())  # type: ignore[attr-defined]
        source.close()


def test_worker_serves_one_call_at_a_time(host):
    with mapper(host) as plugin:
        instance = instance_of(plugin)
        interface = next(name for name, it in instance._shape.exports.items() if "process" in it.funcs)
        first = instance._channel.pack
        refused = []

        def use() -> None:
            with pytest.raises(UsageError, match="within a call"):
                instance.call(interface, "process", '{"b":2}')
            refused.append("refused")

        def pack(*args: Any, **named: Any) -> Any:
            instance._channel.pack = first
            use()
            thread = threading.Thread(target=use)
            thread.start()
            thread.join()
            return first(*args, **named)

        instance._channel.pack = pack
        assert instance.call(interface, "process", '{"a":1}').value == '{"a":1,"k":1}'
        assert len(refused) == 2
        assert instance.call(interface, "process", '{"c":3}').value == '{"c":3,"k":1}'


def test_unknown_isolation_is_refused(host):
    with pytest.raises(ConfigError, match="not one of none, process, process-best-effort"):
        mapper(host, isolation="thread")


# Starts and ends.


def test_worker_says_how_it_is_confined(host):
    with mapper(host) as plugin:
        instance = instance_of(plugin)
        assert {"no-new-privileges", "no-capabilities", "parent-death", "rlimits", "seccomp"} <= set(instance.in_force)
        status = status_of(instance)
        assert (status["NoNewPrivs"], status["Seccomp"], int(status["CapEff"], 16)) == ("1", "2", 0)
        assert ("unprivileged" in instance.in_force) == (os.getuid() == 0)
        assert "0" not in status["Uid"].split() and "0" not in status["Gid"].split()


def status_of(instance: IsolatedInstance) -> dict[str, str]:
    lines = Path(f"/proc/{instance.pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_worker_outlives_the_thread_that_started_it(host):
    with mapper(host) as plugin:
        thread = threading.Thread(target=plugin.start)
        thread.start()
        thread.join()
        time.sleep(0.05)
        assert plugin.process("{}") == '{"k":1}' and plugin.stats.faults == 0


@pytest.mark.parametrize("how", ["SIGKILL", "exit"])
def test_worker_ends_with_its_host(tmp_path, how):
    code = """
import os, signal, sys, time
from pathlib import Path
from dataflare import Host
with Host(cache_dir=Path(sys.argv[2])) as host:
    plugin = host.load(Path(sys.argv[1]), isolation="process")
    plugin.start()
    print(plugin._pool._idle[0][0].instance.pid, flush=True)
    time.sleep(60) if sys.argv[3] == "SIGKILL" else os._exit(0)
"""
    tmp_path.chmod(0o700)
    child = subprocess.Popen(
        [sys.executable, "-c", code, COMPONENTS / "json-mapper.wasm", tmp_path, how], stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        worker = int(child.stdout.readline())
        descriptor = os.pidfd_open(worker)
        # It computes, or is stopped: the end of the connection alone would tell it nothing.
        os.kill(worker, signal.SIGSTOP)
        if how == "SIGKILL":
            child.kill()
        assert select.select([descriptor], [], [], 10)[0], "the worker is still there"
        os.close(descriptor)


def test_no_process_is_left_behind(host):
    before = children()
    with mapper(host) as plugin:
        instance_of(plugin)
        assert len(children()) == len(before) + 1
        os.kill(instance_of(plugin).pid, signal.SIGKILL)
        with pytest.raises(WorkerDied):
            plugin.process("{}")
    assert children() == before


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split() + [
        pid
        for task in os.listdir("/proc/self/task")
        if task != str(os.getpid())
        for pid in Path(f"/proc/self/task/{task}/children").read_text().split()
    ]


def test_interrupt_ends_the_worker_and_comes_through_at_once(host):
    with mapper(host) as plugin:
        instance = instance_of(plugin)
        os.kill(instance.pid, signal.SIGSTOP)
        timer = threading.Timer(0.2, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
        timer.start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            plugin.process("{}")
        assert time.monotonic() - began < 0.5
        assert not instance.alive and not Path(f"/proc/{instance.pid}").exists()
        assert plugin.process("{}") == '{"k":1}'


def test_error_in_the_guest_leaves_the_worker_alive(host):
    with mapper(host) as plugin:
        first = instance_of(plugin)
        with pytest.raises(PluginError):
            plugin.process("{")
        assert instance_of(plugin) is first


def test_forked_host_starts_workers_of_its_own(host):
    child = os.fork()
    if child == 0:
        try:
            with mapper(host) as plugin:
                os._exit(0 if plugin.process("{}") == '{"k":1}' else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# A kernel that lacks a part.

_WITHOUT = """
import ctypes, os, struct, sys
from pathlib import Path
from dataflare import ConfigError, Host
from dataflare.runtime.isolation import seccomp
from dataflare.runtime.isolation.privileges import no_new_privileges
part, isolation, component, cache = sys.argv[1:]
host = Host(cache_dir=Path(cache))
plugin = host.load(Path(component), isolation=isolation, config={"set": {"k": 1}})
numbers = {"landlock": (444, 445, 446), "seccomp": (seccomp.NUMBERS[os.uname().machine]["seccomp"],)}[part]
# What a kernel without it answers: ENOSYS.
program = [(0x20, 0, 0, 0)] + [each for n in numbers for each in ((0x15, 0, 1, n), (0x06, 0, 0, 0x50026))]
program.append((0x06, 0, 0, 0x7FFF0000))
code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *each) for each in program))
no_new_privileges()
libc = ctypes.CDLL(None)
header = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(code)))
assert libc.syscall(seccomp.NUMBERS[os.uname().machine]["seccomp"], 1, 1, header) == 0
try:
    assert plugin.process("{}") == '{"k":1}'
    print(*plugin._pool._idle[0][0].instance.in_force)
except ConfigError as error:
    print("refused:", error)
plugin.close()
host.close()
"""


def without(part: str, isolation: str, cache: Path) -> str:
    cache.chmod(0o700)
    command = [sys.executable, "-c", _WITHOUT, part, isolation, COMPONENTS / "json-mapper.wasm", cache]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_kernel_without_seccomp_is_an_error_that_names_it(tmp_path):
    said = without("seccomp", "process", tmp_path)
    assert said.startswith("refused: isolation: this machine cannot confine a process: seccomp: Function not impl")
    assert "process-best-effort" in said


def test_weaker_jail_is_taken_where_the_operator_accepts_it(tmp_path):
    in_force = without("seccomp", "process-best-effort", tmp_path).split()
    assert "seccomp" not in in_force and {"rlimits", "no-new-privileges"} <= set(in_force)


def test_kernel_without_landlock_opens_no_files_at_all(tmp_path):
    in_force = without("landlock", "process", tmp_path).split()
    assert "seccomp" in in_force
    assert not any(each.startswith("landlock") for each in in_force)
