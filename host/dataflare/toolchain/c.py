"""C: Zig's compiler, and bindings that are committed with the SDK."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from dataflare.toolchain.encoding import encode, encoder_packages
from dataflare.toolchain.guests import Guest
from dataflare.toolchain.javascript import tools as node_tools
from dataflare.toolchain.run_tool import BuildFailed, run
from dataflare.toolchain.store import cache_root, digest_bytes, write_atomically, write_changed
from dataflare.toolchain.zig_toolchain import ZIG_VERSION, identity, run_zig, zig_tools
from dataflare.user_folders import files_below, make_folder, own_folders

__all__ = ["CDriver", "c_sdk", "driver", "header_folders", "portable_sources", "sdk_sources", "tools"]

_NOT_OURS: Final = frozenset({"build", "dataflare", "dist", "tests"})
_LINKED: Final = ("--target=wasm32-wasi", "-mexec-model=reactor", "-s", "-Wl,-z,stack-size=262144", "-Wl,--gc-sections")
# Lines for traps.
_DEBUG: Final = ("-g", "-O1")
_COMPILERS: Final = {
    ".c": ("cc", "-c", "-std=c23"),
    ".cpp": ("c++", "-c", "-std=c++23", "-fno-exceptions", "-fno-rtti"),
}
# Of the SDK, what runs natively too: the rest is the host's, and its twin's in tests.
_PORTABLE: Final = ("memory", "errors", "json", "config", "state", "batch", "expressions")
_SOURCE: Final = ("datasets", "requests", "changes", "source")
"""The SDK's files for sources; for another kind, one has its name."""
_TWIN: Final = ("twin", "twin_batches", "twin_expressions")
# Whatever a plugin's constant leaves out has its default.
_WARNINGS: Final = ("-Wall", "-Wextra", "-Wno-missing-field-initializers")
_SDK_OPTIONS: Final = ("-std=c23", "-ffunction-sections", "-w", "-DDF_EXPORT_LIFECYCLE")
# Zig takes optimized code for a release, in which `assert` would do nothing.
_COMPILED: Final = ("-O2", "-UNDEBUG", "-ffunction-sections", *_WARNINGS)
# Natively, what C leaves undefined ends a test with its file and line.
_CHECKED: Final = ("-g", "-O1", "-fsanitize=undefined", "-fno-sanitize-trap=undefined")
_PASSED: Final = re.compile(r"^\d+ passed$", re.MULTILINE)
# What the program says where it ends itself: the compiler's checks, a test, the plugin, and what is said of a test.
_ENDINGS: Final = (
    re.compile(r"panic: (?P<what>.*)\n(?P<place>[^\n:]+:\d+):\d+: 0x"),
    re.compile(r"^(?:error: )?(?P<place>\S+:\d+): (?P<what>.*)$", re.MULTILINE),
    re.compile(r"^FAILED (?P<place>\w+): (?P<what>.*)$", re.MULTILINE),
)
_TEST_NAME: Final = re.compile(r"^\w+$", re.MULTILINE)


class CDriver:
    """Builds the file `plugin.c` and the other files in C of a plugin's folder, but those of `tests`."""

    language = "c"
    main = "plugin.c"
    patterns: tuple[str, ...] = ("*.c",)
    headers: tuple[str, ...] = ("*.h",)
    libraries: tuple[str, ...] = ()

    def identity(self) -> str:
        """What, apart from the sources, the component depends on."""
        return f"{self.language}: {identity()}, {_LINKED}, {_COMPILERS}, {_COMPILED}, {_SDK_OPTIONS}, {self.libraries}"

    def runtime(self) -> dict[str, str]:
        """What is in each component beside the sources: the compiler brings the libraries."""
        return {"pypi:ziglang": ZIG_VERSION}

    def sources(self, guest: Guest) -> Iterator[Path]:
        """The files that the component is made of, apart from WIT."""
        for sdk in {c_sdk(guest), guest.sdk}:
            for folder in ("bindings", "include", "src"):
                yield from (sdk / folder).glob("*.*")
        yield from self.own_files(guest, *self.patterns, *self.headers)
        node = guest.sdk.parent / "javascript"
        yield from (node / "package.json", node / "package-lock.json")

    def own_files(self, guest: Guest, *patterns: str) -> Iterator[Path]:
        """The plugin's own files, without its tests."""
        found = list(files_below(guest.folder, enter=own_folders(guest.folder, _NOT_OURS)))
        for pattern in patterns:
            yield from (path for path in found if path.match(pattern))

    def build(self, guest: Guest, work: Path) -> bytes:
        """Build a component.

        Raises:
            ToolchainMissing: There is no Zig or no Node.js, and no way to get what is missing.
            BuildFailed: The build failed; the message has the compiler's words, with file and line.
        """
        if not (guest.folder / self.main).is_file():
            raise BuildFailed(f"{guest.name}: there is no {self.main}", hint=f"put the plugin into {guest.folder}")
        encoder_packages(guest)
        self.write_headers(guest)
        module = work / "module.wasm"
        self.compile_module(guest, work, module)
        return encode(guest, module, work)

    def compile_module(self, guest: Guest, work: Path, module: Path) -> None:
        """Compile the plugin and the SDK, and link them."""
        options = ["--target=wasm32-wasi", *_COMPILED, *(_DEBUG if guest.debug else ())]
        objects = _compile(guest, self.own_files(guest, *self.patterns), work, options)
        objects += _compile(guest, (guest.sdk / "src").glob("*.cpp"), work, options)
        linked = [*(each for each in _LINKED if each != "-s"), *_DEBUG] if guest.debug else [*_LINKED, "-O2"]
        run_zig(guest, ["cc", *linked, *sdk_sources(guest), *objects, *self.libraries, "-o", module])

    def write_headers(self, guest: Guest) -> None:
        """Write the SDK's headers into the folder `dataflare` of the plugin's, for editors."""
        for path in (path for folder in header_folders(guest) for path in sorted(folder.glob("*.h*"))):
            write_changed(guest.folder, Path("dataflare", path.name), path.read_bytes())

    def unit_tests(self, guest: Guest) -> str:
        """Run the tests of the folder `tests` natively; returns how many passed, or nothing where there are none.

        Raises:
            ToolchainMissing: There is no Zig, and it cannot be downloaded.
            BuildFailed: A test failed, or cannot be compiled.
        """
        tests = [path for pattern in self.patterns for path in sorted((guest.folder / "tests").glob(pattern))]
        if not tests:
            return ""
        self.write_headers(guest)
        work = make_folder(guest.folder, Path("build", "tests"))
        program = work / "tests"
        objects = _compile(guest, [*self.own_files(guest, *self.patterns), *tests], work, [*_CHECKED, *_WARNINGS])
        run_zig(guest, ["cc", *_CHECKED, *portable_sources(guest), *objects, *self.libraries, "-lm", "-o", program])
        try:
            said = run([program], cwd=guest.folder, timeout_s=60)
        except BuildFailed as error:
            raise _failure(guest, error) from error
        return next(iter(_PASSED.findall(said)), "")


