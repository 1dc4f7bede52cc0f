from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dataflare.engine.engine import Engine


@pytest.fixture(scope="session")
def engine(compiled: Path) -> Iterator[Engine]:
    with Engine(cache_dir=compiled) as made:
        yield made
