"""The example sources and destinations with several datasets, parts, modes and roles, in and out of a process."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from dataflare import (
    ConfigError,
    DatasetName,
    Destination,
    DirectoryGrant,
    Grants,
    Host,
    NodeFailed,
    PermissionDenied,
    PluginError,
    Policy,
    Selection,
    Source,
    Target,
    Transformer,
    run,
)
from dataflare.data.roles import Roles, roles_of, with_roles
from dataflare.security.audit import MemoryAuditLog
from dataflare.security.settings import Security
from guest_kit import component

COMPONENTS = Path(__file__).parents[2] / "guest-sdks/rust/components"
N = pa.schema([("n", pa.int64())])

both = pytest.mark.parametrize("isolation", ["none", "process"])


@pytest.fixture(scope="module")
def host():
    with Host() as host:
        yield host


@pytest.fixture
def load(host, tmp_path):
    opened = []

    def make(name, path, isolation="none", **config):
        grants = Grants(files={"d": DirectoryGrant(path=tmp_path, access="write")})
        config = {"path": f"d/{path}", **config}
        plugin = host.load(COMPONENTS / f"{name}.wasm", config=config, grants=grants, isolation=isolation)
        opened.append(plugin)
        assert isinstance(plugin, Source | Destination)
        return plugin

    yield make
    for each in opened:
        each.close()


def folder_of_files(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, first in (("a.csv", 0), ("b.csv", 100)):
        rows = "".join(f'{n},"line {n}\nand more"\n' for n in range(first, first + 50))
        (folder / name).write_text(f"n,text\n{rows}")
    (folder / "readme.txt").write_text("not a dataset")
    return folder


def numbers(chunks) -> list[int]:
    return [n for rows in chunks for n in rows["n"].to_pylist()]


@both
def test_each_file_of_a_folder_is_a_dataset(load, tmp_path, isolation):
    folder_of_files(tmp_path)
    source = load("csv-source", "in", isolation)
    assert [str(each.name) for each in source.discover()] == ["a.csv", "b.csv"]
    with pytest.raises(ConfigError, match="has 2 datasets, and none is selected"):
        source.open()
    (schema, _) = source.open([Selection("b.csv", columns=["n"]), "a.csv"])
    assert schema == N
    chunks = list(source.chunks([Selection("b.csv", columns=["n"]), "a.csv"], max_rows=30))
    assert numbers(chunk.rows for chunk in chunks) == [*range(100, 150), *range(50)]
    assert [chunk.dataset for chunk in chunks] == [DatasetName("b.csv")] * 2 + [DatasetName("a.csv")] * 2
    assert chunks[0].rows.schema.names == ["n"]


@pytest.mark.parametrize("at", range(4))
def test_read_of_several_files_goes_on_from_every_state(load, tmp_path, at):
    folder_of_files(tmp_path)
    chunks = list(load("csv-source", "in").chunks(["a.csv", "b.csv"], max_rows=25))
    before = numbers(chunk.rows for chunk in chunks[: at + 1])
    rest = numbers(load("csv-source", "in").batches(["a.csv", "b.csv"], state=chunks[at].state))
    assert before + rest == [*range(50), *range(100, 150)]


@both
@pytest.mark.parametrize("at_most", [1, 2, 3, 7, 1000])
def test_parts_have_every_row_once_though_records_have_line_ends(load, tmp_path, at_most, isolation):
    folder_of_files(tmp_path)
    source = load("csv-source", "in", isolation)
    parts = source.split(["a.csv", "b.csv"], at_most=at_most).parts
    assert min(at_most, 90) <= len(parts) <= min(at_most, 100)
    found = [numbers(source.batches(["a.csv", "b.csv"], part=part)) for part in parts]
    assert [n for part in found for n in part] == [*range(50), *range(100, 150)]
    assert all(found)


def test_part_goes_on_from_a_state_of_its_own_only(load, tmp_path):
    folder_of_files(tmp_path)
    source = load("csv-source", "in")
    first, second = source.split("a.csv", at_most=2).parts
    chunk = next(source.chunks("a.csv", part=first, max_rows=10))
    rest = numbers(source.batches("a.csv", part=first, state=chunk.state))
    assert numbers([chunk.rows]) + rest + numbers(source.batches("a.csv", part=second)) == [*range(50)]
    for wrong in ({"part": second, "state": chunk.state}, {"part": b"[]", "state": chunk.state}, {"part": b"no"}):
        with pytest.raises(PluginError) as caught:
            source.open("a.csv", **wrong)
        assert caught.value.error.case == "invalid-state"


def test_state_of_a_dataset_that_is_not_selected_is_refused(load, tmp_path):
    folder_of_files(tmp_path)
    source = load("csv-source", "in")
    state = next(source.chunks("a.csv")).state
    with pytest.raises(PluginError, match=r"d/in/a\.csv is not selected"):
        source.open("b.csv", state=state)


def test_states_and_parts_belong_to_the_columns_that_are_selected(load, tmp_path):
    folder_of_files(tmp_path)
    source = load("csv-source", "in")
    names = source.discover()[0].schema.names
    everything, one, all_named = (["a.csv", Selection("b.csv", columns=each)] for each in ([], ["n"], names))
    state = next(source.chunks(one, max_rows=10)).state
    part = source.split(one, at_most=2).parts[0]
    for same in ({"state": state}, {"part": part}):
        source.open(one, **same)
        for others in (everything, all_named):
            with pytest.raises(
                PluginError,
                match="of other files, columns or parts: read those",
            ) as caught:
                source.open(others, **same)
            assert caught.value.error.case == "invalid-state"
    source.open(["a.csv", Selection("b.csv", columns=names[::-1])], state=next(source.chunks(all_named)).state)
    with pytest.raises(PluginError, match="of other files, columns or parts"):
        source.open(one, state=next(source.chunks(everything)).state)


def test_states_and_parts_belong_to_the_files_that_are_selected(load, tmp_path):
    folder_of_files(tmp_path)
    source = load("csv-source", "in")
    both_files = ["a.csv", "b.csv"]
    for these, others in ((both_files, ["b.csv"]), (both_files, ["a.csv"]), (["a.csv"], both_files)):
        state = list(source.chunks(these, max_rows=10))[-1].state
        part = source.split(these, at_most=2).parts[-1]
        for given in ({"state": state}, {"part": part}):
            with pytest.raises(PluginError, match=r"of other files|is not selected") as caught:
                source.open(others, **given)
            assert caught.value.error.case == "invalid-state"
    source.open(both_files[::-1], state=next(source.chunks(both_files)).state)


def test_file_that_came_or_went_since_a_state_is_not_passed_over(load, tmp_path):
    folder_of_files(tmp_path)
    state = next(load("csv-source", "in").chunks(["a.csv", "b.csv"], max_rows=10)).state
    (tmp_path / "in" / "aa.csv").write_text("n\n1\n")
    source = load("csv-source", "in")
    everything = [each.name for each in source.discover()]
    assert len(everything) == 3
    with pytest.raises(PluginError, match="of other files, columns or parts") as caught:
        source.open(everything, state=state)
    assert caught.value.error.case == "invalid-state"
    assert next(source.chunks(["a.csv", "b.csv"], state=state)).rows.num_rows > 0
    (tmp_path / "in" / "b.csv").unlink()
    with pytest.raises(PluginError, match=r'dataset "b\.csv": there is no such file') as caught:
        source.open(["a.csv", "b.csv"], state=state)
    assert caught.value.error.case == "invalid-config"


def test_rows_that_are_added_to_a_file_that_a_read_has_passed_come_with_the_next_read(load, tmp_path):
    folder_of_files(tmp_path)
    source = load("csv-source", "in")
    chunks = list(source.chunks(["a.csv", "b.csv"], max_rows=10))
    state = chunks[-1].state
    before = sum(chunk.rows.num_rows for chunk in chunks)
    with (tmp_path / "in" / "a.csv").open("a") as file:
        file.write("50,late\n")
    assert list(source.batches(["a.csv", "b.csv"], state=state)) == []
    assert sum(batch.num_rows for batch in source.batches(["a.csv", "b.csv"])) == before + 1


@both
def test_jsonl_destination_appends_and_replaces(load, tmp_path, isolation):
    def write(mode: str, *values: int) -> list[int]:
        destination = load("jsonl-destination", "out.jsonl", isolation)
        destination.open(Target("rows", N, mode=mode))
        destination.write(pa.record_batch({"n": values}, N))
        assert not destination.flush()
        destination.finish()
        assert destination.flush()
        return [json.loads(line)["n"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]

    assert write("append", 1, 2) == [1, 2]
    assert write("append", 3) == [1, 2, 3]
    assert write("replace", 4) == [4]


@both
def test_jsonl_destination_that_is_aborted_leaves_the_file_as_it_was(load, tmp_path, isolation):
    (tmp_path / "out.jsonl").write_text('{"n":0}\n')
    before = (tmp_path / "out.jsonl").stat().st_ino
    destination = load("jsonl-destination", "out.jsonl", isolation)
    destination.open(Target("rows", N))
    destination.write(pa.record_batch({"n": [1]}, N))
    destination.flush()
    destination.abort()
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
    assert (tmp_path / "out.jsonl").read_text() == '{"n":0}\n'
    destination.open(Target("rows", N))
    destination.write(pa.record_batch({"n": [2]}, N))
    destination.finish()
    assert (tmp_path / "out.jsonl").read_text() == '{"n":0}\n{"n":2}\n'
    # In place: nothing was copied.
    assert (tmp_path / "out.jsonl").stat().st_ino == before


def test_two_runs_do_not_append_to_one_file(load, tmp_path):
    one, other = (load("jsonl-destination", "out.jsonl") for _ in range(2))
    one.open(Target("rows", N))
    with pytest.raises(PluginError, match="another writer appends to it") as caught:
        other.open(Target("rows", N))
    assert (caught.value.error.case, caught.value.retryable) == ("unavailable", True)
    one.finish()
    other.open(Target("rows", N))
    other.finish()


@pytest.mark.guests
def test_roles_survive_guests_of_all_languages(host):
    """As a Python and a JavaScript guest pass them on, by values and by rows."""
    schema = with_roles(
        pa.schema([("id", pa.int64()), ("t", pa.string()), ("op", pa.int8())]), key=["id"], cursor="t", operation="op"
    )
    rows = pa.RecordBatch.from_pydict({"id": [1, 2], "t": ["x ", "y"], "op": [0, 2]}, schema)
    for name, config in (
        ("filter-rows", {"column": "id", "op": ">=", "value": 1}),
        ("normalize-records", {"lowercase_keys": True}),
    ):
        with host.load(component(name), config=config) as plugin:
            found = plugin.transform(rows) if isinstance(plugin, Transformer) else plugin.process_batch(rows)
            assert found.num_rows == 2
            assert roles_of(found.schema) == Roles(("id",), "t", "op"), name


@pytest.mark.guests
def test_roles_of_a_python_source_are_on_its_rows(host):
    with host.load(component("sequence-source"), config={"rows": 3}) as source:
        assert isinstance(source, Source)
        (dataset,) = source.discover()
        assert [roles_of(chunk.rows.schema) for chunk in source.chunks()] == [Roles(dataset.key)]
        assert source.split(at_most=2, state=next(source.chunks(max_rows=1)).state).parts


def test_jsonl_destination_plans_without_a_change(load, tmp_path):
    (tmp_path / "b.jsonl").write_text('{"n": 1}\n')
    destination = load("jsonl-destination", "")
    targets = [Target("a", N), Target("b", N, mode="replace")]
    assert [(each.dataset.name, each.kind) for each in destination.plan(targets)] == [
        ("a", "create"),
        ("b", "replace-rows"),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["b.jsonl"]


def test_jsonl_destination_writes_a_file_a_dataset_of_any_schema(load, tmp_path):
    destination = load("jsonl-destination", "")
    destination.open([Target("a", N), Target(DatasetName("b", "shop"), N)])
    destination.write(pa.record_batch({"n": [1]}, N), "a")
    destination.write(pa.record_batch({"n": [2]}, N), DatasetName("b", "shop"))
    destination.change_schema(pa.schema([("m", pa.string())]), "a")
    destination.write(pa.record_batch({"m": ["x"]}), "a")
    destination.finish()
    assert (tmp_path / "a.jsonl").read_text() == '{"n":1}\n{"m":"x"}\n'
    assert (tmp_path / "shop.b.jsonl").read_text() == '{"n":2}\n'


@pytest.mark.parametrize(
    ("path", "targets", "why"),
    [
        ("x.jsonl", [Target("a", N), Target("b", N)], "several datasets need a folder"),
        ("", [Target("../a", N)], "this cannot be the name of a file"),
        ("", [Target("b.c", N), Target(DatasetName("c", "b"), N)], "is written twice"),
        ("cut.jsonl", [Target("a", N)], "its last line is not whole"),
    ],
)
def test_jsonl_destination_refuses_what_it_cannot_write(load, tmp_path, path, targets, why):
    (tmp_path / "cut.jsonl").write_text('{"n": 1}\n{"n"')
    before = sorted(tmp_path.iterdir())
    with pytest.raises(PluginError, match=why):
        load("jsonl-destination", path).open(targets)
    assert sorted(tmp_path.iterdir()) == before


@both
def test_roles_survive_transformers_and_processors(host, isolation):
    schema = with_roles(
        pa.schema([("id", pa.int64()), ("t", pa.int64()), ("op", pa.int8())]), key=["id"], cursor="t", operation="op"
    )
    rows = pa.RecordBatch.from_pydict({"id": [1, 2], "t": [5, 6], "op": [0, 2]}, schema)
    columns = [{"name": "t", "op": "add", "left": "t", "right": 1}]
    with (
        host.load(COMPONENTS / "derive-columns.wasm", config={"columns": columns}, isolation=isolation) as derive,
        host.load(COMPONENTS / "json-mapper.wasm", config={"rename": {"id": "key"}}, isolation=isolation) as rename,
    ):
        assert isinstance(derive, Transformer)
        assert roles_of(derive.output_schema(schema)) == Roles(("id",), "t", "op")
        found = derive.transform(rows)
        assert roles_of(found.schema) == Roles(("id",), "t", "op")
        assert roles_of(rename.process_batch(found).schema) == Roles(("key",), "t", "op")


def test_roles_survive_parquet_and_arrow_files(tmp_path):
    schema = with_roles(N, key=["n"], cursor="n")
    parquet.write_table(pa.table({"n": [1]}, schema=schema), tmp_path / "in.parquet")
    for name in ("arrow", "parquet"):
        nodes = {
            "in": {"connector": "parquet", "read": str(tmp_path / "in.parquet")},
            "out": {"connector": name, "write": str(tmp_path / f"out.{name}"), "input": "in"},
        }
        run({"name": "roles", "nodes": nodes})
    assert roles_of(pa.ipc.open_file(tmp_path / "out.arrow").schema) == Roles(("n",), "n")
    assert roles_of(parquet.read_schema(tmp_path / "out.parquet")) == Roles(("n",), "n")


def pipeline(tmp_path: Path, source: dict, destination: dict) -> dict:
    files = {"files": {"d": {"path": str(tmp_path), "access": "write"}}}
    return {
        "name": "copy",
        "nodes": {
            "in": {
                "plugin": str(COMPONENTS / "csv-source.wasm"),
                "source": source,
                "config": {"path": "d/in"},
                "grants": files,
            },
            "out": {
                "plugin": str(COMPONENTS / "jsonl-destination.wasm"),
                "input": "in",
                "destination": destination,
                "config": {"path": "d/"},
                "grants": files,
            },
        },
    }


@both
def test_dataset_that_the_policy_does_not_grant_is_refused_and_audited(tmp_path, isolation):
    folder_of_files(tmp_path)
    policy = f"""
