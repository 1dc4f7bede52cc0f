"""Logs of changes that are written with an SDK: the same in every language, and as the standard has it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from conformance_kit import CASES
from dataflare import Chunk, ConfigError, Idle, NewSchema, PluginError, Selection
from dataflare.conformance import Outcome, Subject, run_suite
from dataflare.conformance.cases import select
from dataflare.data.roles import Roles, roles_of
from sdk_sources import built_sources, opened_source

pytestmark = pytest.mark.skipif(
    None in map(shutil.which, ("cargo", "npm")) and os.environ.get("CI") != "true", reason="there is no cargo or npm"
)
SOURCES = Path(__file__).parent / "logged"
MAIN = {"rust": "src/lib.rs", "javascript": "plugin.js", "go": "plugin.go", "c": "plugin.c"}
LANGUAGES = ("python", *MAIN)
each_language = pytest.mark.parametrize("language", LANGUAGES)

COMMIT = {"commit": True}
SHOP: list[dict[str, Any]] = [
    {"insert": "orders", "row": {"id": 1, "note": "a"}},
    COMMIT,
    {"insert": "orders", "row": {"id": 2, "note": "b"}},
    {"insert": "lines", "row": {"order": 2, "line": 1, "what": "x"}},
    {"insert": "others", "row": {"id": 9}},
    {"update": "orders", "row": {"id": 1, "note": "c"}},
    {"schema": "orders", "columns": {"id": "int64", "note": "string", "paid": "bool"}},
    {"update": "orders", "row": {"id": 2, "note": "b", "paid": True}},
    COMMIT,
    {"insert": "others", "row": {"id": 10}},
    COMMIT,
    {"update": "orders", "row": {"id": 3, "note": "b", "paid": True}, "was": {"id": 2}},
    {"delete": "orders", "row": {"id": 1, "note": "c"}},
    COMMIT,
]
EVERYTHING = [
    {"id": 1, "note": "a", "_operation": 0},
    {"id": 2, "note": "b", "_operation": 0},
    {"order": 2, "line": 1, "what": "x", "_operation": 0},
    {"id": 1, "note": "c", "_operation": 1},
    {"id": 2, "note": "b", "paid": True, "_operation": 1},
    {"id": 2, "note": None, "paid": None, "_operation": 2},
    {"id": 3, "note": "b", "paid": True, "_operation": 0},
    {"id": 1, "note": None, "paid": None, "_operation": 2},
]
BOTH = (Selection("orders", "changes"), Selection("lines", "changes"))


@pytest.fixture(scope="module")
def components(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The source in each language that is compiled."""
    return built_sources(SOURCES, MAIN, tmp_path_factory)


def opened(components: dict[str, Path], language: str, events: Sequence[dict[str, Any]]) -> AbstractContextManager[Any]:
    return opened_source(SOURCES, components, language, {"events": json.dumps(events)})


def read_on(plugin: Any, max_rows: int = 100, most: int = 100) -> list[Any]:
    """What comes until the read is idle, the pause included."""
    found: list[Any] = []
    while len(found) < most and not (found and isinstance(found[-1], Idle)):
        found.append(plugin.read(max_rows))
    return found


def rows(found: Sequence[Any]) -> list[dict[str, Any]]:
    return [row for each in found if isinstance(each, Chunk) for row in each.rows.to_pylist()]


def states(found: Sequence[Any]) -> list[Any]:
    return [
        json.loads(each.state)["after"] if each.state else None for each in found if not isinstance(each, NewSchema)
    ]


@each_language
def test_dataset_of_a_log_is_read_by_its_changes_alone(components, language: str) -> None:
    with opened(components, language, SHOP) as plugin:
        orders, lines, _ = plugin.discover()
        assert (orders.modes, orders.key, orders.cursors) == ({"changes", "unbounded"}, ("id",), ())
        assert lines.schema.names == ["order", "line", "what"]
        with pytest.raises(ConfigError, match="full"):
            plugin.open(Selection("orders"))
        assert plugin.estimate(Selection("orders", "changes")) is None
        (schema,) = plugin.open(Selection("orders", "changes"))
        assert (schema.names, roles_of(schema)) == (["id", "note", "_operation"], Roles(("id",), None, "_operation"))


@each_language
@pytest.mark.parametrize("max_rows", [1, 2, 3, 100])
def test_changes_come_in_order_with_their_operations(components, language: str, max_rows: int) -> None:
    with opened(components, language, SHOP) as plugin:
        plugin.open(BOTH)
        assert rows(read_on(plugin, max_rows)) == EVERYTHING
        assert rows(read_on(plugin, max_rows)) == []


@each_language
def test_chunks_have_a_state_where_a_transaction_ends_and_nowhere_else(components, language: str) -> None:
    with opened(components, language, SHOP) as plugin:
        plugin.open(BOTH)
        found = read_on(plugin)
        assert states(found) == [2, None, None, None, 14, 14]
        assert [type(each).__name__ for each in found] == [
            "Chunk",
            "Chunk",
            "Chunk",
            "Chunk",
            "NewSchema",
            "Chunk",
            "Idle",
        ]
        assert found[4].schema.names == ["id", "note", "paid", "_operation"]
        assert found[-1].retry_after_s == 1


