from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from database_kit import Database
from dataflare.pipeline.specification import Specification, parse_specification
from postgres_kit import Server, server


@pytest.fixture
def specify(tmp_path: Path) -> Callable[[str], Specification]:
    """Check the nodes of a pipeline in an empty folder; the plugins that it names are there."""

    def make(nodes: str) -> Specification:
        for name in ("source", "transformer", "processor", "validator", "destination", "second", "nothing"):
            (tmp_path / f"{name}.wasm").touch()
        return parse_specification(f"name: test\nnodes:\n{nodes}", file=tmp_path / "pipeline.yaml")

    return make


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server; the test is skipped where there is none."""
    with server() as made:
        yield made


@pytest.fixture(params=["sqlite", "duckdb", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """An empty database of each kind."""
    if request.param != "postgresql":
        return Database(request.param, f"{request.param}:{tmp_path / 'test.db'}")
    made = Database("postgresql", request.getfixturevalue("postgres").url)
    made.execute("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    return made
