"""What benches start from: an engine, a host, the guests, peers; and where their results go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import extism
import pytest

from benchkit.guests import ROOT, component, extism_module
from benchkit.report import print_table, write_page, write_results
from benchkit.results import Book, Contest
from dataflare.engine.engine import Engine
from dataflare.runtime.host import Host

_BOOK = pytest.StashKey[Book]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say how thorough to be, and whether to keep what was found."""
    parser.addoption("--share", type=float, default=1.0, help="the share of rounds to run, for a quick look")
    parser.addoption(
        "--keep", action="store_true", help="write benches/results.json and docs/explanation/performance.md"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin an empty book."""
    config.stash[_BOOK] = Book()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the final table, and write the files where that was asked for."""
    book = config.stash[_BOOK]
    if not book.rows:
        return
    print_table(book, terminalreporter.write_line)
    if config.getoption("--keep"):
        machine = config.hook.pytest_benchmark_generate_machine_info(config=config)
        results = write_results(book, machine, share=config.getoption("--share"))
        page = write_page(results)
        terminalreporter.write_line(f"written: {results}, {page}")


@pytest.fixture
def contest(benchmark: Any, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Iterator[Contest]:
    """One question; what was found is printed as soon as it is known."""
    made = Contest(benchmark, request.config.stash[_BOOK], request.config.getoption("--share"))
    yield made
    with capsys.disabled():
        print(f"\n{made.question.as_text()}", flush=True)


@pytest.fixture(scope="session")
def cache_dir() -> Path:
    """A cache of compiled components that only these benches use; kept, since to compile all takes a minute."""
    return ROOT / "build" / "bench-cache"


@pytest.fixture(scope="session")
def engine(cache_dir: Path) -> Iterator[Engine]:
    """One engine for all."""
    with Engine(cache_dir=cache_dir) as made:
        yield made


@pytest.fixture(scope="session")
def host(engine: Engine) -> Iterator[Host]:
    """One host for all."""
    with Host(engine=engine) as made:
        yield made


@pytest.fixture(scope="session")
def extism_plugin() -> extism.Plugin:
    """The Extism plugin, which echoes bytes and maps records."""
    return extism.Plugin(extism_module())


@pytest.fixture(scope="session")
def guest() -> Any:
    """A guest's component by its name, built if needed."""
    return component