@each_language
def test_chunk_that_is_full_has_the_state_of_its_last_row(components, language: str) -> None:
    events = [each for at in range(4) for each in ({"insert": "orders", "row": {"id": at}}, COMMIT)]
    with opened(components, language, events) as plugin:
        plugin.open(Selection("orders", "changes"))
        assert states(read_on(plugin, 2)) == [4, 8, 8]


@each_language
@pytest.mark.parametrize("max_rows", [1, 100])
def test_log_goes_on_from_every_state(components, language: str, max_rows: int) -> None:
    with opened(components, language, SHOP) as plugin:
        plugin.open(BOTH)
        found = read_on(plugin, max_rows)
        for at, each in enumerate(found):
            if isinstance(each, NewSchema) or each.state is None:
                continue
            before = rows(found[: at + 1])
            orders, _ = plugin.open(BOTH, state=each.state)
            assert ("paid" in orders.names) == (len(before) > 4)
            assert before + rows(read_on(plugin, max_rows)) == EVERYTHING


@each_language
def test_states_of_a_log_belong_to_its_selections(components, language: str) -> None:
    with opened(components, language, SHOP) as plugin:
        plugin.open(BOTH)
        state = read_on(plugin)[0].state
        others = [
            (Selection("orders", "changes"),),
            BOTH[::-1],
            (Selection("orders", "changes", columns=["note"]), BOTH[1]),
        ]
        for selections in others:
            with pytest.raises(PluginError, match=r"dataset .*orders.*: the state is of other columns") as caught:
                plugin.open(selections, state=state)
            assert caught.value.error.case == "invalid-state"
        for damaged in (b"", b"3", b"[]", b'{"after": 1}', b'{"datasets": [3], "mode": "changes", "after": 1}'):
            with pytest.raises(PluginError) as caught:
                plugin.open(BOTH, state=damaged)
            assert caught.value.error.case == "invalid-state"
        plugin.open(BOTH, state=state)
        with pytest.raises(PluginError) as caught:
            plugin.open(BOTH, state=state.replace(b'"after": 2', b'"after": 99').replace(b'"after":2', b'"after":99'))
            plugin.read()
        assert caught.value.error.case == "invalid-state"


@each_language
def test_columns_that_are_not_read_are_no_news_and_keys_come_all_the_same(components, language: str) -> None:
    with opened(components, language, SHOP) as plugin:
        (schema,) = plugin.open(Selection("orders", "changes", columns=["note"]))
        assert schema.names == ["id", "note", "_operation"]
        found = read_on(plugin)
        assert not any(isinstance(each, NewSchema) for each in found)
        assert [row["note"] for row in rows(found)] == ["a", "b", "c", "b", None, "b", None]


@each_language
def test_columns_of_a_state_are_those_of_its_place(components, language: str) -> None:
    with opened(components, language, SHOP) as plugin:
        plugin.open(BOTH)
        (orders, _) = json.loads(read_on(plugin)[0].state)["datasets"]
        assert [each["name"] for each in orders["schema"]] == ["id", "note"]


@each_language
@pytest.mark.parametrize(("what", "wait_s"), [({"idle": 20}, 0.02), ({"end": 0}, 1.0)])
def test_transaction_can_pause(components, language: str, what: dict[str, Any], wait_s: float) -> None:
    with opened(components, language, [*SHOP[:4], what, *SHOP[5:]]) as plugin:
        plugin.open(BOTH)
        found = read_on(plugin)
        assert (states(found)[-1], found[-1].retry_after_s) == (None, wait_s)
        found += read_on(plugin)
        assert rows(found) == EVERYTHING
        assert states(found)[-1] == 14


@each_language
@pytest.mark.parametrize("at", range(len(SHOP)))
@pytest.mark.parametrize("max_rows", [1, 100])
def test_log_goes_on_after_an_error_wherever_it_came(components, language: str, at: int, max_rows: int) -> None:
    with opened(components, language, [*SHOP[:at], {"fail": "for a moment"}, *SHOP[at:]]) as plugin:
        plugin.open(BOTH)
        found: list[Any] = []
        with pytest.raises(PluginError, match="for a moment"):
            while True:
                found.append(plugin.read(max_rows))
        assert rows(found + read_on(plugin, max_rows)) == EVERYTHING


@each_language
def test_error_that_comes_at_once_leaves_the_read_as_it_was(components, language: str) -> None:
    with opened(components, language, [{"idle": 1}, {"fail": "for a moment"}, *SHOP]) as plugin:
        plugin.open(BOTH)
        assert plugin.read(1) == Idle(None, 0.001)
        with pytest.raises(PluginError, match="for a moment"):
            plugin.read(1)
        assert plugin.read(1) == Idle(None, 0.001)
        assert rows(read_on(plugin)) == EVERYTHING


