"""What all tests share: settings, and one folder of compiled components."""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import dataflare.engine as engine_package
from dataflare.engine.cache import default_folder
from dataflare.engine.engine import Engine

_KEPT_S = 3 * 24 * 3600

# A busy machine makes a slow example, not a wrong one.
settings.register_profile("without-deadline", deadline=None)
settings.load_profile("without-deadline")


# A shell that starts the tests in the background has them ignore Ctrl-C, and their children with them.
signal.signal(signal.SIGINT, signal.default_int_handler)
# And `nohup` has all of them ignore the end of the terminal. With a handler, children have the system's default.
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


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
    """A cache of compiled components, one for all tests and runs of them while the engine's code stays the same."""
    code = hashlib.sha256()
    for path in sorted(Path(engine_package.__path__[0]).rglob("*.[pj]*")):
        if path.suffix in (".py", ".json"):
            code.update(path.read_bytes())
    above = default_folder().parent / "compiled-for-tests"
    folder = above / code.hexdigest()[:16]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.utime(folder)
    for other in above.iterdir():
        if time.time() - other.stat().st_mtime > _KEPT_S:
            shutil.rmtree(other, ignore_errors=True)
    return folder


@pytest.fixture(scope="session")
def engine(compiled: Path) -> Iterator[Engine]:
    """An engine that compiles each component once; several folders have their own."""
    with Engine(cache_dir=compiled) as made:
        yield made
