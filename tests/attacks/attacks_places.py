"""Attacks on where a run reads and writes: by links in folders of data, by patterns, and by what is said of places."""

from __future__ import annotations

import functools
import os
import time

from typer.testing import CliRunner

from arena import Arena, Mutation, answers, attack, probe
from attacks_connectors import Place
from attacks_outputs import write
from dataflare.cli.app import app
from dataflare.cli.exit_codes import EXIT_DENIED
from dataflare.errors import PermissionDenied
from dataflare.grants import DirectoryGrant, Grants
from dataflare.pipeline.check import check_pipeline
from dataflare.pipeline.reading import inputs
from dataflare.pipeline.reading.inputs import find_files
from dataflare.pipeline.run_errors import DataError
from dataflare.pipeline.specification import load_specification
from dataflare.pipeline.state_file import StateFile
from plugin_wat import RESULT


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
    """Write the file of variables that the operator gives to each run, the signing key, or the lock of the state."""
    place = Place(arena)
    for name in ("variables.env", "release.key"):
        (place.folder / "out" / name).write_text("DAY=1\n")
    state = place.folder / "out" / "s"
    for name in ("variables.env", "release.key", "s", "s.lock", "s-wal"):
        pipeline = place.pipeline(write=f"out/{name}")
        words = ["run", str(pipeline), "--policy", str(place.policy), "--state", str(state)]
        words += ["--env-file", str(place.folder / "out" / "variables.env")]
        result = CliRunner().invoke(app, words, env={"DATAFLARE_KEY": str(place.folder / "out" / "release.key")})
        assert result.exit_code == EXIT_DENIED, f"{name}: {result.output}"
    assert {(place.folder / "out" / name).read_text() for name in ("variables.env", "release.key")} == {"DAY=1\n"}


@attack("outputs")
def state_of_another_pipeline_as_an_output(arena: Arena) -> None:
    """Write what another pipeline keeps between its runs, or its lock, so that it skips rows or runs twice at once."""
    everywhere = {"version": 1, "connectors": {"grants": {"files": {"all": {"path": ".", "access": "write"}}}}}
    place = Place(arena, everywhere)
    states = place.folder / ".dataflare"
    StateFile(states / "other.state", pipeline="other").close()
    (place.folder / "link").symlink_to(".dataflare")
    (place.folder / "up").symlink_to(".")
    (states / "below").mkdir()
    before = {each.name: each.stat().st_mtime_ns for each in states.iterdir()}
    names = ("other.state", "other.state.lock", "new.jsonl", "below/new.jsonl", "new/new.jsonl")
    ways = (".dataflare", "link", "up/.dataflare", "out/../.dataflare", f"/proc/self/root{states}")
    for host in (place.host, arena.host(policy=None)):
        admitted = host.admit_pipeline("copy", load_specification(place.pipeline()).identity)
        for path in (states, *(place.folder / way / name for way in ways for name in names)):
            arena.raises(
                PermissionDenied,
                functools.partial(admitted.files.check_output, path, connector="csv"),
                says="folder of the states",
            )
        admitted.close()
    place.is_refused("folder of the states", write=".dataflare/new/new.jsonl")
    grants = Grants(files={"data": DirectoryGrant(path=place.folder, access="write")})
    made = probe("files#create", f"(local.get $p) (local.get $n) (i32.const 1) (i32.const {RESULT})")
    plugin = arena.load(made.binary, arena.host(), grants=grants)
    for name in names[:4]:
        arena.answers_with("denied", plugin, made, "files#create", f"data/.dataflare/{name}")
    assert {each.name: each.stat().st_mtime_ns for each in states.iterdir()} == before
    place.runs()


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
    Mutation("dataflare.cli.security_options:_own_files", answers({}), ("variables_of_the_next_run",)),
    Mutation("dataflare.security.protected:STATES_FOLDER", ".none", ("state_of_another_pipeline_as_an_output",)),
]
