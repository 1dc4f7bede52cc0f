"""A worker that has confined itself can import nothing: all that it needs is there before."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from dataflare.runtime.isolation.worker_task import SERVED_HERE

OPTIONAL = {"dateutil", "pandas", "tzdata"}
"""What Arrow and Python do without."""


@pytest.fixture(scope="module")
def late() -> tuple[list[str], list[str]]:
    """What is looked for while a worker works, and what functions import that is not there."""
    script = Path(__file__).parents[1] / "support" / "late_imports.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    looked_for, written = json.loads(done.stdout)
    return looked_for, written


def test_nothing_is_imported_while_a_worker_works(late):
    assert set(late[0]) <= OPTIONAL


def test_no_function_of_the_package_imports_what_is_not_there(late):
    assert late[1] == []


def test_interfaces_that_a_worker_serves_are_those_of_their_modules():
    assert {importlib.import_module(module).INTERFACE for module in SERVED_HERE.values()} == set(SERVED_HERE)
