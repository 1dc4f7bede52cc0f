"""Attacks on who builds, tests and packages a plugin's folder that a stranger made."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from unittest import mock

from arena import Arena, Mutation, answers, attack
from dataflare.authoring.case_files import read_cases
from dataflare.errors import ConfigError
from dataflare.toolchain import c, typescript
from dataflare.toolchain.build import build
from dataflare.toolchain.guests import Guest, guest_of
from dataflare.toolchain.languages import load_driver
from dataflare.toolchain.manifest_file import read_plugin_file
from dataflare.toolchain.materials import bill_of_materials
from dataflare.toolchain.python import PythonDriver
from dataflare.toolchain.run_tool import BuildFailed, run
from dataflare.toolchain.store import digest_files
from dataflare.user_folders import make_folder
from dataflare.wit.resolve import load

SOURCES: Final = {"c": "c", "cpp": "cpp", "go": "go", "javascript": "js", "python": "py", "rust": "rs", "zig": "zig"}
LEVELS: Final = 1000
COMPONENT: Final = b"\0asm\x0d\0\x01\0"


class Maker:
    """A driver that makes an empty component."""

    def identity(self) -> str:
        """What it is."""
        return "maker"

    def sources(self, guest: Guest) -> list[Path]:
        """The one file there is."""
        return [guest.folder / "plugin.yaml"]

    def build(self, guest: Guest, work: Path) -> bytes:
        """A component."""
        return COMPONENT


def _plugin(arena: Arena, language: str, more: str = "") -> Path:
    folder = arena.folder / language
    folder.mkdir(exist_ok=True)
    said = f"name: hostile\nversion: 1.0.0\nkind: processor\nlanguage: {language}\n{more}"
    (folder / "plugin.yaml").write_text(said)
    return folder


def _sources(language: str, folder: Path) -> str:
    """The digest of the sources, which every build begins with."""
    guest = guest_of(folder)
    return digest_files(guest.roots(), load_driver(language)(guest).sources(guest))


def _refused_everywhere(arena: Arena, put: Callable[[Path, str], object], says: str) -> None:
    """Each language refuses a folder to which something was added."""
    for language, ending in SOURCES.items():
        folder = _plugin(arena, language)
        put(folder, ending)
        arena.raises(ConfigError, lambda language=language, folder=folder: _sources(language, folder), says=says)


@attack("files-in")
def pipes_among_a_plugins_sources(arena: Arena) -> None:
    """Put a pipe among a plugin's sources, so that who builds it waits without end."""
    _refused_everywhere(arena, lambda folder, ending: os.mkfifo(folder / f"x.{ending}"), "it is a pipe")


@attack("files-in")
def sources_without_end(arena: Arena) -> None:
    """Put a sparse file of a tebibyte, or a link to a device, among a plugin's sources."""
    _refused_everywhere(
        arena, lambda folder, ending: os.truncate(_touched(folder / f"x.{ending}"), 2**40), "is longer than"
    )
    _refused_everywhere(arena, lambda folder, ending: _link(folder / f"x.{ending}", "/dev/zero"), "it is a device")


