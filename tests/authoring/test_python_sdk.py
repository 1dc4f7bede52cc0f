"""The Python SDK, natively: what sources and destinations are told, and the modules of the host's interfaces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dataflare import Chunk as HostChunk
from dataflare import DatasetName, DirectoryGrant, Ended, Grants, Selection
from dataflare import NewSchema as HostNewSchema
from dataflare.errors import PluginError
from dataflare.runtime.datasets import Target as HostTarget
from dataflare.testing import native
from dataflare_plugin import (
    Batch,
    Chunk,
    Dataset,
    Destination,
    NewSchema,
    Processor,
    RateLimited,
    RejectedRow,
    Request,
    Run,
    Source,
    Target,
    files,
    http,
    state,
)
from dataflare_plugin import errors as sdk_errors

# Sources


class People(Source):
    dataset = "people"
    schema = {"id": "int64", "name": "string"}  # noqa: RUF012 - as authors write it
    key = ("id",)
    given: Any = None

    def read(self, request: Request) -> Iterator[Any]:
        yield self.given


@pytest.mark.parametrize(
    "given",
    [
        [{"id": 1, "name": "Ada"}, {"id": 2, "name": "Bo", "age": 7}],
        {"id": [1], "name": ["Ada"], "age": [7]},
        lambda: Batch.from_columns({"id": [1], "name": ["Ada"], "age": [7]}),
    ],
    ids=["records", "columns", "batch"],
)
def test_column_that_the_schema_lacks_is_an_error_that_names_it(given: Any) -> None:
    class Gives(People):
        def read(self, request: Request) -> Iterator[Any]:
            yield given() if callable(given) else given

    for columns in ([], ["id"]):
        with native(Gives) as plugin:
            plugin.open(Selection("people", columns=columns))
            with pytest.raises(
                PluginError, match="dataset 'people': the rows have a column 'age', which its schema lacks"
            ):
                plugin.read()


def test_column_that_rows_lack_is_an_error_for_columns_and_null_for_records() -> None:
    class Gives(People):
        given = {"id": [1]}  # noqa: RUF012

    with native(Gives) as plugin, pytest.raises(PluginError, match="dataset 'people': the rows have no column 'name'"):
        list(plugin.chunks())

    class Records(People):
        given = [{"id": 1}]  # noqa: RUF012

    with native(Records) as plugin:
        assert [chunk.rows.to_pylist() for chunk in plugin.chunks()] == [[{"id": 1, "name": None}]]


class Growing(People):
    """Rows 2 and up have a column more."""

    def read(self, request: Request) -> Iterator[Any]:
        for at in range(request.state or 0, 4):
            row: dict[str, Any] = {"id": at, "name": f"n{at}"}
            if at >= 2:
                row["age"] = at
                if "age" not in {each.name for each in request.fields}:
                    yield NewSchema({"id": "int64", "name": "string", "age": "int32"})
            yield Chunk([row], at + 1)


def progress(plugin: Any, state: bytes | None = None, columns: Sequence[str] = ()) -> list[Any]:
    plugin.open(Selection("people", columns=list(columns)), state=state)
    found = []
    while not isinstance(each := plugin.read(), Ended):
        found.append(each)
    return found


def test_new_schema_comes_before_its_rows_and_a_state_after_it_has_it() -> None:
    with native(Growing) as plugin:
        found = progress(plugin)
        kinds = [type(each) for each in found]
        assert kinds == [HostChunk, HostChunk, HostNewSchema, HostChunk, HostChunk]
        change = found[2]
        assert change.schema.names == ["id", "name", "age"] and change.schema.field("age").type == pa.int32()
        assert change.schema.field("id").metadata == {b"dataflare.key": b"0"}
        assert found[3].rows.to_pylist() == [{"id": 2, "name": "n2", "age": 2}]
        before, after = found[1].state, found[3].state
        assert [type(each) for each in progress(plugin, before)] == kinds[2:]
        (schema,) = plugin.open(Selection("people"), state=after)
        assert schema.names == ["id", "name", "age"]
        assert [each.rows.to_pylist() for each in progress(plugin, after)] == [[{"id": 3, "name": "n3", "age": 3}]]


def test_new_schema_of_columns_that_are_not_read_is_no_news() -> None:
    with native(Growing) as plugin:
        found = progress(plugin, columns=["name"])
        assert [each.rows.schema.names for each in found] == [["id", "name"]] * 4


def test_source_says_itself_which_columns_rows_had_at_a_state() -> None:
    class Shrunk(Growing):
        schema = {"id": "int64", "name": "string", "age": "int32"}  # noqa: RUF012

        def schema_at(self, request: Request) -> Any:
            return {"id": "int64", "name": "string"} if (request.state or 0) < 2 else request.fields

    with native(Shrunk) as plugin:
        (schema,) = plugin.open()
        assert schema.names == ["id", "name"]
        found = progress(plugin)
        assert [type(each) for each in found] == [HostChunk, HostChunk, HostNewSchema, HostChunk, HostChunk]
        assert plugin.open(Selection("people"), state=found[-2].state)[0].names == ["id", "name", "age"]


@pytest.mark.parametrize(
    "schema",
    ['[{"name": "id"}]', '[{"name": 1, "type": "int64"}]', '{"id": "int64"}', "3", '[{"name":"a","type":"b","x":1}]'],
)
def test_state_whose_columns_are_damaged_is_refused(schema: str) -> None:
    data = f'{{"dataset": "people", "mode": "full", "schema": {schema}, "after": 1}}'.encode()
    with native(Growing) as plugin:
        with pytest.raises(PluginError) as caught:
            plugin.open(Selection("people"), state=data)
        assert caught.value.error.case == "invalid-state"


def test_datasets_of_one_name_in_two_namespaces_are_two() -> None:
    class Both(Source):
        def datasets(self) -> Sequence[Dataset]:
            return [
                Dataset("people", {"id": "int64"}, namespace="shop"),
                Dataset("people", {"id": "int64"}),
                Dataset("shop.people", {"id": "int64"}),
            ]

        def read(self, request: Request) -> Iterator[Any]:
            places = [(each.namespace, each.name) for each in self.datasets()]
            yield Chunk([{"id": places.index((request.dataset.namespace, request.dataset.name))}], 1)

    names = [DatasetName("people", "shop"), DatasetName("people"), DatasetName("shop.people")]
    with native(Both) as plugin:
        assert [each.name for each in plugin.discover()] == names
        states = []
        for at, name in enumerate(names):
            (chunk,) = plugin.chunks(Selection(name))
            assert chunk.rows.to_pylist() == [{"id": at}]
            states.append(chunk.state)
        for name in names[1:]:
            with pytest.raises(PluginError, match="invalid-state"):
                plugin.open(Selection(name), state=states[0])


def test_read_goes_on_from_its_last_state_after_an_error() -> None:
    class Limited(People):
        asked = 0

        def read(self, request: Request) -> Iterator[Any]:
            for at in range(request.state or 0, 3):
                if at == 1 and not self.asked:
                    self.asked = 1
                    raise RateLimited(5)
                yield Chunk([{"id": at}], at + 1)

    with native(Limited) as plugin:
        plugin.open()
        assert plugin.read().rows["id"].to_pylist() == [0]
        with pytest.raises(PluginError, match="rate-limited"):
            plugin.read()
        assert [plugin.read().rows["id"].to_pylist() for _ in range(2)] == [[1], [2]]
        assert isinstance(plugin.read(), Ended)


# Destinations


def test_targets_keep_their_namespaces_and_rejected_rows_their_column() -> None:
    seen: list[Target] = []

    class Keeps(Destination):
        def open(self, run: Run, targets: Sequence[Target]) -> bytes | None:
            seen.extend(targets)
            return None

        def write(self, target: Target, batch: Batch) -> Iterable[RejectedRow]:
            return [RejectedRow(0, "id", str(target))]

    rows = pa.RecordBatch.from_pydict({"id": [1]})
    names = [DatasetName("people", "shop"), DatasetName("shop.people")]
    with native(Keeps) as plugin:
        plugin.open([HostTarget(name, rows.schema) for name in names])
        (rejected,) = plugin.write(rows, names[0])
        plugin.finish()
    assert [(each.namespace, each.name) for each in seen] == [("shop", "people"), ("", "shop.people")]
    assert (rejected.row, rejected.column, rejected.reason) == (0, "id", "shop.people")


def test_rejected_rows_have_the_order_of_the_host_and_the_wit() -> None:
    from dataflare import RejectedRow as HostRejectedRow
    from dataflare.wit.standard import standard

    (record,) = [
        each for each in standard().interface("dataflare:plugin/destination@1.0.0").types if each.name == "rejected-row"
    ]
    expected = [each.name for each in record.fields]
    assert [*RejectedRow.__dataclass_fields__] == expected == [*HostRejectedRow.__match_args__]


# Interfaces of the host


class Does(Processor):
    """Does what a test says, and returns what came of it."""

    work: Any = None

    def process(self, record: dict[str, Any]) -> dict[str, Any]:
        return {"came": type(self).work()}


def did(work: Any, needs: tuple[str, ...], grants: Grants) -> Any:
    class Doing(Does):
        pass

    Doing.work = staticmethod(work)
    with native(Doing, needs=needs, grants=grants) as plugin:
        return plugin.process("{}")


def granted(tmp_path: Path) -> Grants:
    (tmp_path / "in").mkdir(exist_ok=True)
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "in" / "a.txt").write_text("one\ntwé\nthree", encoding="utf-8")
    return Grants(
        files={
            "in": DirectoryGrant(path=tmp_path / "in"),
            "out": DirectoryGrant(path=tmp_path / "out", access="write"),
        }
    )


def test_files_are_read_and_written(tmp_path: Path) -> None:
    def work() -> Any:
        with files.open("in/a.txt") as reader:
            lines = list(reader.lines())
            reader.seek(4)
            rest, place, length = reader.read_all().decode(), reader.tell(), reader.length()
        with files.create("out/b.txt") as writer:
            writer.write_text("left out")
        with files.create("out/b.txt") as writer:
            writer.write_text("é")
            writer.write(b"!")
            writer.publish()
        with files.append("out/b.txt") as writer:
            writer.write(b"?")
            writer.publish()
        assert [(each.name, each.kind, each.size_bytes) for each in files.list_entries("out")] == [("b.txt", "file", 4)]
        assert files.stat("out/b.txt").modified_ms > 10**12
        assert [(each.name, each.writable) for each in files.granted()] == [("in", False), ("out", True)]
        return [lines, rest, place, length]

    found = did(work, ("files",), granted(tmp_path))
    assert found == '{"came":[["one\\n","tw\\u00e9\\n","three"],"tw\\u00e9\\nthree",14,14]}'
    assert (tmp_path / "out" / "b.txt").read_text(encoding="utf-8") == "é!?"


@pytest.mark.parametrize(
    ("call", "error", "case"),
    [
        (lambda: files.open("in/none"), files.NotFound, "invalid-config"),
        (lambda: files.open("in"), files.WrongKind, "invalid-config"),
        (lambda: files.create("in/b.txt"), files.Denied, "denied"),
        (lambda: files.open("elsewhere/a"), files.Denied, "denied"),
        (lambda: files.open("in/../a"), files.Denied, "denied"),
        (lambda: files.open(""), files.InvalidPath, "invalid-config"),
        (lambda: files.delete("in/a.txt"), files.Denied, "denied"),
    ],
)
def test_error_of_files_has_a_class_and_reaches_the_operator(
    tmp_path: Path, call: Any, error: type[Exception], case: str
) -> None:
    def caught() -> str:
        try:
            call()
        except files.FileError as raised:
            assert type(raised) is error and str(raised)
            return "caught"
        return "nothing"

    assert did(caught, ("files",), granted(tmp_path)) == '{"came":"caught"}'
    with pytest.raises(PluginError) as reached:
        did(call, ("files",), granted(tmp_path))
    assert reached.value.error.case == case


def test_file_that_exists_is_not_replaced_unless_it_is_said(tmp_path: Path) -> None:
    def work() -> str:
        for at in range(2):
            with files.create("out/b.txt", replace=at == 1) as writer:
                writer.publish()
        with files.append("out/b.txt"), pytest.raises(files.Busy):
            files.append("out/b.txt")
        with pytest.raises(files.AlreadyExists):
            files.create("out/b.txt")
        with files.create("out/c.txt") as writer:
            (tmp_path / "out" / "c.txt").write_text("came up")
            with pytest.raises(files.AlreadyExists):
                writer.publish()
        files.delete("out/b.txt")
        files.delete("out/b.txt")
        return "done"

    assert did(work, ("files",), granted(tmp_path)) == '{"came":"done"}'


def test_state_is_kept_and_its_errors_have_classes() -> None:
    def work() -> Any:
        assert state.get("a") is None
        for key in ("a/1", "a/2", "b"):
            state.set(key, key.encode())
        assert state.compare_and_swap("b", b"b", None) and not state.compare_and_swap("b", b"b", b"c")
        state.delete("none")
        with pytest.raises(state.InvalidKey):
            state.set("", b"")
        with pytest.raises(state.ValueTooLarge) as caught:
            state.set("large", bytes(2**26))
        assert isinstance(caught.value, sdk_errors.Denied) and "the operator's limit" in str(caught.value)
        return [list(state.keys("a/")), state.get("a/1").decode()]

    assert did(work, ("state",), Grants(state=True)) == '{"came":[["a/1","a/2"],"a/1"]}'


def response(status: int, **headers: str) -> http.Response:
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return http.Response("https://a.test", status, pairs, b'{"a": 1}')


@pytest.mark.parametrize(
    ("headers", "wait_ms"),
    [
        ({"retry_after": "2"}, 2000),
        ({"retry_after": "999999999999"}, 3_600_000),
        (
            {"retry_after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"},
            30_000,
        ),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:00 GMT", "date": "Wed, 21 Oct 2026 07:29:00 GMT"}, 0),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:30 GMT"}, None),
        ({"retry_after": "Wed, 99 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry_after": "soon", "date": "soon"}, None),
        ({"retry_after": "-1"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], wait_ms: int | None) -> None:
    assert response(503, **headers).retry_after_ms == wait_ms


@pytest.mark.parametrize(
    ("found", "error"),
    [
        (response(429), sdk_errors.RateLimited),
        (response(503, retry_after="1"), sdk_errors.RateLimited),
        (response(503), sdk_errors.Unavailable),
        (response(500), sdk_errors.Unavailable),
        (response(401), sdk_errors.Denied),
        (response(403), sdk_errors.Denied),
        (response(404), sdk_errors.InvalidConfig),
    ],
)
def test_status_says_which_error_it_is(found: http.Response, error: type[Exception]) -> None:
    with pytest.raises(error):
        found.require_success()


def test_response_is_read() -> None:
    found = response(200, content_type="application/json").require_success()
    assert found.json() == {"a": 1} and found.header("Content-Type") == "application/json"
    with pytest.raises(sdk_errors.InvalidInput, match=r"https://a\.test: the response is not JSON"):
        http.Response("https://a.test", 200, (), b"{").json()


def test_request_without_a_response_has_a_class() -> None:
    from dataflare import HttpGrant

    grants = Grants(http={"https://127.0.0.1:1": HttpGrant(methods={"GET"}, addresses={"127.0.0.1"})})
    with pytest.raises(PluginError) as caught:
        did(lambda: http.request("GET", "https://127.0.0.1:1/"), ("http",), grants)
    assert caught.value.error.case == "unavailable"
    for method, url in (("POST", "https://127.0.0.1:1/"), ("GET", "https://elsewhere.test/")):
        with pytest.raises(PluginError) as caught:
            did(lambda method=method, url=url: http.request(method, url), ("http",), grants)
        assert caught.value.error.case == "denied"


class Noting(Destination):
    abilities = ("append", "add-columns")

    def change_schema(self, target: Target, fields: Any) -> None:
        self.changed = [[each.name for each in columns] for columns in (target.fields, fields)]

    def write(self, target: Target, batch: Batch) -> list[RejectedRow]:
        return [RejectedRow(0, None, f"{self.changed} {[each.name for each in target.fields]}")]

    def finish(self, token: bytes) -> None: ...


def test_change_of_columns_is_refused_without_the_ability_for_it_and_else_becomes_the_targets() -> None:
    with native(Noting) as plugin:
        plugin.open(HostTarget("t", pa.schema([("id", pa.int32()), ("a", pa.string())])))
        with pytest.raises(PluginError, match=r"unsupported: dataset 't': column 'id' cannot be int64"):
            plugin.change_schema(pa.schema([("id", pa.int64())]), any_change=True)
        more = pa.record_batch({"id": pa.array([1], pa.int32()), "b": pa.array([True])})
        plugin.change_schema(more.schema)
        (found,) = plugin.write(more)
        assert found.reason == "[['id', 'a'], ['id', 'b']] ['id', 'b']"
        plugin.abort()
    with native(type("Fixed", (Noting,), {"abilities": ("append",)})) as plugin:
        plugin.open(HostTarget("t", pa.schema([("id", pa.int32())])))
        with pytest.raises(PluginError, match=r"unsupported: dataset 't': column 'b' cannot be added"):
            plugin.change_schema(more.schema, any_change=True)
        plugin.abort()
