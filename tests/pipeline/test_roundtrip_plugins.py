"""Every Arrow type from each source through plugins that hand rows on to each destination; chains are sampled.

What comes back equals what went in, or an error says why it cannot: never a third thing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflare import DirectoryGrant, Grants, Host, HttpGrant, MemoryStateStore, Plugin, Services, Target
from dataflare.data.json_reader import decode_json_lines
from dataflare.data.json_writer import encode_json_lines
from dataflare.errors import DataflareError
from every_type import ARRAYS, CONNECTORS, IDS, batches_of, may_refuse, notation, rows_of, through, write
from guest_kit import component
from reading_kit import read

pytestmark = pytest.mark.guests
PASSERS: dict[str, tuple[str, dict[str, Any]]] = {
    "json-mapper": ("process_batch", {}),
    "derive-columns": ("transform", {"columns": [{"name": "more", "op": "add", "left": "row", "right": 1}]}),
    "filter-rows": ("transform", {"column": "row", "op": ">=", "value": 0}),
}
SOURCES = (*CONNECTORS, "csv-source", "page-source")
DESTINATIONS = (*CONNECTORS, "jsonl-destination", "table-destination")
MOST = 2**30


class Kit:
    """Loaded plugins, and an API that gives the rows of the last batches that it was given."""

    def __init__(self, host: Host, store: MemoryStateStore, folder: Path, load: Callable[..., Any]) -> None:
        self.host, self.store, self.folder, self._load = host, store, folder, load
        self.items: list[bytes] = []
        self.origin = ""
        self._plugins: dict[str, Any] = {}

    def plugin(self, name: str, **options: Any) -> Any:
        if name not in self._plugins:
            self._plugins[name] = self._load(self.host.load(component(name), name=name, **options))
        return self._plugins[name]

    def files(self, access: Any) -> Grants:
        return Grants(files={"data": DirectoryGrant(path=self.folder, access=access)})

    def page(self, path: str) -> bytes:
        start = int(path.partition("page=")[2].partition("&")[0] or 0)
        following = json.dumps(str(start + 2) if start + 2 < len(self.items) else None).encode()
        return b'{"items": [%s], "next": %s}' % (b",".join(self.items[start : start + 2]), following)

    # Sources

    def from_csv_source(self, batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
        write("csv", self.folder / "in.csv", batches)
        columns = {field.name: notation(field.type) for field in batches[0].schema}
        config = {"path": "data/in.csv", "columns": columns, "batch_rows": 3}
        with self.host.load(component("csv-source"), kind="source", config=config, grants=self.files("read")) as source:
            return [chunk.rows for chunk in source.chunks()]

    def from_page_source(self, batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
        self.items = [line for batch in batches for line in bytes(encode_json_lines(batch, MOST)).splitlines()]
        columns = {field.name: notation(field.type) for field in batches[0].schema}
        config = {"url": self.origin, "key": "row", "cursor": "row", "datasets": {"rows": columns}}
        grants = Grants(http={self.origin: HttpGrant(addresses=frozenset({"127.0.0.1"}), requests_per_s=1e5)})
        with self.host.load(component("page-source"), kind="source", config=config, grants=grants) as source:
            return [chunk.rows for chunk in source.chunks()]

    # Destinations

    def to_jsonl_destination(self, batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
        (self.folder / "out.jsonl").unlink(missing_ok=True)
        config = {"path": "data/out.jsonl"}
        destination = self.plugin("jsonl-destination", config=config, grants=self.files("write"))
        self.written(destination, Target("rows", batches[0].schema), batches)
        columns = {field.name: notation(field.type) for field in batches[0].schema}
        return read("jsonl", self.folder / "out.jsonl", columns=columns).to_batches()

    def to_table_destination(self, batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
        destination = self.plugin("table-destination", grants=Grants(state=True))
        self.written(destination, Target("rows", batches[0].schema, key=["row"], mode="replace"), batches)
        document = self.store.get("default/table-destination", "tables") or b""
        # The rows as the plugin wrote them: no reader of this test makes numbers of their digits.
        kept = json.loads(document, parse_int=Digits, parse_float=Digits)["tables"]["rows"]["rows"].values()
        lines = [dumped(row) for row in sorted(kept, key=lambda row: int(row["row"]))]
        return [decode_json_lines("\n".join(lines).encode(), batches[0].schema, MOST)]

    def written(self, destination: Any, target: Target, batches: list[pa.RecordBatch]) -> None:
        destination.open(target)
        try:
            for batch in batches:
                assert destination.write(batch) == []
            destination.finish()
        except BaseException:
            destination.abort()
            raise


class Digits(str):
    """A number as it is written."""


def dumped(value: Any) -> str:
    if isinstance(value, Digits):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {dumped(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(dumped, value))}]"
    return json.dumps(value)


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    store = MemoryStateStore()
    with ExitStack() as stack:
        host = stack.enter_context(Host(services=Services(state_store=store)))

        def load(plugin: Plugin) -> Plugin:
            return stack.enter_context(plugin)

        made = Kit(host, store, tmp_path_factory.mktemp("files"), load)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = made.page(self.path)
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        made.origin = f"http://127.0.0.1:{server.server_port}"
        yield made
        server.shutdown()
        thread.join()
        server.server_close()


def taken(kit: Kit, source: str, batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Let a source give the rows of some batches."""
    if source == "csv-source":
        return kit.from_csv_source(batches)
    if source == "page-source":
        return kit.from_page_source(batches)
    return through(source, kit.folder / f"in.{source}", batches)