version: 1
plugins:
  csv-source:
    grants: {{files: {{d: {{path: "{tmp_path}"}}}}, datasets: {{a.csv: [n]}}}}
"""
    log = MemoryAuditLog()
    with (
        Host(security=Security(policy=Policy.parse(policy), audit=log)) as host,
        host.load(COMPONENTS / "csv-source.wasm", config={"path": "d/in"}, isolation=isolation) as source,
    ):
        assert isinstance(source, Source)
        assert [(str(each.name), each.schema.names) for each in source.discover()] == [("a.csv", ["n"])]
        assert numbers(source.batches("a.csv")) == [*range(50)]
        with pytest.raises(PermissionDenied, match=r"dataset 'b\.csv': it is not granted"):
            source.open("b.csv")
        with pytest.raises(PermissionDenied, match=r"dataset 'a\.csv'.*'text'"):
            source.open(Selection("a.csv", columns=["text"]))
    assert [(each.plugin, each.object, each.decision) for each in log.events if each.capability == "datasets"] == [
        ("csv-source", f"datasets:{what}", "deny") for what in ("b.csv", "a.csv")
    ]


def test_pipeline_says_what_is_read_and_how_it_is_written(tmp_path):
    folder_of_files(tmp_path)
    (tmp_path / "numbers.jsonl").write_text("{}\n")
    read, write = {"dataset": "b.csv", "columns": ["n"]}, {"dataset": "numbers", "mode": "replace"}
    run(pipeline(tmp_path, read, write))
    lines = (tmp_path / "numbers.jsonl").read_text().splitlines()
    assert (len(lines), lines[0]) == (50, '{"n":100}')


@pytest.mark.parametrize(
    ("source", "destination", "why"),
    [
        ({}, {}, "has 2 datasets, and none is selected"),
        ({"dataset": "c.csv"}, {}, r"has no dataset 'c\.csv'"),
        ({"dataset": "a.csv", "mode": "changes"}, {}, "cannot be read in the mode 'changes'"),
        ({"dataset": "a.csv", "columns": ["m"]}, {}, "has no column 'm'"),
        ({"dataset": "a.csv"}, {"mode": "merge", "key": ["n"]}, "cannot be written in the mode 'merge'"),
    ],
)
def test_pipeline_with_a_dataset_that_cannot_be_names_the_node(tmp_path, source, destination, why):
    folder_of_files(tmp_path)
    with pytest.raises(NodeFailed, match=why):
        run(pipeline(tmp_path, source, destination))
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_keys_of_a_pipeline_are_for_their_kind_of_plugin(tmp_path):
    folder_of_files(tmp_path)
    wrong = pipeline(tmp_path, {"dataset": "a.csv"}, {})
    wrong["nodes"]["out"]["source"] = {}
    with pytest.raises(ConfigError, match="`source` is only for sources, and node 'out' is a destination"):
        run(wrong)


def test_a_folder_may_have_more_files_than_may_be_open_at_a_time(load, tmp_path):
    (tmp_path / "in").mkdir()
    names = [f"{number}.csv" for number in range(70)]
    for name in names:
        (tmp_path / "in" / name).write_text("n\n1\n")
    source = load("csv-source", "in")
    assert len(source.discover()) == 70
    assert sum(numbers(source.batches(names))) == 70
    assert len(source.split(names, at_most=35).parts) == 35
