"""Attacks through the host's files, by plugins that may read one directory and write another."""

from __future__ import annotations

import os
from pathlib import Path

from arena import Arena, Mutation, answers, attack, probe
from dataflare.grants import DirectoryGrant, Grants
from plugin_wat import RESULT

PATH = f"(local.get $p) (local.get $n) (i32.const {RESULT})"
CREATE = f"(local.get $p) (local.get $n) (i32.const 0) (i32.const {RESULT})"


class Sandbox:
    """A plugin that may read one directory and write another."""

    def __init__(self, arena: Arena, function: str, arguments: str = PATH) -> None:
        self.arena = arena
        self.function = function
        self.made = probe(function, arguments)
        for name in ("in", "out", "private"):
            (arena.folder / name).mkdir()
            (arena.folder / name / "file").write_text(name)
        (arena.folder / "in" / "sub").mkdir()
        grants = Grants(
            files={
                "data": DirectoryGrant(path=arena.folder / "in"),
                "out": DirectoryGrant(path=arena.folder / "out", access="write"),
            }
        )
        self.plugin = arena.load(self.made.binary, grants=grants)

    def expect(self, case: str, path: str) -> None:
        self.arena.answers_with(case, self.plugin, self.made, self.function, path)


@attack("files")
def path_that_climbs_out(arena: Arena) -> None:
    """Climb out of a granted directory by `..`."""
    box = Sandbox(arena, "files#open")
    box.expect("ok", "data/file")
    for path in ("data/../private/file", "data/sub/../../private/file", "data/..", "..", "../private/file"):
        found = box.made.outcome("files#open", box.plugin.process(box.made.order("ask", path)))
        assert found in ("denied", "invalid-path"), (path, found)


@attack("files")
def absolute_path(arena: Arena) -> None:
    """Name a file by its absolute path."""
    box = Sandbox(arena, "files#open")
    for path in ("/etc/passwd", "//etc/passwd", "data//etc/passwd"):
        found = box.made.outcome("files#open", box.plugin.process(box.made.order("ask", path)))
        assert found in ("denied", "invalid-path"), (path, found)


@attack("files")
def directory_that_was_not_granted(arena: Arena) -> None:
    """Name a directory that exists, but was not granted."""
    box = Sandbox(arena, "files#open")
    box.expect("denied", "private/file")
    arena.assert_denied(capability="files", object="files:read:private", plugin="plugin")


@attack("files")
def link_that_leads_out(arena: Arena) -> None:
    """Follow a symbolic link that leads out of the directory, absolute or relative."""
    box = Sandbox(arena, "files#open")
    (arena.folder / "in" / "absolute").symlink_to(arena.folder / "private" / "file")
    (arena.folder / "in" / "relative").symlink_to(Path("..") / "private" / "file")
    (arena.folder / "in" / "folder").symlink_to(arena.folder / "private")
    for path in ("data/absolute", "data/relative", "data/folder/file"):
        box.expect("denied", path)
    arena.assert_denied(capability="files", object="files:read:data")


@attack("files")
def directory_exchanged_for_a_link(arena: Arena) -> None:
    """Exchange a directory for a link to another one after it was granted."""
    box = Sandbox(arena, "files#open")
    os.rename(arena.folder / "in", arena.folder / "moved")
    (arena.folder / "in").symlink_to(arena.folder / "private")
    (arena.folder / "moved" / "file").unlink()
    box.expect("not-found", "data/file")


@attack("files")
def write_where_only_reading_is_granted(arena: Arena) -> None:
    """Make a file in a directory that may only be read."""
    box = Sandbox(arena, "files#create", CREATE)
    box.expect("ok", "out/new")
    box.expect("denied", "data/new")
    arena.assert_denied(capability="files", object="files:write:data")
    assert not (arena.folder / "in" / "new").exists()


@attack("files")
def delete_where_only_reading_is_granted(arena: Arena) -> None:
    """Delete a file in a directory that may only be read."""
    box = Sandbox(arena, "files#delete")
    box.expect("denied", "data/file")
    arena.assert_denied(capability="files", object="files:write:data")
    assert (arena.folder / "in" / "file").exists()


@attack("files")
def write_through_a_link(arena: Arena) -> None:
    """Write through a link in a writable directory to a file outside of it."""
    box = Sandbox(arena, "files#create", CREATE)
    (arena.folder / "out" / "folder").symlink_to(arena.folder / "private")
    found = box.made.outcome("files#create", box.plugin.process(box.made.order("ask", "out/folder/new")))
    assert found == "denied"
    assert sorted(os.listdir(arena.folder / "private")) == ["file"]


@attack("files")
def device_in_place_of_a_file(arena: Arena) -> None:
    """Open a named pipe, so that the host waits forever."""
    box = Sandbox(arena, "files#open")
    os.mkfifo(arena.folder / "in" / "pipe")
    box.expect("wrong-kind", "data/pipe")


class _Reopened:
    """A granted directory that is looked up by its name each time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def number(self) -> int:
        return os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)


def _any_parts(path: str) -> tuple[str, tuple[str, ...]]:
    name, _, rest = path.partition("/")
    return name, (rest,)


MUTATIONS = [
    Mutation(
        "dataflare.capabilities.directory_files:parse_path", _any_parts, ("path_that_climbs_out", "absolute_path")
    ),
    Mutation("dataflare.capabilities.directory_files:_open_root", _Reopened, ("directory_exchanged_for_a_link",)),
    Mutation(
        "dataflare.capabilities.directory_files:_require_file",
        answers(True),
        ("device_in_place_of_a_file",),
        # Asked once more of what was opened.
        also={"dataflare.capabilities.directory_files:stat.S_ISREG": answers(True)},
    ),
    Mutation(
        "dataflare.grants:DirectoryGrant.writable",
        property(answers(True)),
        ("write_where_only_reading_is_granted", "delete_where_only_reading_is_granted"),
    ),
]
