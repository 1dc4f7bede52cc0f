"""C: Zig's compiler, and bindings that are committed with the SDK."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dataflare.errors import ConfigError
from dataflare.toolchain.guests import Guest
from dataflare.toolchain.javascript import tools as node_tools
from dataflare.toolchain.run_tool import BuildFailed, run
from dataflare.toolchain.store import write_atomically
from dataflare.toolchain.zig_toolchain import encode, identity, run_zig, zig_tools

__all__ = ["CDriver", "driver", "tools"]

_NOT_OURS: Final = frozenset({"build", "dataflare", "dist", "tests"})
_TARGET: Final = ("--target=wasm32-wasi", "-mexec-model=reactor", "-s", "-Wl,-z,stack-size=262144", "-Wl,--gc-sections")
# Of the SDK, what runs natively too: the rest is the host's, and its twin's in tests.
_PORTABLE: Final = ("memory.c", "errors.c", "json.c", "config.c", "state.c")
_WARNINGS: Final = ("-Wall", "-Wextra")
# Zig takes optimized code for a release, in which `assert` would do nothing.
_COMPILED: Final = ("--target=wasm32-wasi", "-O2", "-UNDEBUG", "-ffunction-sections", *_WARNINGS)
_PASSED: Final = re.compile(r"^\d+ passed$", re.MULTILINE)
_FAILED: Final = re.compile(r"^(?P<place>\S+:\d+): (?P<what>.*)$", re.MULTILINE)


class CDriver:
    """Builds the file `plugin.c` and the other files in C of a plugin's folder, but those of `tests`."""

    main: str = "plugin.c"
    patterns: tuple[str, ...] = ("*.c",)
    headers: tuple[str, ...] = ("*.h",)

    def identity(self) -> str:
        """What, apart from the sources, the component depends on."""
        return f"c: {identity()}, {_TARGET}, {_COMPILED}, {self.flags()}"

    def flags(self) -> tuple[str, ...]:
        """How the plugin's own files are compiled."""
        return ("-std=c23",)

    def sources(self, guest: Guest) -> Iterator[Path]:
        """The files that the component is made of, apart from WIT."""
        yield from _sdk(guest).rglob("*.[ch]*")
        if guest.sdk != _sdk(guest):
            yield from (path for path in guest.sdk.glob("*") if path.is_file())
        yield from self.own_files(guest, *self.patterns, *self.headers)
        node = guest.sdk.parent / "javascript"
        yield from (node / "package.json", node / "package-lock.json")

    def own_files(self, guest: Guest, *patterns: str) -> Iterator[Path]:
        """The plugin's own files, without its tests."""
        for place, folders, _ in os.walk(guest.folder):
            if Path(place) == guest.folder:
                folders[:] = [each for each in folders if each not in _NOT_OURS]
            folders[:] = sorted(each for each in folders if not each.startswith("."))
            for pattern in patterns:
                yield from sorted(path for path in Path(place).glob(pattern) if path.is_file())

    def build(self, guest: Guest, work: Path) -> bytes:
        """Build a component.

        Raises:
            ToolchainMissing: There is no Zig or no Node.js, and no way to get what is missing.
            BuildFailed: The build failed; the message has the compiler's words, with file and line.
        """
        if not (guest.folder / self.main).is_file():
            raise BuildFailed(f"{guest.name}: there is no {self.main}", hint=f"put the plugin into {guest.folder}")
        self.write_headers(guest)
        write_info(guest, work)
        module = work / "module.wasm"
        self.compile_module(guest, work, module)
        return encode(guest, module, work)

    def compile_module(self, guest: Guest, work: Path, module: Path) -> None:
        """Compile the plugin and the SDK, and link them."""
        objects = self.compile_own(guest, work)
        run_zig(guest, ["cc", *_TARGET, "-O2", *sdk_sources(guest, work), *objects, "-o", module])

    def compile_own(self, guest: Guest, work: Path) -> list[str | Path]:
        """Compile the plugin's own files; returns what the linker is given."""
        return compile_files(guest, "cc", [*self.flags(), *self.includes(guest)], self.own_files(guest, "*.c"), work)

    def includes(self, guest: Guest) -> list[str]:
        """Where headers are found."""
        return [f"-I{folder}" for folder in (guest.folder, *header_folders(guest))]

    def write_headers(self, guest: Guest) -> None:
        """Write the SDK's headers into the plugin's folder, for editors."""
        for path in (*(_sdk(guest) / "include").glob("*.h"), _sdk(guest) / "bindings" / "df.h"):
            write_header(guest, path)

    def unit_tests(self, guest: Guest) -> str:
        """Run the tests of the folder `tests` natively; returns how many passed, or nothing where there are none.

        Raises:
            ToolchainMissing: There is no Zig, and it cannot be downloaded.
            BuildFailed: A test failed, or cannot be compiled.
        """
        return native_tests(self, guest, sorted((guest.folder / "tests").glob("*.c")))


