"""Records of the WIT that have a class written by hand have their fields; all others are generated."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_args

import pytest

from bindings_kit import imported
from dataflare.bindgen.generate import generate
from dataflare.bindgen.names import camel, snake
from dataflare.data import shapes
from dataflare.runtime import datasets, results
from dataflare.runtime.host import Host
from dataflare.wit import model as wit
from dataflare.wit.standard import standard

RUST = Path(__file__).parents[2] / "guest-sdks" / "rust" / "components"


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The bindings of the processors' world."""
    catalog = standard()
    (name,) = (name for name, _ in catalog.worlds() if "/processor-plugin@" in name)
    with imported(generate(catalog, name), tmp_path_factory.mktemp("bindings")) as package:
        yield package


def _records() -> dict[str, tuple[str, tuple[str, ...]]]:
    """The module and the fields of each record, by the name of its class."""
    return {
        camel(each.name): (snake(interface.name), tuple(snake(field.name) for field in each.fields))
        for _, interface in standard().interfaces()
        for each in interface.types
        if isinstance(each, wit.Record)
    }


def test_every_record_of_the_standard_is_generated() -> None:
    records = _records()
    assert len(records) > 30
    for name, (module, fields) in records.items():
        cls = getattr(importlib.import_module(f"dataflare.wit_types.{module}"), name)
        assert is_dataclass(cls) and cls.__match_args__ == fields, name


BY_HAND: dict[str, tuple[type[Any], str]] = {
    "TextValues": (shapes.TextValues, "texts in bulk are buffers"),
    "BinaryValues": (shapes.BinaryValues, "bytes in bulk are buffers"),
    "Health": (results.Health, "has a default"),
    "Report": (results.Report, "has a property, and is hashable"),
    "Dataset": (datasets.Dataset, "its schema is pyarrow's"),
}
"""Records that the host makes by another class, with the reason."""


def test_a_class_by_hand_has_the_fields_of_its_record() -> None:
    records = _records()
    assert {name: cls.__match_args__ for name, (cls, _) in BY_HAND.items()} == {
        name: records[name][1] for name in BY_HAND
    }


def test_reading_modes_are_the_cases_of_the_wit() -> None:
    (mode,) = (
        each
        for _, interface in standard().interfaces()
        for each in interface.types
        if isinstance(each, wit.Variant) and each.name == "reading-mode"
    )
    assert list(get_args(datasets.ReadingMode)) == [each.name for each in mode.cases]


def test_bindings_of_a_plugin_world_run_its_plugins(processor: Any, tmp_path: Path) -> None:
    with (
        Host(cache_dir=tmp_path / "cache") as host,
        processor.ProcessorPlugin(RUST / "json-mapper.wasm", host=host, config={}) as world,
    ):
        kinds = importlib.import_module(f"{processor.__name__}.types").Kind
        assert world.lifecycle.get_metadata().kind is kinds.PROCESSOR
        world.lifecycle.configure("{}")
        world.lifecycle.initialize()
        assert world.processor.process('{"a": 1}') == '{"a":1}'
