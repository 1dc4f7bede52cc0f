from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataflare.engine.engine import Engine

# The standard's own shapes, as the runtime's tests make them, and the terminal of the command line's.
sys.path += [str(Path(__file__).parents[1] / name) for name in ("runtime", "cli")]


@pytest.fixture(scope="session")
def engine(compiled: Path) -> Iterator[Engine]:
    with Engine(cache_dir=compiled) as made:
        yield made
