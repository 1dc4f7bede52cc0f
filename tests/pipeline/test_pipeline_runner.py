from __future__ import annotations

import _thread
import json
import os
import threading
import time
import weakref

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from dataflare.errors import ConfigError, GuestPanic, PluginError
from dataflare.pipeline import batching
from dataflare.pipeline.channel import Channel, Stopped
from dataflare.pipeline.run_errors import DataError, NodeFailed
from dataflare.pipeline.runner import run
from dataflare.values import Variant
from pipeline_fakes import (
    FakeDestination,
    FakeHost,
    FakePlugin,
    FakeProcessor,
    FakeSource,
    FakeTransformer,
    FakeValidator,
    rows_of,
)


@pytest.fixture(autouse=True)
def batches_stay_as_they_come(monkeypatch):
    monkeypatch.setattr(batching, "SMALL_ROWS", 1)


SOURCE = "  in: {plugin: source.wasm}\n"
MIDDLE = "  middle: {plugin: processor.wasm, input: in}\n"
TARGET = "  out: {plugin: destination.wasm, input: middle}\n"
CHAIN = SOURCE + MIDDLE + TARGET


def doubled(rows: pa.RecordBatch) -> pa.RecordBatch:
    return rows_of(*(2 * x for x in rows.column("x").to_pylist()))


def test_rows_go_from_node_to_node_in_order(specify):
    target = FakeDestination()
    host = FakeHost(
        source=FakeSource([rows_of(1, 2), rows_of(3)]), processor=FakeProcessor(doubled), destination=target
    )
    report = run(specify(CHAIN), host=host)
    assert target.rows == [{"x": 2}, {"x": 4}, {"x": 6}]
    assert target.calls == ["load", "start", "open", "write", "write", "flush", "finish", "close"]
    assert (report.status, report.rows_in, report.rows_out) == ("completed", 3, 3)


def test_a_node_may_have_several_takers(specify):
    one, two = FakeDestination(), FakeDestination()
    host = FakeHost(source=FakeSource([rows_of(1, 2)]), destination=one, second=two)
    report = run(
        specify(
            SOURCE
            + "  a: {plugin: destination.wasm, input: in}\n  b: {plugin: second.wasm, input: in}\n"
            + "  c: {connector: jsonl, write: c.jsonl, input: in}\n"
        ),
        host=host,
    )
    assert one.rows == two.rows == [{"x": 1}, {"x": 2}]
    assert (report.rows_in, report.rows_out) == (2, 6)


def test_two_chains_run_in_one_pipeline(specify):
    one, two = FakeDestination(), FakeDestination()
    host = FakeHost(source=FakeSource([rows_of(1)]), processor=FakeSource([rows_of(2)]), destination=one, second=two)
    run(
        specify(
            SOURCE
            + "  also: {plugin: processor.wasm}\n"
            + "  a: {plugin: destination.wasm, input: in}\n  b: {plugin: second.wasm, input: also}\n"
        ),
        host=host,
    )
    assert (one.rows, two.rows) == ([{"x": 1}], [{"x": 2}])


def test_connectors_read_and_write_files(specify, tmp_path):
    (tmp_path / "in.csv").write_text("x,y\n1,a\n2,b\n")
    report = run(
        specify(
            "  in: {connector: csv, read: in.csv}\n  out: {connector: parquet, write: sub/out.parquet, input: in}\n"
        ),
        host=FakeHost(),
    )
    assert parquet.read_table(tmp_path / "sub" / "out.parquet").to_pydict() == {"x": [1, 2], "y": ["a", "b"]}
    assert [node.uses for node in report.nodes] == ["csv in.csv", "parquet sub/out.parquet"]


@pytest.mark.parametrize("batches", [[], [rows_of()]])
def test_a_source_without_rows_makes_an_empty_output_with_its_schema(specify, tmp_path, batches):
    host = FakeHost(source=FakeSource(batches, rows_of().schema), processor=FakeProcessor())
    run(specify(SOURCE + MIDDLE + "  out: {connector: parquet, write: out.parquet, input: middle}\n"), host=host)
    table = parquet.read_table(tmp_path / "out.parquet")
    assert (table.num_rows, table.schema) == (0, rows_of().schema)


