"""A keyed destination that keeps the token, and a source of pages over HTTP, both in Python."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from dataflare import (
    Chunk,
    ConfigError,
    DatasetName,
    Destination,
    Ended,
    Grants,
    Host,
    HttpGrant,
    MemoryStateStore,
    PlannedChange,
    PluginError,
    RejectedRow,
    Selection,
    Services,
    Source,
    Target,
)
from dataflare.cli.app import app
from dataflare.data.roles import Roles, roles_of, with_roles
from guest_kit import component

PEOPLE = pa.schema([("id", pa.int64()), ("name", pa.string())])
CHANGES = with_roles(pa.schema([("id", pa.int64()), ("name", pa.string()), ("op", pa.int8())]), operation="op")

pytestmark = pytest.mark.guests


# The keyed destination


@pytest.fixture
def store() -> MemoryStateStore:
    return MemoryStateStore()


@pytest.fixture
def table(store: MemoryStateStore) -> Iterator[Callable[[], Destination]]:
    with ExitStack() as stack:

        def load() -> Destination:
            host = stack.enter_context(Host(services=Services(state_store=store)))
            return host.load(component("table-destination"), kind="destination", name="t", grants=Grants(state=True))

        yield load


def people(*rows: tuple[int | None, str]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"id": id_, "name": name} for id_, name in rows], PEOPLE)


def target(**more: Any) -> Target:
    return Target("people", PEOPLE, key=["id"], **{"mode": "merge", **more})


def kept(store: MemoryStateStore) -> list[dict[str, Any]]:
    return list(json.loads(store.get("default/t", "tables") or b"")["tables"]["people"]["rows"].values())


def test_rows_are_merged_by_key_and_the_token_comes_back(table, store):
    first = table()
    assert first.abilities() >= {"merge", "delete", "keep-token", "shut-out"}
    assert first.open(target(), generation=1) is None
    first.write(people((1, "Ann"), (2, "Bob")))
    first.write(people((1, "Anna")))
    assert first.flush(b"after two")
    first.write(people((3, "Cy")))
    first.abort()
    second = table()
    assert second.open(target(), generation=2) == b"after two"
    assert kept(store) == [{"id": 2, "name": "Bob"}, {"id": 1, "name": "Anna"}]
    second.write(people((2, "Rob")))
    second.finish(b"the end")
    assert sorted(row["name"] for row in kept(store)) == ["Anna", "Rob"]
    assert table().open(target(), generation=3) == b"the end"


def test_rows_with_an_operation_are_removed(table, store):
    destination = table()
    destination.open(Target("people", CHANGES, key=["id"], mode="merge"))
    rows = {"id": [1, 2, 2], "name": ["Ann", "Bob", None], "op": [0, None, 2]}
    destination.write(pa.RecordBatch.from_pydict(rows, CHANGES))
    destination.finish()
    assert kept(store) == [{"id": 1, "name": "Ann"}]


def test_row_with_an_operation_that_does_not_exist_is_rejected(table, store):
    destination = table()
    destination.open(Target("people", CHANGES, key=["id"], mode="merge"))
    rows = {"id": [1, 2, None], "name": ["Ann", "Bob", None], "op": [0, 3, -1]}
    assert destination.write(pa.RecordBatch.from_pydict(rows, CHANGES)) == [
        RejectedRow(1, "op", "the operation is 3, not 0, 1 or 2"),
        RejectedRow(2, "id", "the key is null"),
    ]
    destination.finish()
    assert kept(store) == [{"id": 1, "name": "Ann"}]


def test_datasets_of_namespaces_are_kept_apart(table, store):
    names = [DatasetName("people", "shop"), DatasetName("shop.people"), DatasetName("shop/people")]
    destination = table()
    destination.open([Target(name, PEOPLE, key=["id"], mode="merge") for name in names])
    for at, name in enumerate(names):
        destination.write(people((at, str(name))), name)
    destination.finish()
    tables = json.loads(store.get("default/t", "tables") or b"")["tables"]
    assert {name: list(table["rows"]) for name, table in tables.items()} == {
        "shop/people": ["[0]"],
        "shop.people": ["[1]"],
        "shop%2Fpeople": ["[2]"],
    }


def test_row_without_a_key_is_rejected(table, store):
    destination = table()
    destination.open(target())
    assert destination.write(people((1, "Ann"), (None, "Bob"))) == [RejectedRow(1, "id", "the key is null")]
    destination.finish()
    assert (kept(store), destination.rows_written) == ([{"id": 1, "name": "Ann"}], 1)


def test_replaced_table_is_seen_at_the_end_only(table, store):
    first = table()
    first.open(target())
    first.write(people((1, "Ann")))
    first.finish()
    second = table()
    assert second.plan(target(mode="replace")) == [PlannedChange(target().dataset, "replace-rows", "people")]
    second.open(target(mode="replace"))
    second.write(people((2, "Bob")))
    assert not second.flush(b"not yet")
    assert kept(store) == [{"id": 1, "name": "Ann"}]
    second.finish()
    assert kept(store) == [{"id": 2, "name": "Bob"}]


def test_older_run_is_shut_out(table, store):
    older, newer = table(), table()
    older.open(target(), generation=1)
    older.write(people((1, "Ann")))
    newer.open(target(), generation=2)
    for call in (older.flush, older.finish, lambda: table().open(target(), generation=1)):
        with pytest.raises(PluginError) as caught:
            call()
        assert (caught.value.error.case, caught.value.retryable) == ("superseded", False)
    newer.write(people((2, "Bob")))
    newer.finish()
    assert kept(store) == [{"id": 2, "name": "Bob"}]


def test_run_with_the_generation_of_another_is_shut_out(table):
    table().open(target(), generation=1, run="a")
    with pytest.raises(PluginError, match="run a of default has begun"):
        table().open(target(), generation=1, run="b")
    table().open(target(), generation=1, run="a")


# The source of pages


class Api:
    """A JSON API of numbered orders; `answers` come before its own."""

    def __init__(self) -> None:
        self.rows = [{"id": n, "updated": n // 2, "note": f"order {n}"} for n in range(10)]
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.queries: list[dict[str, str]] = []

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        split = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(split.query).items()}
        self.queries.append(query)
        if self.answers:
            return self.answers.pop(0)
        if split.path != "/v1/orders":
            return 404, {}, b""
        rows = [row for row in self.rows if row["updated"] >= int(query.get("since", -1))]
        start, limit = int(query.get("page", 0)), min(int(query["limit"]), 4)
        following = str(start + limit) if start + limit < len(rows) else None
        return 200, {}, json.dumps({"items": rows[start : start + limit], "next": following}).encode()


@pytest.fixture
def api() -> Iterator[Any]:
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            api.authorization = self.headers["authorization"]  # type: ignore[attr-defined]
            status, headers, body = api.answer(self.path)
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    api.origin = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    yield api
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def load_pages(api: Any) -> Iterator[Callable[..., Source]]:
    grants = Grants(http={api.origin: HttpGrant(addresses=frozenset({"127.0.0.1"}), requests_per_s=1000, burst=1000)})

    def make(columns: dict[str, str], **options: str) -> Source:
        config = {"url": f"{api.origin}/v1", "datasets": {"orders": columns, "absent": columns}, **options}
        return host.load(component("page-source"), kind="source", config=config, grants=grants)

    with Host() as host:
        yield make


@pytest.fixture
def pages(load_pages: Callable[..., Source]) -> Source:
    return load_pages({"id": "int64", "updated": "int64", "note": "string"})


def ids(chunks: Iterator[Chunk]) -> list[int]:
    return [n for chunk in chunks for n in chunk.rows["id"].to_pylist()]


def test_pages_are_read_to_the_last(pages, api):
    assert [str(each.name) for each in pages.discover()] == ["orders", "absent"]
    (schema,) = pages.open("orders")
    assert roles_of(schema) == Roles(("id",), "updated")
    assert ids(pages.chunks("orders")) == list(range(10))
    assert [query.get("page") for query in api.queries] == [None, "4", "8"]


def test_the_command_takes_secrets_of_headers_from_the_environment(api, tmp_path, monkeypatch):
    columns = {"id": "int64", "updated": "int64", "note": "string"}
    config = json.dumps({"url": f"{api.origin}/v1", "datasets": {"orders": columns}})
    (tmp_path / "pipeline.yaml").write_text(f"""