@each_language
@pytest.mark.parametrize(
    ("event", "wrong"),
    [
        ({"insert": "orders", "row": {"id": 5, "size": 1}}, r"dataset .orders.: the rows have a column .size."),
        ({"insert": "orders", "row": {"note": "x"}}, r"dataset .orders.: a change lacks the key column .id."),
        ({"update": "orders", "row": {"id": 5}}, r"dataset .orders.: an update lacks the column .note."),
        ({"update": "orders", "row": {"id": 5, "note": ""}, "was": {}}, r"dataset .orders.: a change lacks the key"),
        (
            {"delete": "lines", "row": {"order": 5, "line": None}},
            r"dataset .lines.: a change lacks the key column .line.",
        ),
        ({"insert": "ordres", "row": {"id": 5}}, r"there is no dataset .ordres., only orders, lines, others"),
    ],
)
def test_change_that_loses_values_is_an_error_that_names_its_place(
    components, language: str, event: dict[str, Any], wrong: str
) -> None:
    with opened(components, language, [event, COMMIT]) as plugin:
        plugin.open(BOTH)
        with pytest.raises(PluginError, match=wrong) as caught:
            plugin.read()
        assert caught.value.error.case == "invalid-input"


@each_language
def test_columns_that_an_update_lacks_and_nobody_reads_do_not_matter(components, language: str) -> None:
    with opened(components, language, [{"update": "lines", "row": {"order": 1, "line": 1}}, COMMIT]) as plugin:
        plugin.open(Selection("lines", "changes", columns=["line"]))
        assert rows(read_on(plugin)) == [{"order": 1, "line": 1, "_operation": 1}]


@each_language
def test_key_that_stays_is_an_update(components, language: str) -> None:
    events = [{"update": "orders", "row": {"id": 1, "note": None}, "was": {"id": 1}}, COMMIT]
    with opened(components, language, events) as plugin:
        plugin.open(Selection("orders", "changes"))
        assert rows(read_on(plugin)) == [{"id": 1, "note": None, "_operation": 1}]


@each_language
def test_column_with_the_name_of_the_operation_keeps_its_own(components, language: str) -> None:
    columns = {"id": "int64", "_operation": "string"}
    events = [
        {"schema": "orders", "columns": columns},
        {"insert": "orders", "row": {"id": 1, "_operation": "x"}},
        COMMIT,
    ]
    with opened(components, language, events) as plugin:
        plugin.open(Selection("orders", "changes"))
        change, chunk, _ = read_on(plugin)
        assert roles_of(change.schema).operation == "_operation_"
        assert chunk.rows.to_pylist() == [{"id": 1, "_operation": "x", "_operation_": 0}]


@each_language
def test_quiet_dataset_in_a_busy_log_gets_positions(components, language: str) -> None:
    events = [each for at in range(40_000) for each in ({"insert": "others", "row": {"id": at}}, COMMIT)]
    events += [*events, *SHOP[:2]]
    with opened(components, language, events) as plugin:
        plugin.open(Selection("orders", "changes"))
        first, *_ = found = read_on(plugin)
        assert first.rows.num_rows == 0 and first.state is not None
        assert rows(found) == EVERYTHING[:1]


@each_language
def test_acknowledged_position_reaches_the_source(components, language: str) -> None:
    with opened(components, language, SHOP) as plugin:
        plugin.open(BOTH)
        plugin.acknowledge(read_on(plugin)[0].state)
        assert plugin.health().message == "safe: 2"


def test_states_of_a_log_are_the_same_in_every_language(components) -> None:
    found = []
    for language in LANGUAGES:
        with opened(components, language, SHOP) as plugin:
            plugin.open(BOTH)
            found.append([each.state for each in read_on(plugin) if not isinstance(each, NewSchema)])
    assert found[1:] == found[:1] * (len(LANGUAGES) - 1)


@each_language
@pytest.mark.parametrize("columns", [(), ("note", "id")])
def test_log_goes_on_from_a_state_of_another_language(components, language: str, columns: Sequence[str]) -> None:
    other = LANGUAGES[LANGUAGES.index(language) - 1]
    orders = Selection("orders", "changes", columns=columns)
    for at in range(2):
        with opened(components, other, SHOP) as plugin:
            plugin.open(orders)
            before = read_on(plugin, 1)
            state = [each.state for each in before if not isinstance(each, NewSchema) and each.state][at]
        with opened(components, language, SHOP) as plugin:
            plugin.open(orders, state=state)
            after = rows(read_on(plugin))
        count = next(place for place, each in enumerate(before) if getattr(each, "state", None) == state) + 1
        assert rows(before[:count]) + after == rows(before)


@pytest.mark.parametrize("language", list(MAIN))
def test_log_of_changes_is_conformant(components, language: str) -> None:
    subject = Subject(components[language].read_bytes(), "source", {"events": json.dumps(SHOP)})
    # Memory is the same as of other sources.
    cases = [each for each in select(CASES, kind="source", profile="full") if each.name != "every/memory"]
    result = run_suite(subject, cases)
    assert [each for each in result.results if each.outcome not in (Outcome.PASS, Outcome.SKIP)] == []
    assert result.counts["PASS"] >= 12
