"""Attacks on where a run reads and writes: by links in folders of data, by patterns, and by what is said of places."""

from __future__ import annotations

import os
import time

from typer.testing import CliRunner

from arena import Arena, Mutation, answers, attack
from attacks_connectors import Place
from attacks_outputs import write
from dataflare.cli.app import app
from dataflare.cli.exit_codes import EXIT_DENIED
from dataflare.errors import PermissionDenied
from dataflare.pipeline.check import check_pipeline
from dataflare.pipeline.reading import inputs
from dataflare.pipeline.reading.inputs import find_files
from dataflare.pipeline.run_errors import DataError
from dataflare.pipeline.specification import load_specification


@attack("outputs")
def link_among_the_partitions(arena: Arena) -> None:
    """Put a link in place of a partition's folder, so that rows that are added go where it leads."""
    (arena.folder / "out").mkdir()
    (arena.folder / "elsewhere").mkdir()
    (arena.folder / "out" / "k=a").symlink_to("../elsewhere")
    error = write(arena.folder / "out", {"k": ["a"], "n": [1]}, partition_by=["k"], if_exists="append")
    assert os.listdir(arena.folder / "elsewhere") == []
    assert isinstance(error, DataError) and "a link or a file" in str(error)
    assert os.listdir(arena.folder / "out") == ["k=a"]


@attack("files")
def pattern_that_lists_a_folder_outside(arena: Arena) -> None:
    """Read by a pattern, to learn from the refusal which files are in a folder that no grant covers."""
    place = Place(arena)
    (place.folder / "elsewhere" / "merger.csv").write_text("n\n1\n")
    place.is_refused("/elsewhere/m*", function="open", read="elsewhere/m*")
    # Nothing matches: the same answer.
    place.is_refused("/elsewhere/x*", function="open", read="elsewhere/x*")


@attack("files")
def check_that_lists_a_folder_outside(arena: Arena) -> None:
    """Check a pipeline that names a file that is not there, to be told what else is in its folder."""
    place = Place(arena)
    for read in ("elsewhere/absent.csv", "elsewhere/secret.csv", "elsewhere/*"):
        pipeline = load_specification(place.pipeline(read=read, write="elsewhere/new.csv"))
        problems = check_pipeline(pipeline, place.host)
        assert [type(each.__cause__) for each in problems] == [PermissionDenied] * 2, problems
        assert "secret.csv" not in str(problems[0]) or read.endswith("secret.csv")


@attack("files")
def links_that_make_endless_paths(arena: Arena) -> None:
    """Put links to its own folder into a folder of data: a pattern finds twice as many paths with each level."""
    for name in ("a", "b"):
        (arena.folder / name).symlink_to(".")
    (arena.folder / "rows.csv").write_text("n\n1\n")
    begin = time.monotonic()
    for pattern in ("**/*.csv", "**/" * 40 + "*.csv", "*/" * 40 + "*.csv"):
        try:
            found = find_files(arena.folder, pattern, some=False)
        except DataError as error:
            raise AssertionError("it went round and round") from error
        assert found == [arena.folder / "rows.csv"] * ("**" in pattern)
    assert time.monotonic() - begin < 5


@attack("outputs")
def variables_of_the_next_run(arena: Arena) -> None:
    """Write the file of variables that the operator gives to each run."""
    place = Place(arena)
    variables = place.folder / "out" / "variables.env"
    variables.write_text("DAY=1\n")
    pipeline = place.pipeline(write="out/variables.env")
    words = ["run", str(pipeline), "--policy", str(place.policy), "--env-file", str(variables)]
    result = CliRunner().invoke(app, words)
    assert variables.read_text() == "DAY=1\n"
    assert result.exit_code == EXIT_DENIED, result.output


class _Followed:
    """A name in a folder that is taken for what a link of that name leads to."""

    def __init__(self, entry: os.DirEntry[str]) -> None:
        self.name, self.path = entry.name, entry.path

    def is_dir(self, **_: object) -> bool:
        return os.path.isdir(self.path)


_entries = inputs._entries


MUTATIONS = [
    Mutation("dataflare.pipeline.partitions:_FOLDER", os.O_RDONLY | os.O_DIRECTORY, ("link_among_the_partitions",)),
    Mutation(
        "dataflare.security.connectors:ConnectorFiles.check_input",
        answers(None),
        ("pattern_that_lists_a_folder_outside", "check_that_lists_a_folder_outside"),
    ),
    Mutation(
        "dataflare.pipeline.reading.inputs:_entries",
        lambda folder: map(_Followed, _entries(folder)),
        ("links_that_make_endless_paths",),
    ),
    Mutation("dataflare.runtime.host:Host.protect", answers(None), ("variables_of_the_next_run",)),
]
