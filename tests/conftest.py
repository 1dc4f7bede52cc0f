"""What all tests share: settings, and one folder of compiled components."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from dataflare.engine.engine import Engine

# A busy machine makes a slow example, not a wrong one.
settings.register_profile("without-deadline", deadline=None)
settings.load_profile("without-deadline")


# A shell that starts the tests in the background has them ignore Ctrl-C, and their children with them.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Leave the ten thousand collected tests out of every later garbage collection."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def log_level() -> Iterator[None]:
    """`--quiet` and `--log-level` set it for the process."""
    logger = logging.getLogger("dataflare")
    before = logger.level
    yield
    logger.setLevel(before)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of compiled components, one for all folders of tests and all of their processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "compiled"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def engine(compiled: Path) -> Iterator[Engine]:
    """An engine that compiles each component once; several folders have their own."""
    with Engine(cache_dir=compiled) as made:
        yield made
