"""Zig's compiler, which compiles C, C++ and Zig to WebAssembly with a libc of its own; and what it has to say."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from dataflare.errors import DataflareError
from dataflare.toolchain.encoding import encoder
from dataflare.toolchain.guests import Guest
from dataflare.toolchain.pip_packages import download, has_pip
from dataflare.toolchain.run_tool import BuildFailed, ToolchainMissing, run
from dataflare.toolchain.store import cache_root, once

__all__ = ["ZIG_VERSION", "identity", "run_zig", "zig_tools"]

ZIG_VERSION: Final = "0.17.1"
_PACKAGE: Final = f"ziglang=={ZIG_VERSION}"
_HINT: Final = f"`{Path(sys.executable).name} -m pip install {_PACKAGE}`, or try with the network"
_ERROR: Final = re.compile(r"^(?P<file>[^\s:][^:]*):(?P<line>\d+):\d+: (?:fatal )?error: (?P<what>.*)$", re.MULTILINE)
_NO_SYMBOL: Final = re.compile(r"undefined symbol: (?P<name>[\w.]+)")
_EXPORTED: Final = re.compile(r"df_(source|destination|processor|transformer|validator)_plugin")
_ALL_LINES: Final = 1000


def identity() -> str:
    """What a component depends on, of the compiler and of what encodes components."""
    return f"{_PACKAGE}, {encoder()}"


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
    download(_PACKAGE, folder, hint=_HINT)


def zig_tools() -> str:
    """The tools, in words.

    Raises:
        ToolchainMissing: There is no Zig and no pip to get it with.
    """
    if _installed() or _folder().is_dir():
        return f"Zig {ZIG_VERSION}"
    if not has_pip():
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
    if not error.output:
        return error  # it did not end in time
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
