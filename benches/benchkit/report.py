"""The final table, `benches/results.json` and `docs/explanation/performance.md`."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from benchkit.guests import ROOT
from benchkit.measure import Spread
from benchkit.results import Book, Row, format_number

__all__ = ["print_table", "write_page", "write_results"]

_RESULTS: Final = ROOT / "benches" / "results.json"
_PAGE: Final = ROOT / "docs" / "explanation" / "performance.md"
_PACKAGES: Final = (
    "dataflare",
    "wasmtime",
    "pyarrow",
    "numpy",
    "extism",
    "extism-sys",
    "singer-sdk",
    "pytest-benchmark",
)

_INTRODUCTION: Final = """# Performance

What the host costs, measured against its peers on the same data in the same run. `make bench` makes all of it again and
writes this page; the figures of every round are in `benches/results.json`.

How it is measured: the sides of a comparison alternate, one round each (A B A B), so that a disturbance of the machine
affects all of them. Ratios are computed for each round. A figure is the median of the rounds; the range beside it has
the smallest and the largest. Figures are wall-clock time, with processor time beside them, unless a row says `cpu`. A
bench is never a test: a row that misses its target says so. `tests/benches` guards what must not get worse by counting
copied bytes and calls, which do not depend on the machine.
"""


def print_table(book: Book, write: Callable[[str], object]) -> None:
    """Print each row: figure, spread, mark, and whether it holds."""
    cells = [("", "figure", "least to greatest", "by cpu", "mark", "")]
    cells += [(row.name, _figure(row), _range(row), _cpu(row), row.mark, _verdict(row)) for row in book.rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    write("")
    for name, figure, *rest in cells:
        shown = (f"{each:<{width}}" for each, width in zip(rest, widths[2:], strict=True))
        write(f"{name:<{widths[0]}}  {figure:>{widths[1]}}  {'  '.join(shown)}".rstrip())
    for row in book.rows:
        if row.holds is False:
            write(f"missed: {row.as_text()}")


def write_results(book: Book, machine: Mapping[str, Any], *, share: float) -> Path:
    """Write everything that was measured, with the machine and the versions."""
    document = {
        "machine": _describe(machine),
        "versions": {name: version(name) for name in _PACKAGES} | {"python": platform.python_version()},
        "share_of_rounds": share,
        "questions": [question.as_json() for question in book.questions],
    }
    _RESULTS.write_text(f"{json.dumps(document, indent=1)}\n", encoding="utf-8")
    return _RESULTS


def write_page(results: Path) -> Path:
    """Write the page from the results."""
    document = json.loads(results.read_text(encoding="utf-8"))
    machine, versions = document["machine"], document["versions"]
    lines = [_INTRODUCTION]
    lines.append(
        f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}."
    )
    lines.append(f"Versions: {', '.join(f'{name} {number}' for name, number in versions.items())}.\n")
    lines += ["| row | figure | least to greatest | by cpu | mark | |", "| --- | ---: | --- | ---: | --- | --- |"]
    notes = []
    for question in document["questions"]:
        for each in question["rows"]:
            row = _row(each)
            lines.append(
                f"| {row.name} | {_figure(row)} | {_range(row)} | {_cpu(row)} | {row.mark} | {_verdict(row)} |"
            )
            if row.holds is False:
                notes.append(f"- {row.name}: {row.limited_by or 'not looked into yet'}.")
    if notes:
        lines += ["\n## What misses its mark, and why\n", *notes]
    lines.append("\n## Questions\n")
    for question in document["questions"]:
        lines.append(f"### {question['question']}\n\n{question['sizes']}; {question['rounds']} rounds.\n")
        lines += ["| side | wall | cpu |", "| --- | ---: | ---: |"]
        for name, side in question["sides"].items():
            lines.append(f"| {name} | {_time(side['wall_s'])} | {_time(side['cpu_s'])} |")
        lines.append("")
    _PAGE.parent.mkdir(parents=True, exist_ok=True)
    _PAGE.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    return _PAGE


def _describe(machine: Mapping[str, Any]) -> dict[str, Any]:
    """What matters of the machine, and nothing that tells whose it is."""
    cpu = machine.get("cpu", {})
    return {
        "cpu": cpu.get("brand_raw") or platform.processor(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
    }


def _row(each: Mapping[str, Any]) -> Row:
    fields = {key: value for key, value in each.items() if key not in ("mark", "holds", "figure")}
    cpu = fields.pop("cpu")
    return Row(figure=Spread(**each["figure"]), cpu=cpu and Spread(**cpu), **fields)


def _figure(row: Row) -> str:
    return f"{format_number(row.figure.median)} {row.unit}".rstrip() + (" cpu" if row.clock == "cpu" else "")


def _range(row: Row) -> str:
    return f"{format_number(row.figure.least)} to {format_number(row.figure.greatest)}"


def _cpu(row: Row) -> str:
    return "" if row.cpu is None else f"{format_number(row.cpu.median)} {row.unit}"


def _verdict(row: Row) -> str:
    return {True: "holds", False: "MISSED", None: ""}[row.holds]


def _time(spread: Mapping[str, float]) -> str:
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if spread["median"] * factor >= 1 or unit == "µs":
            break
    low, high = (format_number(spread[key] * factor) for key in ("least", "greatest"))
    return f"{format_number(spread['median'] * factor)} {unit} ({low} to {high})"
