"""JavaScript: ComponentizeJS, which puts SpiderMonkey and the plugin's modules into one component (12 MB, no WASI)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from dataflare.toolchain.guests import Guest
from dataflare.toolchain.run_tool import BuildFailed, ToolchainMissing, run
from dataflare.toolchain.store import cache_root, digest_files, once, stage_wit

__all__ = ["JavaScriptDriver", "driver", "npm_packages"]

_NODE_MAJOR = 20
_HINT = f"install Node.js {_NODE_MAJOR} or newer with npm (https://nodejs.org)"
_COMPONENTIZE = Path(__file__).with_name("componentize.mjs")


class JavaScriptDriver:
    """Builds the module `plugin.js` and what it imports by relative paths within `guest-sdks/javascript`."""

    def identity(self) -> str:
        """What, apart from the sources (the lock is one), the component depends on."""
        return f"javascript: {_COMPONENTIZE.read_text(encoding='utf-8')}"

    def sources(self, guest: Guest) -> Iterator[Path]:
        """The files that the component is made of, apart from WIT."""
        yield from (guest.sdk / "package.json", guest.sdk / "package-lock.json")
        yield from (guest.sdk / "lib").rglob("*.js")
        yield from guest.folder.rglob("*.js")

    def build(self, guest: Guest, work: Path) -> bytes:
        """Build a component.

        Raises:
            ToolchainMissing: There is no Node.js of the right age, no npm, or its packages are not available.
            BuildFailed: The build failed.
        """
        packages = npm_packages(guest.sdk)
        wit = stage_wit(guest, work)
        output = work / "plugin.wasm"
        source = guest.folder / "plugin.js"
        command: list[str | Path] = ["node", _COMPONENTIZE, packages / "node_modules", source, wit, guest.world, output]
        run(command, cwd=guest.sdk, env={"TMPDIR": str(work)}, hint=_HINT)
        return output.read_bytes()


def npm_packages(workspace: Path) -> Path:
    """Install the npm packages of a lock on first use.

    Args:
        workspace: A folder with a `package.json` and a `package-lock.json`.

    Returns:
        The folder of `node_modules`, in the user's cache.

    Raises:
        ToolchainMissing: There is no Node.js of the right age, no npm, or a package cannot be downloaded.
    """
    release = run(["node", "--version"], cwd=workspace, hint=_HINT).strip()
    if int(release.removeprefix("v").split(".")[0]) < _NODE_MAJOR:
        raise ToolchainMissing(f"Node.js {release} is too old", hint=_HINT)
    if shutil.which("npm") is None:
        raise ToolchainMissing("there is no npm", hint=_HINT)
    manifest, lock = workspace / "package.json", workspace / "package-lock.json"

    def install(folder: Path) -> None:
        shutil.copy2(manifest, folder)
        shutil.copy2(lock, folder)
        # `npm ci` refuses locks that npm itself wrote on another platform; `install` keeps to the lock all the same.
        try:
            run(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder)
        except BuildFailed as exc:
            raise ToolchainMissing(
                f"npm packages are not to be had: {exc.message}", hint="try with the network"
            ) from exc

    platform = f"{os.uname().sysname}-{os.uname().machine}" if hasattr(os, "uname") else os.name
    return once(
        cache_root() / "toolchains" / f"node-{digest_files({'': workspace}, [manifest, lock], platform)[:16]}", install
    )


def driver(_: Guest) -> JavaScriptDriver:
    """Make the driver for a guest."""
    return JavaScriptDriver()
