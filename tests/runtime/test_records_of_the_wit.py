"""The runtime's classes have the fields of the WIT, and its literals the names that generated bindings have."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from bindings_kit import imported
from dataflare.bindgen.generate import generate
from dataflare.bindgen.names import camel, snake
from dataflare.capabilities import clock, files, http, state
from dataflare.data import schemas, shapes
from dataflare.runtime import datasets, results
from dataflare.runtime.host import Host
from dataflare.wit import model as wit
from dataflare.wit.standard import standard

RUST = Path(__file__).parents[2] / "guest-sdks" / "rust" / "components"


@pytest.fixture(scope="module")
def bindings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A function that gives a module of the bindings of a plugin world."""
    folder = tmp_path_factory.mktemp("bindings")
    catalog = standard()
    names = {name.rpartition("/")[2].partition("-")[0]: name for name, _ in catalog.worlds() if "-plugin@" in name}
    with (
        imported(generate(catalog, names["validator"]), folder) as validator,
        imported(generate(catalog, names["source"]), folder) as source,
        imported(generate(catalog, names["processor"]), folder) as processor,
    ):
        worlds = {"validator": validator, "source": source, "processor": processor}
        yield lambda world, module="": importlib.import_module(f"{worlds[world].__name__}.{module}".rstrip("."))


KEPT: dict[str, type[Any]] = {
    "RunName": datasets.WitRun,
    "Selection": datasets.WitSelection,
    "Target": datasets.WitTarget,
    **{
        each.__name__: each
        for each in (
            *(shapes.TypeMismatch, shapes.Shape, shapes.TextValues, shapes.BinaryValues, shapes.WordBuffer),
            *(schemas.Field, schemas.Schema, clock.Instant, clock.MonotonicReading),
            *(files.Directory, files.Entry, files.Position, http.Request, http.Response, state.KeyPage),
            *(datasets.Dataset, datasets.DatasetName, datasets.Division),
            *(datasets.PlannedChange, datasets.RejectedRow, results.Metadata, results.Health),
            *(results.Rule, results.Violation, results.RuleCount, results.Report),
        )
    },
}
"""The runtime's classes, by the records that they stand for."""
IN_ANOTHER_FORM = {
    "Call": "a node of a plan, once it is checked",
    "TypedLiteral": "only read",
    "Output": "only read",
    "SortKey": "only read",
    "AggregateColumn": "only read",
    "EstimatedRows": "only read; Estimate is public",
    "Chunk": "only read; the public one knows its dataset by name",
    "SchemaChange": "only read; NewSchema is public",
    "Pause": "only read; Idle is public, in seconds",
}
OTHER_FIELDS = {"DatasetName": ("name", "namespace"), "PlannedChange": ("dataset", "kind", "detail")}
"""Public classes whose fields stand otherwise on purpose."""


def test_every_record_of_the_standard_has_a_class_with_its_fields_or_a_reason_for_none() -> None:
    records = {
        camel(each.name): tuple(snake(field.name) for field in each.fields)
        for _, interface in standard().interfaces()
        for each in interface.types
        if isinstance(each, wit.Record)
    }
    assert records.keys() == KEPT.keys() | IN_ANOTHER_FORM.keys()
    found = {name: tuple(each.__match_args__) for name, each in KEPT.items()}
    assert found == {name: OTHER_FIELDS.get(name, records[name]) for name in KEPT}


def test_literals_are_the_names_of_their_enums(bindings: Any) -> None:
    types, wit, checks = bindings("source", "types"), bindings("source", "datasets"), bindings("validator", "validator")
    assert list(get_args(results.HealthStatus)) == [each.value for each in types.HealthStatus]
    assert list(get_args(results.Severity)) == [each.value for each in checks.Severity]
    assert list(get_args(datasets.WritingMode)) == [each.value for each in wit.WritingMode]
    reading = ["ReadingModeFull", "ReadingModeIncremental", "ReadingModeChanges"]
    assert [f"ReadingMode{each.title()}" for each in get_args(datasets.ReadingMode)] == reading
    assert all(hasattr(wit, each) for each in reading)


def test_bindings_of_a_plugin_world_run_its_plugins(bindings: Any, tmp_path: Path) -> None:
    processor = bindings("processor")
    with (
        Host(cache_dir=tmp_path / "cache") as host,
        processor.ProcessorPlugin(RUST / "json-mapper.wasm", host=host, config={}) as world,
    ):
        assert world.lifecycle.get_metadata().kind is bindings("processor", "types").Kind.PROCESSOR
        world.lifecycle.configure("{}")
        world.lifecycle.initialize()
        assert world.processor.process('{"a": 1}') == '{"a":1}'
