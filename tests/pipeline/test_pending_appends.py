"""Runs that die between the naming of a file and the commit of their state."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from checkpoint_kit import Clock, Crash, Numbers, numbers_pipeline
from dataflare.pipeline.report import RunReport
from dataflare.pipeline.runner import run
from dataflare.pipeline.state_file import StateFile
from pipeline_fakes import FakeHost

SOURCE = "  in: {plugin: source.wasm, source: {dataset: rows, mode: incremental, cursor: x}}\n"
CSV = SOURCE + "  out: {connector: csv, write: out.csv, input: in, if_exists: append}\n"
LINES = SOURCE + "  out: {connector: jsonl, write: out.jsonl, input: in, if_exists: append}\n"
BOTH = CSV + "  too: {connector: jsonl, write: too.jsonl, input: in, if_exists: append}\n"


def once(folder: Path, nodes: str, count: int, *, dies: bool = False, **plugins: Any) -> RunReport | None:
    source = Numbers(Clock(), count, chunk=5, transaction=1, modes="incremental")
    with StateFile(folder / "state", pipeline="test") as file:
        real = file.commit

        def commit(*given: Any, ended: bool = False, **named: Any) -> None:
            if ended and dies:
                raise Crash
            real(*given, ended=ended, **named)

        file.commit = commit  # type: ignore[method-assign]
        try:
            return run(numbers_pipeline(folder, nodes), host=FakeHost(source=source, **plugins), state=file)
        except Crash:
            return None


@pytest.mark.parametrize(("nodes", "file", "head"), [(CSV, "out.csv", ['"x"']), (LINES, "out.jsonl", [])])
@pytest.mark.parametrize("before", [0, 10])
def test_rows_are_in_the_file_once(tmp_path, nodes, file, head, before):
    if before:
        once(tmp_path, nodes, before)
    for _ in range(3):
        assert once(tmp_path, nodes, 30, dies=True) is None
    report = once(tmp_path, nodes, 30)
    assert report is not None
    assert report.nodes[1].guarantee == "exactly-once"
    lines = (tmp_path / file).read_text().split()
    assert lines == [*head, *(str(n) if head else f'{{"x":{n}}}' for n in range(30))]
    # The next run adds to what is there.
    once(tmp_path, nodes, 35)
    assert len((tmp_path / file).read_text().split()) == len(lines) + 5


def test_run_that_is_repeated_may_give_other_rows(tmp_path):
    once(tmp_path, CSV, 10)
    once(tmp_path, CSV, 20, dies=True)
    once(tmp_path, CSV, 25)
    assert (tmp_path / "out.csv").read_text().split() == ['"x"', *map(str, range(25))]


def test_file_that_somebody_changed_in_between_is_left_as_it_is(tmp_path):
    once(tmp_path, CSV, 10, dies=True)
    with (tmp_path / "out.csv").open("a") as file:
        file.write("99\n")
    once(tmp_path, CSV, 10)
    assert (tmp_path / "out.csv").read_text().split() == ['"x"', *map(str, range(10)), "99", *map(str, range(10))]


def test_file_that_was_removed_in_between_is_made_anew(tmp_path):
    once(tmp_path, CSV, 10, dies=True)
    os.unlink(tmp_path / "out.csv")
    once(tmp_path, CSV, 10)
    assert (tmp_path / "out.csv").read_text().split() == ['"x"', *map(str, range(10))]


def test_one_of_two_files_had_its_name_when_the_run_died(tmp_path, monkeypatch):
    once(tmp_path, BOTH, 10)
    real = os.replace

    def dying(source: Any, target: Any) -> None:
        if str(target).endswith("too.jsonl"):
            raise Crash
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dying)
        assert once(tmp_path, BOTH, 20) is None
    once(tmp_path, BOTH, 20)
    assert (tmp_path / "out.csv").read_text().split()[1:] == list(map(str, range(20)))
    assert len((tmp_path / "too.jsonl").read_text().split()) == 20


def test_run_that_dies_before_its_file_has_the_name_remembers_the_one_before(tmp_path, monkeypatch):
    once(tmp_path, CSV, 10)
    once(tmp_path, CSV, 20, dies=True)

    def dying(source: Any, target: Any) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dying)
        assert once(tmp_path, CSV, 20) is None
    once(tmp_path, CSV, 20)
    assert (tmp_path / "out.csv").read_text().split()[1:] == list(map(str, range(20)))


@pytest.mark.parametrize("before", [0, 3])
def test_files_of_a_folder_are_those_of_runs_that_ended(tmp_path, before):
    (tmp_path / "two.csv").write_text("a,b\n" + "1,2\n" * 2)
    nodes = (
        "  in: {connector: csv, read: two.csv}\n"
        "  parts: {connector: csv, write: parts, input: in, if_exists: append, partition_by: [a]}\n"
    )
    if before:
        once(tmp_path, nodes, 0)
    for _ in range(2):
        once(tmp_path, nodes, 0, dies=True)
    once(tmp_path, nodes, 0)
    rows = [line for path in tmp_path.glob("parts/*/*.csv") for line in path.read_text().split()[1:]]
    assert rows == ["2"] * (4 if before else 2)
