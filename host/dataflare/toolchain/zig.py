"""Zig: its compiler, and the SDK for C as it translates it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from dataflare.toolchain.c import CDriver, c_sdk, header_folders, portable_sources, sdk_sources, tools
from dataflare.toolchain.guests import Guest
from dataflare.toolchain.store import write_atomically
from dataflare.toolchain.zig_toolchain import run_zig
from dataflare.user_folders import make_folder

__all__ = ["ZigDriver", "driver", "tools"]

_TARGET: Final = ("-target", "wasm32-wasi")
_LINKED: Final = (*_TARGET, "-mexec-model=reactor", "-fstrip", "--stack", "262144", "--gc-sections", "-fno-entry")
_OPTIMIZED: Final = "-OReleaseSafe"
_PASSED: Final = re.compile(r"All (\d+) tests? passed|^(\d+) passed", re.MULTILINE)
_TEST: Final = re.compile(r"^test\b", re.MULTILINE)


class ZigDriver(CDriver):
    """Builds the file `plugin.zig` and what it imports."""

    language = "zig"
    main = "plugin.zig"
    patterns = ("*.zig",)
    headers = ()

    def identity(self) -> str:
        """What, apart from the sources, the component depends on."""
        return f"{super().identity()}, {_LINKED}, {_OPTIMIZED}"

    def write_headers(self, guest: Guest) -> None:
        """Do nothing: a plugin in Zig imports a module."""

    def compile_module(self, guest: Guest, work: Path, module: Path) -> None:
        """Compile the plugin and the SDK, and link them."""
        bindings = _translated(guest, "dataflare.h", work, _TARGET)
        sources = [str(each) for each in sdk_sources(guest)]
        files = ["-cflags", *(each for each in sources if each.startswith("-")), "--"]
        files += [each for each in sources if not each.startswith("-")]
        linked = [each for each in _LINKED if not (guest.debug and each == "-fstrip")]
        command = ["build-exe", *linked, _OPTIMIZED, *files, *_modules(guest, bindings, _TARGET), "-lc"]
        run_zig(guest, [*command, f"-femit-bin={module}"])

    def unit_tests(self, guest: Guest) -> str:
        """Run the tests of the plugin's file natively; returns how many passed, or nothing where there are none."""
        path = guest.folder / self.main
        found = len(_TEST.findall(path.read_text(encoding="utf-8", errors="replace"))) if path.is_file() else 0
        if not found:
            return ""
        work = make_folder(guest.folder, Path("build", "tests"))
        bindings = _translated(guest, "dataflare_test.h", work, ())
        sources = [str(each) for each in portable_sources(guest)]
        files = ["-cflags", "-DDF_TEST_NO_MAIN", *(each for each in sources if each.startswith("-")), "--"]
        files += [each for each in sources if not each.startswith("-")]
        run_zig(guest, ["test", *files, *_modules(guest, bindings, ()), "-lc"])
        return f"{found} passed"


def _translated(guest: Guest, header: str, work: Path, target: tuple[str, ...]) -> Path:
    """The SDK's header as a module of Zig."""
    folders = [f"-I{folder}" for folder in header_folders(guest)]
    text = run_zig(guest, ["translate-c", *target, "-lc", *folders, c_sdk(guest) / "include" / header])
    write_atomically(work / "c.zig", text.encode())
    return work / "c.zig"


def _modules(guest: Guest, bindings: Path, target: tuple[str, ...]) -> list[str]:
    """The plugin's module, the SDK's and that of the bindings, each with those that it imports."""
    optimized = [_OPTIMIZED] if target else []
    sdk = guest.sdk / "src" / "dataflare.zig"
    modules = [("dataflare", "root", "plugin.zig"), ("c", "dataflare", str(sdk)), ("", "c", str(bindings))]
    words: list[str] = []
    for dependency, name, path in modules:
        words += [*target, *optimized, *(["--dep", dependency] if dependency else []), f"-M{name}={path}"]
    return words


def driver(_: Guest) -> ZigDriver:
    """Make the driver for a guest."""
    return ZigDriver()
