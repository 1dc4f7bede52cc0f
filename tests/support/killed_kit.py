"""Runs of pipelines in processes that are killed, at a named point or at any time.

One process imports everything, and forks for each run: a run takes as long as it takes, and no import comes before it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["POINTS", "Runner"]

POINTS = tuple(
    f"{when}-{what}"
    for what in (
        *("source-open", "source-read", "open", "write", "ingest", "flush", "transaction", "finish"),
        *("file-prepare", "file-write", "file-finish", "intend", "rename"),
        *("state-write", "prepare", "checkpoint"),
    )
    for when in ("before", "after")
)
"""`transaction` is the commit of a destination's transaction, and `checkpoint` that of the state.

A run comes by some of them: `Runner.passed` says which.
"""

_CHILD = """
import itertools, json, os, signal, sys, time
import dataflare.pipeline.outputs as outputs
from dataflare.pipeline.databases.connection import Connection
from dataflare.pipeline.databases.destination import SqlDestination
from dataflare.pipeline.databases.source import SqlSource
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import load_specification
from dataflare.pipeline.pipeline_state import PipelineState
from dataflare.pipeline.state_database import StateDatabase
from dataflare.pipeline.state_file import StateFile
from dataflare.pipeline.writers import FileDestination
import adbc_driver_sqlite.dbapi, pyarrow.csv, pyarrow.parquet
try:
    import adbc_driver_postgresql.dbapi
except ImportError:
    pass

OWNERS = {
    "source-open": (SqlSource, "open"), "source-read": (SqlSource, "read"), "open": (SqlDestination, "open"),
    "write": (SqlDestination, "write"), "ingest": (Connection, "ingest"), "flush": (SqlDestination, "flush"),
    "transaction": (Connection, "commit"), "finish": (SqlDestination, "finish"),
    "file-prepare": (FileDestination, "prepare"), "file-write": (FileDestination, "write"),
    "file-finish": (FileDestination, "finish"), "intend": (PipelineState, "intend"), "rename": (os, "replace"),
    "prepare": (PipelineState, "prepare"), "checkpoint": (PipelineState, "commit"),
}

def opened_state():
    if os.path.exists("state.url"):
        return StateDatabase(open("state.url").read(), pipeline="chaos")
    return StateFile("state", pipeline="chaos")

def watch(what, before, after):
    if what == "state-write":
        for owner in (StateFile, StateDatabase):
            watch_function(owner, "write", before, after)
    else:
        watch_function(*OWNERS[what], before, after)

def watch_function(owner, name, before, after):
    real, numbers = getattr(owner, name), itertools.count(1)
    def watched(*given, **named):
        number = next(numbers)  # in one step: several threads come by
        before(number)
        result = real(*given, **named)
        after(number)
        return result
    setattr(owner, name, watched)

def die_at(point, at, answer):
    when, _, what = point.partition("-")
    def die(number):
        if number == at:
            os.write(answer, json.dumps(point).encode())
            os.kill(os.getpid(), signal.SIGKILL)
    watch(what, **{"before": ignore, "after": ignore, when: die})

def ignore(number):
    pass

def work(order, answer):
    os.chdir(order["folder"])
    points = [*OWNERS, "state-write"]
    passed = dict.fromkeys(points, 0)
    if order.get("point"):
        die_at(order["point"], order["at"], answer)
    else:
        for what in points:
            watch(what, ignore, lambda number, what=what: passed.update({what: max(passed[what], number)}))
    with opened_state() as state:
        run(load_specification("pipeline.yaml"), state=state)
    os.write(answer, json.dumps(passed).encode())

for line in sys.stdin:
    order = json.loads(line)
    begun = time.monotonic()
    answers, answer = os.pipe()
    child = os.fork()
    if not child:
        try:
            work(order, answer)
        except BaseException as error:
            os.write(2, repr(error).encode()[:2000] + b"\\n")
            os._exit(1)
        os._exit(0)
    os.close(answer)
    if order.get("after_s") is not None:
        time.sleep(order["after_s"])
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    print(json.dumps({"killed": os.WIFSIGNALED(status), "code": os.waitstatus_to_exitcode(status),
                      "seconds": time.monotonic() - begun, "answer": json.loads(os.read(answers, 4096) or "null")}),
          flush=True)
    os.close(answers)
"""


class Runner:
    """Runs the pipeline `pipeline.yaml` of a folder in a process of its own, again and again; `close` it."""

    def __init__(self) -> None:
        # An allocator with a thread of its own does not survive a fork.
        environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def run(self, folder: Path) -> float:
        """Run to the end; returns how many seconds it took."""
        return float(self._whole(folder)["seconds"])

    def passed(self, folder: Path) -> dict[str, int]:
        """Run to the end; returns the points that it came by, and how often."""
        counts: dict[str, int] = self._whole(folder)["answer"]
        return {point: count for point in POINTS if (count := counts[point.partition("-")[2]])}

    def killed_at(self, folder: Path, point: str, at: int) -> bool:
        """Run, and kill it when it comes to a point for the nth time; says whether it did."""
        done = self._ask({"folder": str(folder), "point": point, "at": at})
        assert done["killed"] or done["code"] == 0, "the run failed: see its standard error"
        return bool(done["killed"]) and done["answer"] == point

    def killed_after(self, folder: Path, seconds: float) -> bool:
        """Run, and kill it after some time; says whether it was still running."""
        done = self._ask({"folder": str(folder), "after_s": seconds})
        assert done["killed"] or done["code"] == 0, "the run failed: see its standard error"
        return bool(done["killed"])

    def _whole(self, folder: Path) -> dict[str, Any]:
        done = self._ask({"folder": str(folder)})
        assert done["code"] == 0, "the run failed: see its standard error"
        return done

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer
