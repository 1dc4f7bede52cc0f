"""What the guards of the benches start from."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

BENCHES = Path(__file__).resolve().parents[2] / "benches"
sys.path.insert(0, str(BENCHES))

from dataflare.engine.engine import Engine  # noqa: E402  # after the path
from dataflare.runtime.host import Host  # noqa: E402


@pytest.fixture(scope="session")
def components() -> Path:
    """The folder of the committed guests."""
    return BENCHES / "guests" / "components"


@pytest.fixture(scope="session")
def bench_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of compiled components for this session."""
    folder = tmp_path_factory.mktemp("compiled")
    folder.chmod(0o700)
    return folder


@pytest.fixture
def engine(bench_cache: Path) -> Iterator[Engine]:
    """An engine."""
    with Engine(cache_dir=bench_cache) as made:
        yield made


@pytest.fixture
def host(engine: Engine) -> Iterator[Host]:
    """A host."""
    with Host(engine=engine) as made:
        yield made