name: orders
nodes:
  read:
    plugin: {json.dumps(str(component("page-source")))}
    config: {config}
    grants:
      http:
        {json.dumps(api.origin)}:
          methods: [GET]
          addresses: [127.0.0.1]
          secrets: {{ authorization: "Bearer {{api-token}}" }}
  write: {{ connector: jsonl, input: read, write: {json.dumps(str(tmp_path / "out.jsonl"))} }}
""")
    monkeypatch.setenv("DATAFLARE_SECRET_API_TOKEN", "hunter2")
    done = CliRunner().invoke(app, ["run", str(tmp_path / "pipeline.yaml"), "--no-state"])
    assert done.exit_code == 0, done.output
    assert api.authorization == "Bearer hunter2" and "hunter2" not in done.output
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 10


def test_read_goes_on_from_the_state_of_each_page(pages):
    chunks = list(pages.chunks("orders"))
    for at, chunk in enumerate(chunks):
        before = ids(iter(chunks[: at + 1]))
        assert before + ids(pages.chunks("orders", state=chunk.state)) == list(range(10))


def test_incremental_read_asks_for_what_is_new(pages, api):
    new = Selection("orders", "incremental", columns=["id"])
    (*_, last) = pages.chunks(new)
    assert last.rows.schema.names == ["id", "updated"]
    assert ids(pages.chunks(new, state=last.state)) == []
    # One has the cursor of the last row that was read: it is new all the same.
    api.rows += [{"id": 10, "updated": 4}, {"id": 11, "updated": 9}, {"id": 12, "updated": 10}]
    chunks = list(pages.chunks(new, state=last.state))
    assert ids(chunks) == [10, 11, 12]
    assert api.queries[-1]["since"] == "4"
    assert ids(pages.chunks(new, state=chunks[-1].state)) == []


def test_incremental_read_goes_on_from_the_state_of_each_page(pages, api):
    new = Selection("orders", "incremental")
    (*_, last) = pages.chunks(new)
    api.rows += [{"id": n, "updated": 4 + (n > 15)} for n in range(10, 24)]
    chunks = list(pages.chunks(new, state=last.state))
    assert ids(chunks) == list(range(10, 24))
    for at, chunk in enumerate(chunks):
        assert ids(chunks[: at + 1]) + ids(pages.chunks(new, state=chunk.state)) == list(range(10, 24))


@pytest.mark.parametrize(
    ("status", "headers", "case", "value"),
    [
        (429, {"retry-after": "2"}, "rate-limited", 2000),
        (429, {}, "rate-limited", 1000),
        (503, {"retry-after": "1"}, "rate-limited", 1000),
        (500, {}, "unavailable", None),
    ],
)
def test_page_that_comes_later_is_asked_for_again(pages, api, status, headers, case, value):
    pages.open("orders")
    first = pages.read()
    api.answers.append((status, headers, b""))
    with pytest.raises(PluginError) as caught:
        pages.read()
    assert caught.value.retryable
    assert caught.value.error.case == case
    assert value is None or caught.value.error.value == value
    rest = []
    while not isinstance(progress := pages.read(), Ended):
        rest.append(progress)
    assert ids(iter([first, *rest])) == list(range(10))


@pytest.mark.parametrize("status", [401, 403])
def test_credentials_that_are_not_accepted_are_denied(pages, api, status):
    api.answers.append((status, {}, b""))
    with pytest.raises(PluginError) as caught:
        list(pages.chunks("orders"))
    assert (caught.value.error.case, caught.value.retryable) == ("denied", False)


def test_numbers_of_pages_keep_their_digits(load_pages, api):
    columns = {"id": "int64", "updated": "decimal128(38, 20)", "price": "decimal128(38, 20)", "ratio": "double"}
    source = load_pages(columns)
    row = b'{"id": 9007199254740993, "updated": %s, "price": 0.10000000000000000555, "ratio": %s}'
    page = b'{"items": [%s], "next": null}' % row
    new = Selection("orders", "incremental")
    api.answers.append((200, {}, page % (b"1.00000000000000000001", b"0.1")))
    (chunk,) = source.chunks(new)
    (row,) = chunk.rows.to_pylist()
    assert (row["id"], row["price"], row["ratio"]) == (2**53 + 1, Decimal("0.10000000000000000555"), 0.1)
    # The state tells the row with this cursor from one that differs in the last digit.
    api.answers.append((200, {}, page % (b"1.00000000000000000001", b"0.1")))
    api.answers.append((200, {}, page % (b"1.00000000000000000002", b"0.1")))
    assert [ids(source.chunks(new, state=chunk.state)) for _ in range(2)] == [[], [2**53 + 1]]
    assert api.queries[-1]["since"] == "1.00000000000000000001"
    api.answers.append((200, {}, page % (b"1", b"1e400")))
    with pytest.raises(PluginError, match=r"1E\+400 is beyond the range of a double"):
        list(source.chunks("orders"))


def test_state_of_another_cursor_or_key_is_refused(load_pages):
    columns = {"id": "int64", "updated": "int64", "note": "string"}
    (*_, last) = load_pages(columns).chunks(Selection("orders", "incremental"))
    for options in ({"cursor": "id"}, {"key": "note"}):
        with pytest.raises(PluginError, match="with this key and cursor") as caught:
            load_pages(columns, **options).open(Selection("orders", "incremental"), state=last.state)
        assert caught.value.error.case == "invalid-state"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"no JSON", "is not an object with `items`"),
        (b"[]", "is not an object with `items`"),
        (b'{"items": [1]}', "is not a list of objects"),
        (b'{"items": [], "next": 5}', "`next` is not a text"),
        (b'{"items": [{}, {}, {}, {}]}', "a page of 4 rows, of at most 3"),
    ],
)
def test_response_that_is_not_a_page_is_an_error(pages, api, body, why):
    pages.open("orders")
    api.answers.append((200, {}, body))
    with pytest.raises(PluginError, match=why) as caught:
        pages.read(3)
    assert caught.value.error.case == "invalid-input"


def test_what_the_source_cannot_do_is_told(pages):
    (*_, last) = pages.chunks("orders")
    for wrong in (
        lambda: pages.open(Selection("orders", "incremental"), state=last.state),
        lambda: pages.open("absent", state=last.state),
        lambda: pages.open("orders", part=b"part"),
    ):
        with pytest.raises(PluginError) as caught:
            wrong()
        assert caught.value.error.case == "invalid-state"
    with pytest.raises(ConfigError, match="cannot be split"):
        pages.split("orders", at_most=2)
    with pytest.raises(PluginError, match="status 404"):
        list(pages.chunks("absent"))
