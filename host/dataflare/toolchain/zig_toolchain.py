"""Zig's compiler, which compiles C, C++ and Zig to WebAssembly with a libc of its own; and what it has to say."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from dataflare.errors import DataflareError
from dataflare.toolchain.guests import Guest
from dataflare.toolchain.javascript import npm_packages
from dataflare.toolchain.run_tool import BuildFailed, ToolchainMissing, run
from dataflare.toolchain.store import cache_root, once, stage_wit

__all__ = ["ZIG_VERSION", "encode", "identity", "run_zig", "zig_tools"]

ZIG_VERSION: Final = "0.17.1"
_PACKAGE: Final = f"ziglang=={ZIG_VERSION}"
_HINT: Final = f"`{Path(sys.executable).name} -m pip install {_PACKAGE}`, or try with the network"
_ENCODE: Final = Path(__file__).with_name("encode.mjs")
_ERROR: Final = re.compile(r"^(?P<file>[^\s:][^:]*):(?P<line>\d+):\d+: (?:fatal )?error: (?P<what>.*)$", re.MULTILINE)
_NO_SYMBOL: Final = re.compile(r"undefined symbol: (?P<name>[\w.]+)")
_EXPORTED: Final = re.compile(r"df_(source|destination|processor|transformer|validator)_plugin")
_NO_IMPORT: Final = re.compile(r"module requires an import interface named `(?P<name>[^`]+)`")
_ALL_LINES: Final = 1000


def identity() -> str:
    """What a component depends on, of the compiler and of what encodes components."""
    return f"{_PACKAGE}, {_ENCODE.read_text(encoding='utf-8')}"


def _installed() -> Path | None:
    """Zig's program in this interpreter's environment, where its version is the right one."""
    try:
        found = importlib.util.find_spec("ziglang") if version("ziglang") == ZIG_VERSION else None
    except PackageNotFoundError:
        return None
    if found is None or found.origin is None:
        return None
    program = Path(found.origin).parent / "zig"
    return program if program.is_file() else None


def _folder() -> Path:
    return cache_root() / "toolchains" / f"zig-{ZIG_VERSION}"


def _zig() -> Path:
    """Zig's program: the installed one, or one that is downloaded on first use."""
    return _installed() or once(_folder(), _download) / "ziglang" / "zig"


def _download(folder: Path) -> None:
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        folder,
        _PACKAGE,
    ]
    try:
        run(command, cwd=folder, hint=_HINT)
    except BuildFailed as error:
        raise ToolchainMissing(f"{_PACKAGE} cannot be downloaded: {error.message}", hint=_HINT) from error


def zig_tools() -> str:
    """The tools, in words.

    Raises:
        ToolchainMissing: There is no Zig and no pip to get it with.
    """
    if _installed() or _folder().is_dir():
        return f"Zig {ZIG_VERSION}"
    if importlib.util.find_spec("pip") is None:
        raise ToolchainMissing("there is no Zig, and no pip to download it with", hint=_HINT)
    return f"Zig {ZIG_VERSION}, downloaded on first use"


def run_zig(guest: Guest, arguments: Sequence[str | Path]) -> str:
    """Run Zig in a guest's folder.

    Raises:
        ToolchainMissing: There is no Zig, and it cannot be downloaded.
        BuildFailed: What it says, with file and line.
    """
    # Results are kept by the digests of what they are made of: one cache serves all plugins.
    cache = str(cache_root() / "zig")
    env = {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache, "NO_COLOR": "1"}
    try:
        return run([_zig(), *arguments], cwd=guest.folder, env=env, tail_lines=_ALL_LINES)
    except BuildFailed as error:
        raise _explained(guest, error) from error


def _explained(guest: Guest, error: BuildFailed) -> DataflareError:
    """The first error with its place, and below it all that the compiler said."""
    lines = [line.removeprefix("    ") for line in error.output.splitlines()]
    text = "\n".join(lines).replace(f"{guest.folder}/", "").replace("./", "")
    hint = ""
    found = _ERROR.search(text)
    if found:
        what = f"{found['file']}:{found['line']}: error: {found['what']}"
    elif missing := _NO_SYMBOL.search(text):
        what = f"{guest.name}: there is no {missing['name']}"
        if _EXPORTED.fullmatch(missing["name"]):
            hint = f"define the constant {missing['name']}, which says what the plugin does"
    else:
        what = f"{guest.name}: the compiler ended with an error"
    return BuildFailed(what, output="\n".join(f"    {line}" for line in text.splitlines()), hint=hint)


def encode(guest: Guest, module: Path, work: Path) -> bytes:
    """Make a component of a module.

    Raises:
        ToolchainMissing: There is no Node.js, or its packages cannot be downloaded.
        BuildFailed: The module does not fit the plugin's world.
    """
    packages = npm_packages(guest.sdk.parent / "javascript") / "node_modules"
    output = work / "component.wasm"
    try:
        run(["node", _ENCODE, packages, module, stage_wit(guest, work), guest.world, output], cwd=work)
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
