"""Python: componentize-py, which puts CPython and the plugin's modules into one component (18 MB, with WASI)."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dataflare.toolchain.guests import Guest
from dataflare.toolchain.run_tool import ToolchainMissing, run
from dataflare.toolchain.store import stage_wit

__all__ = ["PythonDriver", "driver"]

_VERSION = "0.25.1"
_HINT = f"`{Path(sys.executable).name} -m pip install componentize-py=={_VERSION}`"


class PythonDriver:
    """Builds the module `plugin.py`, with the modules beside it and those in `guest-sdks/python/lib`."""

    def identity(self) -> str:
        """What, apart from the sources, the component depends on."""
        return f"python: componentize-py {_VERSION}"

    def sources(self, guest: Guest) -> Iterator[Path]:
        """The files that the component is made of, apart from WIT."""
        yield from _modules(guest)

    def build(self, guest: Guest, work: Path) -> bytes:
        """Build a component.

        Raises:
            ToolchainMissing: There is no componentize-py of the right version in this interpreter's environment.
            BuildFailed: The build failed.
        """
        tool = _tool()
        wit = stage_wit(guest, work)
        # The tool takes whatever lies in the folder, so it gets one of the modules alone.
        app = work / "app"
        app.mkdir()
        for module in _modules(guest):
            shutil.copy2(module, app)
        output = work / "plugin.wasm"
        run([tool, "-d", wit, "-w", guest.world, "componentize", "-p", app, "-o", output, "plugin"], cwd=work)
        return output.read_bytes()


def _modules(guest: Guest) -> Iterator[Path]:
    yield from (guest.sdk / "lib").glob("*.py")
    yield from guest.folder.glob("*.py")


def _tool() -> Path:
    try:
        found = version("componentize-py")
    except PackageNotFoundError as exc:
        raise ToolchainMissing("there is no componentize-py in this Python environment", hint=_HINT) from exc
    if found != _VERSION:
        raise ToolchainMissing(f"componentize-py {found} is installed, but {_VERSION} is needed", hint=_HINT)
    script = shutil.which("componentize-py", path=str(Path(sys.executable).parent)) or shutil.which("componentize-py")
    if script is None:
        raise ToolchainMissing("componentize-py is installed without its program", hint=f"{_HINT} --force-reinstall")
    return Path(script)


def driver(_: Guest) -> PythonDriver:
    """Make the driver for a guest."""
    return PythonDriver()
