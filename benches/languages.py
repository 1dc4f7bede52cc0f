"""Measures the same plugins in every language, and writes the table of `docs/how-to/choose-a-language.md`.

    python benches/languages.py [LANGUAGE ...]

For each language it makes the processor and the transformer that `dataflare new` writes, builds, compiles, loads and
calls them. It takes some minutes, and needs the tools of each language; lines of languages that are not named, or whose
tools are missing, stay as they are. Run it on a quiet machine.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import pyarrow as pa

from benchkit.language_tables import measure_languages
from dataflare.authoring.building import build_plugin
from dataflare.authoring.templates import new_plugin
from dataflare.cli.figures import duration
from dataflare.pipeline.benchmark import measure
from dataflare.runtime.host import Host

_HEAD: Final = (
    "| language | component | build | compile, once | load | columns by expressions | records | memory |",
    "| --- | --- | --- | --- | --- | --- | --- | --- |",
)
_ROWS: Final = 1_000_000
_SECONDS: Final = 2.0
_LOADS: Final = 5
_CONFIGS: Final = {"transformer": {"of": "a", "to": "b"}, "processor": {}}


def measured(language: str) -> str:
    """The line of a language."""
    with tempfile.TemporaryDirectory(prefix="dataflare-languages-") as place, Host(cache_dir=place) as host:
        columns = _measured(Path(place), host, language, "transformer")
        records = _measured(Path(place), host, language, "processor")
    size, build, compiled, load, rows_per_s, _ = columns
    values = (
        language,
        f"{size / 1000:,.0f} KB" if size < 10**6 else f"{size / 10**6:.1f} MB",
        *(duration(each) for each in (build, compiled, load)),
        f"{rows_per_s / 10**6:,.0f} M rows/s",
        f"{records[4] / 1000:,.0f},000/s",
        f"{records[5] / 2**20:,.0f} MiB",
    )
    return f"| {' | '.join(values)} |"


def _measured(place: Path, host: Host, language: str, kind: str) -> tuple[float, ...]:
    """Bytes; seconds to build, to compile and to load; rows a second, and bytes of memory at the most."""
    folder = place / f"{language}-{kind}"
    new_plugin(folder, kind=kind, language=language)
    file = folder / "plugin.yaml"
    # Of other sources than any plugin before: what was built once is kept.
    file.write_text(f"{file.read_text()}\npublisher: measured at {time.time_ns()}\n")
    built, _ = build_plugin(folder, host)
    config = dict(_CONFIGS[kind])
    began = time.perf_counter()
    host.load(built.guest.output, config=config).close()
    compiled = time.perf_counter() - began
    loads = []
    for _ in range(_LOADS):
        began = time.perf_counter()
        plugin = host.load(built.guest.output, config=config)
        plugin.start()
        loads.append(time.perf_counter() - began)
        plugin.close()
    with host.load(built.guest.output, config=config) as plugin:
        found = measure(plugin, _batch(), seconds=_SECONDS)
    return built.size_bytes, built.seconds, compiled, min(loads), found.rows_per_s, found.memory_peak_bytes


def _batch() -> pa.RecordBatch:
    numbers = pa.array(range(1, _ROWS + 1))
    names = pa.array([" Ada ", "Béla", "Cy "]).take(pa.array([each % 3 for each in range(_ROWS)]))
    return pa.record_batch({"id": numbers, "a": numbers.cast(pa.float64()), "b": numbers, "name": names})


if __name__ == "__main__":
    sys.exit(measure_languages("languages", _HEAD, measured, sys.argv[1:]))