@attack("files-in")
def folders_within_each_other_without_end(arena: Arena) -> None:
    """Nest folders until Python reaches its recursion limit: in a plugin, and in a folder of WIT."""

    def nest(folder: Path, ending: str) -> None:
        here = os.open(folder, os.O_RDONLY)
        for _ in range(LEVELS):
            os.close(os.open("__init__.py", os.O_WRONLY | os.O_CREAT, dir_fd=here))
            os.mkdir("a", dir_fd=here)
            below = os.open("a", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(here)

    for language in SOURCES:
        arena.at_close(lambda folder=arena.folder / language: _flatten(folder))
    arena.at_close(lambda: _flatten(arena.folder / "wit"))
    _refused_everywhere(arena, nest, "folders within each other")
    (arena.folder / "wit").mkdir()
    nest(arena.folder / "wit", "")
    arena.raises(ConfigError, lambda: load(arena.folder / "wit"), says="folders within each other")


def _flatten(folder: Path) -> None:
    """Move what is deep to the top, so that it can be removed: functions that remove trees recurse too."""
    deep = folder / "a"
    for number in range(LEVELS):
        inner = deep / "a"
        if not inner.is_dir():
            return
        inner.rename(folder / f"{number}")
        (folder / f"{number}").rename(folder / "next")
        deep.rename(folder / f"flat{number}")
        (folder / "next").rename(deep)


@attack("files-in")
def source_whose_name_is_no_text(arena: Arena) -> None:
    """Name a source by bytes that are not UTF-8, of which no digest can be made."""
    _refused_everywhere(
        arena, lambda folder, ending: _touched(os.fsencode(folder) + b"/\xff." + ending.encode()), "is not UTF-8"
    )


@attack("outputs")
def link_in_place_of_a_builds_folder(arena: Arena) -> None:
    """Put a link to somebody else's folder in place of one that a build, a test or a package writes into."""
    victim = arena.folder / "victim"
    (victim / "tests").mkdir(parents=True)
    for name in ("hostile.wasm", "index.js", "go.mod", "dataflare.h", "Cargo.toml", "tests/mine"):
        (victim / name).write_text("mine")
    before = sorted(victim.rglob("*"))
    prepared: dict[str, Callable[[Guest], object]] = {
        "javascript": lambda guest: load_driver("javascript")(guest).prepare(guest),
        "typescript": lambda guest: load_driver("typescript")(guest).prepare(guest),
        "c": lambda guest: load_driver("c")(guest).write_headers(guest),
        "go": lambda guest: load_driver("go")(guest).build(guest, arena.folder),
        "rust": lambda guest: load_driver("rust")(guest).unit_tests(guest),
    }
    for language, prepare in prepared.items():
        folder = _plugin(arena, language)
        _touched(folder / "go.mod")
        _touched(folder / "Cargo.toml")
        _link(folder / "dataflare", str(victim))
        with mock.patch("shutil.which", answers("/bin/true")):
            arena.raises(ConfigError, lambda prepare=prepare, folder=folder: prepare(guest_of(folder)), says="a link")
    folder = _plugin(arena, "python")
    _link(folder / "build", str(victim))
    arena.raises(ConfigError, lambda: build(guest_of(folder), driver=Maker()), says="a link leads out of the folder")
    for name in ("build/tests", "build"):
        arena.raises(ConfigError, lambda name=name: make_folder(folder, name), says="a link leads out of the folder")
    assert sorted(victim.rglob("*")) == before
    assert {path.read_text() for path in before if path.is_file()} == {"mine"}


@attack("outputs")
def configuration_of_a_compiler_that_names_outputs(arena: Arena) -> None:
    """Have the compiler of TypeScript write, by its configuration, over files of whoever builds the plugin."""
    folder = _plugin(arena, "typescript")
    for name in ("plugin.ts", "tsconfig.json"):
        _touched(folder / name)
    given: list[str] = []
    with (
        mock.patch.object(typescript, "run", lambda command, **_: given.extend(map(str, command))),
        mock.patch.object(typescript, "npm_packages", answers(arena.folder)),
    ):
        typescript._compile(guest_of(folder), arena.folder / "out")
    words = dict(pairwise(given))
    for name in ("declarationDir", "generateCpuProfile", "generateTrace", "out", "outFile", "tsBuildInfoFile"):
        assert words.get(f"--{name}") == "null", f"{name} is the author's to say"
    assert words["--outDir"] == str(arena.folder / "out")


@attack("files-in")
def options_as_the_names_of_sources(arena: Arena) -> None:
    """Name a C source file like a compiler option or an options file, so that the compiler writes anywhere."""
    folder = _plugin(arena, "c")
    for name in ("-o.c", "@options.c", "plugin.c"):
        _touched(folder / name)
    given: list[str] = []
    with mock.patch.object(c, "run_zig", lambda _, arguments: given.extend(map(str, arguments))):
        guest = guest_of(folder)
        c._compile(guest, c.CDriver().own_files(guest, "*.c"), arena.folder, [])
    named = [word for word in given if word.endswith(("-o.c", "@options.c", "plugin.c"))]
    assert [word for word in named if not word.startswith(("-", "@"))] == named and len(named) == 3, named


@attack("files-in")
def sources_that_pythons_compiler_gives_up_at(arena: Arena) -> None:
    """Write expressions that end Python's compiler in ways of its own, and names that control the terminal."""
    folder = _plugin(arena, "python")
    guest = guest_of(folder)
    with mock.patch("dataflare.toolchain.python._tool", answers(Path("/bin/true"))):
        for text in ("-" * 200_000 + "1", "a" + ".a" * 200_000, "a\0", "(" * 5000):
            (folder / "plugin.py").write_text(text)
            work = arena.folder / f"work{len(text)}"
            work.mkdir()
            arena.raises(BuildFailed, lambda work=work: PythonDriver().build(guest, work), says="plugin.py")


@attack("files-in")
def folder_that_is_a_link_to_itself(arena: Arena) -> None:
    """Give a link that leads to itself as a plugin's folder, which some ways of following links stumble over."""
    _link(arena.folder / "loop", "loop")
    arena.raises(ConfigError, lambda: guest_of(arena.folder / "loop"), says="there is no plugin.yaml")


@attack("limits")
def tool_that_prints_without_end(arena: Arena) -> None:
    """Make a build tool print without end, to fill the memory of the person who builds the plugin."""
    program = "import sys\nfor _ in range(100): sys.stdout.write('x' * 2**20)"
    arena.raises(BuildFailed, lambda: run([sys.executable, "-c", program], cwd=arena.folder), says="printed more than")


@attack("files")
def case_that_reads_a_file_outside(arena: Arena) -> None:
    """Expect in a plugin's case a file outside of its folders, to be shown what is in it."""
    folder = _plugin(arena, "python")
    (folder / "tests" / "cases").mkdir(parents=True)
    for name in ("../../etc/hostname", "/etc/hostname"):
        (folder / "tests" / "cases" / "one.yaml").write_text(f"files: {{ {name}: nothing }}\n")
        arena.raises(ConfigError, lambda: read_cases(folder), says="is outside of its folder")


@attack("files-in")
def lock_nested_without_end(arena: Arena) -> None:
    """Nest a lock of packages until the parser gives up, when a bill of materials is made of it."""
    folder = _plugin(arena, "rust")
    (folder / "Cargo.lock").write_text("a = " + "[" * 100_000)
    arena.raises(ConfigError, lambda: bill_of_materials(guest_of(folder)), says="is not a lock of cargo")


@attack("files-in")
def plugin_file_that_no_manifest_can_be_made_of(arena: Arena) -> None:
    """Ask in a `plugin.yaml` for keys of another kind of plugin, so that packaging fails with an internal error."""
    folder = _plugin(arena, "python", "asks: { datasets: {} }\n")
    arena.raises(ConfigError, lambda: read_plugin_file(folder).manifest(), says="only a source or a destination")


def _touched(path: Any) -> Any:
    with open(path, "wb"):
        return path


def _link(path: Path, to: str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(to)


MUTATIONS: Final = [
    Mutation("dataflare.toolchain.c:_argument", lambda _, path: path.name, ("options_as_the_names_of_sources",)),
    Mutation(
        "dataflare.toolchain.python:_late_imports",
        answers([]),
        ("sources_that_pythons_compiler_gives_up_at",),
    ),
    Mutation("dataflare.toolchain.guests:real_path", Path.resolve, ("folder_that_is_a_link_to_itself",)),
    Mutation(
        "dataflare.toolchain.materials:_of_cargo",
        lambda lock: tomllib.loads(lock.read_text()),
        ("lock_nested_without_end",),
    ),
    Mutation(
        "dataflare.toolchain.store:read_file",
        answers(b""),
        ("pipes_among_a_plugins_sources", "sources_without_end"),
    ),
    Mutation("dataflare.user_folders:MAX_FOLDERS_DEEP", 10**6, ("folders_within_each_other_without_end",)),
    Mutation("dataflare.user_folders:_require_text", answers(None), ("source_whose_name_is_no_text",)),
    Mutation("dataflare.toolchain.store:require_within", answers(None), ("link_in_place_of_a_builds_folder",)),
    Mutation("dataflare.user_folders:require_within", answers(None), ("link_in_place_of_a_builds_folder",)),
    Mutation("dataflare.toolchain.typescript:_ELSEWHERE", (), ("configuration_of_a_compiler_that_names_outputs",)),
    Mutation("dataflare.toolchain.run_tool:_MOST_PRINTED", 2**40, ("tool_that_prints_without_end",)),
    Mutation("dataflare.authoring.case_files:_check_name", answers(None), ("case_that_reads_a_file_outside",)),
    Mutation(
        "dataflare.toolchain.manifest_file:check_datasets",
        answers(None),
        ("plugin_file_that_no_manifest_can_be_made_of",),
    ),
]
