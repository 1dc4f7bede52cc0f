"""Interrupts while outputs get their names: each is what it was or what it becomes, and nothing is left beside it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dataflare
from dataflare.errors import DataflareError
from dataflare.interruptible import undisturbed
from dataflare.pipeline.runner import _Run
from interrupts import Interrupt, attempts, interrupted, moments

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(dataflare.__file__).parents[1])}


class _Outputs:
    """A run of two outputs, a file and a folder, from the same place each time."""

    def __init__(self, folder: Path, mode: str) -> None:
        self._folder, self._mode = folder, mode
        (folder / "in.csv").write_text("k,n\n1,1\n2,2\n1,3\n")
        nodes: dict[str, Any] = {
            "read": {"connector": "csv", "read": str(folder / "in.csv")},
            "file": {"connector": "csv", "input": "read", "write": str(folder / "file.csv"), "if_exists": mode},
            "parts": {
                **{"connector": "jsonl", "input": "read", "write": str(folder / "parts")},
                **{"partition_by": ["k"], "if_exists": mode},
            },
        }
        self._specification = dataflare.build_specification({"name": "p", "nodes": nodes})

    def begin(self) -> None:
        shutil.rmtree(self._folder / "parts", ignore_errors=True)
        (self._folder / "file.csv").unlink(missing_ok=True)
        if self._mode != "fail":
            (self._folder / "file.csv").write_text('"k","n"\n9,9\n')
            (self._folder / "parts" / "k=9").mkdir(parents=True)
            (self._folder / "parts" / "k=9" / "part-0.jsonl").write_text('{"n":9}\n')

    def run(self) -> None:
        dataflare.run(self._specification)

    def found(self) -> tuple[Any, Any]:
        """The contents of both, without the random part of the names of files that are added."""
        assert set(os.listdir(self._folder)) <= {"in.csv", "file.csv", "parts"}
        file, parts = self._folder / "file.csv", self._folder / "parts"
        below = sorted((each.parent.name, each.read_text()) for each in parts.rglob("*.jsonl"))
        return file.read_text() if file.exists() else None, below


@pytest.mark.parametrize("mode", ["replace", "append", "fail"])
def test_an_interrupt_at_the_end_of_a_run_tears_no_output_apart(tmp_path, mode):
    outputs = _Outputs(tmp_path, mode)
    outputs.begin()
    before = outputs.found()
    outputs.run()
    after = outputs.found()
    assert before[0] != after[0] and before[1] != after[1]
    outputs.begin()
    count = moments(outputs.run, since=_Run._finish)  # type: ignore[arg-type]
    came_out = 0
    for at in attempts(count, 60):
        outputs.begin()
        came_out += interrupted(outputs.run, at, since=_Run._finish)  # type: ignore[arg-type]
        file, parts = outputs.found()
        assert file in (before[0], after[0]) and parts in (before[1], after[1]), at
    assert came_out > 50


@pytest.mark.parametrize("fails", [False, True])
def test_undisturbed_work_is_done_once_or_not_at_all(fails):
    done: list[int] = []

    def work() -> int:
        done.append(1)
        if fails:
            raise DataflareError("no")
        return 7

    def action() -> None:
        with contextlib.suppress(DataflareError):
            assert undisturbed(work) == 7

    for at in range(1, moments(action) + 1):
        done.clear()
        interrupted(action, at)
        assert len(done) <= 1
        before = len(done)
        assert undisturbed(lambda: 1) == 1
        assert len(done) == before, "work was still under way"


def test_an_interrupt_waits_for_undisturbed_work():
    done = []

    def work() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        for _ in range(1000):
            os.stat(".")
        done.append(1)

    def handler(_number: int, _frame: object) -> None:
        raise Interrupt

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(Interrupt):
            undisturbed(work)
        assert done == [1]
    finally:
        signal.signal(signal.SIGUSR1, before)


_SIGNAL_AT = """
import os, sys
import {module} as module

original = module.{name}

def signalling(*arguments, **keys):
    module.{name} = original
    os.kill(os.getpid(), {number})
    return original(*arguments, **keys)

module.{name} = signalling
sys.argv[1:] = ["run", "p.yaml", "--metrics-file", "m.prom"]
from dataflare.cli.main import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    ("module", "name", "published"),
    [
        ("dataflare.pipeline.sinks", "_ends_with_line_feed", ()),
        ("dataflare.pipeline.partitions", "sync_folder", ("file.csv", "parts")),
        ("dataflare.pipeline.partitions", "exchange_folders", ("file.csv", "parts")),
        ("dataflare.cli.run", "to_prometheus", ("file.csv", "parts")),
    ],
)
def test_a_signal_ends_a_run_with_its_code_wherever_it_comes(tmp_path, number, module, name, published):
    (tmp_path / "in.csv").write_text("k,n\n1,1\n2,2\n")
    (tmp_path / "parts" / "k=9").mkdir(parents=True)
    (tmp_path / "file.csv").write_text('"k","n"\n9,9')
    (tmp_path / "p.yaml").write_text(
        "name: p\nnodes:\n  read: { connector: csv, read: in.csv }\n"
        "  file: { connector: csv, input: read, write: file.csv, if_exists: append }\n"
        "  parts: { connector: csv, input: read, write: parts, partition_by: [k] }\n"
    )
    code = _SIGNAL_AT.format(module=module, name=name, number=int(number))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, timeout=60)
    assert done.returncode == 128 + number, done.stderr
    assert done.stderr.decode().splitlines()[-1] == (
        "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
    )
    assert b"pipeline p" in done.stdout
    assert sorted(os.listdir(tmp_path)) == ["file.csv", "in.csv", "m.prom", "p.yaml", "parts"]
    assert ((tmp_path / "file.csv").read_text() == '"k","n"\n9,9\n1,1\n2,2\n') == ("file.csv" in published)
    assert ((tmp_path / "parts" / "k=1").exists(), (tmp_path / "parts" / "k=9").exists()) == (
        ("parts" in published, "parts" not in published)
    )
