"""Rows to try a plugin with: those of a case or of a file, and what the plugin makes of them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataflare.authoring.case_files import CASES, Case, Row, read_case
from dataflare.authoring.cases import CaseRun, Load
from dataflare.documents.models import nearest
from dataflare.documents.reader import Document
from dataflare.errors import ConfigError, DataflareError
from dataflare.toolchain.manifest_file import PluginFile

__all__ = ["Sample", "Tried", "try_sample"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Which rows a plugin is tried with, and how it is configured.

    Args:
        file: A .csv, .jsonl, .parquet or .arrow file with rows; `None` for the rows of a case.
        case: The name of a case in `tests/cases`, without `.yaml`; `None` for the first that expects no error.
        config: The configuration, in place of the case's.
        max_rows: At most this many rows are read of the file, or of a source, and shown.
    """

    file: Path | None = None
    case: str | None = None
    config: Mapping[str, Any] | None = None
    max_rows: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What came of a sample.

    Attributes:
        sample: The file's name, or the case's, as `tests/cases/trims.yaml`.
        before: The rows that the plugin was given, the first `max_rows`.
        after: The rows that it made, the violations that it found, or the rows that it rejected; the first `max_rows`.
        rows_before: How many it was given.
        rows_after: How many it made.
        expected: Whether the case says what must come.
        problem: Why that is not what the case expects; empty if it is.
    """

    sample: str
    before: list[Row]
    after: list[Row]
    rows_before: int
    rows_after: int
    expected: bool
    problem: str


def try_sample(folder: Path, file: PluginFile, sample: Sample, load: Load) -> Tried:
    """Run a plugin on a sample.

    Args:
        folder: The plugin's folder.
        file: Its `plugin.yaml`.
        sample: The rows.
        load: Loads and starts the plugin.

    Raises:
        ConfigError: There is no such sample, or it is wrong.
        DataflareError: The plugin failed, and the case does not expect that.
    """
    case, document = _choose(folder, file, sample)
    rows = None
    if sample.file is not None:
        # Only here: the connectors take their time to load.
        from dataflare.pipeline.benchmark import read_rows

        rows = read_rows(sample.file, sample.max_rows)
    run = CaseRun(case, document, file, load, rows=rows, max_rows=sample.max_rows)
    before = run.input_rows()
    after: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="dataflare-sample-") as place:
        try:
            after = run.run(Path(place))
        except DataflareError as error:
            if case.error is None or (problem := run.error_problem(error)):
                raise
        else:
            problem = run.result_problem(after, Path(place))
    return Tried(
        sample=document.name,
        before=before[: sample.max_rows],
        after=after[: sample.max_rows],
        rows_before=len(before),
        rows_after=len(after),
        expected=case.expects_something(),
        problem=problem,
    )


def _choose(folder: Path, file: PluginFile, sample: Sample) -> tuple[Case, Document]:
    case, document = _case(folder, file, sample)
    if sample.config is not None:
        case = case.model_copy(update={"config": dict(sample.config)})
    if sample.file is not None:
        case = case.model_copy(update={"input": [], "types": {}})
        document = Document(sample.file.name, {}, {})
    if sample.config is not None or sample.file is not None:
        # What the case expects is for its own rows and configuration.
        case = case.model_copy(update=dict.fromkeys(("output", "violations", "files", "error")))
    return case, document


def _case(folder: Path, file: PluginFile, sample: Sample) -> tuple[Case, Document]:
    paths = {path.stem: path for path in sorted((folder / CASES).glob("*.yaml"))}

    def read(name: str) -> tuple[Case, Document]:
        return read_case(paths[name], name=paths[name].relative_to(folder).as_posix())

    if sample.case is not None:
        if sample.case not in paths:
            raise ConfigError(f"there is no case {sample.case!r}", where="--case", hint=nearest(sample.case, paths))
        return read(sample.case)
    first = None
    for name in paths:
        found = read(name)
        if found[0].error is None:
            return found
        first = first or found
    if first is not None:
        return first
    if sample.file is None and file.kind != "source":
        hint = f"put a case into {CASES}, or give --sample FILE"
        raise ConfigError("there are no rows to try the plugin with", where=str(folder), hint=hint)
    return Case(), Document("no case", {}, {})
