"""Connectors of installed packages, found by entry point."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from dataflare.errors import ConfigError
from dataflare.pipeline.connectors.registry import BUILT_IN, connector, names
from dataflare.pipeline.readers import describe, guess_connector
from dataflare.pipeline.run_errors import NodeFailed
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import load_specification
from dataflare.runtime.host import Host
from dataflare.security.settings import Security

TOY = (Path(__file__).parents[1] / "support" / "toy_connector.py").read_text()
COPY = """name: copy
nodes:
  read: { connector: numbers, read: in/one.num, options: { column: k } }
  write: { connector: numbers, input: read, write: out/two.num }
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install a package with a connector, the way pip would leave it."""

    def made(name: str = "numbers", module: str = "toy_numbers", text: str = TOY, attribute: str = "NUMBERS") -> None:
        place = tmp_path / f"site-{module}-{name}"
        information = place / f"{module}-1.0.dist-info"
        information.mkdir(parents=True)
        (place / f"{module}.py").write_text(text)
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (information / "entry_points.txt").write_text(f"[dataflare.connectors]\n{name} = {module}:{attribute}\n")
        monkeypatch.syspath_prepend(place)

    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "in" / "one.num").write_text("1\n2\n3\n")
    (tmp_path / "p.yaml").write_text(COPY)
    return tmp_path


def test_connector_of_a_package_reads_and_writes_in_a_pipeline(install: Callable[..., None], folder: Path) -> None:
    install()
    with Host() as host:
        run(load_specification(folder / "p.yaml"), host=host)
    assert (folder / "out" / "two.num").read_text() == "1\n2\n3\n"


def test_its_files_are_guessed_and_described(install: Callable[..., None], folder: Path) -> None:
    install()
    path = folder / "in" / "one.num"
    assert guess_connector(path) == "numbers"
    assert describe("numbers", [path], {"column": "k"}).schema == pa.schema([("k", pa.int64())])


def test_it_is_not_imported_before_a_pipeline_names_it(install: Callable[..., None], folder: Path) -> None:
    install(module="toy_unused")
    assert "numbers" in names()
    (folder / "q.yaml").write_text(
        "name: q\nnodes:\n"
        "  r: { connector: csv, read: in/one.num }\n"
        "  w: { connector: jsonl, input: r, write: out/o }\n"
    )
    load_specification(folder / "q.yaml")
    assert "toy_unused" not in sys.modules
    load_specification(folder / "p.yaml")
    assert "toy_unused" in sys.modules


def test_wrong_options_name_the_key(install: Callable[..., None], folder: Path) -> None:
    install()
    (folder / "p.yaml").write_text(COPY.replace("column: k", "colum: k"))
    with pytest.raises(ConfigError, match=r":3: nodes\.read\.options\.colum"):
        load_specification(folder / "p.yaml")


def test_built_in_connector_cannot_be_replaced(install: Callable[..., None]) -> None:
    install("csv", "toy_csv")
    assert connector("csv") is BUILT_IN["csv"]
    assert "toy_csv" not in sys.modules


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("brokenimport", "raise RuntimeError('no luck')", "cannot be imported"),
        ("brokenvalue", "NUMBERS = 1", "is not a Connector"),
        ("othername", TOY, "is not a Connector of that name"),
    ],
)
def test_broken_package_is_named(install: Callable[..., None], folder: Path, name: str, text: str, says: str) -> None:
    install(name, f"toy_{name}", text)
    with pytest.raises(ConfigError, match=f"{says}.*|toy_{name}") as caught:
        connector(name)
    assert f"toy_{name}" in str(caught.value)
    (folder / "p.yaml").write_text(COPY.replace("connector: numbers", f"connector: {name}"))
    with pytest.raises(ConfigError, match=says):
        load_specification(folder / "p.yaml")


def test_policy_and_audit_hold_for_it(install: Callable[..., None], folder: Path) -> None:
    install()
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "secret.num").write_text("7\n")
    policy = folder / "policy.yaml"
    directories = {"in": {"path": "in", "access": "read"}, "out": {"path": "out", "access": "write"}}
    policy.write_text(json.dumps({"version": 1, "connectors": {"grants": {"files": directories}}}))
    log = folder / "audit.jsonl"
    with Host(security=Security(policy=policy, audit=log)) as host:
        run(load_specification(folder / "p.yaml"), host=host)
        (folder / "p.yaml").write_text(COPY.replace("in/one.num", "elsewhere/secret.num"))
        with pytest.raises(NodeFailed, match="below no directory"):
            run(load_specification(folder / "p.yaml"), host=host)
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert {each["decision"] for each in events if each["plugin"] == "connector:numbers"} == {"allow", "deny"}
    denied = [each for each in events if each["plugin"] == "connector:numbers" and each["decision"] == "deny"]
    assert [(each["capability"], each["function"]) for each in denied] == [("files", "open")]


def test_what_its_reader_gives_is_checked(install: Callable[..., None], folder: Path) -> None:
    text = TOY.replace("pa.int64()", "pa.decimal128(38, -66)").replace("int(line) for line", "None for line")
    install("numbers", "toy_hostile", text)
    with Host() as host, pytest.raises(NodeFailed, match="decimal"):
        run(load_specification(folder / "p.yaml"), host=host)
