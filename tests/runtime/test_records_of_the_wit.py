"""The runtime's classes have the fields of the WIT, as the bindings have them that are generated from it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from bindings_kit import imported
from dataflare.bindgen.generate import generate
from dataflare.runtime import datasets, results
from dataflare.runtime.host import Host
from dataflare.wit.standard import standard

RUST = Path(__file__).parents[2] / "guest-sdks" / "rust" / "components"


@pytest.fixture(scope="module")
def bindings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A function that gives a module of the bindings of the destination's or the validator's world."""
    folder = tmp_path_factory.mktemp("bindings")
    catalog = standard()
    names = {name.rpartition("/")[2].partition("-")[0]: name for name, _ in catalog.worlds() if "-plugin@" in name}
    with (
        imported(generate(catalog, names["destination"]), folder) as destination,
        imported(generate(catalog, names["validator"]), folder) as validator,
        imported(generate(catalog, names["source"]), folder) as source,
        imported(generate(catalog, names["processor"]), folder) as processor,
    ):
        worlds = {"destination": destination, "validator": validator, "source": source, "processor": processor}
        yield lambda world, module="": importlib.import_module(f"{worlds[world].__name__}.{module}".rstrip("."))


@pytest.mark.parametrize(
    ("runtime", "world", "module", "name"),
    [
        (datasets.WitSelection, "source", "source", "Selection"),
        (datasets.WitTarget, "destination", "destination", "Target"),
        (datasets.WitRun, "destination", "destination", "RunName"),
        (datasets.RejectedRow, "destination", "destination", "RejectedRow"),
        (results.Metadata, "source", "types", "Metadata"),
        (results.Health, "source", "types", "Health"),
        (results.Rule, "validator", "validator", "Rule"),
        (results.RuleCount, "validator", "validator", "RuleCount"),
        (results.Violation, "validator", "validator", "Violation"),
        (results.Report, "validator", "validator", "Report"),
    ],
)
def test_a_class_has_the_fields_of_its_record_in_order(
    bindings: Any, runtime: type[Any], world: str, module: str, name: str
) -> None:
    assert runtime.__match_args__ == getattr(bindings(world, module), name).__match_args__


def test_a_dataset_has_the_fields_of_its_record(bindings: Any) -> None:
    wit = bindings("source", "datasets")
    assert set(datasets.Dataset.__match_args__) == set(wit.Dataset.__match_args__)
    assert set(datasets.DatasetName.__match_args__) == set(wit.DatasetName.__match_args__)
    assert {*datasets.PlannedChange.__match_args__} == {
        "dataset" if each == "target" else each
        for each in bindings("destination", "destination").PlannedChange.__match_args__
    }


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