def _failure(guest: Guest, error: BuildFailed) -> BuildFailed:
    """What ended the program of the unit tests, with its place."""
    text = "\n".join(line.strip() for line in error.output.splitlines()).replace(f"{guest.folder}/", "")
    for ending in _ENDINGS:
        if found := ending.search(text):
            return BuildFailed(f"{found['place']}: {found['what']}")
    names = _TEST_NAME.findall(text)
    if not names:
        return error
    how = error.message.partition("\n")[0].rpartition("` ")[2]
    return BuildFailed(f"the test {names[-1]} {how}", hint="a debugger shows where: `gdb build/tests/tests`")


def c_sdk(guest: Guest) -> Path:
    """The SDK for C, which those for C++ and Zig stand on."""
    return guest.sdk.parent / "c"


def header_folders(guest: Guest) -> tuple[Path, ...]:
    """The folders of the SDKs' headers."""
    own = () if guest.sdk == c_sdk(guest) else (guest.sdk / "include",)
    return (*own, c_sdk(guest) / "include", c_sdk(guest) / "bindings")


def _includes(guest: Guest) -> list[str]:
    return [f"-I{folder}" for folder in (guest.folder, *header_folders(guest))]


def _kind(guest: Guest) -> str:
    assert guest.file is not None
    return guest.file.kind


def _info_folder(guest: Guest) -> Path:
    """Write what `plugin.yaml` says of the plugin as a header, into a folder that stays.

    The compiler keeps what it made by its options, of which the folder is one.
    """
    file = guest.file
    assert file is not None
    said = {"NAME": file.name, "VERSION": file.version, "DESCRIPTION": file.description}
    lines = [f'#define DF_PLUGIN_{key} "{_escaped(text)}"' for key, text in said.items()]
    text = "\n".join([*lines, ""]).encode()
    folder = cache_root() / "plugin-info" / digest_bytes(text)[:16]
    if not (folder / "plugin_info.h").is_file():
        write_atomically(folder / "plugin_info.h", text)
    return folder


def _escaped(text: str) -> str:
    """A text with every byte escaped: nothing in it means anything to the compiler."""
    return "".join(f"\\{byte:03o}" for byte in text.encode())


def sdk_sources(guest: Guest) -> list[str | Path]:
    """The SDK's files for a plugin's kind, with the options that they are compiled with."""
    kind, sdk = _kind(guest), c_sdk(guest)
    parts = (*_PORTABLE, "lifecycle", "wasi", *_parts(kind))
    options = [*_SDK_OPTIONS, f"-DDF_EXPORT_{kind.upper()}", f"-I{_info_folder(guest)}", *_includes(guest)]
    return [*options, sdk / "bindings" / "df.c", *(sdk / "src" / f"{part}.c" for part in parts)]


def portable_sources(guest: Guest) -> list[str | Path]:
    """The SDK's files that run natively, and the host's twin, with their options."""
    kind, src = _kind(guest), c_sdk(guest) / "src"
    options = ["-std=c23", "-w", f"-DDF_TEST_{kind.upper()}", *_includes(guest)]
    return [*options, *(src / f"{name}.c" for name in (*_PORTABLE, *_parts(kind), *_TWIN))]


def _parts(kind: str) -> tuple[str, ...]:
    return _SOURCE if kind == "source" else (kind,)


def _compile(guest: Guest, files: Iterable[Path], work: Path, options: list[str]) -> list[str | Path]:
    """Compile files each on its own, so that the first error is that of a file of the plugin's."""
    objects: list[str | Path] = []
    for path in files:
        target = work / f"{len(objects)}-{path.name}.o"
        run_zig(guest, [*_COMPILERS[path.suffix], *options, *_includes(guest), _argument(guest, path), "-o", target])
        objects.append(target)
    return objects


def _argument(guest: Guest, path: Path) -> str:
    """Name a file for the compiler, which must not take the name for an option, or for a file of options."""
    named = str(path.relative_to(guest.folder) if path.is_relative_to(guest.folder) else path)
    return f"./{named}" if named.startswith(("-", "@")) else named


def tools() -> str:
    """The tools that plugins in C are built with.

    Raises:
        ToolchainMissing: There is no Zig and no pip, or no Node.js.
    """
    return f"{zig_tools()}, {node_tools()}"


def driver(_: Guest) -> CDriver:
    """Make the driver for a guest."""
    return CDriver()
