"""Makes components of modules, with the tools that packages of npm bring."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

from dataflare.toolchain.guests import Guest
from dataflare.toolchain.javascript import npm_packages
from dataflare.toolchain.run_tool import BuildFailed, run
from dataflare.toolchain.store import stage_wit

__all__ = ["encode", "encoder", "encoder_packages"]

_ENCODE: Final = Path(__file__).with_name("encode.mjs")
_BASELINE: Final = Path(__file__).with_name("baseline.mjs")
_ADAPTER_WORLD: Final = "\nworld adapter {\n  import dataflare:host/logging@1.0.0;\n}\n"
_NO_IMPORT: Final = re.compile(r"module requires an import interface named `(?P<name>[^`]+)`")


def encoder() -> str:
    """What a component depends on, of what encodes it."""
    return _ENCODE.read_text(encoding="utf-8")


def encoder_packages(guest: Guest) -> Path:
    """The folder of the packages that encode, downloaded on first use. Ask for it before a long compilation.

    Raises:
        ToolchainMissing: There is no Node.js, or its packages cannot be downloaded.
    """
    return npm_packages(guest.sdk.parent / "javascript") / "node_modules"


def encode(guest: Guest, module: Path, work: Path, *, adapter: Path | None = None) -> bytes:
    """Make a component of a module.

    Args:
        guest: The guest.
        module: The module: it follows the canonical ABI.
        work: An existing folder, to write into.
        adapter: What the module imports from WASI's first preview, as a text; it may call the host's `logging`.

    Raises:
        ToolchainMissing: There is no Node.js, or its packages cannot be downloaded.
        BuildFailed: The module does not fit the plugin's world.
    """
    packages = encoder_packages(guest)
    output, wit = work / "component.wasm", stage_wit(guest, work)
    command: list[str | Path] = [
        "node",
        "--import",
        _BASELINE.as_uri(),
        _ENCODE,
        packages,
        module,
        wit,
        guest.world,
        output,
    ]
    if adapter is not None:
        with (wit / "world.wit").open("a", encoding="utf-8") as file:
            file.write(_ADAPTER_WORLD)
        command += [adapter, "adapter"]
    try:
        run(command, cwd=work)
    except BuildFailed as error:
        raise _unfit(guest, error) from error
    return output.read_bytes()


def _unfit(guest: Guest, error: BuildFailed) -> BuildFailed:
    """What the plugin calls and its world does not have."""
    found = _NO_IMPORT.search(error.output)
    if found is None:
        return error
    name = found["name"]
    if name.startswith("dataflare:host/"):
        need = name.removeprefix("dataflare:host/").partition("@")[0]
        return BuildFailed(
            f"{guest.name}: it calls the host's interface {need}", hint=f"plugin.yaml: add {need} to `needs`"
        )
    return BuildFailed(
        f"{guest.name}: it calls {json.dumps(name)}, which plugins do not have",
        hint="call the host's interfaces instead of the system's files, clocks and sockets",
    )