def given_to(kit: Kit, destination: str, batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Write batches with a destination, and read what it wrote."""
    if destination == "jsonl-destination":
        return kit.to_jsonl_destination(batches)
    if destination == "table-destination":
        return kit.to_table_destination(batches)
    return through(destination, kit.folder / f"out.{destination}", batches)


def passed(kit: Kit, name: str, batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Let a plugin hand batches on."""
    function, config = PASSERS[name]
    plugin = kit.plugin(name, config=config)
    results = [getattr(plugin, function)(batch) for batch in batches]
    return [result.select(batch.schema.names) for result, batch in zip(results, batches, strict=True)]


def refusal_is_right(place: str, kind: pa.DataType) -> bool:
    """Whether a place has no form for a type."""
    if place == "csv-source" and (pa.types.is_time(kind) or pa.types.is_duration(kind) or pa.types.is_null(kind)):
        return True  # the host converts no texts to these
    return place in (*CONNECTORS, "csv-source") and may_refuse(place.removesuffix("-source"), kind)


@pytest.mark.parametrize("source", ["csv-source", "page-source"])
@pytest.mark.parametrize("array", ARRAYS, ids=IDS)
def test_a_source_gives_every_value_or_its_error_says_why_not(kit, array, source):
    batches = batches_of(array)[:1]
    try:
        given = taken(kit, source, batches)
    except DataflareError as error:
        assert str(error)
        assert refusal_is_right(source, array.type), f"{source} refused {array.type}: {error}"
        return
    assert rows_of(given) == rows_of(batches)
    assert {batch.schema.field("v").type for batch in given} == {array.type}


@pytest.mark.parametrize("array", ARRAYS, ids=IDS)
def test_a_keyed_destination_keeps_every_value(kit, array):
    batches = batches_of(array)[:1]
    assert rows_of(kit.to_table_destination(batches)) == rows_of(batches)


@st.composite
def tables(draw: st.DrawFn) -> list[pa.RecordBatch]:
    """Rows of one type, in any order and number, nulls among them, cut into batches with slices and empty ones."""
    array = draw(st.sampled_from(ARRAYS))
    chosen = draw(st.lists(st.none() | st.integers(0, len(array) - 1), max_size=12))
    values = array.take(pa.array(chosen, pa.int64()))
    whole = pa.record_batch({"row": pa.array(range(len(values)), pa.int64()), "v": values})
    cuts = sorted(draw(st.lists(st.integers(0, len(values)), max_size=3)))
    return [whole.slice(begin, end - begin) for begin, end in zip([0, *cuts], [*cuts, len(values)], strict=True)]


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    tables(), st.sampled_from(SOURCES), st.lists(st.sampled_from([*PASSERS]), max_size=2), st.sampled_from(DESTINATIONS)
)
def test_values_survive_every_chain_or_are_refused(kit, batches, source, between, destination):
    expected, kind = rows_of(batches), batches[0].schema.field("v").type
    try:
        at = source
        batches = taken(kit, source, batches) or batches
        assert rows_of(batches) == expected
        for name in between:
            batches = passed(kit, name, batches)
            assert rows_of(batches) == expected, name
        at = destination
        batches = given_to(kit, destination, batches)
    except DataflareError as error:
        assert str(error)
        assert refusal_is_right(at, kind), f"{at} refused {kind}: {error}"
        return
    assert rows_of(batches) == expected
