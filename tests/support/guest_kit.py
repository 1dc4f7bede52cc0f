"""The built guests of the repository, for tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dataflare.toolchain.guests import load_project

__all__ = ["PROJECT", "ROOT", "component"]

ROOT = Path(__file__).parents[2]
PROJECT = load_project(ROOT)


def component(name: str) -> Path:
    """A guest's component; without it the test is skipped, except in CI."""
    path = ROOT / PROJECT.guests[name].output
    if not path.is_file():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{path} is not there: run make guests")
        pytest.skip(f"{name} is not built: run make guests")
    return path