def test_a_transformer_is_asked_for_its_schema_once(specify):
    transformer = FakeTransformer(doubled)
    target = FakeDestination()
    host = FakeHost(source=FakeSource([rows_of(1)] * 3), processor=transformer, destination=target)
    run(specify(CHAIN), host=host)
    assert transformer.calls == ["load", "start", "output_schema", *["transform"] * 3, "close"]
    assert target.rows == [{"x": 2}] * 3


def test_a_plugin_is_loaded_with_what_the_pipeline_says(specify, tmp_path):
    host = FakeHost(source=FakeSource([rows_of(1)]), destination=FakeDestination())
    run(
        specify(
            "  in: {plugin: source.wasm, config: {a: 1}, grants: {files: {data: {path: x}}, state: true},"
            " limits: {memory: 8MiB}}\n  out: {plugin: destination.wasm, input: in}\n"
        ),
        host=host,
    )
    loaded = host.loaded["in"]
    assert loaded["config"] == {"a": 1}
    assert loaded["grants"].files["data"].path == tmp_path / "x"
    assert loaded["grants"].capabilities == {"files", "state"}
    assert loaded["limits"].memory_bytes == 8 * 2**20
    assert loaded["pipeline"].name == "test"
    assert host.loaded["out"]["config"] == {}


def test_the_report_says_what_each_node_did(specify):
    host = FakeHost(
        source=FakeSource([rows_of(1, -2), rows_of(3)]),
        processor=FakeProcessor(lambda rows: rows.slice(1)),
        validator=FakeValidator(severity="warning"),
        destination=FakeDestination(),
    )
    report = run(
        specify(
            SOURCE
            + "  check: {plugin: validator.wasm, input: in}\n"
            + MIDDLE.replace("input: in", "input: check")
            + TARGET
        ),
        host=host,
    )
    data = report.to_json()
    assert json.loads(json.dumps(data)) == data
    assert [(node["name"], node["rows_in"], node["rows_out"], node["batches"]) for node in data["nodes"]] == [
        ("in", 0, 3, 2),
        ("check", 3, 3, 2),
        ("middle", 3, 1, 1),
        ("out", 1, 1, 1),
    ]
    assert data["nodes"][1]["violations"] == {"positive": 1}
    assert [node["dropped"] for node in data["nodes"]] == [0, 0, 2, 0]
    assert [node["bytes"] for node in data["nodes"]] == [24, 24, 8, 8]
    assert data["nodes"][0]["bytes_copied_in"] == 10
    assert data["nodes"][0]["bytes_copied_out"] == 20
    parts = [data["nodes"][0][f"{part}_seconds"] for part in ("guest", "marshal", "host")]
    assert parts == [4e-6, 2e-6, 3e-6]
    assert 0 < data["nodes"][0]["seconds"] < data["seconds"]
    assert (data["pipeline"], data["status"], data["rows_in"], data["rows_out"]) == ("test", "completed", 3, 1)


def test_progress_is_told_in_the_callers_thread(specify):
    told = []
    host = FakeHost(source=FakeSource([rows_of(1, 2)] * 5), processor=FakeProcessor(), destination=FakeDestination())
    run(specify(CHAIN), host=host, progress=lambda progress: told.append((progress, threading.current_thread())))
    assert {thread for _, thread in told} == {threading.main_thread()}
    last = told[-1][0]
    assert (last.rows, last.rows_expected, last.bytes) == (10, 10, 80)
    assert last.elapsed_s > 0


@pytest.mark.parametrize(
    ("node", "plugin", "function"),
    [
        ("in", "source", "load"),
        ("in", "source", "start"),
        ("in", "source", "read"),
        ("middle", "processor", "start"),
        ("middle", "processor", "process_batch"),
        ("out", "destination", "open"),
        ("out", "destination", "write"),
        ("out", "destination", "flush"),
        ("out", "destination", "finish"),
    ],
)
def test_a_failure_names_its_node_and_aborts_and_closes_everything(specify, tmp_path, node, plugin, function):
    error = GuestPanic("unreachable", plugin=node, export="x")
    plugins: dict[str, FakePlugin] = {
        "source": FakeSource([rows_of(1)] * 20),
        "processor": FakeProcessor(),
        "destination": FakeDestination(),
    }
    plugins[plugin].fail_in, plugins[plugin].error = function, error
    specification = specify(SOURCE + MIDDLE + "  file: {connector: csv, write: file.csv, input: middle}\n" + TARGET)
    with pytest.raises(NodeFailed) as caught:
        run(specification, host=FakeHost(**plugins))
    assert caught.value.node == node
    assert caught.value.__cause__ is error
    assert caught.value.where == specification.where("nodes", node)
    assert str(caught.value).startswith(f"{caught.value.where}: node {node!r} failed: ")
    report = caught.value.report
    assert report.status == "failed"
    assert [each.name for each in report.nodes if each.errors] == ([node] if function != "load" else [])
    if function != "finish":
        assert not (tmp_path / "file.csv").exists()
    assert [name for name in os.listdir(tmp_path) if name.endswith(".partial")] == []
    for each in plugins.values():
        assert each.calls.count("close") == each.calls.count("load") - (each.fail_in == "load")
    if "open" in plugins["destination"].calls and function != "open":
        assert plugins["destination"].calls[-2:] == ["abort", "close"]


