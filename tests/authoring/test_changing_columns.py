"""Sources whose columns change within a read: the same in every language, and as the standard has it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from conformance_kit import CASES
from dataflare import Chunk, Ended, NewSchema, PluginError, Selection
from dataflare.conformance import Outcome, Subject, run_suite
from dataflare.conformance.cases import select
from sdk_sources import built_sources, opened_source

pytestmark = pytest.mark.skipif(
    None in map(shutil.which, ("cargo", "npm")) and os.environ.get("CI") != "true", reason="there is no cargo or npm"
)
SOURCES = Path(__file__).parent / "changing"
MAIN = {"rust": "src/lib.rs", "go": "plugin.go", "c": "plugin.c"}
OLD, NEW = ["id: int64", "name: string"], ["id: int64", "name: string", "age: int32"]
ROWS = [{"id": n, "name": f"n{n}", **({"age": n} if n >= 2 else {})} for n in range(4)]
WHOLE = [OLD, ROWS[0], ROWS[1], NEW, ROWS[2], ROWS[3]]


@pytest.fixture(scope="module")
def components(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The source in each language that is compiled."""
    return built_sources(SOURCES, MAIN, tmp_path_factory)


def opened(components: dict[str, Path], language: str, described: bool) -> AbstractContextManager[Any]:
    return opened_source(SOURCES, components, language, {"described": described})


def columns(schema: pa.Schema) -> list[str]:
    assert schema.field("id").metadata == {b"dataflare.key": b"0"}
    return [f"{field.name}: {field.type}" for field in schema]


def read(plugin: Any, state: bytes | None = None, chosen: Sequence[str] = ()) -> tuple[list[Any], list[Any]]:
    """What comes, columns and rows; and the states."""
    (schema,) = plugin.open(Selection("people", columns=list(chosen)), state=state)
    found: list[Any] = [columns(schema)]
    states = []
    while not isinstance(progress := plugin.read(), Ended):
        if isinstance(progress, NewSchema):
            found.append(columns(progress.schema))
            continue
        assert isinstance(progress, Chunk)
        found += progress.rows.to_pylist()
        states.append(progress.state)
    return found, states


@pytest.mark.parametrize("described", [False, True])
@pytest.mark.parametrize("language", ["python", *MAIN])
def test_new_columns_come_before_their_rows_and_states_know_them(components, language: str, described: bool) -> None:
    with opened(components, language, described) as plugin:
        whole, states = read(plugin)
        assert whole == WHOLE
        assert [read(plugin, state)[0] for state in states] == [
            [OLD, *WHOLE[2:]],
            [OLD, *WHOLE[3:]],
            [NEW, ROWS[3]],
            [NEW],
        ]


@pytest.mark.parametrize("language", ["python", *MAIN])
def test_new_columns_that_are_not_read_are_no_news(components, language: str) -> None:
    with opened(components, language, False) as plugin:
        assert read(plugin, chosen=["name"])[0] == [OLD, *({"id": n, "name": f"n{n}"} for n in range(4))]


def test_states_are_the_same_in_every_language(components) -> None:
    found = []
    for language in ("python", *MAIN):
        with opened(components, language, False) as plugin:
            found.append([json.loads(state) for state in read(plugin)[1]])
    assert found[1:] == found[:1] * len(MAIN)
    assert [each["name"] for each in found[0][2]["schema"]] == ["id", "name", "age"]


@pytest.mark.parametrize("language", ["python", *MAIN])
@pytest.mark.parametrize("schema", ['[{"name": "id"}]', '[{"name": 1, "type": "int64"}]', '{"id": "int64"}', "3"])
def test_state_whose_columns_are_damaged_is_refused(components, language: str, schema: str) -> None:
    data = f'{{"dataset": "people", "mode": "full", "schema": {schema}, "after": 1}}'.encode()
    with opened(components, language, False) as plugin, pytest.raises(PluginError) as caught:
        plugin.open(Selection("people"), state=data)
    assert caught.value.error.case == "invalid-state"


@pytest.mark.parametrize("language", ["python", *MAIN])
def test_state_belongs_to_its_columns_in_any_order(components, language: str) -> None:
    with opened(components, language, False) as plugin:
        state = read(plugin, chosen=["name", "id"])[1][1]
        assert json.loads(state)["columns"] == ["id", "name"]
        assert len(read(plugin, state, ["id", "name"])[0]) == 3
        for others in ([], ["id"], ["name"]):
            with pytest.raises(PluginError, match=r"dataset .people.: the state is of other columns") as caught:
                plugin.open(Selection("people", columns=others), state=state)
            assert caught.value.error.case == "invalid-state"


@pytest.mark.parametrize("described", [False, True])
@pytest.mark.parametrize("language", list(MAIN))
def test_source_whose_columns_change_is_conformant(components, language: str, described: bool) -> None:
    subject = Subject(components[language].read_bytes(), "source", {"described": described})
    # Memory is the same as of other sources.
    cases = [each for each in select(CASES, kind="source", profile="full") if each.name != "every/memory"]
    result = run_suite(subject, cases)
    assert [each for each in result.results if each.outcome not in (Outcome.PASS, Outcome.SKIP)] == []
    assert result.counts["PASS"] >= 15
