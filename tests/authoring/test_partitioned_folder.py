"""A source in Go of a folder of partitioned files, written from the WIT and the pages of its SDK alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from conformance_kit import CASES
from dataflare import Chunk, DirectoryGrant, Grants, PluginError, Selection, Source
from dataflare.authoring.building import build_plugin
from dataflare.authoring.templates import new_plugin
from dataflare.conformance import Outcome, Subject, run_suite
from dataflare.conformance.cases import select
from dataflare.runtime.host import Host

pytestmark = pytest.mark.skipif(
    shutil.which("npm") is None and os.environ.get("CI") != "true", reason="there is no Node.js"
)
PLUGIN = Path(__file__).parent / "partitioned" / "plugin.go"
CONFIG = {"path": "d", "partition": "day", "columns": {"id": "int64"}}


@pytest.fixture(scope="module")
def component(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("go") / "a-plugin"
    new_plugin(folder, kind="source", language="go")
    (folder / "plugin_test.go").unlink()
    (folder / "plugin.go").write_text(PLUGIN.read_text())
    with (folder / "plugin.yaml").open("a") as file:
        file.write("needs: [files]\n")
    with Host() as host:
        built, _ = build_plugin(folder, host)
        return built.guest.output


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    numbers = iter(range(100))
    for place, rows in (("day=1/a", 3), ("day=1/b", 2), ("day=2%2F3/a", 4), ("day=4/a", 1)):
        file = tmp_path / "orders" / f"{place}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n\n".join(f'{{"id": {next(numbers)}}}' for _ in range(rows)))
    (tmp_path / "returns/day=1").mkdir(parents=True)
    (tmp_path / "returns/day=1/a.jsonl").write_text('{"id": 7}\n')
    return tmp_path


@pytest.fixture
def source(component: Path, lake: Path) -> Iterator[Source]:
    grants = Grants(files={"d": DirectoryGrant(path=lake)})
    with Host() as host, host.load(component, kind="source", config=CONFIG, grants=grants) as plugin:
        yield plugin


def ids(chunks: Iterable[Chunk]) -> list[int]:
    return [n for chunk in chunks for n in chunk.rows["id"].to_pylist()]


@pytest.mark.parametrize("max_rows", [1, 2, 100])
def test_folder_is_read_and_goes_on_from_every_state(source: Source, max_rows: int) -> None:
    chunks = list(source.chunks("orders", max_rows=max_rows))
    assert ids(chunks) == list(range(10))
    assert {row["id"]: row["day"] for chunk in chunks for row in chunk.rows.to_pylist()}[5] == "2/3"
    for at, chunk in enumerate(chunks):
        assert ids(chunks[: at + 1]) + ids(source.chunks("orders", state=chunk.state)) == list(range(10))


@pytest.mark.parametrize("at_most", [1, 2, 3, 100])
@pytest.mark.parametrize("after", [0, 1, 4, 9])
def test_parts_have_what_is_left_once_from_within_a_file_too(source: Source, at_most: int, after: int) -> None:
    state = None
    if after:
        state = next(chunk.state for chunk in source.chunks("orders", max_rows=1) if ids([chunk]) == [after - 1])
    parts = source.split("orders", at_most=at_most, state=state).parts
    assert len(parts) <= at_most
    assert [n for part in parts for n in ids(source.chunks("orders", part=part))] == list(range(after, 10))


def test_states_and_parts_of_other_reads_and_files_are_refused(source: Source, lake: Path) -> None:
    first, second = source.split("orders", at_most=2).parts
    (chunk, *_) = source.chunks("orders", part=first, max_rows=2)
    whole = next(source.chunks("orders", max_rows=2)).state
    below = whole.replace(b'"offset":', b'"offset":-')
    for dataset, part, state in (
        *(("orders", second, chunk.state), ("orders", None, chunk.state), ("orders", first, whole)),
        *(("returns", None, whole), ("returns", second, None), ("orders", b"{}", None), ("orders", None, b"{}")),
        *(("orders", None, below), ("orders", first, second), ("orders", None, b"\xff")),
    ):
        with pytest.raises(PluginError) as caught:
            list(source.chunks(dataset, part=part, state=state))
        assert caught.value.error.case == "invalid-state", (dataset, part, state)
    (lake / "orders/day=1/a.jsonl").write_text("")
    with pytest.raises(PluginError, match="it was shortened") as caught:
        list(source.chunks("orders", state=whole))
    assert caught.value.error.case == "invalid-state"


def test_row_that_is_not_well_formed_is_named_with_its_file(source: Source, lake: Path) -> None:
    (lake / "orders/day=1/b.jsonl").write_text('{"id": 1}\n{"id": ')
    with pytest.raises(PluginError, match=r"day=1/b\.jsonl") as caught:
        list(source.chunks(Selection("orders"), max_rows=1))
    assert caught.value.error.case == "invalid-input"


def test_source_of_a_folder_is_conformant(component: Path, lake: Path) -> None:
    subject = Subject(component.read_bytes(), "source", CONFIG, grants=Grants(files={"d": DirectoryGrant(path=lake)}))
    # Memory is the same as of other sources in Go.
    cases = [each for each in select(CASES, kind="source", profile="full") if each.name != "every/memory"]
    result = run_suite(subject, cases)
    assert [each for each in result.results if each.outcome not in (Outcome.PASS, Outcome.SKIP)] == []
    assert result.counts["PASS"] >= 20
