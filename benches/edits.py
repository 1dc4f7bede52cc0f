"""Measures what an author waits for, and typed records, and writes a table of `docs/how-to/choose-a-language.md`.

    python benches/edits.py [LANGUAGE ...]

- How long is it from an edit to rows, in a round of `dataflare dev`? The plugin is the processor that `dataflare new`
  writes, built once before. Python is measured natively too.
- How many records a second does a processor of typed records mark, called with batches of 100,000? A record is a struct
  in Rust and Go, views of columns in C, C++ and Zig, an object in JavaScript and TypeScript, and a dict in Python.

All times are processor seconds, of this process and of the tools: other work on the machine changes them little, and
where a tool uses two cores, the wall time is shorter. The table has the marks.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from benchkit.language_tables import measure_languages
from dataflare.authoring.building import build_plugin
from dataflare.authoring.dev import Developing
from dataflare.authoring.samples import Sample
from dataflare.authoring.templates import new_plugin
from dataflare.cli.figures import duration
from dataflare.engine.engine import Engine
from dataflare.runtime.host import Host

_HEAD: Final = (
    "| language | edit to rows | of it, build | mark | natively | mark | typed records | mark |",
    "| --- | --- | --- | --- | --- | --- | --- | --- |",
)
_TYPED: Final = Path(__file__).parent / "guests" / "typed"
_RECORDS: Final = 100_000
_ROUNDS: Final = 3
_BUILD_TIMEOUT_S: Final = 1800


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """A language: its plugin's file, how its comments begin, and its marks, in seconds and records/s; 0 for none."""

    file: str
    comment: str = "//"
    edit_s: float = 0
    native_s: float = 0
    records: int = 0


_PLUGINS: Final = {
    "c": Plugin(file="plugin.c", edit_s=5, records=500_000),
    "cpp": Plugin(file="plugin.cpp"),
    "go": Plugin(file="plugin.go", edit_s=5, records=500_000),
    "javascript": Plugin(file="plugin.js", edit_s=60, native_s=3, records=100_000),
    "python": Plugin(file="plugin.py", comment="#", edit_s=60, native_s=3, records=100_000),
    "rust": Plugin(file="src/lib.rs", edit_s=5, records=1_000_000),
    "typescript": Plugin(file="plugin.ts", native_s=3),
    "zig": Plugin(file="plugin.zig", edit_s=5),
}


def measured(language: str) -> str:
    """The line of a language."""
    plugin = _PLUGINS[language]
    with (
        tempfile.TemporaryDirectory(prefix="dataflare-edits-") as place,
        Engine(cache_dir=place, debug=True) as engine,
        Host(engine=engine) as developing,
        Host(cache_dir=place) as host,
    ):
        folder = Path(place) / f"{language}-edited"
        new_plugin(folder, kind="processor", language=language)
        edit_s, build_s = _edited(folder, developing, plugin, sandbox=True)
        native_s = _edited(folder, developing, plugin, sandbox=False)[0] if plugin.native_s else 0
        records = _typed(Path(place) / f"{language}-typed", host, language)
    values = (
        language,
        duration(edit_s),
        duration(build_s),
        f"{plugin.edit_s} s" if plugin.edit_s else "",
        duration(native_s) if native_s else "",
        f"{plugin.native_s} s" if plugin.native_s else "",
        f"{records / 1000:,.0f},000/s" if records else "",
        f"{plugin.records:,}/s" if plugin.records else "",
    )
    return f"| {' | '.join(values)} |".replace("|  |", "| |").replace("|  |", "| |")


def _edited(folder: Path, host: Host, plugin: Plugin, *, sandbox: bool) -> tuple[float, float]:
    """Processor seconds from an edit to rows, and those of the build, in the second round."""
    developing = Developing(folder, host, Sample(), sandbox=sandbox, build_timeout_s=_BUILD_TIMEOUT_S)
    path = folder / plugin.file
    found = (0.0, 0.0)
    for _ in range(2):
        # Of other sources than any plugin before: what was built once is kept.
        path.write_text(f"{path.read_text()}{plugin.comment} edited at {time.time_ns()}\n")
        begin, wall = _processor_s(), time.perf_counter()
        (round_,) = developing.rounds(once=True)
        share = (_processor_s() - begin) / (time.perf_counter() - wall)
        if round_.error is not None:
            raise round_.error
        found = (round_.seconds * share, round_.steps.get("build", 0.0) * share)
    return found


def _typed(folder: Path, host: Host, language: str) -> float:
    """Records per second of processor time; 0 if the language has no such plugin."""
    source = _TYPED / f"{language}{Path(_PLUGINS[language].file).suffix}"
    if not source.is_file():
        return 0
    new_plugin(folder, kind="processor", language=language)
    (folder / _PLUGINS[language].file).write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    built, _ = build_plugin(folder, host)
    best = float("inf")
    with host.load(built.guest.output, config={}) as plugin:
        started: Any = plugin.start()
        for _ in range(_ROUNDS + 1):
            begin = time.process_time()
            marked = started.process_batch(_flights())
            best = min(best, time.process_time() - begin)
    late = sum(marked["late"].to_pylist())
    assert (marked.num_rows, late) == (_RECORDS * 9 // 10, _RECORDS * 7 // 10), (marked.num_rows, late)
    return _RECORDS / best


def _flights() -> pa.RecordBatch:
    """Flights, of which every tenth did not arrive."""
    carriers = pa.array(["UA", "AA", "B6"]).take(pa.array([each % 3 for each in range(_RECORDS)]))
    delays = pa.array([None if each % 10 == 9 else each % 10 * 7.5 for each in range(_RECORDS)], pa.float64())
    return pa.record_batch({"carrier": carriers, "arr_delay": delays})


def _processor_s() -> float:
    """Processor seconds of this process and of the tools that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    sys.exit(measure_languages("edits", _HEAD, measured, sys.argv[1:]))
