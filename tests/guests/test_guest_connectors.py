"""Connectors written from the documentation of the standard: a change log, and folders of partitioned files."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dataflare import (
    Chunk,
    ConfigError,
    DatasetName,
    DirectoryGrant,
    Ended,
    Grants,
    Host,
    Idle,
    NewSchema,
    PluginError,
    Selection,
    Source,
)
from dataflare.data.roles import Roles, roles_of
from dataflare.runtime.datasets import ReadProgress
from guest_kit import component

ORDERS, LINES = Selection("orders", "changes"), Selection("lines", "changes")


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host() as host:
        yield host


@pytest.fixture
def load(host: Host, tmp_path: Path) -> Iterator[Callable[..., Source]]:
    opened: list[Source] = []

    def make(name: str, **config: Any) -> Source:
        grants = Grants(files={"d": DirectoryGrant(path=tmp_path, access="write")})
        opened.append(host.load(component(name), kind="source", config=config, grants=grants))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(PluginError) as caught:
        call()
    return str(caught.value.error.case)


# The change log


SHOP: list[dict[str, Any]] = [
    {"log": "shop"},
    {"schema": "orders", "columns": {"id": "int64", "note": "string"}, "key": ["id"]},
    {"schema": "lines", "columns": {"id": "int64", "order": "int64"}, "key": ["id"]},
    {"insert": "orders", "row": {"id": 1, "note": "a"}},
    {"begin": 1},
    {"insert": "orders", "row": {"id": 2, "note": "b"}},
    {"insert": "lines", "row": {"id": 7, "order": 2}},
    {"update": "orders", "row": {"id": 1, "note": "c"}},
    {"schema": "orders", "columns": {"id": "int64", "note": "string", "paid": "bool"}, "key": ["id"]},
    {"update": "orders", "row": {"id": 2, "note": "b", "paid": True}},
    {"commit": 1},
    {"delete": "orders", "row": {"id": 1}},
]


class Log:
    """The log of a database, which grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write(*SHOP)

    def write(self, *events: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.writelines(f"{json.dumps(event)}\n" for event in events)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "shop.log")


def read_on(source: Source, max_rows: int = 100) -> list[ReadProgress]:
    """What comes until the read is idle, the pause included."""
    found: list[ReadProgress] = []
    while not found or not isinstance(found[-1], Idle | Ended):
        found.append(source.read(max_rows))
    return found


def rows(found: list[ReadProgress]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (str(each.dataset), {key: value for key, value in row.items() if value is not None})
        for each in found
        if isinstance(each, Chunk)
        for row in each.rows.to_pylist()
    ]


EVERYTHING = [
    ("orders", {"id": 1, "note": "a", "_operation": 0}),
    ("orders", {"id": 2, "note": "b", "_operation": 0}),
    ("lines", {"id": 7, "order": 2, "_operation": 0}),
    ("orders", {"id": 1, "note": "c", "_operation": 1}),
    ("orders", {"id": 2, "note": "b", "paid": True, "_operation": 1}),
    ("orders", {"id": 1, "_operation": 2}),
]


def test_tables_of_a_log_are_datasets_of_changes(load, log):
    lines, orders = load("change-source", log="d/shop.log").discover()
    assert (str(orders.name), orders.key, orders.modes) == ("orders", ("id",), {"changes", "unbounded"})
    assert orders.schema.names == ["id", "note", "paid"]
    assert roles_of(lines.schema) == Roles(("id",))


@pytest.mark.parametrize("max_rows", [1, 2, 100])
def test_changes_of_tables_come_with_their_operations(load, log, max_rows):
    source = load("change-source", log="d/shop.log")
    orders, _ = source.open([ORDERS, LINES])
    assert (orders.names, roles_of(orders)) == (["id", "note", "_operation"], Roles(("id",), None, "_operation"))
    assert rows(read_on(source, max_rows)) == EVERYTHING


def test_chunks_within_a_transaction_have_no_state(load, log):
    source = load("change-source", log="d/shop.log")
    source.open([ORDERS, LINES])
    *found, _ = read_on(source)
    chunks = [each for each in found if isinstance(each, Chunk)]
    assert [each.state is None for each in chunks] == [False, True, True, True, False]
    change = found[4]
    assert isinstance(change, NewSchema)
    assert (change.dataset, change.schema.names) == (DatasetName("orders"), ["id", "note", "paid", "_operation"])


@pytest.mark.parametrize("at", range(7))
def test_read_of_a_log_goes_on_from_every_state(load, log, at):
    source = load("change-source", log="d/shop.log")
    source.open([ORDERS, LINES])
    found = read_on(source, 1)
    state = found[at].state if not isinstance(found[at], NewSchema) else None
    before = rows(found[: at + 1]) if state is not None else []
    orders, _ = source.open([ORDERS, LINES], state=state)
    # The schema is the one of the rows that follow.
    assert ("paid" in orders.names) == (len(before) > 4)
    assert before + rows(read_on(source)) == EVERYTHING


def test_update_of_a_key_is_a_delete_and_an_insert(load, log):
    source = load("change-source", log="d/shop.log")
    source.open([ORDERS])
    read_on(source)
    log.write({"update": "orders", "row": {"id": 3, "note": "b", "paid": True}, "was": {"id": 2}})
    (chunk, _) = read_on(source)
    assert rows([chunk]) == [
        ("orders", {"id": 2, "_operation": 2}),
        ("orders", {"id": 3, "note": "b", "paid": True, "_operation": 0}),
    ]


def test_columns_of_a_state_are_those_of_its_place_after_the_log_grew(load, log):
    source = load("change-source", log="d/shop.log")
    source.open([LINES])
    state = read_on(source)[-1].state
    log.write({"insert": "lines", "row": {"id": 8, "order": 1}})
    log.write({"schema": "lines", "columns": {"id": "int64", "price": "double"}, "key": ["id"]})
    (schema,) = source.open([LINES], state=state)
    assert schema.names == ["id", "order", "_operation"]
    found = read_on(source)
    assert rows(found) == [("lines", {"id": 8, "order": 1, "_operation": 0})]
    assert any(isinstance(each, NewSchema) for each in found)


def test_log_that_ends_within_a_transaction_pauses_without_a_state(load, log):
    log.write({"begin": 2}, {"insert": "orders", "row": {"id": 3}})
    source = load("change-source", log="d/shop.log")
    source.open([ORDERS])
    (*_, chunk, pause) = read_on(source)
    assert (chunk.state, pause) == (None, Idle(None, 1.0))
    log.write({"insert": "orders", "row": {"id": 4}}, {"commit": 2})
    (last, pause) = read_on(source)
    assert rows([last]) == [("orders", {"id": 4, "_operation": 0})]
    assert None not in (last.state, pause.state)


def test_selected_columns_hide_changes_of_others(load, log):
    source = load("change-source", log="d/shop.log")
    (schema,) = source.open(Selection("orders", "changes", columns=["note"]))
    found = read_on(source)
    assert schema.names == ["id", "note", "_operation"]
    assert not any(isinstance(each, NewSchema) for each in found)
    with pytest.raises(ConfigError, match="has no column 'pay'"):
        source.open(Selection("orders", "changes", columns=["pay"]))


def test_truncated_table_makes_states_before_it_invalid(load, log):
    source = load("change-source", log="d/shop.log")
    source.open([ORDERS])
    state = read_on(source)[-1].state
    log.write({"truncate": "orders"}, {"insert": "orders", "row": {"id": 9}})
    assert refusal(lambda: source.open([ORDERS], state=state)) == "invalid-state"
    source.open([ORDERS])
    found = read_on(source, 1)
    assert rows(found) == [("orders", {"id": 9, "_operation": 0})]
    source.open([ORDERS], state=found[0].state)
    assert rows(read_on(source)) == []