def test_what_was_finished_before_a_failure_is_named(specify, tmp_path):
    target = FakeDestination(fail_in="finish", error=GuestPanic("unreachable"))
    host = FakeHost(source=FakeSource([rows_of(1)]), processor=FakeProcessor(), destination=target)
    with pytest.raises(NodeFailed) as caught:
        run(specify(SOURCE + MIDDLE + "  file: {connector: csv, write: f.csv, input: middle}\n" + TARGET), host=host)
    assert caught.value.__notes__ == ["outputs that are finished and visible: file"]
    assert (tmp_path / "f.csv").exists()


def test_a_wrong_configuration_is_named_with_its_line(specify):
    error = PluginError("no", error=Variant("invalid-config", "a is missing"))
    host = FakeHost(source=FakeSource([rows_of(1)], fail_in="start", error=error), destination=FakeDestination())
    nodes = "  in:\n    plugin: source.wasm\n    config: {}\n  out: {plugin: destination.wasm, input: in}\n"
    with pytest.raises(NodeFailed) as caught:
        run(specify(nodes), host=host)
    assert caught.value.where.endswith(":5")


@pytest.mark.parametrize("function", ["load", "process_batch"])
def test_a_fault_of_the_host_itself_passes_through_with_a_note(specify, function):
    error = ZeroDivisionError("a bug")
    host = FakeHost(
        source=FakeSource([rows_of(1)]),
        processor=FakeProcessor(fail_in=function, error=error),
        destination=FakeDestination(),
    )
    with pytest.raises(ZeroDivisionError) as caught:
        run(specify(CHAIN), host=host)
    assert caught.value is error
    assert error.__notes__ == ["in node 'middle' of pipeline 'test'"]


def test_an_abort_that_fails_does_not_hide_the_failure(specify):
    target = FakeDestination(fail_in="abort", error=GuestPanic("again"))
    error = GuestPanic("first")
    host = FakeHost(
        source=FakeSource([rows_of(1), rows_of(2)]),
        processor=FakeProcessor(lambda rows: rows if rows.column("x")[0].as_py() == 1 else _raise(target, error)),
        destination=target,
    )
    with pytest.raises(NodeFailed) as caught:
        run(specify(CHAIN), host=host)
    assert caught.value.__cause__ is error
    assert "node 'out' could not be aborted" in caught.value.__notes__[0]
    assert "close" in target.calls


def _raise(target: FakeDestination, error: Exception) -> pa.RecordBatch:
    while "write" not in target.calls:
        time.sleep(0.001)
    raise error


def test_a_plugin_that_cannot_be_closed_keeps_no_other_one_open(specify):
    class Stuck(FakeProcessor):
        def close(self) -> None:
            raise OSError("stuck")

    source, target = FakeSource([rows_of(1)]), FakeDestination()
    with pytest.raises(OSError, match="stuck"):
        run(specify(CHAIN), host=FakeHost(source=source, processor=Stuck(), destination=target))
    assert (source.calls[-1], target.calls[-1]) == ("close", "close")


