"""What `dataflare new` writes of a kind does the same in every language: rows, states, violations and errors."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from conformance_kit import faults_of_template
from dataflare.authoring.building import build_plugin
from dataflare.authoring.templates import new_plugin
from dataflare.errors import PluginError
from dataflare.grants import Grants
from dataflare.runtime.datasets import Target
from dataflare.runtime.host import Host
from dataflare.testing import native
from dataflare_plugin.component import find_plugin

pytestmark = pytest.mark.skipif(
    None in map(shutil.which, ("cargo", "npm")) and os.environ.get("CI") != "true", reason="there is no cargo or npm"
)
NEEDS = {"destination": ("state",)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the plugins' folders are, and the components are built."""
    return tmp_path_factory.mktemp("plugins")


@contextmanager
def opened(folders: Path, language: str, kind: str, config: Mapping[str, Any]) -> Iterator[Any]:
    """The plugin of a kind: natively in Python, in the sandbox in other languages."""
    folder = folders / language / kind / "a-plugin"
    if not folder.is_dir():
        new_plugin(folder, kind=kind, language=language)
    needs = NEEDS.get(kind, ())
    if language == "python":
        spec = importlib.util.spec_from_file_location(f"same_{kind}", folder / "plugin.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        with native(find_plugin(module, kind), config=config, needs=needs) as plugin:
            yield plugin
        return
    with Host() as host:
        built, _ = build_plugin(folder, host)
        grants = Grants(state=bool(needs))
        with host.load(built.guest.output, name="a-plugin", config=dict(config), grants=grants) as plugin:
            yield plugin.start()


def outcome(folders: Path, language: str, kind: str, config: Mapping[str, Any], use: Any) -> Any:
    """What comes of using the plugin; an error with its case, and with its text where the plugin wrote it."""
    try:
        with opened(folders, language, kind, config) as plugin:
            return use(plugin)
    except PluginError as error:
        case = error.error.case
        # Each language's own reader of configurations says in its own words what is wrong.
        return (case, "" if case == "invalid-config" else error.message.partition("#")[2].partition(": ")[2])


def same(folders: Path, kind: str, config: Mapping[str, Any], use: Any) -> Any:
    """What comes of it in every language, which must be one thing."""
    # A component in TypeScript takes a minute to build and to compile: one kind stands for all.
    languages = ("python", "rust", "c", "cpp", "go", *(["typescript"] if kind == "processor" else []))
    found = {language: outcome(folders, language, kind, config, use) for language in languages}
    for language in languages:
        assert found[language] == found["python"], language
    return found["python"]


def table(batch: pa.RecordBatch) -> tuple[dict[str, str], list[dict[str, Any]]]:
    return {field.name: str(field.type) for field in batch.schema}, batch.to_pylist()


PEOPLE = pa.RecordBatch.from_pydict(
    {
        "id": pa.array([1, 2, 3, 4], pa.int32()),
        "name": [" Ada ", "Béla\u2028", " \t", None],
        "born": pa.array([0, 1, None, 3], pa.date32()),
        "score": [1.5, None, -0.0, 1e300],
    }
)


def test_processors_give_the_same_records(folders: Path) -> None:
    texts = ['{"id":1,"name":" Ada "}', '{"name":""}', '{"name":null}', "{}", '{"name":"a\\u00e9","x":[1,{"y":null}]}']
    found = same(
        folders, "processor", {}, lambda plugin: [json.loads(plugin.process(each) or "null") for each in texts]
    )
    assert found[0] == {"id": 1, "name": "Ada"} and found[1:4] == [None, None, None]


def test_processors_give_the_same_batches_with_the_same_types(folders: Path) -> None:
    types, rows = same(folders, "processor", {}, lambda plugin: table(plugin.process_batch(PEOPLE)))
    assert [row["name"] for row in rows] == ["Ada", "Béla"]
    assert types == {"id": "int32", "name": "string", "born": "date32[day]", "score": "double"}


def test_processors_refuse_the_same_records_and_configurations(folders: Path) -> None:
    assert same(folders, "processor", {"field": "id"}, lambda plugin: plugin.process('{"id":1}')) == (
        "invalid-input",
        "invalid-input: id is not a text",
    )
    assert same(folders, "processor", {"field": "id"}, lambda plugin: plugin.process_batch(PEOPLE)) == (
        "invalid-input",
        "invalid-input: row 0: id is not a text",
    )
    assert same(folders, "processor", {"feild": "id"}, lambda plugin: None)[0] == "invalid-config"
    assert same(folders, "processor", {"field": 1}, lambda plugin: None)[0] == "invalid-config"


def test_transformers_give_the_same_columns(folders: Path) -> None:
    batch = pa.RecordBatch.from_pydict({"a": [3, None, 1, 0], "b": [2, 2, 0, None]})
    config = {"of": "a", "to": "b", "column": "r"}
    types, rows = same(folders, "transformer", config, lambda plugin: table(plugin.transform(batch)))
    assert types["r"] == "double" and [row["r"] for row in rows] == [1.5, None, float("inf"), None]
    assert same(folders, "transformer", {"of": "c", "to": "b"}, lambda plugin: plugin.transform(batch))[0] == "data"
    schema = same(folders, "transformer", config, lambda plugin: plugin.output_schema(batch.schema))
    assert schema.names == ["a", "b", "r"]


def test_validators_find_the_same_rows(folders: Path) -> None:
    batch = pa.RecordBatch.from_pydict({"age": [36, -1, None, 130, 0, 100]})

    def found(plugin: Any) -> Any:
        report = plugin.validate(batch)
        return report.violation_count, [(each.rule, each.row, each.column) for each in report.violations]

    assert same(folders, "validator", {"column": "age"}, found) == (2, [("within", 1, "age"), ("within", 3, "age")])
    assert same(folders, "validator", {"column": "age", "least": 2, "greatest": 1}, found)[0] == "invalid-config"
    assert same(folders, "validator", {"column": "size"}, found)[0] == "data"


def test_sources_give_the_same_chunks_and_states(folders: Path) -> None:
    def found(plugin: Any) -> Any:
        plugin.open()
        chunks = []
        for rows in (2, 1, 10):
            chunk = plugin.read(rows)
            chunks.append((table(chunk.rows), json.loads(chunk.state)))
        return chunks

    chunks = same(folders, "source", {"rows": 5}, found)
    assert [len(rows) for (_, rows), _ in chunks] == [2, 1, 2]


def test_state_of_a_source_in_one_language_is_continued_in_the_other(folders: Path) -> None:
    states = {}
    for language in ("python", "rust", "c", "go"):
        with opened(folders, language, "source", {"rows": 5}) as plugin:
            plugin.open()
            states[language] = plugin.read(3).state
    for language, other in (("python", "rust"), ("rust", "c"), ("c", "go"), ("go", "python")):
        with opened(folders, language, "source", {"rows": 5}) as plugin:
            plugin.open(state=states[other])
            assert plugin.read(10).rows.to_pydict()["id"] == [3, 4]


def test_destinations_send_the_same_rows_back(folders: Path) -> None:
    batch = pa.RecordBatch.from_pydict({"id": [1, None, 3], "name": ["Ada", "Bo", None]})

    def found(plugin: Any) -> Any:
        plugin.open(Target("people", batch.schema))
        rejected = [(each.row, each.column, each.reason) for each in plugin.write(batch)]
        plugin.finish()
        return rejected

    assert same(folders, "destination", {}, found) == [(1, "id", "id is null")]
    assert same(folders, "destination", {}, lambda plugin: plugin.abilities()) == {"append"}


def faults_of_new(folders: Path, language: str, kind: str) -> list[str]:
    """What the conformance suite finds in what `dataflare new` writes."""
    folder = folders / language / kind / "a-plugin"
    if not folder.is_dir():
        new_plugin(folder, kind=kind, language=language)
    with Host() as host:
        built, _ = build_plugin(folder, host)
    return faults_of_template(built.guest.output, kind)


KINDS = ["processor", "transformer", "validator", "source", "destination"]


@pytest.mark.parametrize("kind", KINDS)
def test_components_of_new_are_conformant(folders: Path, kind: str) -> None:
    # C++ and Zig are in test_c.py, Go in test_go.py.
    for language in ("rust", "c", *(["typescript"] if kind == "processor" else [])):
        assert faults_of_new(folders, language, kind) == [], language


@pytest.mark.slow
@pytest.mark.parametrize("language", ["python", "javascript"])
@pytest.mark.parametrize("kind", KINDS)
def test_components_of_new_with_an_interpreter_in_them_are_conformant(folders: Path, language: str, kind: str) -> None:
    assert faults_of_new(folders, language, kind) == []