@pytest.mark.parametrize("state", [b"", b"{}", b'{"log": "other", "offset": 16, "tables": []}'])
def test_state_of_something_else_is_invalid(load, log, state):
    assert refusal(lambda: load("change-source", log="d/shop.log").open([ORDERS], state=state)) == "invalid-state"


def test_state_of_other_tables_is_invalid(load, log):
    source = load("change-source", log="d/shop.log")
    source.open([ORDERS])
    state = read_on(source)[-1].state
    for others in ([LINES], [ORDERS, LINES], [Selection("orders", "changes", columns=["note"])]):
        assert refusal(lambda others=others: source.open(others, state=state)) == "invalid-state"


def test_acknowledged_state_is_kept_as_the_slot(load, log, tmp_path):
    source = load("change-source", log="d/shop.log", slot="d/slot")
    source.open([ORDERS])
    state = read_on(source)[-1].state
    source.acknowledge(state)
    assert json.loads((tmp_path / "slot").read_bytes()) == json.loads(state)["after"]


# The folder of partitioned files


NEW = Selection("orders", "incremental")
DAY = datetime.date(2026, 1, 2)


class Lake:
    """Folders of files of numbered rows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.next = 0

    def add(self, place: str, count: int) -> None:
        (self.path / place).parent.mkdir(parents=True, exist_ok=True)
        numbers = range(self.next, self.next + count)
        self.next += count
        lines = [
            {"id": n, "amount": n / 2, "note": None if n % 3 else f"nöte {n}", "at": "2026-01-02"} for n in numbers
        ]
        (self.path / place).write_text("".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path / "lake")
    for place in ("day=1/a.jsonl", "day=1/b.jsonl", "day=2/a.jsonl", "day=3/b.jsonl"):
        lake.add(f"orders/{place}", 5)
    lake.add("returns/day=1/a.jsonl", 3)
    return lake


@pytest.fixture
def folder(load, lake) -> Source:
    columns = {"id": "int64", "amount": "double", "note": "string", "at": "date32[day]"}
    return load("folder-source", path="d/lake", partition="day", key="id", columns=columns)


def ids(chunks: Any) -> list[int]:
    return [n for chunk in chunks for n in chunk.rows["id"].to_pylist()]


def test_rows_of_a_folder_have_values_and_roles(folder):
    assert [str(each.name) for each in folder.discover()] == ["orders", "returns"]
    (first, *_) = folder.chunks("orders", max_rows=4)
    assert first.rows.to_pylist()[3] == {"id": 3, "amount": 1.5, "note": "nöte 3", "at": DAY, "day": "1"}
    assert roles_of(first.rows.schema) == Roles(("id",), "day")
    assert first.rows["note"].null_count == 2


@pytest.mark.parametrize("max_rows", [3, 100])
def test_read_of_a_folder_goes_on_from_every_state(folder, max_rows):
    everything = list(folder.chunks(["orders", "returns"], max_rows=max_rows))
    assert ids(everything) == list(range(23))
    for at, chunk in enumerate(everything):
        rest = folder.chunks(["orders", "returns"], state=chunk.state)
        assert ids(everything[: at + 1]) + ids(rest) == list(range(23))


def test_incremental_read_has_files_added_to_the_last_partition(folder, lake):
    (*_, last) = folder.chunks(NEW)
    assert ids(folder.chunks(NEW, state=last.state)) == []
    lake.add("orders/day=3/a.jsonl", 2)
    lake.add("orders/day=4/a.jsonl", 2)
    lake.add("orders/day=2/late.jsonl", 2)
    assert ids(folder.chunks(NEW, state=last.state)) == [23, 24, 25, 26]


@pytest.mark.parametrize("at_most", [1, 2, 3, 100])
def test_first_read_is_made_in_parts_and_the_next_goes_on(folder, lake, at_most):
    division = folder.split(NEW, at_most=at_most)
    assert len(division.parts) == min(at_most, 4)
    assert sorted(n for part in division.parts for n in ids(folder.chunks(NEW, part=part))) == list(range(20))
    assert ids(folder.chunks(NEW, state=division.rest)) == []
    lake.add("orders/day=4/a.jsonl", 2)
    assert ids(folder.chunks(NEW, state=division.rest)) == [23, 24]
    again = folder.split(NEW, at_most=at_most, state=division.rest)
    assert [ids(folder.chunks(NEW, part=part)) for part in again.parts] == [[23, 24]]


def test_part_goes_on_from_its_states_and_from_no_others(folder):
    one, other = folder.split("orders", at_most=2).parts
    chunks = list(folder.chunks("orders", part=one, max_rows=3))
    for at, chunk in enumerate(chunks):
        rest = folder.chunks("orders", part=one, state=chunk.state)
        assert ids(chunks[: at + 1]) + ids(rest) == ids(chunks)
    for part in (other, None):
        assert refusal(lambda part=part: folder.open("orders", part=part, state=chunks[0].state)) == "invalid-state"
    assert refusal(lambda: folder.open("returns", part=other)) == "invalid-state"
    assert refusal(lambda: folder.open("orders", part=b"nonsense")) == "invalid-state"


def test_full_read_has_no_rest(folder):
    assert folder.split(["orders", "returns"], at_most=3).rest is None


def test_state_of_a_folder_belongs_to_its_path_and_partition(load, folder, lake):
    (first, *_) = folder.chunks("orders", max_rows=3)
    columns = {"id": "int64", "amount": "double", "note": "string", "at": "date32[day]"}
    lake.add("orders/region=1/a.jsonl", 3)
    lake.add("other/orders/day=1/a.jsonl", 3)
    for other in ({"partition": "region", "path": "d/lake"}, {"partition": "day", "path": "d/lake/other"}):
        source = load("folder-source", key="id", columns=columns, **other)
        assert refusal(lambda source=source: source.open("orders", state=first.state)) == "invalid-state"


def test_values_of_a_folder_keep_what_was_written(load, tmp_path):
    place = tmp_path / "t/p=a%2Fb"
    place.mkdir(parents=True)
    columns = {"id": "int64", "d": "decimal128(38, 19)", "b": "bool", "x": "double", "s": "string"}
    source = load("folder-source", path="d", partition="p", key="id", columns=columns)
    line = '{"id": 9007199254740993, "d": "0.1000000000000000055", "b": false, "x": NaN, "s": "\\u20ac"}'
    (place / "a.jsonl").write_text(f"\n{line}\r\n")
    (chunk,) = source.chunks("t")
    (row,) = chunk.rows.to_pylist()
    assert (row["id"], str(row["d"]), row["b"], row["s"]) == (2**53 + 1, "0.1000000000000000055", False, "€")
    assert (math.isnan(row["x"]), row["p"]) == (True, "a/b")
    for wrong in (
        b'{"id": 1, "b": "false"}',
        b'{"id": 1, "x": "abc"}',
        b'{"id": ""}',
        b'{"id": 1.5}',
        b'{"id": 1, "s": "\xff"}',
    ):
        (place / "a.jsonl").write_bytes(wrong)
        assert refusal(lambda: list(source.chunks("t"))) == "invalid-input", wrong


def test_rows_without_a_value_of_the_partition_are_refused(load, tmp_path):
    (tmp_path / "t/p=__HIVE_DEFAULT_PARTITION__").mkdir(parents=True)
    (tmp_path / "t/p=__HIVE_DEFAULT_PARTITION__/a.jsonl").write_text('{"id": 1}')
    source = load("folder-source", path="d", partition="p", key="id", columns={"id": "int64"})
    assert refusal(lambda: list(source.chunks("t"))) == "invalid-input"
