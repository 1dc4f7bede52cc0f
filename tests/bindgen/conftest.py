from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataflare.runtime.host import Host

# Components as text, and strategies for types and values, are beside the tests of the engine.
sys.path.append(str(Path(__file__).parent.parent / "engine"))


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with Host(cache_dir=tmp_path_factory.mktemp("cache") / "compiled") as host:
        yield host