def test_an_interrupt_aborts_everything(specify, tmp_path):
    target = FakeDestination()
    once = threading.Lock()  # a second interrupt would meet whatever comes after the run

    def slow(rows: pa.RecordBatch) -> pa.RecordBatch:
        if "write" in target.calls and once.acquire(blocking=False):
            _thread.interrupt_main()
        time.sleep(0.005)
        return rows

    host = FakeHost(source=FakeSource([rows_of(1)] * 1000), processor=FakeProcessor(slow), destination=target)
    threads_before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        run(specify(SOURCE + MIDDLE + "  f: {connector: csv, write: f.csv, input: middle}\n" + TARGET), host=host)
    assert target.calls[-2:] == ["abort", "close"]
    assert len(target.written) < 1000
    assert [name for name in os.listdir(tmp_path) if name.startswith((".", "f."))] == []
    assert set(threading.enumerate()) <= threads_before


def test_a_plugin_that_others_only_call_is_loaded_and_moves_no_rows(specify):
    helper, target = FakeProcessor(), FakeDestination()
    host = FakeHost(source=FakeSource([rows_of(1)]), processor=helper, destination=target)
    report = run(
        specify(
            "  in: {plugin: source.wasm, grants: {plugins: [helper]}}\n  helper: {plugin: processor.wasm}\n"
            "  out: {plugin: destination.wasm, input: in}\n"
        ),
        host=host,
    )
    assert helper.calls == ["load", "start", "close"]
    assert host.loaded["in"]["grants"].plugins == {"helper"}
    assert target.rows == [{"x": 1}]
    assert [node.rows_out for node in report.nodes] == [1, 0, 1]


def test_after_a_failure_the_other_plugins_are_asked_to_end(specify):
    error = GuestPanic("unreachable")
    host = FakeHost(
        source=FakeSource([rows_of(1)]),
        processor=FakeProcessor(fail_in="process_batch", error=error),
        destination=FakeDestination(),
    )
    with pytest.raises(NodeFailed):
        run(specify(CHAIN), host=host)
    assert set(host.cancelled) == {"test"}


def test_few_batches_are_alive_at_a_time(specify):
    made: list[weakref.ref[pa.RecordBatch]] = []
    most = []

    class Endless(FakeSource):
        def chunks(self):
            for number in range(200):
                chunk = rows_of(number)
                made.append(weakref.ref(chunk))
                yield from FakeSource([chunk]).chunks()

    class Slow(FakeDestination):
        def write(self, rows: pa.RecordBatch) -> None:
            most.append(sum(batch() is not None for batch in made))

    host = FakeHost(source=Endless([rows_of(0)]), processor=FakeProcessor(), destination=Slow())
    run(specify(CHAIN.replace("processor.wasm", "processor.wasm, workers: 2")), host=host)
    # In each of two queues two; in the hands of three nodes two each, what comes in and what goes out; of the workers
    # two, and two whose results wait (and one that the source's loop holds).
    assert max(most) <= 15


def test_a_plugin_of_the_wrong_kind_is_refused_before_anything_is_loaded(specify):
    host = FakeHost(source=FakeSource([rows_of(1)]), processor=FakeSource([rows_of(1)]), destination=FakeDestination())
    with pytest.raises(ConfigError, match="is a source, and takes no input"):
        run(specify(CHAIN), host=host)
    assert host.loaded == {}


def test_a_component_that_is_no_plugin_is_refused(specify):
    host = FakeHost(source=FakeSource([rows_of(1)]), nothing=FakePlugin(), destination=FakeDestination())
    with pytest.raises(NodeFailed, match="it exports nothing"):
        run(specify(CHAIN.replace("processor", "nothing")), host=host)


def test_a_broken_file_fails_its_node(specify, tmp_path):
    (tmp_path / "in.csv").write_text("x\n1\n2,3\n")
    with pytest.raises(NodeFailed) as caught:
        run(
            specify("  in: {connector: csv, read: in.csv}\n  out: {connector: csv, write: out.csv, input: in}\n"),
            host=FakeHost(),
        )
    assert caught.value.node == "in"
    assert isinstance(caught.value.__cause__, DataError)
    assert caught.value.__cause__.line == 3
    assert sorted(name for name in os.listdir(tmp_path) if not name.endswith(".wasm")) == ["in.csv"]


def test_a_stopped_channel_lets_nobody_wait():
    channel: Channel[int] = Channel(1)
    channel.put(1)
    stopped = []

    def wait() -> None:
        try:
            channel.put(2)
        except Stopped as error:
            stopped.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    channel.stop()
    waiting.join(timeout=5)
    assert (waiting.is_alive(), len(stopped)) == (False, 1)
    for call in (channel.get, lambda: channel.put(3)):
        with pytest.raises(Stopped):
            call()
