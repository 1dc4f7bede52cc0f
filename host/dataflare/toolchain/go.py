"""Go: its own compiler for WASI, and an adapter that answers what its runtime asks of WASI."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dataflare.toolchain.data_segments import merge_segments
from dataflare.toolchain.encoding import encode, encoder, encoder_packages
from dataflare.toolchain.go_toolchain import go_identity, go_tools, run_go
from dataflare.toolchain.guests import Guest
from dataflare.toolchain.javascript import tools as node_tools
from dataflare.toolchain.run_tool import BuildFailed
from dataflare.toolchain.store import write_changed
from dataflare.user_folders import files_below, own_folders

__all__ = ["GoDriver", "driver", "tools"]

_SDK_FOLDER: Final = "dataflare"
_NOT_OURS: Final = frozenset({"build", "dist", "tests", _SDK_FOLDER})
# Of the SDK, what is not compiled into plugins.
_NOT_SHIPPED: Final = frozenset({"examples", "templates"})
_WASI: Final = {"GOOS": "wasip1", "GOARCH": "wasm"}
_BUILD: Final = ("build", "-trimpath", "-buildvcs=false", "-buildmode=c-shared")
_PASSED: Final = re.compile(r"^--- PASS", re.MULTILINE)


class GoDriver:
    """Builds the module of a plugin's folder, whose SDK is the folder `dataflare`, which is written at each build."""

    def identity(self) -> str:
        """What, apart from the sources, the component depends on."""
        return f"{go_identity()}, {_BUILD}, {encoder()}, merged data"

    def sources(self, guest: Guest) -> Iterator[Path]:
        """The files that the component is made of, apart from WIT."""
        yield from _sdk_files(guest)
        yield guest.sdk / "adapter.wat"
        yield from _own_files(guest)
        node = guest.sdk.parent / "javascript"
        yield from (node / "package.json", node / "package-lock.json")

    def build(self, guest: Guest, work: Path) -> bytes:
        """Build a component.

        Raises:
            ToolchainMissing: There is no Go or no Node.js, and no way to get what is missing.
            BuildFailed: The build failed; the message has the compiler's words, with file and line.
        """
        _prepare(guest)
        encoder_packages(guest)
        file = guest.file
        assert file is not None
        said = {"name": file.name, "version": file.version, "description": file.description}
        module = work / "module.wasm"
        linked = f"-s -w -X dataflare.pluginFile={json.dumps(said).encode().hex()}"
        run_go(guest, [*_BUILD, f"-tags=dataflare_{file.kind}", f"-ldflags={linked}", "-o", module, "."], _WASI)
        module.write_bytes(merge_segments(module.read_bytes()))
        return encode(guest, module, work, adapter=guest.sdk / "adapter.wat")

    def unit_tests(self, guest: Guest) -> str:
        """Run the module's tests natively; returns how many passed, or nothing where there are none.

        Raises:
            ToolchainMissing: There is no Go, and it cannot be downloaded.
            BuildFailed: A test failed, or cannot be compiled.
        """
        if not any(path.name.endswith("_test.go") for path in _own_files(guest, tests=True)):
            return ""
        _prepare(guest)
        passed = len(_PASSED.findall(run_go(guest, ["test", "-v", "./..."])))
        return f"{passed} passed" if passed else ""


def _prepare(guest: Guest) -> None:
    if not (guest.folder / "go.mod").is_file():
        raise BuildFailed(f"{guest.name}: there is no go.mod", hint=f"put the plugin's module into {guest.folder}")
    for path in _sdk_files(guest):
        write_changed(guest.folder, Path(_SDK_FOLDER, path.relative_to(guest.sdk)), path.read_bytes())


def _sdk_files(guest: Guest) -> Iterator[Path]:
    """What plugins are compiled with."""
    yield guest.sdk / "go.mod"
    for path in sorted(guest.sdk.rglob("*.go")):
        if path.relative_to(guest.sdk).parts[0] not in _NOT_SHIPPED and not path.name.endswith("_test.go"):
            yield path


def _own_files(guest: Guest, *, tests: bool = False) -> Iterator[Path]:
    """All that a module's folder has, which its sources may embed, apart from what is made of it."""
    for path in files_below(guest.folder, enter=own_folders(guest.folder, _NOT_OURS)):
        if not path.name.startswith(".") and (tests or not path.name.endswith("_test.go")):
            yield path


def tools() -> str:
    """The tools that plugins in Go are built with.

    Raises:
        ToolchainMissing: There is no Go and no pip, or no Node.js.
    """
    return f"{go_tools()}, {node_tools()}"


def driver(_: Guest) -> GoDriver:
    """Make the driver for a guest."""
    return GoDriver()
