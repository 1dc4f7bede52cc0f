"""Attacks of those who write pipelines by what they read: patterns, lists, every format, exchanged files."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any
from unittest import mock

import pyarrow as pa
from pyarrow import parquet

from arena import Arena, Mutation, answers, attack
from attacks_connectors import Place
from dataflare.errors import PermissionDenied
from dataflare.grants import DirectoryGrant
from dataflare.pipeline.nodes import ReadNode
from dataflare.pipeline.readers import FileSource, open_source
from dataflare.pipeline.run_errors import NodeFailed
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import load_specification
from dataflare.security.connectors import ConnectorFiles

SECRET = pa.table({"name": ["hunter2"]})


def _arrow(path: Path) -> None:
    with pa.ipc.new_file(path, SECRET.schema) as writer:
        writer.write_table(SECRET)


def _excel(path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    for row in (["name"], ["hunter2"]):
        book.active.append(row)
    book.save(path)


FORMATS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "secret.csv": ("csv", lambda path: path.write_text("name\nhunter2\n")),
    "secret.csv.gz": ("csv", lambda path: path.write_bytes(gzip.compress(b"name\nhunter2\n"))),
    "secret.jsonl": ("jsonl", lambda path: path.write_text('{"name": "hunter2"}\n')),
    "secret.jsonl.gz": ("jsonl", lambda path: path.write_bytes(gzip.compress(b'{"name": "hunter2"}\n'))),
    "secret.parquet": ("parquet", lambda path: parquet.write_table(SECRET, path)),
    "secret.arrow": ("arrow", _arrow),
}

if importlib.util.find_spec("openpyxl") is not None:
    # An extra, which need not be installed.
    FORMATS["secret.xlsx"] = ("excel", _excel)


def reads(place: Place, connector: str, read: str | Sequence[str]) -> Path:
    """Write a pipeline that copies what it reads."""
    nodes = {
        "read": {"connector": connector, "read": read},
        "write": {"connector": "jsonl", "write": "out/rows.jsonl", "input": "read"},
    }
    file = place.folder / "pipeline.yaml"
    file.write_text(json.dumps({"name": "copy", "nodes": nodes}))
    return file


def assert_refused(place: Place, connector: str, read: str | Sequence[str]) -> None:
    """A pipeline is refused for what it reads, leaves no output, and the log has it."""
    file = reads(place, connector, read)
    error = place.arena.raises(NodeFailed, lambda: run(load_specification(file), host=place.host))
    assert isinstance(error.__cause__, PermissionDenied), error.__cause__
    place.arena.assert_denied(capability="files", function="open", plugin=f"connector:{connector}")
    assert not (place.folder / "out" / "rows.jsonl").exists()


@attack("files")
def pattern_that_matches_what_is_not_granted(arena: Arena) -> None:
    """Read by a pattern that leads out of the granted directory, by itself or through a link, in every format."""
    place = Place(arena)
    for name, (connector, write) in FORMATS.items():
        write(place.folder / "elsewhere" / name)
        ending = name.partition(".")[2]
        assert_refused(place, connector, f"in/../elsewhere/*.{ending}")
        assert_refused(place, connector, f"**/secret.{ending}")
        link = place.folder / "in" / f"link.{ending}"
        link.symlink_to(place.folder / "elsewhere" / name)
        assert_refused(place, connector, f"in/l*.{ending}")
        assert_refused(place, connector, f"in/link.{ending}")
        link.unlink()


@attack("files")
def file_that_is_not_granted_in_a_list(arena: Arena) -> None:
    """Put a file that is not granted behind others that are, in a list of files."""
    place = Place(arena)
    for name, (connector, write) in FORMATS.items():
        write(place.folder / "elsewhere" / name)
        write(place.folder / "in" / name)
        run(load_specification(reads(place, connector, [f"in/{name}"])), host=place.host)
        (place.folder / "out" / "rows.jsonl").unlink()
        assert_refused(place, connector, [f"in/{name}", f"elsewhere/{name}"])


@attack("files")
def input_exchanged_once_it_was_checked(arena: Arena) -> None:
    """Exchange a file for a link to another one after it was checked, and before it is read."""
    place = Place(arena)
    checked = ConnectorFiles.open_input

    for name, (connector, write) in FORMATS.items():
        mine, secret = place.folder / "in" / name, place.folder / "elsewhere" / name
        write(secret)
        mine.write_bytes(secret.read_bytes())

        def late(
            self: ConnectorFiles, path: Path, *, connector: str, mine: Path = mine, secret: Path = secret
        ) -> IO[bytes]:
            file = checked(self, path, connector=connector)
            mine.unlink()
            mine.symlink_to(secret)
            return file

        file = reads(place, connector, f"in/{name}")
        with mock.patch.object(ConnectorFiles, "open_input", late):
            error = arena.raises(NodeFailed, lambda file=file: run(load_specification(file), host=place.host))
        assert mine.is_symlink() and ("changed" in str(error) or isinstance(error.__cause__, PermissionDenied)), error
        assert not (place.folder / "out" / "rows.jsonl").exists()


@attack("files")
def folder_reached_by_the_parent_of_a_link(arena: Arena) -> None:
    """Run a pipeline through a link to its folder, so that `..` in what it reads means another folder."""
    place = Place(arena)
    reads(place, "csv", "../in/rows.csv").rename(place.folder / "out" / "pipeline.yaml")
    away = place.folder / "in" / "away"
    (away / "in").mkdir(parents=True)
    (away / "in" / "rows.csv").write_text("name\nmallory\n")
    (away / "link").symlink_to(place.folder / "out")
    run(load_specification(away / "link" / "pipeline.yaml"), host=place.host)
    assert (place.folder / "out" / "out" / "rows.jsonl").read_text() == '{"n":1}\n', "`..` was that of the link"


def _by_name(
    node: ReadNode, paths: Sequence[Path], opener: Callable[[Path], IO[bytes]], contract: object = None, **_: object
) -> FileSource:
    """Check the files, and open them again by their names."""
    for path in paths:
        opener(path).close()
    return open_source(node, paths)


MUTATIONS = [
    Mutation(
        "dataflare.security.policy:Policy.connector_directories",
        answers({"all": DirectoryGrant(path=Path("/"), access="write")}),
        ("pattern_that_matches_what_is_not_granted", "file_that_is_not_granted_in_a_list"),
    ),
    Mutation("dataflare.pipeline.stage_builder:open_source", _by_name, ("input_exchanged_once_it_was_checked",)),
    Mutation(
        "dataflare.pipeline.specification:_real_folder",
        lambda file: Path(os.path.abspath(file.parent)),
        ("folder_reached_by_the_parent_of_a_link",),
    ),
]
