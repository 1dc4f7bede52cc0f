"""The committed components on the real engine."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dataflare import (
    Chunk,
    DatasetName,
    Destination,
    DirectoryGrant,
    Grants,
    Host,
    Limits,
    MemoryLimitExceeded,
    MemoryLogSink,
    NotAComponent,
    OutOfFuel,
    PermissionDenied,
    PluginError,
    PoolSettings,
    Processor,
    RunLost,
    Source,
    Target,
    Transformer,
    UsageError,
    ValueTypeError,
)
from dataflare.runtime.options import Services

COMPONENTS = Path(__file__).parents[2] / "guest-sdks" / "rust" / "components"
KINDS = {
    "csv-source": "source",
    "derive-columns": "transformer",
    "json-mapper": "processor",
    "jsonl-destination": "destination",
}
ROWS = "id,name,price\n1,Ann,1.5\n2,Bob,\n3,Cy,4\n"


@pytest.fixture
def real_host(compiled: Path) -> Iterator[Host]:
    with Host(cache_dir=compiled, services=Services(log_sink=lambda _: MemoryLogSink())) as host:
        yield host


def component(name: str) -> Path:
    return COMPONENTS / f"{name}.wasm"


def reading(path: Path) -> Grants:
    return Grants(files={"data": DirectoryGrant(path=path)})


def writing(path: Path) -> Grants:
    return Grants(files={"out": DirectoryGrant(path=path, access="write")})


def load_source(host: Host, folder: Path, text: str = ROWS, **config: Any) -> Source:
    (folder / "rows.csv").write_text(text)
    source = host.load(component("csv-source"), config={"path": "data/rows.csv", **config}, grants=reading(folder))
    assert isinstance(source, Source)
    return source


def load_destination(host: Host, folder: Path, **options: Any) -> Destination:
    config = {"path": "out/rows.jsonl"}
    destination = host.load(component("jsonl-destination"), config=config, grants=writing(folder), **options)
    assert isinstance(destination, Destination)
    return destination


def load_transformer(host: Host) -> Transformer:
    columns = [{"name": "double", "op": "multiply", "left": "id", "right": 2}]
    transformer = host.load(component("derive-columns"), config={"columns": columns})
    assert isinstance(transformer, Transformer)
    return transformer


def load_mapper(host: Host, config: dict[str, Any], **options: Any) -> Processor:
    mapper = host.load(component("json-mapper"), config=config, **options)
    assert isinstance(mapper, Processor)
    return mapper


ID_NAME = pa.schema([("id", pa.int64()), ("name", pa.string())])
ROWS_TARGET = Target("rows", ID_NAME)


def rows(count: int) -> pa.RecordBatch:
    return pa.record_batch({"id": range(count), "name": [f"n{i}" for i in range(count)]}, ID_NAME)


@pytest.mark.parametrize("name", KINDS)
def test_component_is_inspected_without_running_it(real_host, name):
    found = real_host.inspect(component(name))
    assert (found.kind, found.problems) == (KINDS[name], ())
    assert found.capabilities == (("files",) if name in ("csv-source", "jsonl-destination") else ())
    assert found.wasi == ()
    recorded = json.loads((COMPONENTS / "components.json").read_text())
    assert found.digest.removeprefix("sha256:") in json.dumps(recorded)
    assert found.size_bytes == component(name).stat().st_size


@pytest.mark.parametrize("name", KINDS)
def test_component_tells_what_it_is_without_grants(real_host, name):
    metadata = real_host.metadata(component(name))
    assert (metadata.name, metadata.kind) == (name, KINDS[name])
    assert json.loads(metadata.config_schema)["type"] == "object"


def test_source_reads_a_granted_file(real_host, tmp_path):
    source = load_source(real_host, tmp_path, batch_rows=2)
    (dataset,) = source.discover()
    assert dataset.schema == pa.schema([("id", pa.int64()), ("name", pa.string()), ("price", pa.float64())])
    assert (dataset.name, dataset.modes) == (DatasetName("rows.csv"), {"full", "splittable"})
    estimate = source.estimate()
    assert estimate is not None and estimate.rows == 3
    assert [batch.to_pylist() for batch in source.batches()] == [
        [{"id": 1, "name": "Ann", "price": 1.5}, {"id": 2, "name": "Bob", "price": None}],
        [{"id": 3, "name": "Cy", "price": 4.0}],
    ]


def test_source_goes_on_from_a_state_in_another_host(real_host, compiled, tmp_path):
    first = next(load_source(real_host, tmp_path, batch_rows=2).chunks())
    assert isinstance(first, Chunk)
    with Host(cache_dir=compiled) as other:
        rest = list(load_source(other, tmp_path, batch_rows=2).batches(state=first.state))
    assert [row["id"] for batch in rest for row in batch.to_pylist()] == [3]


def test_state_of_another_source_is_an_error_of_the_plugin(real_host, tmp_path):
    with pytest.raises(PluginError, match="invalid-state") as caught:
        load_source(real_host, tmp_path).open(state=b"nonsense")
    assert not caught.value.retryable


def test_file_outside_of_the_grant_cannot_be_read(real_host, tmp_path):
    (tmp_path / "granted").mkdir()
    (tmp_path / "secret.csv").write_text(ROWS)
    config = {"path": "data/../secret.csv"}
    source = real_host.load(component("csv-source"), config=config, grants=reading(tmp_path / "granted"))
    assert isinstance(source, Source)
    with pytest.raises(PluginError) as caught:
        source.open()
    assert caught.value.error.case == "denied"


def test_missing_grant_is_refused_before_any_code(real_host):
    with pytest.raises(PermissionDenied, match="it needs files") as caught:
        real_host.load(component("csv-source"), config={"path": "data/rows.csv"})
    assert caught.value.capability == "dataflare:host/files"
    assert "grants:\n  files:" in caught.value.hint


def test_transformer_keeps_its_promise(real_host, tmp_path):
    batch = next(load_source(real_host, tmp_path).batches())
    transformer = load_transformer(real_host)
    promised = transformer.output_schema(batch.schema)
    assert promised.field("double").type == pa.int64()
    result = transformer.transform(batch)
    assert result.schema.equals(promised)
    assert result.column("double").to_pylist() == [2, 4, 6]
    assert result.column("name").equals(batch.column("name"))


def test_transformer_says_what_is_wrong_with_a_schema(real_host):
    with pytest.raises(PluginError) as caught:
        load_transformer(real_host).output_schema(pa.schema([("other", pa.int64())]))
    assert "id" in caught.value.message


def test_processor_maps_records_and_batches(real_host):
    mapper = load_mapper(real_host, {"keep_if": {"field": "id", "op": ">=", "value": 1}, "rename": {"name": "who"}})
    assert mapper.process('{"id":0,"name":"n0"}') is None
    assert json.loads(mapper.process('{"id":1,"name":"n1"}') or "") == {"id": 1, "who": "n1"}
    assert mapper.process_batch(rows(3)).to_pylist() == [{"id": 1, "who": "n1"}, {"id": 2, "who": "n2"}]


def test_broken_record_is_an_error_and_the_next_one_is_mapped_by_the_same_instance(real_host):
    mapper = load_mapper(real_host, {"drop": ["a"]})
    with pytest.raises(PluginError, match="invalid-input") as caught:
        mapper.process("{")
    assert caught.value.error.case == "invalid-input"
    assert mapper.process('{"a":1,"b":2}') == '{"b":2}'
    assert mapper.stats.instances == 1


def test_what_is_no_text_is_refused(real_host):
    mapper = load_mapper(real_host, {})
    with pytest.raises(ValueTypeError):
        mapper.process({"a": 1})  # type: ignore[arg-type]
    assert mapper.process("{}") == "{}"


def test_wrong_configuration_is_found_at_the_start(real_host):
    with pytest.raises(PluginError, match=r"invalid-config: .*dropp") as caught:
        load_mapper(real_host, {"dropp": []}).start()
    assert caught.value.export == "dataflare:plugin/lifecycle@1.0.0#configure"


def test_destination_writes_all_of_it_when_it_finishes(real_host, tmp_path):
    destination = load_destination(real_host, tmp_path)
    destination.open(replace(ROWS_TARGET, mode="replace"))
    destination.write(rows(2))
    assert not destination.flush()
    assert not (tmp_path / "rows.jsonl").exists()
    destination.write(rows(1))
    destination.finish()
    assert destination.rows_written == 3
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [0, 1, 0]
    destination.finish()


@pytest.mark.parametrize("way", ["abort", "close"])
def test_destination_that_does_not_finish_leaves_nothing(real_host, tmp_path, way):
    destination = load_destination(real_host, tmp_path)
    destination.open(ROWS_TARGET)
    destination.write(rows(2))
    assert list(tmp_path.iterdir()) != []
    if way == "abort":
        destination.abort()
    else:
        destination.close()
    assert list(tmp_path.iterdir()) == []


def test_run_that_passes_a_limit_is_lost_and_leaves_nothing(real_host, tmp_path):
    destination = load_destination(real_host, tmp_path, limits=Limits(memory_bytes=4 * 2**20))
    destination.open(ROWS_TARGET)
    destination.write(rows(2))
    with pytest.raises(MemoryLimitExceeded) as caught:
        destination.write(rows(300_000))
    assert caught.value.export == "dataflare:plugin/destination@1.0.0#write"
    assert caught.value.plugin == "jsonl-destination"
    with pytest.raises(RunLost):
        destination.finish()
    assert list(tmp_path.iterdir()) == []
    destination.open(ROWS_TARGET)
    destination.write(rows(1))
    destination.finish()
    assert destination.rows_written == 1


def test_call_out_of_fuel_is_a_fault_and_the_next_one_works(real_host):
    mapper = load_mapper(real_host, {"drop": ["a"]}, limits=Limits(fuel=1_000_000))
    with pytest.raises(OutOfFuel):
        mapper.process(json.dumps({f"k{i}": i for i in range(20_000)}))
    assert mapper.process('{"a":1,"b":2}') == '{"b":2}'
    assert (mapper.stats.instances, mapper.stats.faults) == (2, 1)


def test_exception_of_a_host_function_loses_the_run_and_reaches_the_caller(compiled, tmp_path):
    class Broken(Exception):
        pass

    armed: list[bool] = []

    def wrap(plugin: str, namespace: str) -> Any:
        def inner(interface: str, function: str, call: Any) -> Any:
            def guarded(*args: Any) -> Any:
                if armed and function == "[method]writer.write-text":
                    raise Broken("a bug of the host")
                return call(*args)

            return guarded

        return inner

    with Host(cache_dir=compiled, services=Services(wrap=wrap)) as host:
        destination = load_destination(host, tmp_path)
        destination.open(ROWS_TARGET)
        destination.write(rows(1))
        armed.append(True)
        with pytest.raises(Broken):
            destination.write(rows(1))
        with pytest.raises(RunLost):
            destination.flush()
        assert list(tmp_path.iterdir()) == []
        assert destination.stats.faults == 1


def test_calls_out_of_order_are_refused(real_host, tmp_path):
    destination = load_destination(real_host, tmp_path)
    with pytest.raises(UsageError, match="`write` out of order"):
        destination.write(rows(1))
    destination.close()
    with pytest.raises(UsageError, match="is closed"):
        destination.open(ROWS_TARGET)


def test_stats_tell_what_the_calls_took(real_host):
    mapper = load_mapper(real_host, {"drop": ["name"]})
    mapper.process("{" + " " * 1000 + "}")
    mapper.process_batch(rows(1000))
    stats = mapper.stats
    assert stats.calls == 4
    assert stats.host_calls >= 2
    assert stats.bytes_in > 1000
    assert stats.memory_bytes >= 65_536
    assert 0 < stats.guest_ns < stats.wall_ns
    mapper.close()
    assert mapper.stats.calls == 5
    assert mapper.stats.memory_bytes == 0


def test_many_threads_call_one_plugin(real_host):
    mapper = load_mapper(real_host, {"set": {"seen": True}}, pool=PoolSettings(maximum=2))
    results: list[list[str | None]] = []

    def work(number: int) -> None:
        results.append([mapper.process(json.dumps({"n": number, "i": i})) for i in range(50)])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    found = sorted((record["n"], record["i"]) for part in results for record in map(json.loads, map(str, part)))
    assert found == [(n, i) for n in range(6) for i in range(50)]
    assert 1 <= mapper.stats.instances <= 2


@pytest.mark.parametrize("cut", [0, 4, 100, 50_000, -1])
def test_damaged_component_is_refused(real_host, cut):
    with pytest.raises(NotAComponent):
        real_host.load(component("json-mapper").read_bytes()[:cut])


def test_core_module_is_no_component(real_host):
    with pytest.raises(NotAComponent):
        real_host.inspect(b"\0asm\x01\0\0\0")


def test_embedding_takes_ten_lines(compiled, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(compiled))
    plugins, folder = COMPONENTS, tmp_path
    (folder / "orders.csv").write_text("id,price\n1,3\n2,5\n")

    from dataflare import DirectoryGrant, Grants, Host, Target

    files = Grants(files={"here": DirectoryGrant(path=folder, access="write")})
    with Host() as host:
        source = host.load(plugins / "csv-source.wasm", config={"path": "here/orders.csv"}, grants=files)
        gross = {"columns": [{"name": "gross", "op": "multiply", "left": "price", "right": 1.5}]}
        transform = host.load(plugins / "derive-columns.wasm", config=gross)
        output = host.load(plugins / "jsonl-destination.wasm", config={"path": "here/out.jsonl"}, grants=files)
        output.open(Target("orders", transform.output_schema(source.dataset().schema)))  # type: ignore[attr-defined]
        for batch in source.batches():  # type: ignore[attr-defined]
            output.write(transform.transform(batch))  # type: ignore[attr-defined]
        output.finish()  # type: ignore[attr-defined]

    assert (folder / "out.jsonl").read_text() == '{"id":1,"price":3,"gross":4.5}\n{"id":2,"price":5,"gross":7.5}\n'


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks at mappings where Linux tells them")
@pytest.mark.parametrize("way", ["closed plugin", "closed host", "failed"])
def test_a_plugin_that_is_kept_after_its_end_holds_no_file_and_no_code(tmp_path, way):
    def held() -> set[str]:
        mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
        opened = {os.path.realpath(each.path) for each in os.scandir("/proc/self/fd")}
        return {path for path in mapped | opened if path.startswith(str(tmp_path))}

    with Host(cache_dir=tmp_path / "compiled") as host, load_mapper(host, {}) as first:
        first.process("{}")  # which compiles: from now on, code is mapped from a file
    with Host(cache_dir=tmp_path / "compiled") as host:
        kept = load_mapper(host, {"unknown": 1} if way == "failed" else {})
        if way == "failed":
            with pytest.raises(PluginError):
                kept.process("{}")
        else:
            assert kept.process("{}") == "{}"
            assert held()
        (host if way == "closed host" else kept).close()
        assert not held()
