"""Attacks by rows, and by pipelines, on files that are not meant to be written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter

from arena import Arena, Mutation, answers, attack
from dataflare.errors import ConfigError, DataflareError
from dataflare.pipeline.models import Node
from dataflare.pipeline.run_errors import DataError
from dataflare.pipeline.specification import parse_specification
from dataflare.pipeline.writers import open_destination


def write(path: Path, rows: dict[str, Any], **keys: Any) -> DataflareError | None:
    """Write rows as CSV; the error where that is refused."""
    node = TypeAdapter(Node).validate_python({"connector": "csv", "write": str(path), "input": "in", **keys})
    destination = open_destination(node, path)
    batch = pa.RecordBatch.from_pydict(rows)
    try:
        destination.prepare(batch.schema)
        destination.write(batch)
        destination.finish()
    except DataflareError as error:
        return error
    finally:
        destination.close()
    return None


@attack("outputs")
def row_that_names_a_folder_outside(arena: Arena) -> None:
    """Send a row whose value leads out of the output's folder when rows are partitioned by that column."""
    write(arena.folder / "out", {"k": ["/../../../outside"], "n": [1]}, partition_by=["k"])
    assert sorted(os.listdir(arena.folder)) == ["out"]
    assert os.listdir(arena.folder / "out") == ["k=%2F..%2F..%2F..%2Foutside"]


@attack("outputs")
def folder_of_somebody_else_as_an_output(arena: Arena) -> None:
    """Name a folder of other files as an output by columns, which replaces the whole folder."""
    home = arena.folder / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("years of work")
    error = write(home, {"k": ["a"], "n": [1]}, partition_by=["k"])
    assert os.listdir(home) == ["thesis.txt"]
    assert isinstance(error, DataError) and "thesis.txt" in str(error)


@attack("outputs")
def open_file_of_the_host_as_an_output(arena: Arena) -> None:
    """Name a file that the host has open, such as its state or its audit log, by its descriptor."""
    state = arena.folder / "state"
    with state.open("w+b") as opened:
        error = write(Path(f"/proc/self/fd/{opened.fileno()}"), {"n": [1]})
    assert state.read_bytes() == b""
    assert isinstance(error, DataError) and "part of the system" in str(error)


@attack("outputs")
def input_as_an_output_by_another_name(arena: Arena) -> None:
    """Let a pipeline write the file that it reads, by the name of a hard link."""
    (arena.folder / "in.csv").write_text("n\n1\n")
    os.link(arena.folder / "in.csv", arena.folder / "out.csv")
    text = "name: p\nnodes:\n  in: {connector: csv, read: in.csv}\n  out: {connector: csv, write: out.csv, input: in}\n"
    try:
        parse_specification(text, file=arena.folder / "pipeline.yaml")
    except ConfigError as error:
        assert "reads" in str(error)
    else:
        raise AssertionError("it was let through")


MUTATIONS = [
    Mutation("dataflare.pipeline.partitions:quote", lambda text, **_: text, ("row_that_names_a_folder_outside",)),
    Mutation(
        "dataflare.pipeline.partitions:PartitionedFolder._check_existing",
        answers(None),
        ("folder_of_somebody_else_as_an_output",),
    ),
    Mutation(
        "dataflare.pipeline.outputs:_own_stream",
        lambda path, _: os.open(path, os.O_WRONLY),
        ("open_file_of_the_host_as_an_output",),
    ),
    Mutation("dataflare.pipeline.specification:check_targets", answers(None), ("input_as_an_output_by_another_name",)),
]
