"""Several sources of numbers, and runs of them that die anywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from checkpoint_kit import Clock, Crash, numbers_pipeline
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import Specification
from dataflare.pipeline.state_file import StateFile
from pipeline_fakes import FakeHost

SOURCES = "".join(
    f"  {name}: {{plugin: {name}.wasm, source: {{dataset: rows, mode: incremental, cursor: x}}}}\n" for name in "abc"
)
A, B, C = SOURCES.splitlines(keepends=True)


def pipeline(folder: Path, nodes: str, *, rows: int = 10) -> Specification:
    for name in "abc":
        (folder / f"{name}.wasm").touch()
    return numbers_pipeline(folder, nodes, rows=rows)


def run_with_deaths(
    made: Specification, state: Path, plugins: Callable[[Clock], dict[str, Any]], deaths: list[int]
) -> None:
    for dies_at in [*deaths, None]:
        clock = Clock(dies_at=dies_at)
        with StateFile(state, pipeline="test") as file:
            dying = file.commit

            def commit(*given: Any, dying: Any = dying, clock: Clock = clock, **named: Any) -> None:
                clock.step()
                dying(*given, **named)
                clock.step()

            file.commit = commit  # type: ignore[method-assign]
            try:
                run(made, host=FakeHost(**plugins(clock)), state=file)
            except Crash:
                continue
            return
    raise AssertionError("the last run does not die")
