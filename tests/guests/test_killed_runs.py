"""Runs of real plugins that are killed, at random and at named points, and go on."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import load_specification
from dataflare.pipeline.state_file import StateFile
from dataflare.toolchain.guests import load_project

ROOT = Path(__file__).parents[2]
PROJECT = load_project(ROOT)
ROWS = 1_600
PIPELINE = """
name: killed
checkpoint: {{ rows: 200, every: 1h }}
nodes:
  read:
    plugin: {source}
    source: {{ dataset: numbers.csv }}
    config: {{ path: data, batch_rows: 100 }}
    grants: {{ files: {{ data: {{ path: data }} }} }}
  merge:
    plugin: {table}
    input: read
    destination: {{ mode: merge, key: [n] }}
    grants: {{ state: true }}
"""
POINTS = (
    "before-open",
    "after-open",
    "before-read",
    "after-read",
    "before-write",
    "after-write",
    "before-flush",
    "after-flush",
    "before-prepare",
    "after-prepare",
    "before-commit",
    "after-commit",
    "before-finish",
    "after-finish",
    "before-acknowledge",
    "after-acknowledge",
)
CHILD = """
import os, random, signal, sys
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import load_specification
from dataflare.pipeline.state_file import StateFile
from dataflare.runtime.destination import Destination
from dataflare.runtime.source import Source

point, at = sys.argv[1], int(sys.argv[2])
when, _, function = point.partition("-")
owner = {"open": Source, "read": Source, "acknowledge": Source, "prepare": StateFile, "commit": StateFile}
owner = owner.get(function, Destination)
real, calls = getattr(owner, function), 0

def dying(*given, **named):
    global calls
    calls += 1
    if calls == at and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = real(*given, **named)
    if calls == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(owner, function, dying)
with StateFile("state", pipeline="killed") as state:
    run(load_specification("pipeline.yaml"), state=state)
"""


pytestmark = pytest.mark.guests


def component(name: str) -> Path:
    path = ROOT / PROJECT.guests[name].output
    if not path.is_file():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{path} is not there: run make guests")
        pytest.skip(f"{name} is not built: run make guests")
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data").mkdir()
    lines = "".join(f"{n},{n * n}\n" for n in range(ROWS))
    (tmp_path / "data" / "numbers.csv").write_text("n,square\n" + lines)
    (tmp_path / "pipeline.yaml").write_text(
        PIPELINE.format(source=component("csv-source"), table=component("table-destination"))
    )
    (tmp_path / "child.py").write_text(CHILD)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows_in_table(folder: Path) -> dict[int, int]:
    with StateFile(folder / "state", pipeline="killed") as state:
        (namespace,) = {row[0] for row in state.plugins._connection.execute("SELECT namespace FROM entries")}
        document = json.loads(state.plugins.get(namespace, "tables") or b"{}")
    (rows,) = (each["rows"] for each in document["tables"].values())
    return {row["n"]: row["square"] for row in rows.values()}


def killed(folder: Path, point: str, at: int) -> bool:
    """Run in a child that kills itself at a point; says whether it did."""
    done = subprocess.run([sys.executable, "child.py", point, str(at)], cwd=folder, capture_output=True, timeout=300)
    if done.returncode == -signal.SIGKILL:
        return True
    assert done.returncode == 0, done.stderr.decode()
    return False


def test_runs_that_are_killed_at_named_points_go_on(folder):
    deaths = [point for point in POINTS if killed(folder, point, random.Random(point).choice((1, 2)))]
    # The run may have come to its end before: then it begins anew, and the points of an end come in the next one.
    assert len(deaths) >= 12, deaths
    with StateFile("state", pipeline="killed") as state:
        report = run(load_specification("pipeline.yaml"), state=state)
    assert report.status == "completed"
    assert rows_in_table(folder) == {n: n * n for n in range(ROWS)}


def test_run_that_is_killed_repeats_at_most_what_came_after_its_checkpoint(folder):
    assert killed(folder, "before-flush", 7)
    with StateFile("state", pipeline="killed") as state:
        (kept,) = state.nodes()
        report = run(load_specification("pipeline.yaml"), state=state)
    assert kept.rows == 100 * 6, "there is a checkpoint after each half of an interval"
    assert report.nodes[0].resumed and report.nodes[0].rows_out == ROWS - kept.rows
    assert os.path.exists("state")
