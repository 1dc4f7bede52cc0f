from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dataflare.cli.app import app

COMPONENTS = Path(__file__).resolve().parents[2] / "guest-sdks" / "rust" / "components"


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where plugins are compiled into, once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache_folder: Path) -> Path:
    """The current folder: some orders as CSV, and the plugins."""
    (tmp_path / "orders.csv").write_text("order,amount,quantity\n1,12.5,4\n2,,1\n3,80,16\n")
    for component in COMPONENTS.glob("*.wasm"):
        shutil.copy(component, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATAFLARE_CACHE", str(cache_folder))
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def dataflare(folder: Path) -> Callable[..., Any]:
    """The command, in this process: `dataflare("run", "pipeline.yaml")` has `exit_code`, `stdout` and `stderr`."""

    def call(*arguments: str | os.PathLike[str]) -> Any:
        result = CliRunner().invoke(app, [os.fspath(each) for each in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


@pytest.fixture
def pipeline(folder: Path) -> Callable[[str], Path]:
    """Writes a pipeline of these nodes."""

    def write(nodes: str, name: str = "pipeline.yaml") -> Path:
        path = folder / name
        path.write_text(f"name: orders\nnodes:\n{nodes}")
        return Path(name)

    return write
