"""TypeScript: its compiler, which checks types, and then what plugins in JavaScript are built with."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from dataflare.toolchain.guests import Guest
from dataflare.toolchain.javascript import (
    JavaScriptDriver,
    engine_packages,
    npm_packages,
    run_tests,
    stage_for_node,
    tools,
    write_sdk,
)
from dataflare.toolchain.run_tool import BuildFailed, run
from dataflare.user_folders import files_below, make_folder, own_folders

__all__ = ["TypeScriptDriver", "driver", "tools"]

_NOT_OURS: Final = frozenset({"build", "dataflare", "dist", "node_modules"})
_ELSEWHERE: Final = ("declarationDir", "generateCpuProfile", "generateTrace", "out", "outFile", "tsBuildInfoFile")
"""What `tsconfig.json` could name beside `outDir`, to have files written anywhere: it does not count."""
_ERROR: Final = re.compile(r"^(?P<file>.+)\((?P<line>\d+),\d+\): (?P<what>error .*)$")

_SYNTAX: Final = re.compile(r"error TS1\d{3}:")


class TypeScriptDriver:
    """Builds the module `plugin.ts` and what it imports by relative paths.

    Its default export is the plugin's class. The SDK, with its types, is the folder `dataflare` beside it, written at
    each build. `tsconfig.json` says how strict the compiler is.
    """

    def identity(self) -> str:
        """Return what the component depends on apart from its sources, of which the two locks are a part."""
        return f"typescript, {JavaScriptDriver().identity()}"

    def runtime(self) -> dict[str, str]:
        """What is in each component beside the sources: the tool brings SpiderMonkey."""
        return engine_packages()

    def sources(self, guest: Guest) -> Iterator[Path]:
        """Return the files that the component is made from, without the WIT."""
        yield from JavaScriptDriver().sources(_as_javascript(guest, guest.folder))
        yield from (guest.sdk / "package.json", guest.sdk / "package-lock.json", *_types(guest))
        yield from (path for path in _own_files(guest) if "tests" not in path.relative_to(guest.folder).parts)

    def prepare(self, guest: Guest) -> None:
        """Write the SDK and its types beside the plugin, for the compiler and for editors.

        Raises:
            ConfigError: They cannot be written.
        """
        write_sdk(guest, guest.folder, types=_types(guest))

    def build(self, guest: Guest, work: Path) -> bytes:
        """Build a component.

        Raises:
            ToolchainMissing: There is no Node.js of the right age, no npm, or its packages are not available.
            BuildFailed: The types are wrong, or the build failed.
        """
        compiled = _compile(guest, work / "compiled")
        (work / "component").mkdir()
        return JavaScriptDriver().build(_as_javascript(guest, compiled), work / "component")

    def in_node(self, guest: Guest) -> Callable[[Path], None]:
        """What writes the plugin into a folder, for Node to run it natively, as that of JavaScript."""

        def stage(app: Path) -> None:
            compiled = app.parent / "compiled"
            # So that errors have the places of the TypeScript.
            _compile(guest, compiled, "--inlineSourceMap", "--sourceRoot", f"{app.as_uri()}/")
            stage_for_node(_as_javascript(guest, compiled), app)

        return stage

    def unit_tests(self, guest: Guest) -> str:
        """Run the tests of the folder `tests` in Node; returns how many passed, or nothing where there are none."""
        if not any((guest.folder / "tests").glob("*.test.ts")):
            return ""
        # Within the folder: Node looks there for what tests import.
        compiled = make_folder(guest.folder, Path("build", "tests"))
        shutil.rmtree(compiled, ignore_errors=True)
        return run_tests(_as_javascript(guest, _compile(guest, compiled)))


def _as_javascript(guest: Guest, folder: Path) -> Guest:
    return replace(guest, folder=folder, sdk=guest.sdk.parent / "javascript")


def _types(guest: Guest) -> list[Path]:
    return sorted((guest.sdk / "types").glob("*.d.ts"))


def _own_files(guest: Guest) -> Iterator[Path]:
    for path in files_below(guest.folder, enter=own_folders(guest.folder, _NOT_OURS)):
        if path.suffix == ".ts":
            yield path
    yield from guest.folder.glob("tsconfig.json")


def _compile(guest: Guest, to: Path, *options: str) -> Path:
    """Check the types, and write the plugin's modules as JavaScript into a folder."""
    if not (guest.folder / "plugin.ts").is_file():
        raise BuildFailed(f"{guest.name}: there is no plugin.ts", hint=f"put the plugin's class into {guest.folder}")
    if not (guest.folder / "tsconfig.json").is_file():
        raise BuildFailed(f"{guest.name}: there is no tsconfig.json", hint="copy that of `dataflare new`")
    compiler = npm_packages(guest.sdk) / "node_modules" / "typescript" / "bin" / "tsc"
    write_sdk(guest, guest.folder, types=_types(guest))
    output = ["--noEmit", "false", "--noEmitOnError", "--outDir", str(to), "--rootDir", str(guest.folder)]
    output += [word for name in _ELSEWHERE for word in (f"--{name}", "null")]
    words: list[str | Path] = ["node", compiler, "--project", "tsconfig.json", "--pretty", "false", *output, *options]
    try:
        run(words, cwd=guest.folder)
    except BuildFailed as error:
        raise _explained(error) from error
    return to


def _explained(error: BuildFailed) -> BuildFailed:
    """The first error, with file and line, and below it all that the compiler said."""
    said = [found for line in error.output.splitlines() if (found := _ERROR.match(line.strip()))]
    # An error of syntax makes others, also before it.
    for found in sorted(said, key=lambda each: not _SYNTAX.match(each["what"])):
        return BuildFailed(f"{found['file']}:{found['line']}: {found['what']}", output=error.output)
    return error


def driver(_: Guest) -> TypeScriptDriver:
    """Make the driver for a guest."""
    return TypeScriptDriver()