def _sdk(guest: Guest) -> Path:
    """The SDK for C, which those for C++ and Zig stand on."""
    return guest.sdk.parent / "c"


def header_folders(guest: Guest) -> tuple[Path, ...]:
    """The folders of the SDK's headers."""
    return (_sdk(guest) / "include", _sdk(guest) / "bindings")


def write_header(guest: Guest, path: Path) -> None:
    """Write a file of the SDK into the folder `dataflare` of the plugin's, where it is not there already."""
    target, data = guest.folder / "dataflare" / path.name, path.read_bytes()
    try:
        if not target.is_file() or target.read_bytes() != data:
            write_atomically(target, data)
    except OSError as error:
        raise ConfigError(f"the SDK cannot be written: {error.strerror}", where=str(target)) from error


def write_info(guest: Guest, work: Path) -> None:
    """Write what `plugin.yaml` says of the plugin as a header."""
    file = guest.file
    assert file is not None
    said = {"NAME": file.name, "VERSION": file.version, "DESCRIPTION": file.description}
    lines = [f'#define DF_PLUGIN_{key} "{_escaped(text)}"' for key, text in said.items()]
    (work / "plugin_info.h").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _escaped(text: str) -> str:
    """A text with every byte escaped: nothing in it means anything to the compiler."""
    return "".join(f"\\{byte:03o}" for byte in text.encode())


def sdk_sources(guest: Guest, work: Path) -> list[str | Path]:
    """The SDK's files for a plugin's kind, with the options that they are compiled with."""
    file = guest.file
    assert file is not None
    sdk = _sdk(guest)
    folders = [f"-I{folder}" for folder in (*header_folders(guest), work)]
    parts = ("memory", "errors", "json", "config", "batch", "expressions", "lifecycle", "state", "wasi", file.kind)
    options = ["-std=c23", "-ffunction-sections", "-w", "-DDF_EXPORT_LIFECYCLE", f"-DDF_EXPORT_{file.kind.upper()}"]
    return [*options, *folders, sdk / "bindings" / "df.c", *(sdk / "src" / f"{part}.c" for part in parts)]


def compile_files(
    guest: Guest, compiler: str, options: list[str], files: Iterator[Path], work: Path
) -> list[str | Path]:
    """Compile files each on its own, so that the first error is that of a file of the plugin's."""
    objects: list[str | Path] = []
    for number, path in enumerate(files):
        target = work / f"{number}.o"
        said = path.relative_to(guest.folder)
        run_zig(guest, [compiler, "-c", *_COMPILED, *options, said, "-o", target])
        objects.append(target)
    return objects


def native_tests(driver: CDriver, guest: Guest, tests: list[Path]) -> str:
    """Compile a plugin with its tests and the host's twin for this machine, and run them."""
    if not tests:
        return ""
    driver.write_headers(guest)
    file = guest.file
    assert file is not None
    work = guest.folder / "build" / "tests"
    work.mkdir(parents=True, exist_ok=True)
    program = work / "tests"
    sdk = _sdk(guest)
    options = [*driver.includes(guest), f"-DDF_TEST_{file.kind.upper()}", "-g", "-O1", *_WARNINGS]
    portable = [sdk / "src" / name for name in (*_PORTABLE, "twin.c")]
    own = [path.relative_to(guest.folder) for path in (*driver.own_files(guest, "*.c"), *tests)]
    run_zig(guest, ["cc", *driver.flags(), *options, *own, *portable, "-lm", "-o", program])
    try:
        said = run([program], cwd=guest.folder, timeout_s=60)
    except BuildFailed as error:
        found = _FAILED.search("\n".join(line.strip() for line in error.output.splitlines()))
        raise BuildFailed(f"{found['place']}: {found['what']}" if found else error.message) from error
    return next(iter(_PASSED.findall(said)), "")


def tools() -> str:
    """The tools that plugins in C are built with.

    Raises:
        ToolchainMissing: There is no Zig and no pip, or no Node.js.
    """
    return f"{zig_tools()}, {node_tools()}"


def driver(_: Guest) -> CDriver:
    """Make the driver for a guest."""
    return CDriver()
